//! Options of an engine, and the ways to create one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use sterna_kernels::Cpu;

use super::grammar::inline;
use super::loaded::Loaded;
use super::{Engine, Runner, thread};
use crate::checkpoint::{Adapter, Checkpoint, Config, I2sLayout, OpenOptions};
use crate::model::{self, KvType, Network, Settings};
use crate::setters::setters;
use crate::text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};

/// Default of [`EngineBuilder::context`], if the model supports as many positions.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Options of an [`Engine`], each with a setter, and the ways to create one: from a file, a checkpoint or a network.
///
/// ```
/// use sterna::Engine;
///
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
/// let engine = Engine::builder().threads(1).context(256).open(model)?;
/// assert_eq!((engine.threads(), engine.context()), (1, 256));
/// assert_eq!(engine.format(), Some("gguf v3"));
/// # Ok::<(), sterna::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineBuilder {
    /// Number of threads; 0 uses all that this process may use.
    pub threads: usize,
    /// Context length in positions; `None` uses the model's own, at most [`DEFAULT_CONTEXT`].
    pub context: Option<usize>,
    /// Prompt tokens per forward pass at position 0; at least 1. The number shrinks with depth, to keep the time of a
    /// step constant.
    pub chunk: usize,
    /// Number of full-length requests that the key/value cache holds at the same time; shorter requests share this
    /// room.
    pub sequences: usize,
    /// Whether draft tokens from prompt lookup are computed and checked. Changes how long an answer takes, never the
    /// answer.
    pub speculation: bool,
    /// Number type of the key/value cache.
    pub kv: KvType,
    /// Options of the network.
    pub settings: Settings,
    /// A directory with a low-rank adapter for a checkpoint's ternary layers ([`Adapter::open`]).
    pub adapter: Option<PathBuf>,
    /// Whether tensor data is mapped, as opposed to read; see [`OpenOptions`].
    pub mmap: bool,
    /// The layout of I2_S in GGUF files; see [`OpenOptions`].
    pub i2s_layout: Option<I2sLayout>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            threads: 0,
            context: None,
            chunk: 128,
            sequences: 1,
            speculation: false,
            kv: KvType::default(),
            settings: Settings::default(),
            adapter: None,
            mmap: true,
            i2s_layout: None,
        }
    }
}

setters!(EngineBuilder {
    threads: usize,
    context: impl Into<Option<usize>>,
    chunk: usize,
    sequences: usize,
    speculation: bool,
    kv: KvType,
    settings: Settings,
    adapter: impl Into<Option<PathBuf>>,
    mmap: bool,
    i2s_layout: impl Into<Option<I2sLayout>>,
});

impl EngineBuilder {
    /// Opens a `.gguf` file or a Hugging Face directory and loads it.
    ///
    /// # Errors
    /// Those of the file, [`Error::Option`] if the options do not suit the model, [`Error::OutOfMemory`] if it does not
    /// fit into memory, and those of [`build`](Self::build).
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Engine> {
        let start = Instant::now();
        let checkpoint = Checkpoint::open_with(path.as_ref(), &self.open_options())?;
        let mut engine = self.load(checkpoint)?;
        engine.load_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    /// Loads an opened checkpoint, for example one in memory ([`Checkpoint::from_files`]).
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn load(&self, mut checkpoint: Checkpoint) -> Result<Engine> {
        let start = Instant::now();
        if let Some(adapter) = &self.adapter {
            checkpoint = checkpoint.with_adapter(Adapter::open(adapter)?)?;
        }
        let context = self.positions(&checkpoint.config)?;
        let positions = context.saturating_mul(self.sequences.max(1));
        checkpoint.check_memory(positions, self.kv)?;
        let memory_needed = checkpoint.memory_needed(positions, self.kv);
        let cpu = Cpu::new(self.threads)?;
        let text = || {
            let tokenizer = Tokenizer::new(&checkpoint.path, &checkpoint.text, &checkpoint.config);
            (tokenizer, ChatTemplate::new(&checkpoint.text))
        };
        // A vocabulary of 128,256 tokens with its merges takes one thread about as long as the weights take two, so
        // both are loaded in parallel.
        let (network, (tokenizer, template)) = thread::beside(text, || model::load(&checkpoint, &cpu, self.settings));
        let mut loaded = Loaded::with_text(cpu, network?, tokenizer, template, self)?;
        let (format, remarks) = (checkpoint.format, std::mem::take(&mut checkpoint.remarks));
        loaded.files = checkpoint.files().clone();
        loaded.files.check_read()?;
        // The weights are packed; the pages of the mapped files can be released.
        drop(checkpoint);
        let mut engine = Engine::start(loaded)?;
        engine.format = Some(format);
        engine.remarks = remarks.into();
        engine.memory_needed = Some(memory_needed);
        engine.load_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    /// An engine for any network, with an optional tokenizer and chat template. `settings`, `adapter`, `mmap`
    /// and `i2s_layout` have no effect, because the network is already loaded.
    ///
    /// # Errors
    /// [`Error::Option`] if the context does not suit the network, [`Error::InstructionSet`] for an unknown
    /// `STERNA_ISA`, and [`Error::Resources`] if no thread can be started.
    pub fn build(
        &self,
        network: Box<dyn Network>,
        tokenizer: Option<Tokenizer>,
        template: Option<ChatTemplate>,
    ) -> Result<Engine> {
        Engine::start(Loaded::new(network, tokenizer, template, self)?)
    }

    /// Like [`build`](Self::build), but without a thread: a [`Runner`], which the caller drives. Grammars run within
    /// [`Runner::step`].
    ///
    /// # Errors
    /// [`Error::Option`] if the context does not suit the network, and [`Error::InstructionSet`] for an unknown
    /// `STERNA_ISA`.
    pub fn build_runner(
        &self,
        network: Box<dyn Network>,
        tokenizer: Option<Tokenizer>,
        template: Option<ChatTemplate>,
    ) -> Result<Runner> {
        Ok(Runner::new(Arc::new(Loaded::new(network, tokenizer, template, self)?), inline()))
    }

    /// How the files of a model are opened.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions::default().mmap(self.mmap).i2s_layout(self.i2s_layout)
    }

    /// The context length for a model: [`context`](field@Self::context), or its default.
    ///
    /// # Errors
    /// [`Error::Option`] if the model supports fewer positions, or they are fewer than two.
    pub fn positions(&self, config: &Config) -> Result<usize> {
        let (context, most) = (self.context.unwrap_or(config.context.min(DEFAULT_CONTEXT)), config.context);
        if !(2..=most).contains(&context) {
            let problem = format!("the context is {context} tokens, but this model supports 2 to {most}");
            return Err(Error::option("context", problem));
        }
        Ok(context)
    }
}
