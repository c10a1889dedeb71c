//! A toy network whose answers depend on the whole history, and engines around it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use sterna::checkpoint::{Checkpoint, Config, RopeScaling};
use sterna::engine::{Engine, EngineBuilder, Event, FinishReason, Generation, Logprob, Request, Sampling, Usage};
use sterna::kernels::format::F32;
use sterna::kernels::{Cpu, DenseMatrix, Rows};
use sterna::model::BITNET;
use sterna::model::kv::Mask;
use sterna::model::{Batch, Head, HeadMode, Network, State, Weights};
use sterna::text::{ChatTemplate, Tokenizer};

pub const VOCAB: usize = 97;
pub const CONTEXT: usize = 256;

/// One attention layer with hashed weights: keys, values and queries are functions of token and position, so logits
/// depend on the whole history, and only through the cache.
pub struct Toy {
    pub config: Config,
    head: Option<Head>,
    /// Called with every batch before it is computed.
    watch: Box<dyn Fn(&Batch) + Send + Sync>,
}

pub fn hash(parts: [usize; 4]) -> f32 {
    let mixed = parts.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |h, &part| {
        let h = (h ^ part as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^ h >> 29
    });
    (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

impl Toy {
    pub fn new(watch: impl Fn(&Batch) + Send + Sync + 'static) -> Box<Self> {
        Self::with_vocab(VOCAB, watch)
    }

    pub fn with_vocab(vocab: usize, watch: impl Fn(&Batch) + Send + Sync + 'static) -> Box<Self> {
        Self::with_head(vocab, HeadMode::Exact, watch)
    }

    pub fn with_head(vocab: usize, mode: HeadMode, watch: impl Fn(&Batch) + Send + Sync + 'static) -> Box<Self> {
        let config = Config {
            architecture: &BITNET,
            hidden: 16,
            // So wide that attention never counts: steps take whole chunks wherever a prompt is.
            intermediate: 1 << 20,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 16,
            vocab,
            context: CONTEXT,
            rms_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            pooling: None,
            windows: None,
            scalings: None,
            tied: true,
            eos: vec![],
            hybrid: None,
        };
        let weights = (0..vocab * 16).flat_map(|i| (4.0 * hash([4, i / 16, 0, i % 16])).to_le_bytes());
        let rows = DenseMatrix::new(&F32, vocab, 16, weights.collect::<Vec<u8>>().into()).unwrap();
        Box::new(Self { config, head: Some(Head::new(&Cpu::new(1).unwrap(), rows, mode)), watch: Box::new(watch) })
    }

    /// The same network without a head: it only embeds.
    pub fn without_head(self) -> Box<Self> {
        Box::new(Self { head: None, ..self })
    }

    fn rows(&self, kind: usize, batch: &Batch) -> Rows {
        let mut rows = Rows::zeros(batch.tokens.len(), 16);
        for (row, (&token, &position)) in batch.tokens.iter().zip(&batch.positions).enumerate() {
            for (i, x) in rows.row_mut(row).iter_mut().enumerate() {
                *x = hash([kind, token as usize, position, i]);
            }
        }
        rows
    }
}

impl Network for Toy {
    fn config(&self) -> &Config {
        &self.config
    }

    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        (self.watch)(batch);
        state.kv.store(cpu, 0, batch, &self.rows(1, batch), &self.rows(2, batch));
        let attended = state.kv.attend(cpu, 0, Mask::Causal, batch, &self.rows(3, batch));
        attended.select(&batch.outputs)
    }

    fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    fn weights(&self) -> Weights {
        Weights { body_bytes: 0, head_bytes: 0 }
    }
}

/// A toy with the vocabulary and the chat template of a model.
pub fn speaking(model: &Path, builder: &EngineBuilder, watch: impl Fn(&Batch) + Send + Sync + 'static) -> Engine {
    let checkpoint = Checkpoint::open(model).unwrap();
    let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).unwrap();
    let template = ChatTemplate::new(checkpoint.text()).unwrap();
    let toy = Toy::with_vocab(checkpoint.config().vocab, watch);
    builder.build(toy, Some(tokenizer), template).unwrap()
}

pub fn builder() -> EngineBuilder {
    Engine::builder().threads(1).chunk(16)
}

pub fn engine(builder: &EngineBuilder) -> Engine {
    builder.build(Toy::new(|_| ()), None, None).unwrap()
}

pub fn prompt(seed: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| (hash([9, seed, i, 0]).abs() * VOCAB as f32) as u32 % VOCAB as u32).collect()
}

pub fn request(seed: usize, len: usize, max_tokens: usize) -> Request {
    let sampling = Sampling::default().temperature(1.0).seed(seed as u64);
    Request::new(prompt(seed, len)).max_tokens(max_tokens).sampling(sampling)
}

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub ids: Vec<u32>,
    pub logprobs: Vec<(Logprob, Vec<Logprob>)>,
    pub reason: FinishReason,
}

pub fn collect(mut generation: Generation) -> (Answer, Usage) {
    let (mut ids, mut all) = (Vec::new(), Vec::new());
    loop {
        match generation.next().expect("an answer ends with Finished").unwrap() {
            Event::Token { id, logprobs, text, .. } => {
                assert_eq!(text, "", "no tokenizer, no text");
                ids.push(id);
                all.extend(logprobs);
            }
            Event::Finished { reason, usage, .. } => {
                assert!(generation.next().is_none(), "nothing follows Finished");
                return (Answer { ids, logprobs: all, reason }, usage);
            }
            other => panic!("not an event of an answer: {other:?}"),
        }
    }
}

pub fn answer(engine: &Engine, request: Request) -> Answer {
    collect(engine.generate(request).unwrap()).0
}

/// The number of rows of each sequence, for each forward pass.
pub type Steps = Arc<Mutex<Vec<Vec<usize>>>>;

/// An engine whose forward passes each wait for a message, until the sender is dropped. Requests made before the first
/// message are all queued by then.
pub fn gated(builder: &EngineBuilder) -> (Engine, mpsc::Sender<()>, Steps) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let widths = Arc::new(Mutex::new(Vec::new()));
    let seen = widths.clone();
    let toy = Toy::new(move |batch| {
        let _ = gate.lock().unwrap().recv();
        seen.lock().unwrap().push(batch.runs().iter().map(|run| run.rows.len()).collect());
    });
    (builder.build(toy, None, None).unwrap(), open, widths)
}

/// Counts the rows of every batch.
pub fn counting(builder: &EngineBuilder) -> (Engine, Arc<Mutex<Vec<usize>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = steps.clone();
    let toy = Toy::new(move |batch| seen.lock().unwrap().push(batch.tokens.len()));
    (builder.build(toy, None, None).unwrap(), steps)
}
