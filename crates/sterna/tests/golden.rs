//! Every golden checkpoint, from every format, against the logits that Hugging Face transformers computes.

mod grouped_heads;
mod unpacked;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use sterna::checkpoint::huggingface::config::parse;
use sterna::checkpoint::write::{Form, write_directory};
use sterna::checkpoint::{Checkpoint, Config, TextFiles};
use sterna::engine::{Embed, Engine, Pooling, Request};
use sterna::kernels::format::{F16, F32};
use sterna::kernels::layout::T16;
use sterna::kernels::{Activations, Rows, ternary};
use sterna::kernels::{Cpu, sets};
use sterna::model::{self, Batch, FfnMode, GateHook, KvType, Network, Precision, Settings, State};
use sterna::text::to_huggingface;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");

const CHECKPOINTS: [&str; 9] = [
    "bitnet-bf16-online",
    "bitnet-packed-offline",
    "bitnet-headdim96-sharded",
    "bitnet-1bitllm",
    "llama-bf16-online",
    "llama-bitlinear-online",
    "llama-bitlinear-packed",
    "llama-headdim256",
    "qwen3-causal",
];

/// A reference file: named tensors.
struct Reference(Vec<u8>);

impl Reference {
    fn open(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.0).expect("the reference is well-formed");
        tensors.tensor(name).unwrap_or_else(|_| panic!("tensor {name}")).data().to_vec()
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0).is_ok_and(|tensors| tensors.tensor(name).is_ok())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let bytes = self.bytes(name);
        bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect()
    }
}

/// The directory itself and the GGUF files made from it.
fn files(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(GOLDEN).join(name);
    let mut files = vec![dir.clone()];
    if let Ok(entries) = std::fs::read_dir(dir.join("gguf")) {
        files.extend(entries.map(|entry| entry.expect("a directory entry").path()));
    }
    files.sort();
    files
}

