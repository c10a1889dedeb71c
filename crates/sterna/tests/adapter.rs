//! Low-rank adapters: results compared with a naive network in f64, byte identity, and refused files.

mod naive;
#[path = "../../kernels/tests/random/mod.rs"]
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use naive::{Naive, layers};
use random::Random;
use serde_json::{Value, json};
use sterna::checkpoint::adapter::{self, Adapter, LowRank};
use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::checkpoint::{Arch, Checkpoint, Config, RopeScaling};
use sterna::engine::Engine;
use sterna::kernels::Bytes;
use sterna::kernels::format::F32;
use sterna::kernels::math::{f16_to_f32, f32_to_f16};
use sterna::kernels::{Cpu, sets};
use sterna::model::kv::PAGE;
use sterna::model::{self, Batch, FfnMode, KvType, Precision, Settings};
use sterna::model::{BITNET, LLAMA, ONEBITLLM, QWEN3};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");
const ARCHITECTURES: [&Arch; 4] = [&BITNET, &ONEBITLLM, &LLAMA, &QWEN3];
const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A model whose widths are not multiples of the kernels' 16 and 64.
fn tiny(architecture: &'static Arch) -> Checkpoint {
    let config = Config {
        architecture,
        hidden: 72,
        intermediate: 100,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 18,
        vocab: 40,
        context: 64,
        rms_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: Vec::new(),
        hybrid: None,
    };
    Checkpoint::synthetic(config, &F32, 5).expect("a possible configuration")
}

/// Random matrices for the layers whose names contain `part`. B is large enough to contribute a good part of the
/// layer's result.
fn random(checkpoint: &Checkpoint, rank: usize, part: &str) -> Adapter {
    let mut random = Random(rank as u64);
    let mut values = |count: usize, size: f32| -> Vec<f32> {
        (0..count).map(|_| (random.below(2001) as f32 / 1000.0 - 1.0) * size).collect()
    };
    let layers =
        layers(checkpoint).into_iter().filter(|(layer, _)| layer.contains(part)).map(|(layer, [rows, cols])| {
            (layer, LowRank { a: values(rank * cols, 1.0 / (cols as f32).sqrt()), b: values(rows * rank, 0.5) })
        });
    Adapter { path: "random".into(), base: None, rank, alpha: 1.5 * rank as f64, layers: layers.collect() }
}

fn logits(checkpoint: &Checkpoint, cpu: &Cpu, settings: Settings, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let model = model::load(checkpoint, cpu, settings).unwrap_or_else(|error| panic!("{error}"));
    let mut state = model.state(KvType::F16);
    let pages = tokens.len().div_ceil(PAGE);
    let (other, ours): (Vec<usize>, Vec<usize>) = ((0..pages).collect(), (pages..2 * pages).collect());
    let mut out = Vec::new();
    for (i, part) in tokens.chunks(chunk).enumerate() {
        let mut batch = Batch::default();
        // Chunks of 7 tokens run between rows of another sequence.
        let before = if chunk == 7 { part.len() } else { 0 };
        batch.push(0, &other, i * chunk, &part[..before]);
        batch.push(1, &ours, i * chunk, part);
        batch.outputs = (before..before + part.len()).collect();
        out.extend_from_slice(
            model.head().expect("a head").logits(cpu, &model.forward(cpu, &batch, &mut state)).data(),
        );
    }
    out
}

/// The largest difference, relative to the largest logit.
fn difference(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0f64, |max, x| max.max(x.abs()));
    a.iter().zip(b).fold(0f64, |max, (a, b)| max.max((f64::from(*a) - b).abs())) / largest
}

