//! The generation loop: requests in, events out.
//!
//! ```text
//! Engine::generate ──Job──► scheduler (one thread: plan, forward, draw) ──Event──► Generation
//! ```

mod evaluate;
mod event;
mod grammar;
mod health;
mod logprob;
mod lookup;
mod plan;
mod reply;
mod request;
mod sampler;
mod scheduler;
mod sequence;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use sterna_kernels::{Cpu, Rows};

pub use evaluate::{Evaluation, compare_heads, evaluate};
pub use event::{Event, FinishReason, Generation, Ticket, Usage};
pub use grammar::{Grammar, Reader, TokenSet};
pub use health::Health;
pub use logprob::Logprob;
pub use request::{Request, Sampling};

use crate::checkpoint::{Adapter, Checkpoint, Config};
use crate::model::kv::PAGE;
use crate::model::{self, Batch, Head, HeadMode, KvCache, KvType, Model, Settings};
use crate::text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};
use health::Counters;
use reply::Reply;
use scheduler::Scheduler;
use sequence::Job;

/// Positions of the context unless asked otherwise, if the model takes as many.
pub const DEFAULT_CONTEXT: usize = 4096;

/// How to load and run a model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads; 0: as many as this process may use.
    pub threads: usize,
    /// Positions of the context; `None`: the model's own, at most 4096.
    pub context: Option<usize>,
    /// Tokens of prompts that one forward pass takes at their beginning, and fewer further on, where each takes longer; at
    /// least 1.
    pub chunk: usize,
    /// Requests of a full context that the key/value cache holds at a time; shorter ones share the same room.
    pub sequences: usize,
    /// Whether tokens that the text so far suggests are computed along and checked (prompt lookup). It changes the
    /// time an answer takes, never the answer.
    pub speculation: bool,
    /// How keys and values are kept.
    pub kv: KvType,
    /// How the network computes.
    pub settings: Settings,
    /// A directory with a low-rank adapter for a checkpoint's ternary layers ([`Adapter::open`]).
    pub adapter: Option<PathBuf>,
}

impl Default for Options {
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
        }
    }
}

impl Options {
    /// Positions of the context in use with a model: what is asked for, or the model's own within reason.
    ///
    /// # Errors
    /// More are asked for than the model takes, or fewer than two.
    pub fn positions(&self, config: &Config) -> Result<usize> {
        let (context, most) = (self.context.unwrap_or(config.context.min(DEFAULT_CONTEXT)), config.context);
        if !(2..=most).contains(&context) {
            let problem = format!("a context of {context} tokens was asked for; this model takes 2 to {most}");
            return Err(Error::option("context", problem));
        }
        Ok(context)
    }
}

/// A loaded model that answers requests. Cheap to clone and to share; one thread owns the computation.
///
/// When the last clone is gone, the thread finishes what was asked for and ends.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    load_seconds: f64,
    format: Option<&'static str>,
}

/// What the callers and the engine thread share.
struct Core {
    cpu: Cpu,
    model: Box<dyn Model>,
    /// Errors are kept: a model without a tokenizer still computes logits.
    tokenizer: Result<Tokenizer>,
    template: Result<Option<ChatTemplate>>,
    context: usize,
    chunk: usize,
    speculation: bool,
    kv: KvType,
    counters: Counters,
}