fn load(path: &Path, cpu: &Cpu) -> Box<dyn Network> {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"));
    model::load(&checkpoint, cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The logits that a batch requests; the hidden states of a network without a head.
fn step(model: &dyn Network, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
    let hidden = model.forward(cpu, batch, state);
    match model.head() {
        Some(head) => head.logits(cpu, &hidden),
        None => hidden,
    }
}

/// The pages of the only sequence of a test.
const PAGES: [usize; 4] = [0, 1, 2, 3];

/// Logits of all tokens, `chunk` at a time, and the state behind them.
fn logits(model: &dyn Network, cpu: &Cpu, kind: KvType, tokens: &[u32], chunk: usize) -> (Vec<f32>, State) {
    let (mut state, mut out) = (model.state(kind), Vec::new());
    for (i, part) in tokens.chunks(chunk).enumerate() {
        let mut batch = Batch::default();
        batch.push(0, &PAGES, i * chunk, part);
        batch.outputs = (0..part.len()).collect();
        out.extend_from_slice(step(model, cpu, &batch, &mut state).data());
    }
    (out, state)
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row is not empty") as u32
}

/// Checks greedy decoding after `len` positions, the last of which gave the logits `last`.
#[track_caller]
fn assert_greedy(
    model: &dyn Network,
    cpu: &Cpu,
    state: &mut State,
    (len, last): (usize, &[f32]),
    expected: &[u32],
    what: &str,
) {
    let mut next = argmax(last);
    for (i, &token) in expected.iter().enumerate() {
        assert_eq!(next, token, "{what}: greedy token {i}");
        let mut batch = Batch::default();
        batch.push(0, &PAGES, len + i, &[token]);
        batch.want_last();
        next = argmax(step(model, cpu, &batch, state).row(0));
    }
}

#[test]
fn logits_and_greedy_tokens_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let mut seen = BTreeSet::new();
    for name in CHECKPOINTS {
        let reference = Reference::open(&Path::new(GOLDEN).join(name).join("ref.safetensors"));
        let (ids, expected) = (reference.ids("input_ids"), reference.floats("logits"));
        for path in files(name) {
            let what = path.strip_prefix(GOLDEN).expect("a golden").display().to_string();
            let model = load(&path, &cpu);
            let vocab = model.config().vocab;
            let (got, mut state) = logits(&*model, &cpu, KvType::F16, &ids, ids.len());
            assert_eq!(got.len(), 48 * vocab, "{what}");
            for (t, (got, expected)) in got.chunks(vocab).zip(expected.chunks(vocab)).enumerate() {
                assert_eq!(argmax(got), argmax(expected), "{what}: position {t}");
            }
            let differences: Vec<f32> = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
            let max = differences.iter().copied().fold(0.0, f32::max);
            let mean = differences.iter().sum::<f32>() / differences.len() as f32;
            println!("{what}: max {max:.2e}, mean {mean:.2e}");
            assert!(max < 0.25 && mean < 0.03, "{what}: max {max}, mean {mean}");

            let last = &got[got.len() - vocab..];
            assert_greedy(&*model, &cpu, &mut state, (ids.len(), last), &reference.ids("greedy"), &what);
            seen.insert(what);
        }
    }
    assert_eq!(seen.len(), 19, "checkpoints and GGUF files: {seen:?}");
}

/// Weights with a scale for each group of columns, embedding and head too, activations in f32: Ternary Bonsai's formats,
/// with YaRN in the first one, and one file in three parts, each of which opens the model. The key/value cache rounds to
/// f16.
#[test]
fn group_scaled_files_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let folder = tempfile::tempdir().expect("a folder");
    // The same blocks under the id of Q2_0, as in the first files that were published.
    let legacy = folder.path().join("legacy.gguf");
    std::fs::write(&legacy, with_ids(&Path::new(GOLDEN).join("bonsai-g128/gguf/pq2_0.gguf"), 142, 42))
        .expect("written");
    let mut seen = Vec::new();
    for name in ["bonsai-g128", "bonsai-g64", "bonsai-1bit", "minicpm4", "hunyuan-stq1_0"] {
        let mut files: Vec<PathBuf> = files(name).into_iter().filter(|path| path.is_file()).collect();
        files.extend((name == "bonsai-g128").then(|| legacy.clone()));
        for path in files {
            assert_group_scaled(&path, name, &cpu);
            seen.push(path);
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

/// MLX's directories, and the same weights as ordinary numbers, which are recognised as ternary: in groups of columns, and
/// in shards as TriLM has them (rows, or groups of 256 columns).
#[test]
fn mlx_directories_and_ternary_numbers_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["bonsai-g128", "trilm-shards"] {
        let mlx = Path::new(GOLDEN).join(name).join("mlx-2bit");
        assert_group_scaled(&mlx, name, &cpu);
        for format in [&F16, &F32] {
            let numbers = folder.path().join(format!("{name}-{}", format.name));
            unpacked::write(&mlx, &numbers, format);
            assert_group_scaled(&numbers, name, &cpu);
            let checkpoint = Checkpoint::open(&numbers).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(checkpoint.precision(cpu.pool()).expect("ternary"), Precision::Int14);
            let model = load(&numbers, &cpu);
            let stored = if name == "bonsai-g128" { format.name } else { "f16" };
            assert_eq!(model.head().expect("a head").stored_type(), stored, "{name}");
        }
    }
}

/// MiniCPM's factors and LongRoPE, and the names of Hunyuan's norms, in a directory.
#[test]
fn written_directories_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["minicpm4/gguf/tq2_0.gguf", "hunyuan-stq1_0/gguf/stq1_0.gguf"] {
        let (golden, _) = name.split_once('/').expect("a folder");
        let source = Checkpoint::open(&Path::new(GOLDEN).join(name)).unwrap_or_else(|error| panic!("{error}"));
        let directory = folder.path().join(golden);
        write_directory(&source, &cpu, &directory, Form::HfBf16, &TextFiles::None, &model::known())
            .unwrap_or_else(|error| panic!("{error}"));
        let read = Checkpoint::open(&directory).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.config(), source.config(), "{name}");
        assert_group_scaled(&directory, golden, &cpu);
    }
}

