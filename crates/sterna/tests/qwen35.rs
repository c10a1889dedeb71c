//! Hybrids of gated DeltaNet and attention: however a text is computed, its logits are the same bytes.

mod toy;

use std::path::PathBuf;

use sterna::checkpoint::Checkpoint;
use sterna::checkpoint::format::PQ2_0;
use sterna::checkpoint::write::{WriteOptions, write_gguf};
use sterna::engine::{Engine, EngineBuilder, Event, Request};
use sterna::kernels::{Cpu, sets};
use sterna::model::{self, Batch, KvType, Network, Restore, Settings, State};
use sterna::text::Tokenizer;

use toy::{answer, collect};

/// Positions of a chunk of DeltaNet's grid.
const CHUNK: usize = 32;
const PAGES: [usize; 6] = [0, 1, 2, 3, 4, 5];

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/golden", name].iter().collect()
}

fn load(name: &str, cpu: &Cpu) -> Box<dyn Network> {
    let checkpoint = Checkpoint::open(&path(name)).unwrap_or_else(|error| panic!("{error}"));
    model::load(&checkpoint, cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn hybrid(cpu: &Cpu) -> Box<dyn Network> {
    load("qwen35-hybrid/gguf/q2_0.gguf", cpu)
}

fn text(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 23).collect()
}

/// The bits of the logits that a batch requests, row after row.
fn compute(model: &dyn Network, cpu: &Cpu, state: &mut State, batch: &Batch) -> Vec<Vec<u32>> {
    let logits = model.head().expect("a head").logits(cpu, &model.forward(cpu, batch, state));
    (0..logits.len()).map(|row| logits.row(row).iter().map(|x| x.to_bits()).collect()).collect()
}

/// Tokens of one sequence, all of whose logits are requested.
fn part(sequence: usize, position: usize, tokens: &[u32]) -> Batch {
    let mut batch = Batch::default();
    batch.push(sequence, &PAGES, position, tokens);
    batch.outputs = (0..tokens.len()).collect();
    batch
}

/// The logits of a text that is read at once.
fn cold(model: &dyn Network, cpu: &Cpu, tokens: &[u32]) -> Vec<Vec<u32>> {
    compute(model, cpu, &mut model.state(KvType::F16), &part(0, 0, tokens))
}

#[test]
fn sets_threads_and_parts_change_no_byte() {
    let portable = Cpu::with(sets::portable(), 1);
    for name in ["qwen35-hybrid/gguf/q2_0.gguf", "qwen35-hadamard-tied/gguf/ptq1_0.gguf"] {
        let tokens = text(100);
        let expected = cold(&*load(name, &portable), &portable, &tokens);
        for (set, threads) in sets::available().flat_map(|set| [(set, 1), (set, 3)]) {
            let cpu = Cpu::with(set, threads);
            let model = load(name, &cpu);
            for size in [1, 5, CHUNK, CHUNK + 1, 100] {
                let mut state = model.state(KvType::F16);
                let parts = tokens.chunks(size).enumerate();
                let got: Vec<_> = parts
                    .flat_map(|(i, tokens)| compute(&*model, &cpu, &mut state, &part(0, i * size, tokens)))
                    .collect();
                assert!(got == expected, "{name} on {} with {threads} threads in parts of {size}", set.name());
            }
        }
    }
}

#[test]
fn a_generated_text_has_the_logits_of_a_cold_reading() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let model = hybrid(&cpu);
    let (mut tokens, mut state) = (text(21), model.state(KvType::F16));
    let mut got = compute(&*model, &cpu, &mut state, &part(0, 0, &tokens));
    while tokens.len() < 3 * CHUNK + 5 {
        let last = got.last().expect("a row");
        let best = (0..last.len()).max_by(|&a, &b| f32::from_bits(last[a]).total_cmp(&f32::from_bits(last[b])));
        tokens.push(best.expect("a token") as u32);
        got.extend(compute(&*model, &cpu, &mut state, &part(0, tokens.len() - 1, &tokens[tokens.len() - 1..])));
    }
    assert!(got == cold(&*model, &cpu, &tokens));
}

/// Draft tokens on both sides of a chunk's end: all are dropped, some are accepted, or all are.
#[test]
fn draft_tokens_change_no_byte() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let model = hybrid(&cpu);
    let tokens = text(2 * CHUNK + 20);
    let expected = cold(&*model, &cpu, &tokens);
    for first in CHUNK - 4..CHUNK + 2 {
        for accepted in 0..=4 {
            let mut state = model.state(KvType::F16);
            compute(&*model, &cpu, &mut state, &part(0, 0, &tokens[..first]));
            // The tokens that are not accepted are wrong.
            let mut drafts = tokens[first + 1..first + 5].to_vec();
            drafts[accepted..].iter_mut().for_each(|token| *token ^= 1);
            let mut batch = part(0, first, &tokens[first..=first]);
            batch.draft(&drafts);
            batch.outputs = (0..5).collect();
            let got = compute(&*model, &cpu, &mut state, &batch);
            assert!(got[..=accepted] == expected[first..=first + accepted], "{first}: with {accepted} accepted");
            let next = first + accepted + 1;
            let mut batch = part(0, next, &tokens[next..]);
            batch.restores.extend(accepted.checked_sub(1).map(|last| (0, Restore::Draft(last))));
            let got = compute(&*model, &cpu, &mut state, &batch);
            assert!(got == expected[next..], "{first}: after {accepted} accepted");
        }
    }
}