impl Engine {
    /// Opens a `.gguf` file or a Hugging Face directory and loads it.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let start = Instant::now();
        let mut engine = Self::load(Checkpoint::open(path.as_ref())?, options)?;
        engine.load_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    /// Loads an opened checkpoint (also an embedded or a synthetic one).
    pub fn load(mut checkpoint: Checkpoint, options: &Options) -> Result<Self> {
        let start = Instant::now();
        if let Some(adapter) = &options.adapter {
            checkpoint = checkpoint.with_adapter(Adapter::open(adapter)?)?;
        }
        let context = options.positions(&checkpoint.config)?;
        checkpoint.check_memory(context.saturating_mul(options.sequences.max(1)), options.kv)?;
        let cpu = Cpu::new(options.threads)?;
        let (model, tokenizer, template) = thread::scope(|scope| {
            // A vocabulary of 128,256 tokens and its merges take one thread about as long as the weights take two.
            let text = || {
                let tokenizer = Tokenizer::new(&checkpoint.path, &checkpoint.text, &checkpoint.config);
                (tokenizer, ChatTemplate::new(&checkpoint.text))
            };
            let beside = thread::Builder::new().name("sterna-text".into()).spawn_scoped(scope, text);
            let model = model::load(&checkpoint, &cpu, options.settings);
            let (tokenizer, template) = match beside {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No thread to be had.
                Err(_) => text(),
            };
            (model, tokenizer, template)
        });
        let model = model?;
        let format = checkpoint.format;
        // The weights are packed; the pages of the mapped files are not needed any more.
        drop(checkpoint);
        let (chunk, speculation, kv) = (options.chunk.max(1), options.speculation, options.kv);
        let counters = Counters::default();
        let core = Core { cpu, model, tokenizer, template, context, chunk, speculation, kv, counters };
        let mut engine = Self::start(core, options)?;
        engine.format = Some(format);
        engine.load_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    /// An engine for any network, with the text parts it has.
    pub fn from_parts(
        model: Box<dyn Model>,
        tokenizer: Option<Tokenizer>,
        template: Option<ChatTemplate>,
        options: &Options,
    ) -> Result<Self> {
        let core = Core {
            cpu: Cpu::new(options.threads)?,
            context: options.positions(model.config())?,
            chunk: options.chunk.max(1),
            speculation: options.speculation,
            kv: options.kv,
            tokenizer: tokenizer.ok_or_else(|| Error::request("text", "the model has no tokenizer; use token ids")),
            template: Ok(template),
            counters: Counters::default(),
            model,
        };
        Self::start(core, options)
    }

    fn start(core: Core, options: &Options) -> Result<Self> {
        let core = Arc::new(core);
        let (jobs, queue) = mpsc::channel();
        let pages = core.context.div_ceil(PAGE).saturating_mul(options.sequences.max(1));
        let worker = core.clone();
        core.counters.set_up(true);
        let run = move || {
            let _down = Down(&worker.counters);
            Scheduler::new(&worker, pages).run(&queue);
        };
        thread::Builder::new().name("sterna-engine".into()).spawn(run).map_err(|error| {
            let problem = format!("the engine thread could not be started: {error}");
            Error::Resources { problem }
        })?;
        Ok(Self { core, jobs, load_seconds: 0.0, format: None })
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        self.core.model.config()
    }

    /// The network.
    pub fn model(&self) -> &dyn Model {
        &*self.core.model
    }

    /// The format of the model's checkpoint ("gguf", "safetensors", …); `None` for an engine made from parts.
    pub fn format(&self) -> Option<&'static str> {
        self.format
    }

    /// Positions of the context in use.
    pub fn context(&self) -> usize {
        self.core.context
    }

    /// Whether tokens that the text so far suggests are computed along and checked.
    pub fn speculation(&self) -> bool {
        self.core.speculation
    }

