//! A model that is ready to run: what an engine's callers and its runner share.

use std::sync::Arc;

use sterna_kernels::Cpu;

use super::Options;
use super::health::Counters;
use crate::model::{Head, KvType, Network};
use crate::text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};

/// A network, its text parts, and how to run it.
pub(super) struct Loaded {
    pub cpu: Cpu,
    pub network: Box<dyn Network>,
    /// Errors are kept: a model without a tokenizer still computes logits.
    pub tokenizer: Result<Arc<Tokenizer>>,
    pub template: Result<Option<ChatTemplate>>,
    pub context: usize,
    pub chunk: usize,
    /// Requests of a full context that fit at a time.
    pub sequences: usize,
    pub speculation: bool,
    pub kv: KvType,
    pub counters: Counters,
}

impl Loaded {
    /// A network with the text parts it has.
    pub fn new(
        network: Box<dyn Network>,
        tokenizer: Option<Tokenizer>,
        template: Option<ChatTemplate>,
        options: &Options,
    ) -> Result<Self> {
        let cpu = Cpu::new(options.threads)?;
        let missing = || Error::request("text", "the model has no tokenizer; use token ids");
        Self::with_text(cpu, network, tokenizer.ok_or_else(missing), Ok(template), options)
    }

    /// A network, and what became of its text parts.
    pub fn with_text(
        cpu: Cpu,
        network: Box<dyn Network>,
        tokenizer: Result<Tokenizer>,
        template: Result<Option<ChatTemplate>>,
        options: &Options,
    ) -> Result<Self> {
        Ok(Self {
            cpu,
            context: options.positions(network.config())?,
            chunk: options.chunk.max(1),
            sequences: options.sequences.max(1),
            speculation: options.speculation,
            kv: options.kv,
            tokenizer: tokenizer.map(Arc::new),
            template,
            network,
            counters: Counters::default(),
        })
    }

    /// The head, or an error for a network without one.
    pub fn head(&self) -> Result<&Head> {
        self.network.head().ok_or_else(|| {
            Error::request("model", "this model has no head: it computes embeddings, but no logits and no text")
        })
    }
}