/// The config.json of the reference and the keys of the GGUF file describe the same network.
#[test]
fn config_json_and_gguf_keys_agree() {
    for name in [
        "qwen3-bitnet-embedding/gguf/i2_s.gguf",
        "gemma3-bitnet-embedding/gguf/i2_s.gguf",
        "minicpm4/gguf/tq2_0.gguf",
        "hunyuan-stq1_0/gguf/stq1_0.gguf",
    ] {
        let path = Path::new(GOLDEN).join(name);
        let keys = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}")).config().clone();
        let json = path.ancestors().nth(2).expect("a folder").join("config.json");
        let value = serde_json::from_slice(&std::fs::read(&json).expect("a golden")).expect("JSON");
        // Projections have norms; which of the architectures of one name it is, is told by the tensors.
        let mut known = model::known();
        known.sort_by_key(|arch| arch.projection_norms != keys.architecture.projection_norms);
        let config = parse(&json, &value, &serde_json::Value::Null, &known).unwrap_or_else(|error| panic!("{error}"));
        let config = config.config;
        // GGUF rounds it to f32.
        assert!((config.rope_theta / keys.rope_theta - 1.0).abs() < 1e-7, "{name}: {}", config.rope_theta);
        assert_eq!(Config { rope_theta: keys.rope_theta, ..config }, keys, "{name}");
    }
}

/// Qwen3.5: gated DeltaNet and gated attention, plain and with Hadamard-rotated weights of version 1, also from MLX, and
/// 2, whose head is the rotated embedding.
#[test]
fn hybrids_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    for name in ["qwen35-hybrid", "qwen35-hadamard", "qwen35-hadamard-tied"] {
        for path in files(name).into_iter().filter(|path| path.is_file()) {
            assert_group_scaled(&path, name, &cpu);
        }
    }
    assert_group_scaled(&Path::new(GOLDEN).join("qwen35-hadamard/mlx-2bit"), "qwen35-hadamard", &cpu);
}

/// The same hybrid as a Hugging Face directory, whose value heads are in another order and whose norms are stored less 1.
#[test]
fn hybrids_of_hugging_face_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("hybrid");
    grouped_heads::write(&Path::new(GOLDEN).join("qwen35-hybrid/gguf/q2_0.gguf"), &directory);
    assert_group_scaled(&directory, "qwen35-hybrid", &cpu);
}

/// Logits, likeliest tokens and greedy tokens of a group-scaled model, for each number type of activations.
#[track_caller]
fn assert_group_scaled(path: &Path, name: &str, cpu: &Cpu) {
    let reference = Reference::open(&Path::new(GOLDEN).join(name).join("ref.safetensors"));
    let (ids, best, margin) = (reference.ids("input_ids"), reference.ids("argmax"), reference.floats("margin"));
    let (positions, expected) = (reference.ids("positions"), reference.floats("logits"));
    let std = reference.floats("std")[0];
    // In parts of the logits' deviation: the largest and the mean difference. The definition, f32, differs from the
    // reference by the cache's rounding; int14 is compared with it.
    use Precision::{Float32, Int8, Int14};
    let bounds = [
        (Float32, KvType::F32, 1e-5, 1e-6),
        (Float32, KvType::F16, 2e-3, 2e-4),
        (Int14, KvType::F32, 2e-3, 4e-4),
        (Int8, KvType::F16, 0.14, 0.014),
    ];
    for (precision, kv, max, mean) in bounds {
        let what = format!("{} with {} and a cache of {}", path.display(), precision.name(), kv.name());
        let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"));
        let settings = Settings { precision: Some(precision), ..Settings::default() };
        let model = model::load(&checkpoint, cpu, settings).unwrap_or_else(|error| panic!("{error}"));
        let vocab = model.config().vocab;
        let (got, mut state) = logits(&*model, cpu, kv, &ids, ids.len());
        let differences = positions.iter().zip(expected.chunks(vocab)).flat_map(|(position, expected)| {
            let got = &got[*position as usize * vocab..][..vocab];
            got.iter().zip(expected).map(|(a, b)| (a - b).abs() / std)
        });
        let differences: Vec<f32> = differences.collect();
        let largest = differences.iter().copied().fold(0.0, f32::max);
        let average = differences.iter().sum::<f32>() / differences.len() as f32;
        println!("{what}: max {largest:.2e}, mean {average:.2e} of the logits' deviation");
        assert!(largest < max && average < mean, "{what}: {largest}, {average}");
        let least = if precision == Precision::Int8 { 0.3 } else { 0.1 };
        for (t, got) in got.chunks(vocab).enumerate().filter(|(t, _)| margin[*t] > least) {
            assert_eq!(argmax(got), best[t], "{what}: position {t}");
        }
        let last = &got[got.len() - vocab..];
        assert_greedy(&*model, cpu, &mut state, (ids.len(), last), &reference.ids("greedy"), &what);
    }
}

