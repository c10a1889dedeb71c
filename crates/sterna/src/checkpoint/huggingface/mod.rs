//! Hugging Face directories: `config.json`, safetensors files and the tokenizer's files.

pub mod config;
mod hadamard;
mod mlx;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sterna_kernels::Bytes;
use sterna_kernels::format::{self, F32, HF_PACKED, Trits};

use super::collect::collect;
use super::safetensors::{Entry, Header};
use super::set_aside::set_aside;
use super::source::Source;
use super::{
    Checkpoint, DAMAGED, Data, Files, Outline, Reasons, Tensor, TextFiles, malformed, over_limit, problem_at, refused,
    unsupported,
};
use crate::Result;
use crate::arch::{Arch, Container, Kind, Slot, by_projection_norms, facts};
use config::{HfConfig, Json, Packing};

/// Longest JSON file that is parsed completely; in memory it takes up to 72 times its length. Gemma 3's
/// tokenizer_config.json, with more than six thousand special tokens, has 1.1 MB.
const MAX_JSON: usize = 4 << 20;
/// Longest `model.safetensors.index.json`.
const MAX_INDEX: usize = 16 << 20;
/// Longest `tokenizer.json`; the largest known files have about 35 MB.
const MAX_TOKENIZER: usize = 256 << 20;
/// Most files in one checkpoint.
const MAX_SHARDS: usize = 1024;

/// Opens the directory, or its files in memory.
pub(super) fn open(source: &Source<'_>, known: &[&'static Arch]) -> Result<Checkpoint> {
    let path = source.path();
    let config_path = path.join("config.json");
    let config = json(source, "config.json")?.ok_or_else(|| {
        let remedy = match source.gguf_inside() {
            Some(name) => format!("pass the file {}", path.join(name).display()),
            None => "pass a .gguf file, or a Hugging Face directory with config.json and model.safetensors".into(),
        };
        malformed(path, "config.json", "there is no such file", remedy)
    })?;
    let generation = json(source, "generation_config.json")?.unwrap_or(Value::Null);
    let tensors = all_tensors(source);
    let names = tensors.iter().flat_map(|(tensors, _)| tensors.keys()).map(String::as_str);
    let known = &by_projection_norms(known, names)[..];
    let config = config::language_model(config);
    let mut hf = config::parse(&config_path, &config, &generation, known)?;
    let (tensors, files) = tensors?;
    let (names, remarks) = set_aside(tensors.keys().map(String::as_str));
    let json = Json { path: &config_path, value: &config };
    let values = |name: &str| {
        let entry = tensors.get(name).filter(|entry| entry.shape.iter().product::<usize>() <= facts::MAX_VALUES)?;
        format::by_safetensors(entry.dtype)?.numbers(&entry.bytes)
    };
    let mut reasons = Reasons::default();
    let graph = config::refuse_graph(&json, hf.config.architecture, &names, &values);
    reasons.keep(graph.map_err(|refusal| refused(path, refusal, known, Container::HuggingFace)))?;
    hf.config.tied |= hf.config.architecture.head && named(&tensors, "lm_head.weight").is_none();
    reasons.keep(rotation(source, &config, &tensors, &mut hf, known))?;
    reasons.keep(check_types(path, &tensors, &hf))?;
    reasons.check()?;
    let tensors = collect(path, &hf.config, |slot| find(path, &tensors, &hf, slot))?;
    let format = if hf.mlx.is_some() { "mlx" } else { "safetensors" };
    let (config, text) = (hf.config, text(source)?);
    Ok(Checkpoint { path: path.into(), format, config, text, tensors, adapter: None, remarks, files })
}