#[test]
fn logits_equal_a_naive_network() {
    /// f32 next to f64, and halves in the cache that round to the other side.
    const TOLERANCE: f64 = 1e-4;
    let (cpu, tokens) = (Cpu::with(sets::by_name("").expect("a set"), 2), [3, 17, 4, 31, 8]);
    for architecture in ARCHITECTURES {
        for precision in [Precision::Int8, Precision::Float32] {
            let settings = Settings { precision: Some(precision), ..Settings::default() };
            for part in PROJECTIONS.into_iter().chain([""]) {
                let what = format!("{architecture:?}, {precision:?}, `{part}`");
                let checkpoint = tiny(architecture);
                let adapter = random(&checkpoint, 3, part);
                let base = logits(&checkpoint, &cpu, settings, &tokens, 5);
                let adapted = checkpoint.with_adapter(adapter.clone()).expect("it fits");
                let got = logits(&adapted, &cpu, settings, &tokens, 5);
                let mut naive = Naive::new(&adapted, &cpu, &adapter, precision);
                let expected = naive.logits(&tokens);
                let (error, effect) = (difference(&got, &expected), difference(&base, &expected));
                assert!(error < TOLERANCE, "{what}: {error}");
                assert!(effect > 1000.0 * TOLERANCE, "{what}: the adapter changes little: {effect}");
                if precision == Precision::Int8 {
                    naive.rounded = true;
                    let rounded = difference(&got, &naive.logits(&tokens));
                    assert!(rounded > 2.0 * TOLERANCE, "{what}: the test would not notice a rounded input: {rounded}");
                }
            }
        }
    }
}