/// Embedding models: hidden states, a text's tokens (with EOS at the end) and its embedding, also from a directory. With a
/// cache of f16, int8 activations here and there round the other way.
#[test]
fn embeddings_equal_the_reference() {
    for (name, cosine, max) in [("qwen3-bitnet-embedding", 0.999_999, 1e-5), ("gemma3-bitnet-embedding", 0.999, 0.2)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Path::new(GOLDEN).join(name).join("gguf/i2_s.gguf");
        let reference = Reference::open(&Path::new(GOLDEN).join(name).join("ref.safetensors"));
        let (ids, expected) = (reference.ids("input_ids"), reference.floats("embedding"));
        let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
        let model = load(&path, &cpu);
        assert!(model.head().is_none() && model.config().pooling == Some(Pooling::Last), "{name}");
        let hidden = logits(&*model, &cpu, KvType::F32, &ids, ids.len()).0;
        let rows = reference.floats("hidden");
        let size = model.config().hidden;
        for (position, row) in reference.ids("positions").into_iter().zip(rows.chunks(size)) {
            let got = &hidden[position as usize * size..][..size];
            let worst = got.iter().zip(row).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            println!("{name}: position {position}: {worst:.2e}");
            assert!(worst < max, "{name}: position {position} is off by {worst}");
        }
        let directory = folder.path().join(name);
        let source = Checkpoint::open(&path).expect("a golden");
        let text = to_huggingface(&path, source.text(), source.config()).expect("it has a tokenizer");
        write_directory(&source, &cpu, &directory, Form::HfPacked, &text, &model::known()).expect("written");
        without_model(&directory.join("model.safetensors"));
        for path in [path, directory] {
            let engine = Engine::builder().threads(2).open(&path).unwrap_or_else(|error| panic!("{error}"));
            let tokenizer = engine.tokenizer().expect("a tokenizer");
            let text = tokenizer.decode(&ids[1..ids.len() - 1]).expect("known ids");
            assert_eq!(engine.embedding_tokens(&text).expect("encoded"), ids, "{}", path.display());
            let exact = Engine::builder().threads(2).kv(KvType::F32).open(&path).expect("it has opened");
            for (engine, least) in [(&engine, 0.999), (&exact, cosine)] {
                let got = engine.embed(Embed::new(&ids[..]).normalized()).expect("embedded");
                let product: f32 = got.iter().zip(&expected).map(|(a, b)| a * b).sum();
                assert!(product > least, "{}: cosine {product}", path.display());
            }
            let error = engine.generate(Request::new(ids.clone())).expect_err("it has no head").to_string();
            assert!(error.contains("sterna embed"), "{error}");
        }
    }
}

/// Shortens the names of tensors to those of a model without a head: `layers.0.…`.
fn without_model(path: &Path) {
    let bytes = std::fs::read(path).expect("written");
    let tensors = SafeTensors::deserialize(&bytes).expect("well-formed").tensors();
    let short = tensors.into_iter().map(|(name, tensor)| (name.replacen("model.", "", 1), tensor));
    std::fs::write(path, safetensors::serialize(short, None).expect("as before")).expect("written");
}

/// A GGUF file whose tensors of type `from` have the type `to`.
fn with_ids(path: &Path, from: u32, to: u32) -> Vec<u8> {
    let mut bytes = std::fs::read(path).expect("a golden");
    let mut changed = 0;
    for layer in 0..2 {
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            changed += usize::from(with_id(&mut bytes, &format!("blk.{layer}.{part}.weight"), from, to));
        }
    }
    for name in ["token_embd.weight", "output.weight"] {
        changed += usize::from(with_id(&mut bytes, name, from, to));
    }
    assert_eq!(changed, 16);
    bytes
}

