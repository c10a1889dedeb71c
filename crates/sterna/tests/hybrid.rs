//! The engine over a network with recurrent layers around one of attention: a state that cannot be taken back changes
//! no answer, whoever shares, speculates, or is cancelled.

mod toy;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use sterna::checkpoint::Config;
use sterna::engine::{Engine, EngineBuilder, Event, Request};
use sterna::kernels::{Cpu, Rows};
use sterna::model::kv::Mask;
use sterna::model::{Batch, Head, KvType, Network, Recurrent, State, Weights};

use toy::{CONTEXT, Toy, VOCAB, answer, builder, collect, hash, prompt, request};

/// Values of a hidden state.
const DIM: usize = 16;

/// A linear recurrence, attention, and another recurrence of another size; every layer reads what came before it.
struct Hybrid {
    toy: Box<Toy>,
    /// Values of the first recurrent state, of which the first [`DIM`] are used.
    size: usize,
    /// The most bytes that the recurrent states took.
    bytes: Arc<AtomicUsize>,
    /// Called with every batch before it is computed.
    watch: Box<dyn Fn(&Batch) + Send + Sync>,
}

impl Hybrid {
    fn new(size: usize, watch: impl Fn(&Batch) + Send + Sync + 'static) -> Self {
        Self { toy: Toy::new(|_| ()), size, bytes: Arc::default(), watch: Box::new(watch) }
    }
}

impl Network for Hybrid {
    fn config(&self) -> &Config {
        self.toy.config()
    }

    fn state(&self, kind: KvType) -> State {
        State { recurrent: Recurrent::new(&[self.size, 4]), ..self.toy.state(kind) }
    }

    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        (self.watch)(batch);
        let mut x = Rows::zeros(batch.tokens.len(), DIM);
        for (row, &token) in batch.tokens.iter().enumerate() {
            x.row_mut(row).iter_mut().enumerate().for_each(|(i, x)| *x = hash([7, token as usize, 0, i]));
        }
        state.recurrent.update(0, batch, |rows, state| {
            for row in rows {
                for (x, state) in x.row_mut(row).iter_mut().zip(state.iter_mut()) {
                    *state = 0.75 * *state + *x;
                    *x += *state;
                }
            }
        });
        state.kv.store(cpu, 0, batch, &x, &x);
        let attended = state.kv.attend(cpu, 0, Mask::Causal, batch, &x);
        cpu.add(&mut x, &attended);
        state.recurrent.update(1, batch, |rows, state| {
            for row in rows {
                for (i, state) in state.iter_mut().enumerate() {
                    let x = x.row_mut(row);
                    *state = 0.5 * *state + x[i] * x[i + 4];
                    x[i] += *state;
                }
            }
        });
        self.bytes.fetch_max(state.recurrent.bytes(), Relaxed);
        x.select(&batch.outputs)
    }

    fn head(&self) -> Option<&Head> {
        self.toy.head()
    }

    fn weights(&self) -> Weights {
        self.toy.weights()
    }
}

fn hybrid(builder: &EngineBuilder) -> Engine {
    builder.build(Box::new(Hybrid::new(DIM, |_| ())), None, None).unwrap()
}

fn cached(engine: &Engine, request: &Request) -> usize {
    let (got, usage) = collect(engine.generate(request.clone()).unwrap());
    assert_eq!(got, answer(&hybrid(&builder()), request.clone()));
    usage.cached_tokens
}

/// The whole history in one batch for every token.
#[test]
fn greedy_answers_are_those_of_the_naive_loop() {
    let (network, cpu) = (Hybrid::new(DIM, |_| ()), Cpu::new(1).unwrap());
    for (seed, len) in [(1, 1), (2, 33), (3, 70)] {
        let mut tokens = prompt(seed, len);
        let got = answer(&hybrid(&builder()), Request::new(tokens.clone()).max_tokens(40)).ids;
        for (i, &id) in got.iter().enumerate() {
            let mut batch = Batch::of(&tokens);
            batch.want_last();
            let hidden = network.forward(&cpu, &batch, &mut network.state(KvType::F16));
            let logits = network.head().unwrap().logits(&cpu, &hidden);
            let greatest = logits.row(0).iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(logits.row(0)[id as usize], greatest, "token {i} after a prompt of {len}");
            tokens.push(id);
        }
    }
}

#[test]
fn chunks_and_neighbours_change_nothing() {
    let requests: Vec<Request> = (0..5).map(|i| request(i, 5 + 37 * i, 30 + 5 * i).logprobs(1)).collect();
    let alone = hybrid(&builder().chunk(1));
    let expected: Vec<_> = requests.iter().map(|request| answer(&alone, request.clone())).collect();
    for chunk in [7, 32, 1000] {
        let engine = hybrid(&builder().chunk(chunk).sequences(5));
        let together: Vec<_> = requests.iter().map(|request| engine.generate(request.clone()).unwrap()).collect();
        let got: Vec<_> = together.into_iter().map(|generation| collect(generation).0).collect();
        assert!(got == expected, "chunk {chunk}");
    }
}