fn golden(name: &str) -> Checkpoint {
    Checkpoint::open(&Path::new(GOLDEN).join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn prompt(vocab: usize) -> Vec<u32> {
    (0..23).map(|i| i * 37 % vocab as u32).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn logits_are_byte_identical_however_they_are_computed() {
    for name in ["bitnet-headdim96-sharded", "bitnet-1bitllm", "llama-headdim256", "qwen3-causal"] {
        let checkpoint = golden(name);
        let tokens = prompt(checkpoint.config().vocab);
        // 67 rows of A need more than one piece of work, and are not a multiple of the kernels' four rows.
        let adapter = random(&checkpoint, 67, "");
        let checkpoint = checkpoint.with_adapter(adapter).expect("it fits");
        let dense = Settings { ffn: FfnMode::Dense, ..Settings::default() };
        let expected = bits(&logits(&checkpoint, &Cpu::with(sets::portable(), 1), dense, &tokens, 23));
        for (set, threads) in sets::available().flat_map(|set| [(set, 1), (set, 3)]) {
            let cpu = Cpu::with(set, threads);
            for (chunk, settings) in [(1, Settings::default()), (7, Settings::default()), (23, dense), (5, dense)] {
                let got = bits(&logits(&checkpoint, &cpu, settings, &tokens, chunk));
                let what =
                    format!("{name}: {} on {threads} threads, chunks of {chunk}, {:?}", set.name(), settings.ffn);
                assert!(got == expected, "{what}");
            }
        }
    }
}

#[test]
fn an_adapter_that_adds_nothing_changes_no_byte() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    for name in ["bitnet-packed-offline", "bitnet-1bitllm", "llama-bitlinear-packed", "qwen3-causal"] {
        let checkpoint = golden(name);
        let tokens = prompt(checkpoint.config().vocab);
        let base = logits(&checkpoint, &cpu, Settings::default(), &tokens, 23);
        let without_b = {
            let mut adapter = random(&checkpoint, 8, "");
            adapter.layers.values_mut().for_each(|pair| pair.b.fill(0.0));
            adapter
        };
        let without_alpha = Adapter { alpha: 0.0, ..random(&checkpoint, 8, "") };
        for adapter in [without_b, without_alpha] {
            let adapted = golden(name).with_adapter(adapter).expect("it fits");
            assert!(bits(&logits(&adapted, &cpu, Settings::default(), &tokens, 23)) == bits(&base), "{name}");
        }
        let adapted = golden(name).with_adapter(random(&checkpoint, 8, "")).expect("it fits");
        assert!(logits(&adapted, &cpu, Settings::default(), &tokens, 23) != base, "{name}");
    }
}

/// Zeros of the gate are still skipped, and the adapter's bytes are counted.
#[test]
fn an_adapter_leaves_the_sparse_block_sparse() {
    let cpu = Cpu::with(sets::portable(), 2);
    let checkpoint = golden("bitnet-packed-offline");
    let adapter = random(&checkpoint, 4, "");
    let (bytes, need) = (adapter.bytes(), checkpoint.memory_needed(64, KvType::F16));
    let weights = |checkpoint: &Checkpoint, ffn| {
        let model = model::load(checkpoint, &cpu, Settings { ffn, ..Settings::default() }).expect("it loads");
        (model.weights().body_bytes, model.density().len())
    };
    let base = [FfnMode::Dense, FfnMode::Sparse].map(|ffn| weights(&checkpoint, ffn));
    let checkpoint = checkpoint.with_adapter(adapter).expect("it fits");
    assert_eq!(checkpoint.memory_needed(64, KvType::F16), need + bytes as u64);
    let adapted = [FfnMode::Dense, FfnMode::Sparse].map(|ffn| weights(&checkpoint, ffn));
    assert_eq!(adapted, base.map(|(body, layers)| (body + bytes, layers)));
    assert_eq!(adapted.map(|(_, layers)| layers), [0, 2]);
}

/// The names of the files in a directory.
fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new/adapter");
    let checkpoint = tiny(&LLAMA);
    let mut adapter = random(&checkpoint, 5, "self_attn");
    (adapter.path, adapter.base, adapter.alpha) = (dir.clone(), Some("somebody/some-model".into()), 12.5);
    // Writing again replaces the first adapter.
    adapter::write(&dir, &random(&checkpoint, 2, "mlp")).expect("written");
    adapter::write(&dir, &adapter).expect("written");
    assert_eq!(files(&dir), ["adapter_config.json", "adapter_model.safetensors"]);
    assert_eq!(Adapter::open(&dir).expect("read"), adapter);

    // Read the files as another program would.
    let config: Value = serde_json::from_slice(&fs::read(dir.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], json!(["k_proj", "o_proj", "q_proj", "v_proj"]));
    assert_eq!((&config["peft_type"], &config["r"], &config["lora_alpha"]), (&json!("LORA"), &json!(5), &json!(12.5)));
    let bytes = fs::read(dir.join("adapter_model.safetensors")).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).expect("well-formed");
    assert_eq!(tensors.len(), 2 * 2 * 4);
    let b = tensors.tensor("base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight").expect("a tensor");
    assert_eq!((b.shape(), b.dtype()), (&[36, 5][..], ::safetensors::Dtype::F32));
    let expected = &adapter.layers["model.layers.1.self_attn.k_proj"].b;
    assert!(b.data().chunks(4).zip(expected).all(|(bytes, b)| bytes == b.to_le_bytes()));

    // The engine accepts the model and the adapter.
    let (path, builder) = (Path::new(GOLDEN).join("qwen3-causal"), Engine::builder().threads(1));
    let adapter = random(&golden("qwen3-causal"), 4, "o_proj");
    adapter::write(&dir, &adapter).expect("written");
    let engine = |adapter: Option<PathBuf>| builder.clone().adapter(adapter).open(&path).expect("opened");
    let (mut base, mut adapted) = (Vec::new(), Vec::new());
    let tokens = prompt(512);
    let collect = |engine: Engine, into: &mut Vec<f32>| {
        for rows in engine.logits(&tokens).expect("logits") {
            into.extend_from_slice(rows.expect("logits").data());
        }
    };
    collect(engine(None), &mut base);
    collect(engine(Some(dir)), &mut adapted);
    let with = golden("qwen3-causal").with_adapter(adapter).expect("it fits");
    assert!(base != adapted && adapted == logits(&with, &Cpu::new(1).unwrap(), Settings::default(), &tokens, 23));
}

