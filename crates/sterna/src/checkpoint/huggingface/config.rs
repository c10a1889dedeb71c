//! `config.json` and `generation_config.json`: makes one [`Config`] from the keys of several transformers versions.

use std::path::Path;

use serde_json::Value;

use super::mlx::{self, Quantization};
use crate::arch::facts::{self, Facts, Keys};
use crate::arch::{Arch, Config, Container, Pooling, Refusal, RopeScaling};
use crate::checkpoint::{DAMAGED, Reasons, malformed, over_limit, refused};
use crate::{Error, Result};

/// How `weight_scale` applies to packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A weight is `trit · weight_scale` (`AutoBitLinear`, 2B4T).
    Multiply,
    /// A weight is `trit / weight_scale` (`BitLinear`, HF1BitLLM and Falcon).
    Divide,
}

/// The contents of the two files.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// Dimensions and options.
    pub config: Config,
    /// How packed linear layers are scaled, if the file specifies it.
    pub packing: Option<Packing>,
    /// How matrices are packed in MLX's way, if they are.
    pub mlx: Option<Quantization>,
    /// Whether the file declares a BitNet model, so that full-precision weights are rounded to trits.
    pub quantize: bool,
}

/// Parses the contents of both files. `path` is the path of config.json, for error messages. `generation` may be null.
/// The network must have one of the architectures `known`.
///
/// # Errors
///
/// [`Error::Malformed`] if a value is missing or impossible, and [`Error::Unsupported`] if the network cannot run.
pub fn parse(path: &Path, config: &Value, generation: &Value, known: &[&'static Arch]) -> Result<HfConfig> {
    let json = Json { path, value: config };
    if !config.is_object() {
        return Err(malformed(path, "JSON", "is not an object", DAMAGED));
    }
    let refuse = |refusal| refused(path, refusal, known, Container::HuggingFace);
    let architecture = architecture(&json, known)?;
    let mut reasons = Reasons::default();
    reasons.keep(refuse_graph(&json, architecture, &[], &|_| None).map_err(refuse))?;
    let facts = facts(&json, &[], &|_| None);
    let rope_scaling = reasons.keep(RopeScaling::read(&facts).map_err(refuse))?;
    let config = reasons.keep(dimensions(&json, generation, architecture, rope_scaling.unwrap_or_default()))?;
    let config = match config {
        Some(config) => reasons.keep(details(config, &facts).map_err(refuse))?,
        None => None,
    };
    let packing = reasons.keep(packing(&json, architecture, &refuse))?.flatten();
    let mlx = reasons.keep(Quantization::read(&json, &refuse))?.flatten();
    reasons.check()?;
    let config = config.ok_or_else(|| malformed(path, "JSON", "has no dimensions", DAMAGED))?;
    config.check().map_err(|problem| malformed(path, "JSON", problem, DAMAGED))?;
    // Falcon-E's and 1bitLLM's full-precision checkpoints declare it with other keys.
    let says_so = json.flag("is_bitnet_config")? == Some(true) || json.number("weight_bits")? == Some(1.0);
    let quantize = architecture.quantize_at_load || says_so || packing.is_some();
    Ok(HfConfig { config, packing, mlx, quantize })
}

/// Adds what only this architecture's files state.
fn details(mut config: Config, facts: &Facts<'_>) -> Result<Config, Refusal> {
    (config.pooling, _) = Pooling::of(config.architecture, facts)?;
    (config.architecture.details)(facts, &mut config)?;
    Ok(config)
}

/// The keys of a model's config.json, with those of its language model if it also sees images.
pub(super) fn language_model(config: Value) -> Value {
    let (mut whole, Some(Value::Object(inner))) = (config.clone(), config.get("text_config")) else { return config };
    if let Value::Object(whole) = &mut whole {
        let named = |key: &str| ["architectures", "model_type"].contains(&key);
        whole.extend(inner.iter().filter(|(key, _)| !named(key)).map(|(key, value)| (key.clone(), value.clone())));
    }
    whole
}

/// The dimensions and options of both files, without the details of the architecture.
fn dimensions(
    json: &Json<'_>,
    generation: &Value,
    architecture: &'static Arch,
    rope_scaling: RopeScaling,
) -> Result<Config> {
    let path = json.path;
    let (hidden, heads) = (json.size("hidden_size")?, json.size("num_attention_heads")?);
    let head_dim = match json.optional_size("head_dim")?.or(architecture.defaults.head_dim) {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let problem = format!("missing, and {hidden} features do not split into {heads} heads");
            return Err(malformed(path, "head_dim", problem, DAMAGED));
        }
    };
    let vocab = json.size("vocab_size")?;
    let mut eos = token_ids(json.value, vocab);
    eos.extend(token_ids(generation, vocab));
    eos.sort_unstable();
    eos.dedup();
    let config = Config {
        architecture,
        hidden,
        intermediate: json.size("intermediate_size")?,
        layers: json.size("num_hidden_layers")?,
        heads,
        kv_heads: json.optional_size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab,
        context: json.optional_size("max_position_embeddings")?.unwrap_or(2048),
        rms_eps: json.number("rms_norm_eps")?.unwrap_or(architecture.defaults.rms_eps) as f32,
        rope_theta: rope_theta(json)?.unwrap_or(architecture.defaults.rope_theta),
        rope_scaling,
        pooling: None,
        windows: None,
        scalings: None,
        tied: architecture.head && json.flag("tie_word_embeddings")?.unwrap_or(false),
        eos,
        hybrid: None,
    };
    config.within_limits().map_err(|(what, limit)| over_limit(path, what, limit))?;
    Ok(config)
}