/// Reads the rotation of the inputs of projections, if weights were rotated, and checks it.
fn rotation(
    source: &Source<'_>,
    config: &Value,
    tensors: &BTreeMap<String, Entry>,
    hf: &mut HfConfig,
    known: &[&'static Arch],
) -> Result<()> {
    const FILE: &str = "hadamard.json";
    let refuse = |refusal| refused(source.path(), refusal, known, Container::HuggingFace);
    if let Some(keys) = json(source, FILE)? {
        let keys = hadamard::read(&source.path().join(FILE), &keys)?;
        hf.config.rotate(&keys).map_err(refuse)?;
    }
    hadamard::check(config, tensors, &hf.config).map_err(refuse)
}

/// What the directory says about its model. Weights that cannot be read are left out.
pub(super) fn outline(source: &Source<'_>) -> Result<Outline> {
    const SIZES: [(&str, &str); 9] = [
        ("layers", "num_hidden_layers"),
        ("hidden", "hidden_size"),
        ("intermediate", "intermediate_size"),
        ("heads", "num_attention_heads"),
        ("kv_heads", "num_key_value_heads"),
        ("head_dim", "head_dim"),
        ("vocab", "vocab_size"),
        ("context", "max_position_embeddings"),
        ("experts", "num_experts"),
    ];
    let missing = || malformed(source.path(), "config.json", "there is no such file", "pass the model's directory");
    let config = json(source, "config.json")?.ok_or_else(missing)?;
    let architecture = config.pointer("/architectures/0").or(config.get("model_type")).and_then(Value::as_str);
    // Models that also see images have the language model's sizes in an object of their own.
    let size = |key: &str| config.get(key).or_else(|| config.get("text_config")?.get(key))?.as_u64();
    let format = if config.get("quantization").is_some_and(mlx::is_mlx) { "mlx" } else { "safetensors" };
    let mut outline = Outline { format, architecture: architecture.map(str::to_owned), ..Outline::default() };
    outline.sizes = SIZES.iter().filter_map(|(name, key)| Some((*name, size(key)?))).collect();
    for entry in all_tensors(source).map(|(tensors, _)| tensors).unwrap_or_default().values() {
        let values = entry.shape.iter().fold(1u64, |n, dim| n.saturating_mul(*dim as u64));
        outline.count(entry.dtype.to_lowercase(), values);
    }
    Ok(outline)
}

/// Reads a small JSON file. If a key occurs twice, the last value counts.
pub(super) fn json(source: &Source<'_>, name: &str) -> Result<Option<Value>> {
    let Some(bytes) = source.text(name, MAX_JSON)? else { return Ok(None) };
    let path = source.path().join(name);
    let value = serde_json::from_slice(&bytes).map_err(|error| malformed(&path, "JSON", error.to_string(), DAMAGED))?;
    Ok(Some(value))
}

/// The tensors of `model.safetensors` or of the files that the index names, and these files. Other files in the
/// directory are ignored.
fn all_tensors(source: &Source<'_>) -> Result<(BTreeMap<String, Entry>, Files)> {
    let path = source.path();
    if let Some(file) = source.tensors("model.safetensors")? {
        return Ok((Header::read(&file)?.tensors, Files::new(file.watched())));
    }
    let name = "model.safetensors.index.json";
    let Some(index) = source.text(name, MAX_INDEX)? else {
        let remedy = "download the model's safetensors files; other weight formats are not read";
        return Err(malformed(path, "model.safetensors", "there is neither this file nor an index of several", remedy));
    };
    let (mut tensors, mut files) = (BTreeMap::new(), Vec::new());
    for shard in shards(&path.join(name), &index)? {
        let file = source.tensors(&shard)?.ok_or_else(|| {
            malformed(path, &*shard, format!("{name} names this file, but it is missing"), "download it")
        })?;
        for (name, entry) in Header::read(&file)?.tensors {
            if tensors.contains_key(&name) {
                return Err(malformed(file.path(), format!("tensor `{name}`"), "is in another file too", DAMAGED));
            }
            tensors.insert(name, entry);
        }
        files.extend(file.watched());
    }
    Ok((tensors, Files::new(files)))
}

/// The file names in an index. All must be plain names in the same directory.
fn shards(path: &Path, index: &[u8]) -> Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bad = |problem: String| malformed(path, "weight_map", problem, DAMAGED);
    let index: Index = serde_json::from_slice(index).map_err(|error| bad(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if shards.len() > MAX_SHARDS {
        return Err(over_limit(path, format!("an index of {} files", shards.len()), MAX_SHARDS));
    }
    match shards.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        Some(name) => Err(bad(format!("`{name}` is not a file name"))),
        None => Ok(shards),
    }
}

/// Refuses number formats that are not read; each is named once.
fn check_types(path: &Path, tensors: &BTreeMap<String, Entry>, hf: &HfConfig) -> Result<()> {
    let mut refused: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for slot in hf.config.architecture.tensors(&hf.config) {
        let Some((name, entry)) = stored(tensors, &slot) else { continue };
        let read = match (slot.kind, entry.dtype) {
            (Kind::Ternary { .. }, "U8") => true,
            (Kind::Ternary { .. } | Kind::Dense { .. }, "U32") if hf.mlx.is_some() => true,
            (_, dtype) => format::by_safetensors(dtype).is_some(),
        };
        if !read {
            refused.entry(entry.dtype).or_default().push(name);
        }
    }
    let mut reasons = Reasons::default();
    for (dtype, names) in refused {
        reasons.keep(Err::<(), _>(wrong_dtype(path, &names, dtype)))?;
    }
    reasons.check()
}

/// The tensor of a slot.
fn stored<'a>(tensors: &'a BTreeMap<String, Entry>, slot: &Slot) -> Option<(&'a String, &'a Entry)> {
    [&slot.name].into_iter().chain(&slot.aliases).find_map(|name| named(tensors, name))
}