/// Several sequences in a batch, one of which continues a snapshot of another.
#[test]
fn neighbours_and_snapshots_change_no_byte() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let model = hybrid(&cpu);
    let (long, other) = (text(90), text(140)[60..].to_vec());
    let mut forked = long[..2 * CHUNK].to_vec();
    forked.extend(&other[..20]);
    let mut state = model.state(KvType::F16);
    let mut batch = part(0, 0, &long[..2 * CHUNK]);
    batch.snapshot(3);
    compute(&*model, &cpu, &mut state, &batch);
    let mut batch = Batch::default();
    batch.push(0, &PAGES, 2 * CHUNK, &long[2 * CHUNK..]);
    batch.push(2, &[7, 8, 9], 0, &other);
    batch.push(1, &[0, 1, 10], 2 * CHUNK, &other[..20]);
    batch.restores.push((1, Restore::Snapshot(3)));
    batch.outputs = (0..batch.tokens.len()).collect();
    let got = compute(&*model, &cpu, &mut state, &batch);
    let (first, rest) = got.split_at(90 - 2 * CHUNK);
    assert!(*first == cold(&*model, &cpu, &long)[2 * CHUNK..]);
    assert!(rest[..80] == cold(&*model, &cpu, &other));
    assert!(rest[80..] == cold(&*model, &cpu, &forked)[2 * CHUNK..]);
}

fn engine(builder: &EngineBuilder) -> Engine {
    builder.build(hybrid(&Cpu::new(1).expect("a set")), None, None).expect("builds")
}

fn builder() -> EngineBuilder {
    Engine::builder().threads(2).chunk(48)
}

/// A prompt that says twice what the network will answer, so that drafts are found in it.
fn told(len: usize) -> Request {
    let mut request = Request::new(text(len)).max_tokens(24).logprobs(1);
    for _ in 0..2 {
        let ids = answer(&engine(&builder()), request.clone()).ids;
        request.prompt.extend(ids);
    }
    request
}

#[test]
fn speculation_and_the_prefix_cache_change_no_answer() {
    let (mut accepted, mut cached) = (0, 0);
    for len in [20, 45] {
        let request = told(len);
        let expected = answer(&engine(&builder()), request.clone());
        let speculating = engine(&builder().speculation(true).sequences(3));
        for _ in 0..2 {
            let (got, usage) = collect(speculating.generate(request.clone()).expect("runs"));
            assert_eq!(got, expected);
            (accepted, cached) = (accepted + usage.accepted, cached + usage.cached_tokens);
        }
        let together: Vec<_> = (0..3).map(|_| speculating.generate(request.clone()).expect("runs")).collect();
        for generation in together {
            assert_eq!(collect(generation).0, expected, "beside others");
        }
    }
    assert!(accepted > 0 && cached >= 2 * CHUNK, "both happened: {accepted} accepted, {cached} cached");
}

#[test]
fn cancelled_requests_leave_nothing_behind() {
    let engine = engine(&builder());
    let request = Request::new(text(70)).max_tokens(30).logprobs(1);
    let mut generation = engine.generate(request.clone()).expect("runs");
    assert!(matches!(generation.next(), Some(Ok(Event::Token { .. }))));
    drop(generation);
    for request in [Request::new(text(40)).max_tokens(10).logprobs(1), request] {
        assert_eq!(answer(&engine, request.clone()), answer(&self::engine(&builder()), request));
    }
}

#[test]
fn only_attention_keeps_keys_and_values() {
    let checkpoint = Checkpoint::open(&path("qwen35-hybrid/gguf/q2_0.gguf")).expect("opens");
    let cpu = Cpu::with(sets::portable(), 1);
    let state = hybrid(&cpu).state(KvType::F16);
    // One layer of four: two heads of 64 keys and values in two bytes.
    assert_eq!(state.position_bytes(), 2 * 2 * 64 * 2);
    // Of each value head a memory, and a chunk's rows and sums; keys of a chunk; the convolution's window.
    let layer = 6 * (64 * 64 + CHUNK * 64 + CHUNK) + 2 * CHUNK * 64 + 3 * (2 * 2 * 64 + 6 * 64);
    assert_eq!(state.sequence_bytes(), 3 * layer * 4);
    assert_eq!(checkpoint.config().hybrid.as_ref().expect("a hybrid").state_bytes(), state.sequence_bytes());
    let more = checkpoint.memory_needed(1000, KvType::F16) - checkpoint.memory_needed(0, KvType::F16);
    assert_eq!(more, 1000 * state.position_bytes() as u64);
}

/// Combining marks belong to words: the vocabulary's own ids, by the tokenizers library.
#[test]
fn combining_marks_belong_to_words() {
    let checkpoint = Checkpoint::open(&path("qwen35-hybrid/gguf/q2_0.gguf")).expect("opens");
    let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).expect("a tokenizer");
    let ids = [280, 407, 409, 403, 440, 402, 222, 220, 156, 117, 226, 156, 116, 245, 156, 116, 95, 418, 136, 223, 88];
    let text = "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940} \u{e44}\u{e17}\u{e22} x\u{301}y";
    assert_eq!(tokenizer.encode(text).expect("encodes"), ids);
}

/// A rotated hybrid written in another format of the same trits: its keys, and its logits.
#[test]
fn a_written_hybrid_is_the_same() {
    let source = Checkpoint::open(&path("qwen35-hadamard-tied/gguf/ptq1_0.gguf")).expect("opens");
    let (cpu, folder) = (Cpu::with(sets::portable(), 1), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("pq2_0.gguf");
    let options = WriteOptions::default().encoding(&PQ2_0).head(&PQ2_0);
    write_gguf(&source, &cpu, &out, options).unwrap_or_else(|error| panic!("{error}"));
    let written = Checkpoint::open(&out).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(written.config(), source.config());
    let logits = |checkpoint| {
        let model = model::load(checkpoint, &cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"));
        cold(&*model, &cpu, &text(40))
    };
    assert!(logits(&written) == logits(&source));
}
