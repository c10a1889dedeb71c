//! The generation loop: work in, events out.
//!
//! ```text
//! Engine::generate, embed, score ──Job──► Runner (plan, forward, draw) ──Event──► Generation, Scores
//!                                         driven by one thread, or manually
//! ```

mod accounts;
mod answer;
mod builder;
mod divergence;
mod embeddings;
mod evaluate;
mod event;
mod grammar;
mod health;
mod job;
mod loaded;
mod logits;
mod loglikelihoods;
mod logprob;
mod lookup;
mod memory;
mod pages;
mod plan;
mod pool;
mod reply;
mod request;
mod runner;
mod sampler;
mod score;
mod sequence;
mod snapshots;
mod thread;
mod windows;
mod work;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use sterna_kernels::Rows;

pub use builder::{DEFAULT_CONTEXT, EngineBuilder};
pub use divergence::Divergence;
pub use embeddings::{Embeddings, instructed};
pub use evaluate::{Evaluate, Evaluation};
pub use event::{Event, FinishReason, Generation, Ticket, Usage};
pub use grammar::{Grammar, Reader, TokenSet};
pub use health::Health;
pub use loglikelihoods::Loglikelihoods;
pub use logprob::Logprob;
pub use request::{Request, Sampling};
pub use runner::Runner;
pub use score::{Logits, Scores};
pub use work::{Embed, Score, Work};

pub use crate::arch::Pooling;
use crate::checkpoint::Config;
use crate::model::{Head, HeadMode, Network};
use crate::text::{ChatTemplate, Tokenizer};
use crate::{Error, Result};
use job::Job;
use loaded::Loaded;
use reply::Reply;
use thread::{Clock, Jobs};

/// A loaded model that answers requests. Clones are cheap and share one computing thread.
///
/// When the last clone is dropped, the thread finishes all submitted work and ends.
#[derive(Clone)]
pub struct Engine {
    loaded: Arc<Loaded>,
    jobs: Jobs,
    thread: Arc<JoinHandle<()>>,
    load_seconds: f64,
    format: Option<&'static str>,
    memory_needed: Option<u64>,
    remarks: Arc<[String]>,
}