#[test]
fn a_shared_beginning_ends_at_a_snapshot() {
    let engine = hybrid(&builder());
    let first = request(1, 75, 30);
    assert_eq!(cached(&engine, &first), 0);
    // Two full pages of the prompt; the answer's pages have no snapshot.
    assert_eq!(cached(&engine, &first), 64);
    let mut longer = first.clone();
    longer.prompt.extend(answer(&engine, first.clone()).ids);
    longer.prompt.extend(prompt(9, 10));
    assert_eq!(cached(&engine, &longer), 64);
    // Its own snapshot stands behind three pages.
    assert_eq!(cached(&engine, &longer), 96);
    // A text that leaves the first one before the snapshot finds nothing, though a page would match.
    let mut other = first;
    other.prompt[40] ^= 1;
    assert_eq!(cached(&engine, &other), 0);
}

/// Prompts that say what the network will answer: its own answers are found in them.
#[test]
fn draft_tokens_are_dropped_or_committed() {
    let (mut drafted, mut accepted) = (0, 0);
    for seed in 0..8 {
        let mut request = request(seed, 12, 40).max_tokens(40);
        request.sampling = request.sampling.temperature(if seed % 2 == 0 { 0.0 } else { 0.2 });
        for _ in 0..2 {
            let told = answer(&hybrid(&builder()), request.clone()).ids;
            request.prompt.extend(told);
        }
        let plain = answer(&hybrid(&builder()), request.clone());
        let engine = hybrid(&builder().speculation(true).sequences(3));
        let (alone, usage) = collect(engine.generate(request.clone()).unwrap());
        assert_eq!(alone, plain, "{seed}: alone");
        (drafted, accepted) = (drafted + usage.drafted, accepted + usage.accepted);
        let together: Vec<_> = (0..3).map(|_| engine.generate(request.clone()).unwrap()).collect();
        for generation in together {
            assert_eq!(collect(generation).0, plain, "{seed}: beside others");
        }
    }
    assert!(accepted > 0 && drafted > accepted, "both happened: {accepted} of {drafted}");
}

#[test]
fn cancelled_requests_leave_nothing_behind() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let network = Hybrid::new(DIM, move |_| _ = gate.lock().unwrap().recv());
    let engine = builder().build(Box::new(network), None, None).unwrap();
    let hog = request(1, 100, 150);
    let mut generation = engine.generate(hog.clone()).unwrap();
    (0..9).for_each(|_| open.send(()).unwrap());
    assert!(matches!(generation.next(), Some(Ok(Event::Token { .. }))));
    drop(generation);
    drop(open);
    // Another text gets the same state, and the same text begins at a snapshot.
    assert_eq!(cached(&engine, &request(2, 30, 10)), 0);
    assert_eq!(cached(&engine, &hog), 96);
}

/// Random texts that begin alike, some of them cancelled, with few snapshots: every answer is that of the request
/// alone, and the memory of states stays within the budget.
#[test]
fn answers_hold_under_pressure_and_so_does_the_budget() {
    let size = 4096;
    let network = Hybrid::new(size, |_| ());
    let bytes = network.bytes.clone();
    let engine = builder().speculation(true).sequences(3).build(Box::new(network), None, None).unwrap();
    let mut shared = 0;
    for round in 0..12 {
        let requests: Vec<Request> = (0..6)
            .map(|i| {
                let pick = |kind: usize, most: usize| (hash([kind, round, i, 0]).abs() * most as f32) as usize;
                let mut request = request(pick(1, 1000), 1 + pick(2, 60), 1 + pick(3, 40));
                request.prompt = [prompt(pick(4, 3), 32 * pick(5, 4)), request.prompt].concat();
                request.prompt.truncate(CONTEXT - 50);
                request
            })
            .collect();
        let running: Vec<_> = requests.iter().map(|request| engine.generate(request.clone()).unwrap()).collect();
        for (i, (mut generation, request)) in running.into_iter().zip(requests).enumerate() {
            if (i + round) % 5 == 0 {
                drop(generation.next());
                continue;
            }
            let (got, usage) = collect(generation);
            assert_eq!(got, answer(&hybrid(&self::builder()), request), "round {round}, request {i}");
            shared += usage.cached_tokens;
        }
    }
    assert!(shared > 0, "something was shared");
    // A state a sequence, two snapshots each, and at most three draft tokens.
    let most = (3 + 2 * 3 + 3) * (size + 4) * size_of::<f32>();
    let bytes = bytes.load(Relaxed);
    assert!(bytes > 0 && bytes <= most, "{bytes} of {most}");
    assert!(prompt(0, 1)[0] < VOCAB as u32);
}

#[test]
fn recurrent_states_count_as_memory() {
    let network = Hybrid::new(1 << 40, |_| ());
    let error = builder().sequences(3).build(Box::new(network), None, None).err().unwrap();
    assert!(matches!(error, sterna::Error::Resources { .. }), "{error:?}");
    assert!(error.to_string().contains("recurrent states of 3 sequences"), "{error}");
}
