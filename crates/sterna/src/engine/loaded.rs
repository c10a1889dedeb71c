//! A loaded model, shared by an engine's callers and its runner.

use std::sync::Arc;

use sterna_kernels::Cpu;

use super::EngineBuilder;
use super::health::Counters;
use crate::checkpoint::Files;
use crate::model::{Head, KvType, Network};
use crate::text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};

/// A network with its tokenizer, chat template and run options.
pub(super) struct Loaded {
    pub cpu: Cpu,
    pub network: Box<dyn Network>,
    /// Embedding and head may be mapped from them.
    pub files: Files,
    /// The error is kept, because a model without a tokenizer can still compute logits.
    pub tokenizer: Result<Arc<Tokenizer>>,
    pub template: Result<Option<ChatTemplate>>,
    pub context: usize,
    pub chunk: usize,
    /// Number of full-length requests that fit at the same time.
    pub sequences: usize,
    pub speculation: bool,
    pub kv: KvType,
    pub counters: Counters,
}

impl Loaded {
    /// Combines a network with an optional tokenizer and chat template.
    pub fn new(
        network: Box<dyn Network>,
        tokenizer: Option<Tokenizer>,
        template: Option<ChatTemplate>,
        builder: &EngineBuilder,
    ) -> Result<Self> {
        let cpu = Cpu::new(builder.threads)?;
        let missing = || Error::request("text", "the model has no tokenizer; use token ids");
        Self::with_text(cpu, network, tokenizer.ok_or_else(missing), Ok(template), builder)
    }

    /// Combines a network with the results of loading its tokenizer and chat template.
    pub fn with_text(
        cpu: Cpu,
        network: Box<dyn Network>,
        tokenizer: Result<Tokenizer>,
        template: Result<Option<ChatTemplate>>,
        builder: &EngineBuilder,
    ) -> Result<Self> {
        let loaded = Self {
            cpu,
            context: builder.positions(network.config())?,
            chunk: builder.chunk.max(1),
            sequences: builder.sequences.max(1),
            speculation: builder.speculation,
            kv: builder.kv,
            tokenizer: tokenizer.map(Arc::new),
            template,
            network,
            files: Files::default(),
            counters: Counters::default(),
        };
        loaded.check_recurrent()?;
        Ok(loaded)
    }

    /// The head, or an error for a network without one.
    pub fn head(&self) -> Result<&Head> {
        self.network.head().ok_or_else(|| {
            Error::request(
                "model",
                "this model has no head: it computes embeddings (sterna embed), but no logits and no text",
            )
        })
    }
}