/// Changes the type of a matrix: its name is followed by the number of dimensions, two dimensions, and the type.
fn with_id(bytes: &mut [u8], name: &str, from: u32, to: u32) -> bool {
    let length = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    let at = bytes.windows(length.len()).position(|window| window == length).expect("the tensor");
    let kind = &mut bytes[at + length.len() + 4 + 16..][..4];
    let found = *kind == from.to_le_bytes();
    kind.copy_from_slice(&to.to_le_bytes());
    found
}

/// Errors in the scales of v, gate and up hide behind sub-norms: layer 0 is compared linear by linear.
#[test]
fn linears_of_layer_0_equal_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 1);
    for name in CHECKPOINTS {
        let reference = Reference::open(&Path::new(GOLDEN).join(name).join("ref.safetensors"));
        for path in files(name) {
            let checkpoint = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"));
            // The GGUF's scale is a half in TQ1_0 and TQ2_0.
            let slack = if path.to_string_lossy().contains("/tq") { 1e-3 } else { 1e-6 };
            let groups = [("self_attn", "q"), ("self_attn", "o"), ("mlp", "gate"), ("mlp", "down")];
            for (block, first) in groups {
                let at = |linear: &str, what: &str| format!("model.layers.0.{block}.{linear}_proj.{what}");
                let scales = reference.floats(&at(first, "act_scale"));
                let x = reference.floats(&at(first, "x"));
                let x = Rows::from_vec(x.len() / scales.len(), x);
                let q = Activations::quantize(&cpu, &x);
                let codes = reference.bytes(&at(first, "xq"));
                for (t, expected) in codes.chunks(x.dim()).enumerate() {
                    assert!(q.row(t).iter().zip(expected).all(|(a, b)| *a == *b as i8), "{name}: {first} row {t}");
                    assert!((q.scales()[t] / scales[t] - 1.0).abs() < 1e-6, "{name}: {first} scale {t}");
                }
                let linears = match first {
                    "q" => ["q", "k", "v"].as_slice(),
                    "gate" => &["gate", "up"],
                    other => &[other],
                };
                for linear in linears {
                    let expected = reference.floats(&at(linear, "y"));
                    let rows = expected.len() / scales.len();
                    let w = checkpoint.ternary(&cpu, &at(linear, "weight"), (rows, x.dim()), &T16);
                    let w = w.unwrap_or_else(|error| panic!("{error}"));
                    let y = &ternary::matmul(&cpu, &[&w], &q)[0];
                    let max = expected.iter().fold(0.0f32, |max, y| max.max(y.abs()));
                    let worst = y.data().iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
                    assert!(worst <= slack * max, "{}: {linear}_proj is off by {worst} of {max}", path.display());
                }
                assert!(!reference.has(&at("k", "x")), "k shares q's input");
            }
        }
    }
}

/// The invariant: the same bytes on every instruction set, thread count, chunking, and mix of a batch.
#[test]
fn logits_are_byte_identical_however_they_are_computed() {
    for name in [
        "bitnet-packed-offline",
        "bitnet-headdim96-sharded",
        "llama-headdim256",
        "qwen3-causal",
        "qwen3-bitnet-embedding/gguf/i2_s.gguf",
        "gemma3-bitnet-embedding/gguf/i2_s.gguf",
        "minicpm4/gguf/tq2_0.gguf",
        "hunyuan-stq1_0/gguf/stq1_0.gguf",
    ] {
        let path = Path::new(GOLDEN).join(name);
        let golden = Path::new(GOLDEN).join(name.split('/').next().expect("a name"));
        let ids = Reference::open(&golden.join("ref.safetensors")).ids("input_ids");
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let portable = Cpu::with(sets::portable(), 1);
        let model = load(&path, &portable);
        for kind in [KvType::F16, KvType::Int8] {
            let expected = bits(&logits(&*model, &portable, kind, &ids, 48).0);
            for (set, threads) in sets::available().flat_map(|set| [(set, 1), (set, 2), (set, 3)]) {
                let cpu = Cpu::with(set, threads);
                let what = format!("{name}, {kind:?}: {} on {threads} threads", set.name());
                for chunk in [1, 7, 48] {
                    let got = bits(&logits(&*model, &cpu, kind, &ids, chunk).0);
                    assert!(got == expected, "{what}, chunks of {chunk}");
                }
                assert!(bits(&mixed(&*model, &cpu, kind, &ids)) == expected, "{what} in a mixed batch");
            }
        }
    }
}