#[test]
fn halves_are_read_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let adapter = random(&tiny(&LLAMA), 2, "v_proj");
    adapter::write(folder.path(), &adapter).expect("written");
    type Half = (&'static str, fn(f32) -> u16, fn(u16) -> f32);
    let halves: [Half; 2] = [
        ("F16", f32_to_f16, f16_to_f32),
        ("BF16", |x| (x.to_bits() >> 16) as u16, |x| f32::from_bits(u32::from(x) << 16)),
    ];
    for (dtype, down, up) in halves {
        edit_tensors(folder.path(), |tensors| {
            for (name, entry) in tensors {
                let (layer, a) =
                    (&name["base_model.model.".len()..name.len() - ".lora_A.weight".len()], name.contains("A"));
                let pair = &adapter.layers[layer];
                let values = if a { &pair.a } else { &pair.b };
                entry.dtype = dtype;
                entry.bytes = values.iter().flat_map(|x| down(*x).to_le_bytes()).collect::<Vec<_>>().into();
            }
        });
        let read = Adapter::open(folder.path()).expect("read");
        for (layer, pair) in &adapter.layers {
            let rounded = |values: &[f32]| values.iter().map(|x| up(down(*x))).collect::<Vec<_>>();
            assert_eq!(
                (&read.layers[layer].a, &read.layers[layer].b),
                (&rounded(&pair.a), &rounded(&pair.b)),
                "{dtype}"
            );
        }
    }
}

fn edit_tensors(dir: &Path, edit: impl FnOnce(&mut Vec<(String, Entry)>)) {
    let path = dir.join("adapter_model.safetensors");
    let header = Header::parse(&path, &Bytes::from(fs::read(&path).unwrap())).expect("well-formed");
    let mut tensors = header.tensors.into_iter().collect();
    edit(&mut tensors);
    safetensors::write(&path, ("format", "pt"), &tensors).expect("written");
}

fn edit_config(dir: &Path, key: &str, value: Value) {
    let path = dir.join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

/// The refusal of an edited adapter. The message names the directory.
#[track_caller]
fn refusal(edit: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny(&LLAMA);
    let mut adapter = random(&checkpoint, 3, "q_proj");
    adapter.base = Some("the/base".into());
    adapter::write(folder.path(), &adapter).expect("written");
    edit(folder.path());
    let result = Adapter::open(folder.path()).and_then(|adapter| checkpoint.with_adapter(adapter));
    let message = result.expect_err("a refusal").to_string();
    assert!(message.starts_with(folder.path().to_str().unwrap()), "{message}");
    message
}

#[test]
fn other_kinds_of_adapters_are_refused_by_name() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", Value::Null),
        ("use_rslora", json!(true)),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({ "q_proj": 4 })),
        ("alpha_pattern", json!({ "q_proj": 4 })),
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("init_lora_weights", json!("pissa_niter_4")),
    ] {
        let message = refusal(|dir| edit_config(dir, key, value.clone()));
        let named = if key == "peft_type" { "adapter type" } else { key };
        assert!(message.contains(named) && message.contains("is not supported; Sterna runs plain LoRA"), "{message}");
    }
    for part in ["lm_head.lora_A.weight", "model.layers.0.self_attn.q_proj.lora_magnitude_vector", "model.norm.weight"]
    {
        let name = format!("base_model.model.{part}");
        let message = refusal(|dir| edit_tensors(dir, |tensors| tensors[0].0 = name.clone()));
        assert!(message.contains(&name) && message.contains("is not supported; Sterna runs plain LoRA"), "{message}");
    }
    let message = refusal(|dir| {
        edit_tensors(dir, |tensors| {
            tensors[0].1 = Entry { dtype: "I8", bytes: vec![0; 216].into(), ..tensors[0].1.clone() };
        })
    });
    assert!(message.contains("stored as I8 is not supported; save the adapter as"), "{message}");
}

