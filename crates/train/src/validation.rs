//! Validation: how well the model predicts text that it is not trained on.

use serde::Serialize;
use sterna::engine::Engine;
use sterna::kernels::Cpu;
use sterna::kernels::gradient::LossTerms;
use sterna::text::Tokenizer;

use crate::Result;
use crate::batch::{Batch, NONE};
use crate::data::Dataset;

/// Maximum number of tokens that are scored.
const TOKENS: usize = 1 << 16;
/// Tokens per batch.
const TOGETHER: usize = 2048;

/// The result of a validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Number of predicted tokens.
    pub tokens: usize,
    /// Mean cross-entropy of a predicted token, in nats.
    pub loss: f64,
    /// Cross-entropy in bits per byte of the predicted text.
    pub bits_per_byte: f64,
}

/// Batches of pieces from all over the data.
pub fn batches(data: &Dataset) -> Vec<Batch> {
    data.batches(TOGETHER, data.tokens().div_ceil(TOKENS).max(1)).collect()
}

impl Validation {
    /// Computes the result from the sum of cross-entropies (nats) over the targets of `batches`.
    ///
    /// # Errors
    /// [`Error::Sterna`](crate::Error::Sterna) if the tokenizer cannot decode the targets.
    pub fn new(cross_entropy: f64, batches: &[Batch], tokenizer: &Tokenizer) -> Result<Self> {
        let (mut tokens, mut bytes) = (0, 0);
        for batch in batches {
            for rows in batch.sequences() {
                let scored = batch.targets[rows].iter().copied().filter(|target| *target != NONE);
                let scored: Vec<u32> = scored.collect();
                tokens += scored.len();
                bytes += tokenizer.decode_without_special(&scored)?.len();
            }
        }
        let bits_per_byte = cross_entropy / std::f64::consts::LN_2 / bytes.max(1) as f64;
        Ok(Self { tokens, loss: cross_entropy / tokens.max(1) as f64, bits_per_byte })
    }

    /// Scores the batches with the engine that will run the model.
    ///
    /// # Errors
    /// [`Error::Sterna`](crate::Error::Sterna) if the engine refuses a batch or has stopped, or the tokenizer cannot
    /// decode the targets.
    pub fn by_engine(engine: &Engine, cpu: &Cpu, batches: &[Batch], tokenizer: &Tokenizer) -> Result<Self> {
        let mut cross_entropy = 0.0;
        for batch in batches {
            for rows in batch.sequences() {
                let mut targets = &batch.targets[rows.clone()];
                for logits in engine.logits(&batch.tokens[rows])? {
                    let logits = logits?;
                    let (these, rest) = targets.split_at(logits.len());
                    targets = rest;
                    let picked: Vec<usize> = (0..these.len()).filter(|i| these[*i] != NONE).collect();
                    let these: Vec<u32> = picked.iter().map(|i| these[*i]).collect();
                    let terms = LossTerms { scale: 0.0, z: 0.0 };
                    cross_entropy += cpu.cross_entropy(&mut logits.select(&picked), &these, terms).cross_entropy;
                }
            }
        }
        Self::new(cross_entropy, batches, tokenizer)
    }
}
