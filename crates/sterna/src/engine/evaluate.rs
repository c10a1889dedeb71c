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
    let problem = if tokens.len() < 2 {
        Some("a text of fewer than two tokens has nothing to predict".to_owned())
    } else if context < 2 || context > engine.context() {
        Some(format!("windows of {context} tokens; they can have 2 to {} here", engine.context()))
    } else if stride == 0 || stride > context {
        Some(format!("a stride of {stride} tokens; it can be 1 to the window's {context}"))
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(Error::Request(problem));
    }
    let mut scores = Scores::default();
    let mut scored = 1;
    for begin in (0..).step_by(stride) {
        let end = tokens.len().min(begin + context);
        let first = scored.max(begin + 1);
        let window = &tokens[begin..end];
        engine.core.rows(&window[..window.len() - 1], first - 1 - begin, engine.core.chunk, &mut |row, logits| {
            scores.add(&engine.core.cpu.pool, logits, &window[row + 1..]);
            progress(&scores.evaluation());
            Ok(())
        })?;
        scored = end;
        if end == tokens.len() {
            break;
        }
    }
    Ok(scores.evaluation())
}

/// Running mean and variance of the scores (Welford's update: no cancellation however long the text is).
#[derive(Default)]
struct Scores {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Scores {
    /// Scores rows of logits against the tokens that really followed.
    fn add(&mut self, pool: &Pool, logits: &Rows, next: &[u32]) {
        let mut nll = vec![0.0; logits.len()];
        pool.pieces(&mut nll, 1, |i, nll| {
            let row = logits.row(i);
            nll[0] = log_sum_exp(row) - f64::from(clean(row[next[i] as usize]));
        });
        for nll in nll {
            self.count += 1;
            let distance = nll - self.mean;
            self.mean += distance / self.count as f64;
            self.squares += distance * (nll - self.mean);
        }
    }

    fn evaluation(&self) -> Evaluation {
        let n = self.count as f64;
        let variance = if self.count > 1 { self.squares / (n - 1.0) } else { 0.0 };
        let perplexity = exp64(self.mean.min(700.0));
        let standard_error = perplexity * (variance / n.max(1.0)).sqrt();
        Evaluation { tokens: self.count, nll: self.mean, perplexity, standard_error }
    }
}