#[test]
fn damaged_adapters_are_refused() {
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let message = refusal(|dir| fs::remove_file(dir.join(name)).unwrap());
        assert!(message.contains(&format!("{name}: there is no such file; pass the directory")), "{message}");
    }
    let place = "model.layers.0.self_attn.q_proj.lora_A.weight`";
    let message = refusal(|dir| edit_config(dir, "r", json!(4)));
    assert!(message.contains(place) && message.contains("shape [3, 72], but the rank is 4"), "{message}");
    for (rank, said) in [(json!(0), "r: is 0"), (json!(-1), "r: is not a whole number"), (json!("x"), "r: is not a")] {
        let message = refusal(|dir| edit_config(dir, "r", rank));
        assert!(message.contains(said), "{message}");
    }
    let message = refusal(|dir| edit_tensors(dir, |tensors| tensors[0].1.shape = vec![216]));
    assert!(message.contains(place) && message.contains("shape [216]"), "{message}");
    let message = refusal(|dir| edit_tensors(dir, |tensors| drop(tensors.remove(1))));
    assert!(message.contains("model.layers.0.self_attn.q_proj: has only one of lora_A and lora_B"), "{message}");
    let message = refusal(|dir| edit_tensors(dir, Vec::clear));
    assert!(message.contains("tensors: there are none"), "{message}");
    let message = refusal(|dir| fs::write(dir.join("adapter_config.json"), "[]").unwrap());
    assert!(message.contains("adapter type `none`"), "{message}");
}

#[test]
fn adapters_of_another_model_are_refused() {
    let renamed = |to: &str| {
        refusal(|dir| {
            edit_tensors(dir, |tensors| {
                tensors.iter_mut().for_each(|(name, _)| *name = name.replace("layers.1.self_attn.q_proj", to));
            });
        })
    };
    for layer in ["layers.2.self_attn.q_proj", "layers.1.mlp.c_proj", "layers.01.self_attn.q_proj"] {
        let message = renamed(layer);
        assert!(message.contains(&format!("model.{layer}: the model has no such ternary layer")), "{message}");
        assert!(
            message.ends_with("trained on `the/base`; use the adapter with the model it was trained on"),
            "{message}"
        );
    }
    let message = renamed("layers.1.self_attn.v_proj");
    assert!(message.contains("216 and 216 weights of rank 3 do not fit the model's layer of 36 × 72"), "{message}");
}

#[test]
fn adapters_made_in_memory_are_checked() {
    let checkpoint = || tiny(&LLAMA);
    let refused = |edit: fn(&mut Adapter)| {
        let mut adapter = random(&checkpoint(), 3, "o_proj");
        edit(&mut adapter);
        checkpoint().with_adapter(adapter).expect_err("a refusal").to_string()
    };
    let edits: [fn(&mut Adapter); 4] = [
        |adapter| adapter.layers.values_mut().for_each(|pair| pair.a[5] = f32::NAN),
        |adapter| adapter.layers.values_mut().for_each(|pair| pair.b[7] = f32::INFINITY),
        |adapter| adapter.alpha = f64::NAN,
        // Finite, but infinite after multiplication.
        |adapter| adapter.alpha = 1e40,
    ];
    for edit in edits {
        let message = refused(edit);
        assert!(message.contains("model.layers.0.self_attn.o_proj: holds numbers that are not finite"), "{message}");
    }
    for rank in [0, 5, usize::MAX] {
        let edited = Adapter { rank, ..random(&checkpoint(), 3, "o_proj") };
        let message = checkpoint().with_adapter(edited.clone()).expect_err("a refusal").to_string();
        assert!(message.contains(&format!("weights of rank {rank} do not fit")), "{message}");
        let folder = tempfile::tempdir().expect("a folder");
        assert!(adapter::write(folder.path(), &edited).is_err(), "rank {rank}");
        assert!(files(folder.path()).is_empty());
    }
}