fn find(path: &Path, tensors: &BTreeMap<String, Entry>, hf: &HfConfig, slot: &Slot) -> Result<Option<Tensor>> {
    let Some((name, entry)) = stored(tensors, slot) else { return Ok(None) };
    let mut shape = entry.shape.clone();
    let bytes = entry.bytes.clone();
    let data = match (slot.kind, entry.dtype) {
        (Kind::Ternary { rows, .. } | Kind::Dense { rows, .. }, "U32") if let Some(mlx) = hf.mlx => {
            shape = mlx.shape(entry);
            let trits = mlx.matrix(path, tensors, (name, entry), rows)?;
            if let (Kind::Dense { .. }, Some(stored)) = (slot.kind, shape.first_mut()) {
                // Padding of the vocabulary is left out.
                *stored = (*stored).min(trits.rows());
            }
            Data::Ternary(trits)
        }
        (Kind::Ternary { .. }, dtype) => {
            if let ("U8", Some(rows)) = (dtype, shape.first_mut()) {
                *rows = rows.saturating_mul(4);
            }
            Data::Ternary(ternary(path, tensors, hf, (name, entry), &shape)?)
        }
        (_, dtype) => match (format::by_safetensors(dtype), hf.config.architecture.offset(slot)) {
            (Some(format), 0.0) => Data::Dense { format, bytes },
            (Some(format), offset) => offset_numbers(format, &bytes, offset).unwrap_or(Data::Dense { format, bytes }),
            (None, _) => return Err(wrong_dtype(path, &[name], dtype)),
        },
    };
    Ok(Some(Tensor { stored_name: name.clone(), shape, data, interleaved_heads: None }))
}

/// Numbers, each with the same one added. `None` if they cannot be read; a later check says why.
fn offset_numbers(format: &'static format::Format, bytes: &Bytes, offset: f32) -> Option<Data> {
    let numbers = format.numbers(bytes)?;
    let bytes: Vec<u8> = numbers.into_iter().flat_map(|number| (number + offset).to_le_bytes()).collect();
    Some(Data::Dense { format: &F32, bytes: bytes.into() })
}

/// The tensor of this name. Models that also see images put a prefix before the names of their language model, and models
/// without a head leave out `model.`.
fn named<'a>(tensors: &'a BTreeMap<String, Entry>, name: &str) -> Option<(&'a String, &'a Entry)> {
    let prefixed = |prefix: &str| tensors.get_key_value(&format!("{prefix}{name}"));
    let headless = || tensors.get_key_value(name.strip_prefix("model.")?);
    let inner = || tensors.get_key_value(&format!("model.language_model.{}", name.strip_prefix("model.")?));
    ["", "language_model."].into_iter().find_map(prefixed).or_else(headless).or_else(inner)
}