fn architecture(json: &Json<'_>, known: &[&'static Arch]) -> Result<&'static Arch> {
    // `model_type` is used only without `architectures`: 1bitLLM's BitnetForCausalLM has the model type llama.
    let listed = json.value.get("architectures").and_then(Value::as_array).and_then(|all| all.first());
    let name = match listed.and_then(Value::as_str).or(json.text("model_type")?) {
        Some(name) => name,
        None => return Err(malformed(json.path, "architectures", "missing", DAMAGED)),
    };
    let named: Vec<&'static Arch> = known
        .iter()
        .copied()
        .filter(|arch| arch.hugging_face.contains(&name) || arch.model_types.contains(&name))
        .collect();
    let refuse = |what| Err(refused(json.path, Refusal::unsupported(what), known, Container::HuggingFace));
    let Some(first) = named.first() else {
        let experts = ["num_experts", "num_local_experts", "n_routed_experts"].iter().find_map(|key| {
            json.value.get(key)?.as_u64().filter(|count| *count > 0).map(|count| format!(", with {count} experts,"))
        });
        return refuse(format!("the architecture `{name}`{}", experts.unwrap_or_default()));
    };
    match json.text("hidden_act")? {
        None => Ok(first),
        Some(function) => match named.iter().find(|arch| arch.hidden_act == function) {
            Some(arch) => Ok(arch),
            None => refuse(format!("hidden_act `{function}` in {name}")),
        },
    }
}

/// Checks the file against the architecture. `tensors` are the names of the tensors, as far as known, and `values` reads
/// one.
pub(super) fn refuse_graph(
    json: &Json<'_>,
    arch: &Arch,
    tensors: &[&str],
    values: &dyn Fn(&str) -> Option<Vec<f32>>,
) -> Result<(), Refusal> {
    (arch.refuse)(&facts(json, tensors, values))
}

fn facts<'a>(json: &'a Json<'_>, tensors: &'a [&'a str], values: &'a dyn Fn(&str) -> Option<Vec<f32>>) -> Facts<'a> {
    Facts { container: Container::HuggingFace, keys: json, tensors, values }
}

