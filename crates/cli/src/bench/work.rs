//! The work of a benchmark for each number of threads, and its memory needs.

use std::sync::Arc;

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use sterna::Error;
use sterna::checkpoint::Checkpoint;
use sterna::engine::{Engine, Request};
use sterna::model::kv::PAGE;
use sterna::model::{KvCache, KvType, Network};

use super::streams::Run;
use crate::output;

/// Prompt tokens per forward pass when several streams run: a multiple of the engine's default, so that all of them
/// soon decode.
const STREAMS_CHUNK: usize = 1024;

/// Measurements for each number of threads.
pub struct Work {
    /// Numbers of streams, besides the one that is always measured.
    pub streams: Vec<usize>,
    pub prompt: usize,
    pub tokens: usize,
    pub repeat: usize,
    pub kv: KvType,
    pub speculation: bool,
}

impl Work {
    /// Checks that the model and the keys and values of all streams fit into memory.
    pub fn check_memory(&self, checkpoint: &Checkpoint) -> sterna::Result<()> {
        let most = self.streams.iter().copied().max().unwrap_or(1);
        let positions = (self.prompt + self.tokens).next_multiple_of(PAGE).saturating_mul(most);
        let check = checkpoint.check_memory(positions, self.kv);
        check.map_err(|error| match error {
            Error::OutOfMemory { path, need_mib, available_mib, .. } if most > 1 => {
                let remedy = format!("lower --streams (it is {most}), -p or -n, or use a smaller model");
                Error::OutOfMemory { path, need_mib, available_mib, remedy }
            }
            other => other,
        })
    }

    /// Bytes that a generated token reads, on average: weights, head, keys and values; of recurrent states also those that
    /// it writes.
    pub fn bytes_per_token(&self, model: &dyn Network) -> f64 {
        let weights = model.weights();
        // A token at position p reads the keys and values of p positions; this is the mean over the generated ones.
        let mean_position = self.prompt as f64 + self.tokens as f64 / 2.0;
        let kv = KvCache::bytes_per_position(model.config(), self.kv) as f64 * mean_position;
        let hybrid = model.config().hybrid.as_ref();
        let states = hybrid.map_or(0, |hybrid| hybrid.recurrent_layers() * hybrid.delta.bytes_per_token());
        let skipped: f64 = model.density().iter().map(|layer| layer.skipped_bytes).sum();
        (weights.body_bytes + weights.head_bytes) as f64 - skipped + kv + states as f64
    }

    /// Measures prefill and decode of `streams` streams on `threads` threads, repeatedly. Also returns the actual
    /// number of threads.
    pub fn decode(
        &self,
        model: &Arc<dyn Network>,
        threads: usize,
        streams: usize,
        progress: &ProgressBar,
    ) -> Result<(usize, Vec<Run>)> {
        let (context, kv, speculation) = (Some(self.prompt + self.tokens), self.kv, self.speculation);
        let builder = Engine::builder().threads(threads).context(context).sequences(streams);
        let builder = if streams > 1 { builder.chunk(STREAMS_CHUNK) } else { builder };
        let engine = builder.speculation(speculation).kv(kv).build(Box::new(model.clone()), None, None)?;
        let vocab = engine.config().vocab;
        let mut runs = Vec::new();
        for i in 0..self.repeat {
            let counts = [output::count(threads, "thread"), output::count(streams, "stream")].join(", ");
            progress.set_message(format!("{counts}, run {} of {}", i + 1, self.repeat));
            let request = |stream| {
                // The time does not depend on the ids. 7919 is prime, so that they differ.
                let ids = (0..self.prompt).map(|t| (t * 7919 + i * streams + stream) % vocab);
                let prompt = ids.map(|id| id as u32).collect();
                Request::new(prompt).max_tokens(self.tokens).ignore_eos(true)
            };
            let run = Run::of(&engine, (0..streams).map(request).collect())?;
            if streams > 1 && run.tokens == 0 {
                bail!(
                    "-n {} is too small for {streams} streams: the first one ended before the last prompt was computed, so \
                 they never decoded side by side; raise -n, or lower -p or --streams",
                    self.tokens
                );
            }
            runs.push(run);
        }
        Ok((engine.threads(), runs))
    }
}
