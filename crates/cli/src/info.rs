//! `sterna info`: what is in a model, without loading it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use sterna::checkpoint::{Architecture, Checkpoint, Data, Tensor};
use sterna::kernels::{Cpu, ternary};
use sterna::model::KvCache;
use sterna::text::{ChatTemplate, Tokenizer};

use crate::model::Source;
use crate::output;

const EXAMPLES: &str = "\
Reads the headers only: nothing is loaded.

Examples:
  sterna info
  sterna info model.gguf
  sterna info bitnet-2b4t/ --json | jq .memory";

/// Show what is in a model
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Info {
    /// The same as -m
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    path: Option<PathBuf>,
    #[command(flatten)]
    model: Source,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> anyhow::Result<()> {
        let model = Source { model: self.path.or(self.model.model) };
        let facts = facts(&model.checkpoint()?)?;
        if self.json { output::json(&facts) } else { output::text(&output::printable(&page(&facts))) }
    }
}

/// Tensors stored the same way.
#[derive(Default)]
struct Stored {
    tensors: usize,
    values: u64,
    bytes: u64,
}

fn facts(checkpoint: &Checkpoint) -> anyhow::Result<Value> {
    let config = &checkpoint.config;
    let mut encodings: BTreeMap<&str, Stored> = BTreeMap::new();
    for tensor in checkpoint.tensors.values() {
        let (name, bytes) = stored_as(tensor);
        let stored = encodings.entry(name).or_default();
        stored.tensors += 1;
        stored.values += tensor.shape.iter().map(|&n| n as u64).product::<u64>();
        stored.bytes += bytes;
    }
    let parameters: u64 = encodings.values().map(|stored| stored.values).sum();
    let weights: u64 = checkpoint.tensors.values().map(loaded_bytes).sum();
    let context = config.context.min(DEFAULT_CONTEXT);
    let cache = KvCache::bytes_per_position(config) as u64 * context as u64;
    let (activations, problem) = activations(checkpoint)?;
    let encodings: Value = encodings
        .iter()
        .map(|(&name, stored)| (name.to_owned(), json!({ "tensors": stored.tensors, "bytes": stored.bytes })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    Ok(json!({
        "path": checkpoint.path.display().to_string(),
        "format": checkpoint.format,
        "architecture": architecture(config.architecture),
        "parameters": parameters,
        "layers": config.layers,
        "hidden": config.hidden,
        "intermediate": config.intermediate,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab": config.vocab,
        "context": config.context,
        "rope_theta": config.rope_theta,
        "rms_eps": config.rms_eps,
        "tied": config.tied,
        "eos": config.eos,
        "encodings": encodings,
        "activations": activations,
        "problem": problem,
        "tokenizer": tokenizer(checkpoint),
        "chat_template": chat_template(checkpoint),
        "memory": { "weights_bytes": weights, "kv_context": context, "kv_bytes": cache, "total_bytes": weights + cache },
    }))
}

/// The context of a model that is loaded without `--ctx`, if it was made for more.
const DEFAULT_CONTEXT: usize = 4096;

fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Bitnet => "bitnet",
        Architecture::OneBitLlm => "bitnet (1bitLLM)",
        Architecture::Llama => "llama",
        Architecture::Qwen3 => "qwen3",
    }
}

/// Name of the encoding, and the bytes in the file.
fn stored_as(tensor: &Tensor) -> (&'static str, u64) {
    match &tensor.data {
        Data::Ternary(trits) => (trits.encoding().name, trits.bytes().len() as u64),
        Data::Dense { kind, bytes } => (kind.name(), bytes.len() as u64),
        Data::Synthetic { .. } => ("synthetic", 0),
    }
}

/// Bytes in memory once loaded: trits packed in tiles, everything else as stored.
fn loaded_bytes(tensor: &Tensor) -> u64 {
    match (&tensor.data, &tensor.shape[..]) {
        (Data::Dense { bytes, .. }, _) => bytes.len() as u64,
        (_, &[rows, cols]) => (rows.div_ceil(ternary::TILE) * cols.div_ceil(16) * ternary::LINE) as u64,
        _ => 0,
    }
}

/// What ternary layers compute with, or why the model does not run: seen from the scale of its first ternary tensor.
fn activations(checkpoint: &Checkpoint) -> anyhow::Result<(Option<&'static str>, Option<String>)> {
    let ternary = |(_, tensor): (_, &'_ Tensor)| match &tensor.data {
        Data::Ternary(trits) => Some((trits.clone(), tensor.stored_name.clone())),
        _ => None,
    };
    let Some((trits, name)) = checkpoint.tensors.iter().find_map(ternary) else { return Ok((Some("int8"), None)) };
    Ok(match trits.scale(&Cpu::new(0)?.pool) {
        Ok(_) => (Some("int8"), None),
        Err(problem) => (None, Some(problem.at(&checkpoint.path, &name).to_string())),
    })
}

fn tokenizer(checkpoint: &Checkpoint) -> Value {
    match Tokenizer::new(&checkpoint.path, &checkpoint.text, &checkpoint.config) {
        Ok(tokenizer) => json!({
            "tokens": tokenizer.vocab_size(),
            "bos": tokenizer.bos(),
            "stop": tokenizer.stop_tokens(),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn chat_template(checkpoint: &Checkpoint) -> bool {
    matches!(ChatTemplate::new(&checkpoint.text, &checkpoint.config), Ok(Some(_)))
}

/// The facts for people.
fn page(facts: &Value) -> String {
    let number = |name: &str| facts[name].as_u64().unwrap_or(0);
    let mut page = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(page, "{name:<14}{text}");
    };
    line("path", facts["path"].as_str().unwrap_or_default().into());
    line("format", facts["format"].as_str().unwrap_or_default().into());
    line("architecture", facts["architecture"].as_str().unwrap_or_default().into());
    line("parameters", millions(number("parameters")));
    line(
        "layers",
        format!("{} × (hidden {}, feed-forward {})", number("layers"), number("hidden"), number("intermediate")),
    );
    line("heads", format!("{} of {}, {} for keys and values", number("heads"), number("head_dim"), number("kv_heads")));
    line(
        "vocabulary",
        format!("{}{}", number("vocab"), if facts["tied"] == true { ", head tied to the embedding" } else { "" }),
    );
    line("context", number("context").to_string());
    for (name, stored) in facts["encodings"].as_object().into_iter().flatten() {
        let bytes = mib(stored["bytes"].as_u64().unwrap_or(0));
        line("stored as", format!("{name}: {} tensors, {bytes}", stored["tensors"]));
    }
    match facts["activations"].as_str() {
        Some(kind) => line("activations", format!("{kind}, as one scale per tensor asks for")),
        None => line("activations", format!("cannot run: {}", facts["problem"].as_str().unwrap_or_default())),
    }
    match facts["tokenizer"]["error"].as_str() {
        Some(error) => line("tokenizer", format!("none: {error}")),
        None => line("tokenizer", format!("{} tokens", facts["tokenizer"]["tokens"])),
    }
    line("chat template", if facts["chat_template"] == true { "yes" } else { "no" }.into());
    let memory = |name: &str| mib(facts["memory"][name].as_u64().unwrap_or(0));
    let parts = format!(
        "weights {}, cache of {} tokens {}",
        memory("weights_bytes"),
        facts["memory"]["kv_context"],
        memory("kv_bytes")
    );
    line("memory", format!("{}: {parts}", memory("total_bytes")));
    page
}

fn millions(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        n => format!("{:.1} million", n / 1e6),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
