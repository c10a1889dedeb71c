//! Perplexity of a text, in sliding windows.
//!
//! ```text
//! tokens    0 ............. context
//! window 1  [sssssssssssssssss]            s: scored
//! window 2           [cccccccc|sssssssss]  c: context only
//!                     stride ►|
//! ```

use sterna_kernels::math::exp64;
use sterna_kernels::{Pool, Rows};

use super::Engine;
use super::logprob::{clean, log_sum_exp};
use super::sampler::argmax;
use crate::model::Head;
use crate::{Error, Result};

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Tokens scored: all but the first, and but the first of every window if the windows do not overlap.
    pub tokens: usize,
    /// Mean negative log-likelihood of a scored token, in nats.
    pub nll: f64,
    /// e to the `nll`.
    pub perplexity: f64,
    /// Standard error of the perplexity: that of the mean `nll`, times the perplexity (delta method). 0 for one token.
    pub standard_error: f64,
    /// Scored tokens before which the greatest logit is another token's than with the first head.
    pub disagreements: usize,
}

/// Scores `tokens` in windows of `context` tokens that begin every `stride` tokens; each later window scores only what
/// the windows before it have not. `progress` sees the result so far after every chunk.
///
/// Memory: the logits of one chunk at a time.
pub fn evaluate(
    engine: &Engine,
    tokens: &[u32],
    context: usize,
    stride: usize,
    progress: &mut dyn FnMut(&Evaluation),
) -> Result<Evaluation> {
    let mut first = |all: &[Evaluation]| progress(&all[0]);
    Ok(compare_heads(engine, &[engine.model().head()], tokens, context, stride, &mut first)?[0])
}

/// The same for each of several heads over the same hidden states.
pub fn compare_heads(
    engine: &Engine,
    heads: &[&Head],
    tokens: &[u32],
    context: usize,
    stride: usize,
    progress: &mut dyn FnMut(&[Evaluation]),
) -> Result<Vec<Evaluation>> {
    if tokens.len() < 2 {
        return Err(Error::request("tokens", "a text of fewer than two tokens has nothing to predict"));
    }
    if context < 2 || context > engine.context() {
        let problem = format!("windows of {context} tokens; they can have 2 to {} here", engine.context());
        return Err(Error::option("context", problem));
    }
    if stride == 0 || stride > context {
        let problem = format!("a stride of {stride} tokens; it can be 1 to the window's {context}");
        return Err(Error::option("stride", problem));
    }
    let cpu = &engine.core.cpu;
    let mut scores: Vec<Scores> = heads.iter().map(|_| Scores::default()).collect();
    let evaluations = |scores: &[Scores]| scores.iter().map(Scores::evaluation).collect::<Vec<_>>();
    let mut scored = 1;
    for begin in (0..).step_by(stride) {
        let end = tokens.len().min(begin + context);
        let first = scored.max(begin + 1);
        let window = &tokens[begin..end];
        engine.core.hidden(&window[..window.len() - 1], first - 1 - begin, engine.core.chunk, &mut |row, hidden| {
            let mut greatest = Vec::new();
            for (scores, head) in scores.iter_mut().zip(heads) {
                let own = scores.add(cpu.pool(), &head.logits(cpu, hidden), &window[row + 1..]);
                greatest = if greatest.is_empty() { own.clone() } else { greatest };
                scores.disagreements += own.iter().zip(&greatest).filter(|(a, b)| a != b).count();
            }
            progress(&evaluations(&scores));
            Ok(())
        })?;
        scored = end;
        if end == tokens.len() {
            break;
        }
    }
    Ok(evaluations(&scores))
}

/// Running mean and variance of the scores (Welford's update: no cancellation however long the text is).
#[derive(Default)]
struct Scores {
    count: usize,
    mean: f64,
    squares: f64,
    disagreements: usize,
}

impl Scores {
    /// Scores rows of logits against the tokens that really followed; returns the tokens with the greatest logits.
    fn add(&mut self, pool: &Pool, logits: &Rows, next: &[u32]) -> Vec<usize> {
        let mut rows = vec![(0.0, 0); logits.len()];
        pool.pieces(&mut rows, 1, |i, out| {
            let row = logits.row(i);
            out[0] = (log_sum_exp(row) - f64::from(clean(row[next[i] as usize])), argmax(row));
        });
        for &(nll, _) in &rows {
            self.count += 1;
            let distance = nll - self.mean;
            self.mean += distance / self.count as f64;
            self.squares += distance * (nll - self.mean);
        }
        rows.into_iter().map(|(_, greatest)| greatest).collect()
    }

    fn evaluation(&self) -> Evaluation {
        let n = self.count as f64;
        let variance = if self.count > 1 { self.squares / (n - 1.0) } else { 0.0 };
        let perplexity = exp64(self.mean.min(700.0));
        let standard_error = perplexity * (variance / n.max(1.0)).sqrt();
        Evaluation { tokens: self.count, nll: self.mean, perplexity, standard_error, disagreements: self.disagreements }
    }
}