fn wrong_dtype(path: &Path, names: &[&String], dtype: &str) -> crate::Error {
    let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
    let first = names.first().map_or("", |name| name.as_str());
    let remedy = "convert it to BF16, or linear weights to packed U8";
    unsupported(path, format!("tensor `{first}`{more} stored as {dtype}"), remedy)
}

fn ternary(
    path: &Path,
    tensors: &BTreeMap<String, Entry>,
    hf: &HfConfig,
    (name, entry): (&String, &Entry),
    shape: &[usize],
) -> Result<Trits> {
    let &[rows, cols] = shape else {
        return Err(malformed(path, format!("tensor `{name}`"), format!("shape {shape:?} is not a matrix"), DAMAGED));
    };
    let format = match entry.dtype {
        "U8" => &HF_PACKED,
        dtype => format::by_safetensors(dtype).ok_or_else(|| wrong_dtype(path, &[name], dtype))?,
    };
    let trits = Trits::new(format, rows, cols, entry.bytes.clone());
    let trits = trits.map_err(|problem| problem_at(path, name, problem))?;
    match entry.dtype {
        "U8" => Ok(trits.scaled(weight_scale(path, tensors, hf.packing, name)?)),
        _ if hf.quantize => Ok(trits.quantized_at_load()),
        _ => Ok(trits),
    }
}

/// The factor of a packed matrix, computed from its `weight_scale`.
fn weight_scale(path: &Path, tensors: &BTreeMap<String, Entry>, packing: Option<Packing>, name: &str) -> Result<f32> {
    let name = format!("{name}_scale");
    let place = format!("tensor `{name}`");
    let entry = tensors.get(&name).ok_or_else(|| malformed(path, &*place, "is missing", DAMAGED))?;
    let numbers = format::by_safetensors(entry.dtype).and_then(|format| format.numbers(&entry.bytes));
    let scale = match numbers.as_deref() {
        Some(&[scale]) => scale,
        _ => {
            let what = format!("{place} of {} {:?}", entry.dtype, entry.shape);
            return Err(unsupported(path, what, "packed weights have one scale per tensor"));
        }
    };
    match packing {
        Some(Packing::Multiply) => Ok(scale),
        Some(Packing::Divide) if scale != 0.0 => Ok(1.0 / scale),
        Some(Packing::Divide) => Err(malformed(path, place, "the scale is 0", DAMAGED)),
        None => {
            let problem = "missing, but the weights are packed: whether their scale multiplies or divides is not known";
            Err(malformed(&path.join("config.json"), "quantization_config", problem, DAMAGED))
        }
    }
}

/// The tokenizer's files. Values missing in tokenizer_config.json come from special_tokens_map.json.
fn text(source: &Source<'_>) -> Result<TextFiles> {
    let Some(tokenizer) = source.text("tokenizer.json", MAX_TOKENIZER)? else { return Ok(TextFiles::None) };
    let object = |name: &str| {
        Ok(match json(source, name)? {
            Some(Value::Object(object)) => object,
            Some(_) => return Err(malformed(&source.path().join(name), "JSON", "is not an object", DAMAGED)),
            None => serde_json::Map::new(),
        })
    };
    let mut config = object("tokenizer_config.json")?;
    for (key, value) in object("special_tokens_map.json")? {
        config.entry(key).or_insert(value);
    }
    let chat_template = match source.text("chat_template.jinja", MAX_JSON)? {
        Some(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let path = source.path().join("chat_template.jinja");
                return Err(malformed(&path, "the text", error.to_string(), DAMAGED));
            }
        },
        None => None,
    };
    Ok(TextFiles::HuggingFace { tokenizer: tokenizer.into(), config: Value::Object(config), chat_template })
}