    /// Instruction set in use ("avx512", …).
    pub fn isa(&self) -> &'static str {
        self.core.cpu.isa().name()
    }

    /// What users must know: an instruction set that computes wrongly on this CPU and was not taken.
    pub fn warning(&self) -> Option<&str> {
        self.core.cpu.warning()
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.core.cpu.pool().threads()
    }

    /// Whether requests are served, and how often the engine had to start anew.
    pub fn health(&self) -> Health {
        self.core.counters.health()
    }

    /// Seconds that loading took; 0 for an engine made from parts.
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }

    /// The tokenizer; an error that names the file if the checkpoint has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.core.tokenizer.as_ref().map_err(Error::clone)
    }

    /// The chat template; an error that says what to do if the checkpoint has none.
    pub fn template(&self) -> Result<&ChatTemplate> {
        let missing = || Error::Template("the model has none; give it a plain prompt instead of a conversation".into());
        self.core.template.as_ref().map_err(Error::clone)?.as_ref().ok_or_else(missing)
    }

    /// Starts a generation: the request waits its turn, oldest first. Dropping the result cancels it.
    pub fn generate(&self, request: Request) -> Result<Generation> {
        let (events, receiver) = mpsc::channel();
        // A caller who is gone is noticed by the ticket.
        let ticket = self.submit(request, move |event| drop(events.send(event)))?;
        Ok(Generation::new(receiver, ticket))
    }

    /// The same, for callers who do not want to wait in a thread: `sink` gets every event, on the engine's thread, and
    /// must return at once. The last one is [`Event::Finished`] or an error. Dropping the result cancels the request.
    pub fn submit(&self, mut request: Request, sink: impl FnMut(Result<Event>) + Send + 'static) -> Result<Ticket> {
        let submitted = Instant::now();
        let max_tokens = request.settle(self.core.context, self.config().vocab, self.core.tokenizer.as_ref().ok())?;
        if !request.ignore_eos {
            request.stop_tokens.extend(&self.config().eos);
            request.stop_tokens.extend(self.core.tokenizer.iter().flat_map(Tokenizer::stop_tokens));
        }
        let ticket = Arc::new(());
        let reply = Reply::new(sink, Arc::downgrade(&ticket));
        match self.jobs.send(Job { request, max_tokens, submitted, reply }) {
            Ok(()) => Ok(Ticket { _alive: ticket }),
            Err(unsent) => {
                // The caller learns of it by this error, and not by its sink too.
                drop(ticket);
                drop(unsent);
                Err(Error::EngineStopped)
            }
        }
    }

    /// Logits after every token: `(token, vocab)`, handed on in chunks of at most `chunk` tokens.
    ///
    /// # Errors
    /// [`Error::Request`] if the tokens do not suit the model or its context, and the first error of `each`, which ends
    /// the computation.
    pub fn logits(&self, tokens: &[u32], chunk: usize, each: &mut dyn FnMut(&Rows) -> Result<()>) -> Result<()> {
        let (cpu, head) = (&self.core.cpu, self.core.model.head());
        self.core.hidden(tokens, 0, chunk, &mut |_, hidden| each(&head.logits(cpu, hidden)))
    }

    /// The model's head in another mode.
    pub fn head(&self, mode: HeadMode) -> Head {
        self.core.model.head().with_mode(&self.core.cpu, mode)
    }
}

impl Core {
    /// What the head reads after every token from the one at `from` on, by chunk, with the index of the chunk's first row.
    /// Runs on the caller's thread with a cache of its own.
    fn hidden(
        &self,
        tokens: &[u32],
        from: usize,
        chunk: usize,
        each: &mut dyn FnMut(usize, &Rows) -> Result<()>,
    ) -> Result<()> {
        request::check_tokens("tokens", tokens, self.model.config().vocab)?;
        if tokens.len() > self.context {
            let (tokens, context) = (tokens.len(), self.context);
            let problem = format!("{tokens} tokens do not fit into the context of {context}; raise it");
            return Err(Error::request("tokens", problem));
        }
        let mut kv = KvCache::new(self.model.config(), self.kv, tokens.len());
        let sequence = kv.add();
        let chunk = chunk.max(1);
        for (start, part) in (0..).step_by(chunk).zip(tokens.chunks(chunk)) {
            let reserved = kv.reserve(sequence, start + part.len());
            assert!(reserved, "the cache was made for these tokens");
            let mut batch = Batch::default();
            batch.push(sequence, start, part);
            batch.outputs = (from.saturating_sub(start)..part.len()).collect();
            let hidden = self.model.forward(&self.cpu, &batch, &mut kv);
            if !hidden.is_empty() {
                each(start.max(from), &hidden)?;
            }
        }
        Ok(())
    }
}

/// Says that the engine is down when its thread ends, by whatever way.
struct Down<'a>(&'a Counters);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.set_up(false);
    }
}
