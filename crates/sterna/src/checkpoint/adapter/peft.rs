//! PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! ```text
//! base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight    (r, inputs)
//! base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight    (outputs, r)
//! ```
//! Source: <https://github.com/huggingface/peft>, `tuners/lora/config.py` and `utils/save_and_load.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use sterna_kernels::format;

use super::{Adapter, LowRank};
use crate::checkpoint::huggingface::{self, config::Json};
use crate::checkpoint::safetensors::{self, Entry, Header};
use crate::checkpoint::source::{OpenOptions, Source};
use crate::checkpoint::whole::write_whole;
use crate::checkpoint::{DAMAGED, malformed, unsupported};
use crate::{Error, Result};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's prefix for tensors of the wrapped model.
const PREFIX: &str = "base_model.model.";

/// Remedy for unsupported adapters.
const WHAT_RUNS: &str = "Sterna runs plain LoRA adapters of the projections in attention and feed-forward blocks, all \
     of one rank: train such an adapter";

/// Options that change the computation unless they are absent, null, false, "none" or empty.
const OPTIONS: [&str; 15] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "bias",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
];

/// Initialisations that also change the base model's weights.
const CHANGES_BASE: [&str; 4] = ["pissa", "olora", "corda", "loftq"];

impl Adapter {
    /// Reads a directory that PEFT or [`write()`] wrote. [`Checkpoint::with_adapter`] checks whether it fits a model.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read, [`Error::Malformed`] if one is missing or damaged, and
    /// [`Error::Unsupported`] for adapters that are not plain LoRA.
    ///
    /// [`Checkpoint::with_adapter`]: crate::checkpoint::Checkpoint::with_adapter
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path, &OpenOptions::default())?;
        let missing = |name: &str| {
            let remedy = format!("pass the directory that holds {CONFIG} and {WEIGHTS}, as PEFT saves them");
            malformed(path, name, "there is no such file", remedy)
        };
        let config = huggingface::json(&source, CONFIG)?.ok_or_else(|| missing(CONFIG))?;
        let file = path.join(CONFIG);
        let config = Json { path: &file, value: &config };
        refuse_options(&config)?;
        let rank = config.optional_size("r")?.unwrap_or(8);
        let alpha = config.number("lora_alpha")?.unwrap_or(8.0);
        if rank == 0 {
            return Err(malformed(&file, "r", "is 0", DAMAGED));
        }
        let base = config.text("base_model_name_or_path")?.map(String::from);
        let weights = source.tensors(WEIGHTS)?.ok_or_else(|| missing(WEIGHTS))?;
        let layers = layers(&path.join(WEIGHTS), Header::read(&weights)?, rank)?;
        Ok(Self { path: path.into(), base, rank, alpha, layers })
    }
}

fn refuse_options(config: &Json<'_>) -> Result<()> {
    let refuse = |what: String| Err(unsupported(config.path, what, WHAT_RUNS));
    match config.text("peft_type")? {
        Some("LORA") => {}
        other => return refuse(format!("the adapter type `{}`", other.unwrap_or("none"))),
    }
    for key in OPTIONS {
        let plain = match config.value.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::String(text)) => text == "none",
            Some(_) => false,
        };
        if !plain {
            return refuse(format!("`{key}` of an adapter"));
        }
    }
    let start = config.value.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if CHANGES_BASE.iter().any(|name| start.starts_with(name)) {
        return refuse(format!("init_lora_weights `{start}`, which changes the base model's weights,"));
    }
    Ok(())
}

/// The matrices of each layer, by the layer's name.
fn layers(path: &Path, header: Header, rank: usize) -> Result<BTreeMap<String, LowRank>> {
    let mut layers: BTreeMap<String, [Option<Vec<f32>>; 2]> = BTreeMap::new();
    for (name, entry) in &header.tensors {
        let Some((layer, which)) = parse(name) else {
            return Err(unsupported(path, format!("the tensor `{name}` of an adapter"), WHAT_RUNS));
        };
        let wanted = entry.shape.get(which);
        if entry.shape.len() != 2 || wanted != Some(&rank) {
            let problem = format!("shape {:?}, but the rank is {rank}", entry.shape);
            return Err(malformed(path, format!("tensor `{name}`"), problem, DAMAGED));
        }
        layers.entry(layer.into()).or_default()[which] = Some(values(path, name, entry)?);
    }
    if layers.is_empty() {
        return Err(malformed(path, "tensors", "there are none", DAMAGED));
    }
    let pair = |(layer, pair): (String, [Option<Vec<f32>>; 2])| match pair {
        [Some(a), Some(b)] => Ok((layer, LowRank { a, b })),
        _ => Err(malformed(path, layer, "has only one of lora_A and lora_B", DAMAGED)),
    };
    layers.into_iter().map(pair).collect()
}

/// The layer that a tensor belongs to, and which of its two matrices it is.
fn parse(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_prefix(PREFIX)?;
    let (layer, which) = match name.strip_suffix(".lora_A.weight") {
        Some(layer) => (layer, 0),
        None => (name.strip_suffix(".lora_B.weight")?, 1),
    };
    (layer.starts_with("model.layers.") && layer.ends_with("_proj")).then_some((layer, which))
}

fn values(path: &Path, name: &str, entry: &Entry) -> Result<Vec<f32>> {
    let numbers = format::by_safetensors(entry.dtype).and_then(|format| format.numbers(&entry.bytes));
    numbers.ok_or_else(|| {
        let what = format!("tensor `{name}` stored as {}", entry.dtype);
        unsupported(path, what, "save the adapter as F32, BF16 or F16")
    })
}

/// Writes an adapter into the directory `dir`, which is created if necessary. PEFT can load it.
///
/// Each file gets its name when it is complete, the weights first.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be written, and [`Error::Option`] if a matrix does not consist of rows of the
/// adapter's rank.
pub fn write(dir: &Path, adapter: &Adapter) -> Result<()> {
    let rank = adapter.rank;
    let mut tensors = Vec::new();
    for (layer, LowRank { a, b }) in &adapter.layers {
        if rank == 0 || !a.len().is_multiple_of(rank) || !b.len().is_multiple_of(rank) {
            return Err(Error::option("rank", format!("`{layer}` of the adapter does not have the rank {rank}")));
        }
        let mut add = |which: &str, shape: Vec<usize>, values: &[f32]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into();
            tensors.push((format!("{PREFIX}{layer}.{which}.weight"), Entry { dtype: "F32", shape, bytes }));
        };
        add("lora_A", vec![rank, a.len() / rank], a);
        add("lora_B", vec![b.len() / rank, rank], b);
    }
    std::fs::create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
    safetensors::write(&dir.join(WEIGHTS), ("format", "pt"), &tensors)?;
    let targets: BTreeSet<&str> = adapter.layers.keys().filter_map(|layer| layer.rsplit('.').next()).collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base,
        "r": rank,
        "lora_alpha": adapter.alpha,
        "target_modules": targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": true,
    });
    write_whole(&dir.join(CONFIG), &[format!("{config:#}\n").as_bytes()])
}
