//! How far the predictions of a model are from those of another.

use sterna_kernels::Rows;

use super::evaluate::Totals;
use super::logits::divergence;
use super::windows::Windows;
use super::{Engine, Evaluate, Evaluation, Score, Scores};
use crate::{Error, Result};

/// Hidden states whose logits are computed at a time.
const PART: usize = 64;

/// The predictions of a model beside those of a reference, over the tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Divergence {
    /// The model's own figures. Its disagreements are with the reference.
    pub model: Evaluation,
    /// The reference's figures.
    pub reference: Evaluation,
    /// Mean over the scored tokens of the Kullback-Leibler divergence Σ p ln(p / q), in nats: p is the reference's
    /// distribution, q the model's.
    pub mean_kl: f64,
    /// The greatest divergence of a token, in nats.
    pub max_kl: f64,
    /// Index of that token in the text.
    pub max_at: usize,
}

impl Divergence {
    /// The share of scored tokens for which both models have the same likeliest token.
    pub fn agreement(&self) -> f64 {
        1.0 - self.model.disagreements as f64 / self.model.tokens.max(1) as f64
    }
}

impl Evaluate<'_> {
    /// Scores `tokens` with a model and with a reference, each with its own head, and compares their predictions. The
    /// progress gets the figures of both. Memory: the hidden states of a window in both models.
    ///
    /// # Errors
    /// [`Error::Request`] if the vocabularies differ, and those of [`compare`](Self::compare), of either model.
    pub fn against(mut self, model: &Engine, reference: &Engine, tokens: &[u32]) -> Result<Divergence> {
        let engines = [model, reference];
        let [ours, theirs] = engines.map(|engine| engine.config().vocab);
        if ours != theirs {
            let problem = format!(
                "the vocabularies have {ours} and {theirs} tokens; only models with the same tokenizer can be compared"
            );
            return Err(Error::request("model", problem));
        }
        let [ours, theirs] = [model.loaded.head()?, reference.loaded.head()?];
        Windows::new(reference, tokens.len(), self.context, self.stride)?;
        let mut totals = [Totals::default(), Totals::default()];
        let (mut sum, mut max, mut max_at) = (0.0, 0.0, 0);
        for window in Windows::new(model, tokens.len(), self.context, self.stride)? {
            let (text, first) = (&tokens[window.tokens.clone()], window.first);
            let score = |engine: &Engine| engine.score(Score::new(&text[..text.len() - 1]).from(first - 1));
            // Both are submitted before one is read, so that they compute at the same time.
            let [a, b] = [score(model)?, score(reference)?];
            let (a, b) = (whole(a)?, whole(b)?);
            for begin in (0..a.len()).step_by(PART) {
                let rows: Vec<usize> = (begin..a.len().min(begin + PART)).collect();
                let a = ours.logits(&model.loaded.cpu, &a.select(&rows));
                let b = theirs.logits(&reference.loaded.cpu, &b.select(&rows));
                let pool = model.loaded.cpu.pool();
                let next = &text[first + begin..];
                let [own, other] = [totals[0].add(pool, &a, next), totals[1].add(pool, &b, next)];
                totals[0].disagreements += own.iter().zip(&other).filter(|(own, other)| own != other).count();
                let mut found = vec![0.0; a.len()];
                pool.pieces(&mut found, 1, |row, out| out[0] = divergence(b.row(row), a.row(row)));
                for (kl, at) in found.into_iter().zip(window.tokens.start + first + begin..) {
                    sum += kl;
                    (max, max_at) = if kl > max { (kl, at) } else { (max, max_at) };
                }
                (self.progress)(&totals.each_ref().map(Totals::evaluation));
            }
        }
        let [model, reference] = totals.each_ref().map(Totals::evaluation);
        Ok(Divergence { model, reference, mean_kl: sum / model.tokens.max(1) as f64, max_kl: max, max_at })
    }
}

/// All hidden states of a text.
fn whole(scores: Scores) -> Result<Rows> {
    let (mut data, mut dim) = (Vec::new(), 1);
    for part in scores {
        let (_, rows) = part?;
        dim = rows.dim();
        data.extend_from_slice(rows.data());
    }
    Ok(Rows::from_vec(dim, data))
}