/// Makes this share of every gate zero, another one for each gate, and the rest positive.
fn simulated(share: f32) -> GateHook {
    Arc::new(move |gate| {
        let seed = gate.iter().fold(0u32, |seed, value| seed.rotate_left(5) ^ value.to_bits());
        for (j, value) in (0u32..).zip(gate) {
            // The fraction of multiples of the golden ratio: evenly spread from 0 to 1.
            let place = seed.wrapping_add(j).wrapping_mul(0x9e37_79b9) >> 8;
            *value = if (place as f32) < share * 2f32.powi(24) { 0.0 } else { value.abs() };
        }
    })
}

/// Skipping zeros changes no bit: for trained gates, for random gates and for simulated zeros.
#[test]
fn zeros_are_skipped_without_a_trace() {
    let embedded = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf"));
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let mut different = BTreeSet::new();
    for (name, positions) in [("bitnet-packed-offline", 20), ("bitnet-headdim96-sharded", 20), ("embedded", 12)] {
        let golden = Path::new(GOLDEN).join(name);
        let path = if name == "embedded" { embedded } else { &golden };
        let ids: Vec<u32> = (0..positions).map(|i| i * 37 % 256).collect();
        for gate_zeros in [None, Some(0.0), Some(0.8), Some(1.0)] {
            let portable = Cpu::with(sets::portable(), 2);
            let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"));
            let load = |ffn| {
                let settings = Settings { ffn, ..Settings::default() };
                model::load_with_hook(&checkpoint, &portable, settings, gate_zeros.map(simulated)).expect("it loads")
            };
            let dense = load(FfnMode::Dense);
            let expected = bits(&logits(&*dense, &portable, KvType::F16, &ids, ids.len()).0);
            assert!(dense.density().is_empty());
            different.insert(expected.clone());
            // The embedded model takes long on `portable`, but that may be the only set.
            let sets: Vec<_> = sets::available().filter(|set| name != "embedded" || set.name() != "portable").collect();
            if sets.is_empty() {
                continue;
            }
            for ffn in [FfnMode::Sparse, FfnMode::Auto] {
                let model = load(ffn);
                for &set in &sets {
                    for (threads, chunk) in [(3, 1), (2, 5)] {
                        let cpu = Cpu::with(set, threads);
                        let got = bits(&logits(&*model, &cpu, KvType::F16, &ids, chunk).0);
                        let on = format!("{} on {threads} threads, chunks of {chunk}", set.name());
                        assert!(got == expected, "{name}, zeros {gate_zeros:?}, {ffn:?}: {on}");
                    }
                }
                let density = model.density();
                assert_eq!(density.len(), model.config().layers);
                for layer in density {
                    let simulated = gate_zeros.map_or(0.0..0.9, |zeros| match zeros {
                        // With trained weights some sums are zero without simulation.
                        0.0 => {
                            if name == "embedded" {
                                0.7..1.0
                            } else {
                                0.99..1.01
                            }
                        }
                        1.0 => 0.0..0.01,
                        _ => 0.15..0.25,
                    });
                    assert!(layer.tokens > 0 && simulated.contains(&layer.gates), "{name} {gate_zeros:?}: {layer:?}");
                    assert!(layer.codes <= layer.gates && layer.skipped_bytes >= 0.0, "{layer:?}");
                }
            }
        }
    }
    assert_eq!(different.len(), 12, "simulated zeros change the logits");
}