impl Engine {
    /// A builder with default options: `Engine::builder().threads(2).open("model.gguf")?`.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    fn start(loaded: Loaded) -> Result<Self> {
        let loaded = Arc::new(loaded);
        let (jobs, thread) = thread::start(loaded.clone())?;
        Ok(Self {
            loaded,
            jobs,
            thread: Arc::new(thread),
            load_seconds: 0.0,
            format: None,
            memory_needed: None,
            remarks: Arc::new([]),
        })
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        self.loaded.network.config()
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        &*self.loaded.network
    }

    /// The format of the model's checkpoint ("gguf", "safetensors", …); `None` for an engine made from parts.
    pub fn format(&self) -> Option<&'static str> {
        self.format
    }

    /// About how many bytes of memory the model takes, with its key/value cache; `None` for an engine made from parts.
    pub fn memory_needed(&self) -> Option<u64> {
        self.memory_needed
    }

    /// What users should know about how the model's files were read ([`Checkpoint::remarks`]).
    ///
    /// [`Checkpoint::remarks`]: crate::Checkpoint::remarks
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Context length in use, in positions.
    pub fn context(&self) -> usize {
        self.loaded.context
    }

    /// Number of full-length requests that the key/value cache holds at the same time.
    pub fn sequences(&self) -> usize {
        self.loaded.sequences
    }

    /// Whether draft tokens from prompt lookup are computed and checked.
    pub fn speculation(&self) -> bool {
        self.loaded.speculation
    }

    /// Instruction set in use ("avx512", …).
    pub fn isa(&self) -> &'static str {
        self.loaded.cpu.isa().name()
    }

    /// A warning for users: an instruction set failed its self-test on this CPU and is not used.
    pub fn warning(&self) -> Option<&str> {
        self.loaded.cpu.warning()
    }

    /// Number of threads in use.
    pub fn threads(&self) -> usize {
        self.loaded.cpu.pool().threads()
    }

    /// Whether requests are served, and how often the engine restarted.
    pub fn health(&self) -> Health {
        self.loaded.counters.health()
    }

    /// Seconds that loading took; 0 for an engine made from parts.
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If the checkpoint has no usable tokenizer; the error names the file.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.loaded.tokenizer.as_deref().map_err(Error::clone)
    }

    /// The chat template.
    ///
    /// # Errors
    /// If the checkpoint has no usable chat template; the error includes the remedy.
    pub fn template(&self) -> Result<&ChatTemplate> {
        let missing = || Error::Template("the model has none; give it a plain prompt instead of a conversation".into());
        self.loaded.template.as_ref().map_err(Error::clone)?.as_ref().ok_or_else(missing)
    }

    /// Drops this clone. If it is the last one, all submitted work is finished and the memory is free when this returns.
    pub fn close(self) {
        let Self { loaded, jobs, thread, .. } = self;
        drop((loaded, jobs));
        if let Some(thread) = Arc::into_inner(thread) {
            // A panic of the thread has been written to stderr.
            let _ = thread.join();
        }
    }

    /// Starts a generation. Requests wait in a queue, oldest first. Dropping the result cancels the request.
    ///
    /// ```
    /// use sterna::{Engine, Event, Request};
    ///
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
    /// let engine = Engine::builder().threads(1).context(256).open(model)?;
    /// let prompt = engine.tokenizer()?.encode_prompt("Once upon a time")?;
    /// let mut answer = String::new();
    /// for event in engine.generate(Request::new(prompt).max_tokens(8))? {
    ///     if let Event::Token { text, .. } | Event::Finished { text, .. } = event? {
    ///         answer += &text;
    ///     }
    /// }
    /// assert!(!answer.is_empty());
    /// # Ok::<(), sterna::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit).
    pub fn generate(&self, request: Request) -> Result<Generation> {
        self.events(request.into())
    }

    /// Computes the embedding of a text; blocks until it is finished.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit), and [`Error::EngineFailed`].
    pub fn embed(&self, embed: Embed) -> Result<Vec<f32>> {
        embeddings::vector(self.events(embed.into())?)
    }

    /// Computes the embeddings of many texts, several in one forward pass. They come in the order of the texts.
    ///
    /// ```
    /// use sterna::{Embed, Engine};
    ///
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
    /// let engine = Engine::builder().threads(1).context(256).open(model)?;
    /// let texts = ["A fox.", "A lantern."].map(|text| engine.embedding_tokens(text));
    /// let texts = texts.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// for vector in engine.embed_all(texts.into_iter().map(|tokens| Embed::new(tokens).normalized())) {
    ///     assert_eq!(vector?.len(), engine.config().hidden);
    /// }
    /// # Ok::<(), sterna::Error>(())
    /// ```
    pub fn embed_all<I: IntoIterator<Item = Embed>>(&self, texts: I) -> Embeddings<'_, I::IntoIter> {
        Embeddings::new(self, texts.into_iter())
    }

    /// The token ids of a text to embed: those of a prompt. If the model has no head, they end with EOS.
    ///
    /// # Errors
    /// If the model has no tokenizer, or the text cannot be encoded.
    pub fn embedding_tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode_prompt(text)
    }

    /// Computes the hidden states of a text, part by part.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit).
    pub fn score(&self, score: Score) -> Result<Scores> {
        Ok(Scores { events: self.events(score.into())? })
    }

    /// Computes the logits after every token of a text, part by part: `(token, vocab)`.
    ///
    /// ```
    /// use sterna::Engine;
    ///
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
    /// let engine = Engine::builder().threads(1).context(256).open(model)?;
    /// let tokens = engine.tokenizer()?.encode_prompt("Once upon a time")?;
    /// let mut rows = 0;
    /// for logits in engine.logits(&tokens)? {
    ///     let logits = logits?;
    ///     assert_eq!(logits.dim(), engine.config().vocab);
    ///     rows += logits.len();
    /// }
    /// assert_eq!(rows, tokens.len());
    /// # Ok::<(), sterna::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit), and [`Error::Request`] if the network has no head.
    pub fn logits(&self, tokens: &[u32]) -> Result<Logits<'_>> {
        let head = self.loaded.head()?;
        Ok(Logits { cpu: &self.loaded.cpu, head, scores: self.score(Score::new(tokens))? })
    }

    /// The log-probabilities of tokens, each with the best `alternatives`: token `next[i]` after the token whose hidden
    /// state is row `i` of `hidden` ([`score`](Self::score)). Computed on the caller's thread.
    ///
    /// # Errors
    /// [`Error::Request`] if the network has no head, or if `next` has more tokens than `hidden` has rows, or a token that
    /// is not in the vocabulary.
    pub fn logprobs(&self, hidden: &Rows, next: &[u32], alternatives: usize) -> Result<Vec<(Logprob, Vec<Logprob>)>> {
        let (head, cpu) = (self.loaded.head()?, &self.loaded.cpu);
        if next.len() > hidden.len() {
            let problem = format!("{} tokens, but hidden states of {}", next.len(), hidden.len());
            return Err(Error::request("next", problem));
        }
        request::check_tokens("next", next, self.config().vocab)?;
        if next.is_empty() {
            return Ok(Vec::new());
        }
        let logits = head.logits(cpu, &hidden.select(&(0..next.len()).collect::<Vec<_>>()));
        let mut found = vec![None; next.len()];
        let each = |i: usize, out: &mut [_]| out[0] = Some(logprob::logprobs(logits.row(i), next[i], alternatives));
        cpu.pool().pieces(&mut found, 1, each);
        Ok(found.into_iter().flatten().collect())
    }

    /// The log-likelihood of each continuation after its context, in nats: pairs of token ids, several of them in one
    /// forward pass. The results come in the order of the pairs. An empty continuation has 0.
    ///
    /// ```
    /// use sterna::Engine;
    ///
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
    /// let engine = Engine::builder().threads(1).context(256).open(model)?;
    /// let tokenizer = engine.tokenizer()?;
    /// let context = tokenizer.encode("Once upon a")?;
    /// let pairs = [" time", " seventeen"].map(|next| Ok((context.clone(), tokenizer.encode(next)?)));
    /// let pairs = pairs.into_iter().collect::<Result<Vec<_>, sterna::Error>>()?;
    /// let found = engine.loglikelihoods(pairs).collect::<Result<Vec<f64>, _>>()?;
    /// assert!(found[0] > found[1] && found[0] < 0.0);
    /// # Ok::<(), sterna::Error>(())
    /// ```
    pub fn loglikelihoods<I>(&self, pairs: I) -> Loglikelihoods<'_, I::IntoIter>
    where
        I: IntoIterator<Item = (Vec<u32>, Vec<u32>)>,
    {
        Loglikelihoods::new(self, pairs.into_iter())
    }

    /// Submits work whose events go to a channel.
    fn events(&self, work: Work) -> Result<Generation> {
        let (events, receiver) = mpsc::channel();
        // If the receiver is gone, the dropped ticket cancels the work.
        let ticket = self.submit(work, move |event| drop(events.send(event)))?;
        Ok(Generation::new(receiver, ticket))
    }

    /// Submits work without blocking. `sink` gets every event on the engine's thread and must return quickly. The last
    /// item is [`Event::Finished`] or an error. Dropping the result cancels the work.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use sterna::{Engine, Event, Request};
    ///
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
    /// let engine = Engine::builder().threads(1).context(256).open(model)?;
    /// let prompt = engine.tokenizer()?.encode_prompt("Once upon a time")?;
    /// let (sender, events) = mpsc::channel();
    /// let ticket = engine.submit(Request::new(prompt).max_tokens(8), move |event| drop(sender.send(event)))?;
    /// let tokens = events.iter().filter(|event| matches!(event, Ok(Event::Token { .. }))).count();
    /// assert_eq!(tokens, 8);
    /// drop(ticket);
    /// # Ok::<(), sterna::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Request`] and [`Error::PromptTooLong`] if the model cannot do it, [`Error::EngineStopped`] if the engine
    /// has ended.
    pub fn submit(
        &self,
        work: impl Into<Work>,
        mut sink: impl FnMut(Result<Event>) + Send + 'static,
    ) -> Result<Ticket> {
        let mut clock = Clock::start();
        self.loaded.files.check_mapped()?;
        let job = Job::new(work.into(), &self.loaded)?;
        let (ticket, alive) = Ticket::new();
        let reply = Reply::new(move |item: Result<Event>| sink(item.map(|event| clock.stamp(event))), alive);
        let Err(unsent) = self.jobs.send((job, reply)) else { return Ok(ticket) };
        // The returned error tells the caller. The ticket is dropped first, so that the sink does not report it as
        // well.
        drop(ticket);
        drop(unsent);
        Err(Error::EngineStopped)
    }

    /// The model's head in another mode.
    ///
    /// # Errors
    /// [`Error::Request`] if the network has no head.
    pub fn head(&self, mode: HeadMode) -> Result<Head> {
        Ok(self.loaded.head()?.with_mode(&self.loaded.cpu, mode))
    }
}
