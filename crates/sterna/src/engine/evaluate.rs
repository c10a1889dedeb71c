//! Perplexity of a text, in sliding windows.

use sterna_kernels::math::exp64;
use sterna_kernels::{Cpu, Pool, Rows};

use super::logits::{argmax, clean, log_sum_exp};
use super::windows::Windows;
use super::{Engine, Score};
use crate::Result;
use crate::model::Head;

/// Result of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Number of scored tokens: all but the first; without overlap, all but the first of every window.
    pub tokens: usize,
    /// Mean negative log-likelihood of a scored token, in nats.
    pub nll: f64,
    /// e to the power of `nll`.
    pub perplexity: f64,
    /// Standard error of the perplexity: that of the mean `nll`, times the perplexity (delta method). 0 for one token.
    pub standard_error: f64,
    /// Scored tokens for which this head's greatest logit belongs to another token than the first head's.
    pub disagreements: usize,
}

/// An evaluation in windows of `context` tokens that begin every `stride` tokens. Each later window scores only the
/// tokens that earlier windows have not. Memory: the logits of one part of a window at a time.
///
/// ```
/// use sterna::{Engine, Evaluate};
///
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
/// let engine = Engine::builder().threads(1).context(256).open(model)?;
/// let tokens = engine.tokenizer()?.encode_prompt("Once upon a time there was a little bird.")?;
/// let evaluation = Evaluate::new(64).stride(32).run(&engine, &tokens)?;
/// assert_eq!(evaluation.tokens, tokens.len() - 1);
/// assert!(evaluation.perplexity > 1.0 && evaluation.perplexity < engine.config().vocab as f64);
/// # Ok::<(), sterna::Error>(())
/// ```
pub struct Evaluate<'a> {
    pub(super) context: usize,
    pub(super) stride: usize,
    heads: Vec<&'a Head>,
    pub(super) progress: Progress<'a>,
}

/// Gets the intermediate results, one per head.
pub(super) type Progress<'a> = Box<dyn FnMut(&[Evaluation]) + 'a>;

impl<'a> Evaluate<'a> {
    /// An evaluation in windows of `context` tokens that do not overlap, with the model's own head.
    pub fn new(context: usize) -> Self {
        Self { context, stride: context, heads: Vec::new(), progress: Box::new(|_| ()) }
    }

    /// Sets the number of tokens between the starts of two windows.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Scores with each of these heads on the same hidden states.
    pub fn heads(mut self, heads: impl IntoIterator<Item = &'a Head>) -> Self {
        self.heads = heads.into_iter().collect();
        self
    }

    /// Sets a function that gets the intermediate results after every part.
    pub fn progress(mut self, progress: impl FnMut(&[Evaluation]) + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Scores `tokens` with the first head.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub fn run(self, engine: &'a Engine, tokens: &[u32]) -> Result<Evaluation> {
        Ok(self.compare(engine, tokens)?.swap_remove(0))
    }

    /// Scores `tokens` with every head.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) if the windows do not suit the engine's context,
    /// [`Error::Request`](crate::Error::Request) if the text has fewer than two tokens or the model has no head, and those of
    /// [`Engine::score`].
    pub fn compare(mut self, engine: &'a Engine, tokens: &[u32]) -> Result<Vec<Evaluation>> {
        let windows = Windows::new(engine, tokens.len(), self.context, self.stride)?;
        if self.heads.is_empty() {
            self.heads.push(engine.loaded.head()?);
        }
        let cpu = &engine.loaded.cpu;
        let mut totals: Vec<Totals> = self.heads.iter().map(|_| Totals::default()).collect();
        for window in windows {
            let (tokens, first) = (&tokens[window.tokens], window.first);
            for part in engine.score(Score::new(&tokens[..tokens.len() - 1]).from(first - 1))? {
                let (row, hidden) = part?;
                self.add(cpu, &mut totals, &hidden, &tokens[row + 1..]);
            }
        }
        Ok(totals.iter().map(Totals::evaluation).collect())
    }

    /// Scores hidden states against the tokens that follow in the text.
    fn add(&mut self, cpu: &Cpu, totals: &mut [Totals], hidden: &Rows, next: &[u32]) {
        let mut greatest = Vec::new();
        for (total, head) in totals.iter_mut().zip(&self.heads) {
            let own = total.add(cpu.pool(), &head.logits(cpu, hidden), next);
            greatest = if greatest.is_empty() { own.clone() } else { greatest };
            total.disagreements += own.iter().zip(&greatest).filter(|(a, b)| a != b).count();
        }
        (self.progress)(&totals.iter().map(Totals::evaluation).collect::<Vec<_>>());
    }
}

/// Running mean and variance of the scores (Welford's algorithm: no cancellation, for texts of any length).
#[derive(Default)]
pub(super) struct Totals {
    count: usize,
    mean: f64,
    squares: f64,
    pub disagreements: usize,
}

impl Totals {
    /// Scores rows of logits against the tokens that follow in the text. Returns the tokens with the greatest logits.
    pub fn add(&mut self, pool: &Pool, logits: &Rows, next: &[u32]) -> Vec<usize> {
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

    pub fn evaluation(&self) -> Evaluation {
        let n = self.count as f64;
        let variance = if self.count > 1 { self.squares / (n - 1.0) } else { 0.0 };
        let perplexity = exp64(self.mean.min(700.0));
        let standard_error = perplexity * (variance / n.max(1.0)).sqrt();
        Evaluation { tokens: self.count, nll: self.mean, perplexity, standard_error, disagreements: self.disagreements }
    }
}