#[test]
fn zeros_cannot_be_skipped_where_there_are_none() {
    let cpu = Cpu::with(sets::portable(), 1);
    let sparse = Settings { ffn: FfnMode::Sparse, ..Settings::default() };
    let float = Settings { precision: Some(Precision::Float32), ..sparse };
    for (name, settings, expected) in [
        ("bitnet-1bitllm", sparse, "SiLU"),
        ("llama-bf16-online", sparse, "SiLU"),
        ("qwen3-causal", sparse, "SiLU"),
        ("bitnet-packed-offline", float, "int8"),
    ] {
        let checkpoint = Checkpoint::open(&Path::new(GOLDEN).join(name)).unwrap_or_else(|error| panic!("{error}"));
        let error = model::load(&checkpoint, &cpu, settings).err().expect("a refusal").to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// The same prompt in two pieces, between rows of another sequence.
fn mixed(model: &dyn Network, cpu: &Cpu, kind: KvType, ids: &[u32]) -> Vec<f32> {
    let mut state = model.state(kind);
    let mut out = Vec::new();
    for (start, end) in [(0, 20), (20, ids.len())] {
        let mut batch = Batch::default();
        batch.push(1, &[7, 4, 6, 5], start, &ids[start..start + 9]);
        batch.push(0, &PAGES, start, &ids[start..end]);
        batch.outputs = (9..9 + end - start).collect();
        out.extend_from_slice(step(model, cpu, &batch, &mut state).data());
    }
    out
}

/// The error of an int8 cache compared with Hugging Face's f32 cache.
#[test]
fn an_int8_cache_stays_close_to_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    for name in CHECKPOINTS {
        let path = Path::new(GOLDEN).join(name);
        let reference = Reference::open(&path.join("ref.safetensors"));
        let (ids, expected) = (reference.ids("input_ids"), reference.floats("logits"));
        let model = load(&path, &cpu);
        let vocab = model.config().vocab;
        let got = logits(&*model, &cpu, KvType::Int8, &ids, ids.len()).0;
        let differences: Vec<f32> = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
        let max = differences.iter().copied().fold(0.0, f32::max);
        let mean = differences.iter().sum::<f32>() / differences.len() as f32;
        let same = got.chunks(vocab).zip(expected.chunks(vocab)).filter(|(a, b)| argmax(a) == argmax(b)).count();
        assert!(max < 0.3 && mean < 0.03 && same == 48, "{name}: max {max}, mean {mean}, {same} of 48");
    }
}

/// Float activations give logits close to those of int8, and the same on every set.
#[test]
fn float_activations_agree_with_the_reference_within_quantisation() {
    let path = Path::new(GOLDEN).join("bitnet-packed-offline");
    let ids = Reference::open(&path.join("ref.safetensors")).ids("input_ids");
    let checkpoint = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"));
    let run = |cpu: &Cpu, precision| {
        let model = model::load(&checkpoint, cpu, Settings { precision: Some(precision), ..Settings::default() })
            .unwrap_or_else(|error| panic!("{error}"));
        logits(&*model, cpu, KvType::F16, &ids, 48).0
    };
    let portable = Cpu::with(sets::portable(), 1);
    let expected = run(&portable, Precision::Float32);
    for set in sets::available() {
        assert!(run(&Cpu::with(set, 2), Precision::Float32) == expected, "{}", set.name());
    }
    let int8 = run(&portable, Precision::Int8);
    let mean = expected.iter().zip(&int8).map(|(a, b)| (a - b).abs()).sum::<f32>() / int8.len() as f32;
    assert!(mean > 1e-4 && mean < 0.3, "float and int8 activations differ by {mean} on average");
}

/// The trained model that is embedded in the binary.
#[test]
fn the_embedded_model_equals_the_reference() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let model = load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf")), &cpu);
    let json = std::fs::read(Path::new(GOLDEN).join("embedded.json")).expect("embedded.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("embedded.json is JSON");
    let list = |key: &str| -> Vec<u32> { serde_json::from_value(json[key].clone()).expect("a list of ids") };
    let reference = Reference::open(&Path::new(GOLDEN).join("embedded.safetensors"));
    let (ids, greedy) = (list("input_ids"), list("greedy"));
    let vocab = model.config().vocab;
    let (got, mut state) = logits(&*model, &cpu, KvType::F16, &ids, ids.len());
    let picked: Vec<u32> = got.chunks(vocab).map(argmax).collect();
    assert_eq!(picked, reference.ids("argmax"));
    let last = &got[got.len() - vocab..];
    let worst = last.iter().zip(reference.floats("logits_last")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.25, "logits differ by {worst}");
    let mut next = argmax(last);
    for (i, &token) in greedy.iter().enumerate() {
        if list("clear").contains(&(i as u32)) {
            assert_eq!(next, token, "greedy token {i}");
        }
        let mut batch = Batch::default();
        batch.push(0, &PAGES, ids.len() + i, &[token]);
        batch.want_last();
        next = argmax(step(&*model, &cpu, &batch, &mut state).row(0));
    }
}