impl Keys for Json<'_> {
    fn value(&self, key: &str) -> Option<facts::Value<'_>> {
        let value = key.split('.').try_fold(self.value, |value, part| value.get(part))?;
        Some(match value {
            Value::Null => return None,
            Value::Bool(flag) => facts::Value::Flag(*flag),
            Value::Number(number) => number.as_f64().map_or(facts::Value::Other, facts::Value::Number),
            Value::String(text) => facts::Value::Text(text),
            Value::Array(items) => match items.iter().map(Value::as_f64).collect() {
                Some(numbers) if !items.is_empty() => facts::Value::Numbers(numbers),
                _ => facts::Value::Texts(items.iter().filter_map(Value::as_str).collect()),
            },
            Value::Object(_) => facts::Value::Other,
        })
    }

    fn full_name(&self, key: &str) -> String {
        key.into()
    }
}

/// `rope_theta`, which newer versions store in `rope_parameters`.
fn rope_theta(json: &Json<'_>) -> Result<Option<f64>> {
    let mut theta = json.number("rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(value) = json.value.get(key).filter(|value| !value.is_null()) else { continue };
        let inner = Json { path: json.path, value };
        if !value.is_object() {
            return Err(malformed(json.path, key, "is not an object", DAMAGED));
        }
        theta = theta.or(inner.number("rope_theta")?);
    }
    Ok(theta)
}

fn packing(json: &Json<'_>, arch: &Arch, refuse: &dyn Fn(Refusal) -> Error) -> Result<Option<Packing>> {
    let refuse = |what: String| Err(refuse(Refusal::unsupported(what)));
    let Some(value) = json.value.get("quantization_config").filter(|value| !value.is_null()) else { return Ok(None) };
    let inner = Json { path: json.path, value };
    if !value.is_object() {
        return Err(malformed(json.path, "quantization_config", "is not an object", DAMAGED));
    }
    if mlx::is_mlx(value) {
        return Ok(None);
    }
    match inner.text("quant_method")? {
        Some("bitnet") => {}
        method => return refuse(format!("the quantization method `{}`", method.unwrap_or("none"))),
    }
    if inner.flag("use_rms_norm")? == Some(true) && !arch.projection_norms {
        return refuse("quantization_config.use_rms_norm = true (a norm in every projection)".into());
    }
    if let Some(mode) = inner.text("quantization_mode")?.filter(|mode| !["online", "offline"].contains(mode)) {
        return refuse(format!("the quantization mode `{mode}`"));
    }
    let whole = inner.value.get("modules_to_not_convert").and_then(Value::as_array).into_iter().flatten();
    if let Some(other) = whole.filter_map(Value::as_str).find(|name| !["lm_head", "embed_tokens"].contains(name)) {
        return refuse(format!("full precision in `{other}` (modules_to_not_convert)"));
    }
    match inner.text("linear_class")? {
        Some("autobitlinear") => Ok(Some(Packing::Multiply)),
        None | Some("bitlinear") => Ok(Some(Packing::Divide)),
        Some(other) => refuse(format!("the linear class `{other}`")),
    }
}

/// `eos_token_id`: a number, a list, or absent. Ids outside the vocabulary cannot be drawn and are dropped.
fn token_ids(value: &Value, vocab: usize) -> Vec<u32> {
    let ids = match value.get("eos_token_id") {
        Some(Value::Array(ids)) => &ids[..],
        Some(id) => std::slice::from_ref(id),
        None => &[],
    };
    let ids = ids.iter().filter_map(Value::as_u64).filter(|id| *id < vocab as u64);
    ids.filter_map(|id| u32::try_from(id).ok()).take(256).collect()
}

/// An object of a JSON file with typed access; `null` counts as absent.
pub(in crate::checkpoint) struct Json<'a> {
    pub path: &'a Path,
    pub value: &'a Value,
}

impl<'a> Json<'a> {
    fn typed<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(malformed(self.path, key, format!("is not {what}"), DAMAGED)),
            },
        }
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| malformed(self.path, key, "missing", DAMAGED))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a text", Value::as_str)
    }
}
