//! docs/compatibility.md: what loads, is right, converts and comes back, from runs of every golden.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use sterna::checkpoint::write::{Form, WriteOptions, default_head, encodings, verify, write_directory, write_gguf};
use sterna::checkpoint::{Checkpoint, Data};
use sterna::kernels::{Cpu, sets};
use sterna::model::{self, Batch, KvType, Settings};
use sterna::text::to_huggingface;

/// A family of models, and a golden of it.
struct Family {
    name: &'static str,
    golden: &'static str,
}

const FAMILIES: &[Family] = &[
    Family { name: "BitNet b1.58 2B4T", golden: "bitnet-packed-offline" },
    Family { name: "BitNet b1.58 2B4T, bf16", golden: "bitnet-bf16-online" },
    Family { name: "1bitLLM", golden: "bitnet-1bitllm" },
    Family { name: "Falcon3, Falcon-E, HF1BitLLM", golden: "llama-bitlinear-packed" },
    Family { name: "Llama, bf16", golden: "llama-bf16-online" },
    Family { name: "Qwen3 BitNet", golden: "qwen3-causal" },
    Family { name: "Ternary Bonsai", golden: "bonsai-g128" },
    Family { name: "Ternary Bonsai, groups of 64", golden: "bonsai-g64" },
    Family { name: "1-bit Bonsai", golden: "bonsai-1bit" },
    Family { name: "TriLM", golden: "trilm-shards" },
    Family { name: "BitCPM4", golden: "minicpm4" },
    Family { name: "Hunyuan (Hy-MT)", golden: "hunyuan-stq1_0" },
    Family { name: "Bonsai 27B (Qwen3.5 hybrid)", golden: "qwen35-hybrid" },
    Family { name: "Bonsai 2, rotated", golden: "qwen35-hadamard" },
    Family { name: "Bonsai 2, rotated, tied", golden: "qwen35-hadamard-tied" },
    Family { name: "BitNet-embedding 0.6B", golden: "qwen3-bitnet-embedding" },
    Family { name: "BitNet-embedding 270M", golden: "gemma3-bitnet-embedding" },
];

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

/// The models of a golden: its directory, if it holds one, directories in it, and GGUF files (a split one once).
fn models(golden: &str) -> Vec<PathBuf> {
    let root = goldens().join(golden);
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_model = |path: &PathBuf| path.join("config.json").exists() && Checkpoint::open(path).is_ok();
    let mut found: Vec<PathBuf> = entries(&root).filter(is_model).collect();
    found.extend(Some(root.clone()).filter(is_model));
    let later = |path: &PathBuf| path.to_string_lossy().contains("-of-") && !path.to_string_lossy().contains("-00001-");
    found.extend(entries(&root.join("gguf")).filter(|path| !later(path)));
    found.sort();
    found
}

/// The share of positions whose likeliest token is the reference's, where its margin is clear; the cosine of the
/// embedding and the reference's for a network without a head.
fn likeliest(checkpoint: &Checkpoint, reference: &[u8], cpu: &Cpu) -> String {
    let reference = SafeTensors::deserialize(reference).expect("a reference");
    let data = |name: &str| reference.tensor(name).map(|tensor| tensor.data().to_vec());
    let ids = |name: &str| -> Option<Vec<u32>> {
        Some(data(name).ok()?.as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id) as u32).collect())
    };
    let floats = |name: &str| -> Option<Vec<f32>> {
        Some(data(name).ok()?.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect())
    };
    let tokens = ids("input_ids").expect("the prompt");
    let network = model::load(checkpoint, cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"));
    let vocab = network.config().vocab;
    let mut batch = Batch::default();
    batch.push(0, &[0, 1, 2, 3], 0, &tokens);
    batch.outputs = (0..tokens.len()).collect();
    let hidden = network.forward(cpu, &batch, &mut network.state(KvType::F16));
    let Some(head) = network.head() else {
        let cosine = cosine(hidden.row(tokens.len() - 1), &floats("embedding").expect("an embedding"));
        assert!(cosine > 0.999, "{}: {cosine}", checkpoint.path().display());
        return format!("cosine {cosine:.4}");
    };
    let argmax = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row") as u32;
    let expected = match ids("argmax") {
        Some(expected) => expected,
        None => floats("logits").expect("logits").chunks(vocab).map(argmax).collect(),
    };
    let clear = |t: usize| floats("margin").is_none_or(|margins| margins[t] > 0.1);
    let logits = head.logits(cpu, &hidden);
    let counted: Vec<usize> = (0..tokens.len()).filter(|t| clear(*t)).collect();
    let equal = counted.iter().filter(|t| argmax(logits.row(**t)) == expected[**t]).count();
    assert_eq!(equal, counted.len(), "{}", checkpoint.path().display());
    format!("{equal} of {}", counted.len())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The formats that hold a model; each is read back and has the same trits and, to the rounding of f16, scales.
fn converted(source: &Checkpoint, cpu: &Cpu) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = Vec::new();
    for encoding in encodings() {
        let out = folder.path().join(format!("{}.gguf", encoding.name));
        let options = WriteOptions::default().encoding(encoding).head(default_head(source, encoding));
        if write_gguf(source, cpu, &out, options).is_ok() {
            held.push((encoding.name, out));
        }
    }
    for form in Form::ALL {
        let out = folder.path().join(form.name());
        let Ok(text) = to_huggingface(source.path(), source.text(), source.config()) else { continue };
        if write_directory(source, cpu, &out, form, &text, &model::known()).is_ok() {
            held.push((form.name(), out));
        }
    }
    for (name, out) in &held {
        let what = format!("{} as {name}", source.path().display());
        let back = Checkpoint::open(out).unwrap_or_else(|error| panic!("{what}: {error}"));
        let verified = verify(source, &back, cpu).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(verified.linears > 0 && verified.scales < 1e-3, "{what}: {verified:?}");
    }
    held.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Bytes of packed linears and head in memory, in parts of those stored.
fn memory(checkpoint: &Checkpoint, cpu: &Cpu) -> String {
    let network = model::load(checkpoint, cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"));
    let stored = checkpoint.tensors().values().filter(|tensor| matches!(tensor.data, Data::Ternary(_)));
    let stored: usize = stored.map(|tensor| tensor.data.bytes().len()).sum();
    format!("{:.2}", network.weights().body_bytes as f64 / stored as f64)
}

#[test]
fn the_table_of_compatibility_is_from_runs() {
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let mut table = String::from(
        "| family | file | likeliest tokens | written and read back as | memory |\n|---|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let reference = std::fs::read(goldens().join(family.golden).join("ref.safetensors")).expect("a reference");
        let models = models(family.golden);
        assert!(!models.is_empty(), "{}", family.name);
        for path in models {
            let checkpoint = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"));
            let file = path.strip_prefix(goldens()).expect("a golden").display().to_string();
            table += &format!(
                "| {} | `{file}` | {} | {} | {} |\n",
                family.name,
                likeliest(&checkpoint, &reference, &cpu),
                converted(&checkpoint, &cpu),
                memory(&checkpoint, &cpu),
            );
        }
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = std::fs::read_to_string(&guide).expect("the guide");
    let (before, rest) = text.split_once("<!-- table -->\n").expect("the table's beginning");
    let (found, after) = rest.split_once("<!-- end -->").expect("the table's end");
    if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
        let new = format!("{before}<!-- table -->\n{table}<!-- end -->{after}");
        return std::fs::write(&guide, new).expect("the guide is written");
    }
    assert!(
        found == table,
        "docs/compatibility.md is old; run this test with STERNA_WRITE_DOCS=1. It must have:\n{table}"
    );
}
