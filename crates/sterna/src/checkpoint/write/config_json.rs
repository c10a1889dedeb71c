//! `config.json` and `generation_config.json` of a written directory.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::arch::{Arch, Config, RopeScaling};
use crate::checkpoint::{GgufVocabulary, TextFiles, huggingface};
use crate::{Error, Result};

/// The object that describes a model; `dtype` is the number type of its plain weights, `more` are keys about its packing.
///
/// # Errors
///
/// [`Error::Option`] if config.json has no keys for some part of the configuration.
pub(super) fn config_json(
    path: &Path,
    config: &Config,
    known: &[&'static Arch],
    dtype: &str,
    more: Value,
) -> Result<Value> {
    let arch = config.architecture;
    let refuse =
        |what: &str| Error::option("to", format!("{what} cannot be written to config.json; write a GGUF file"));
    let name = arch.hugging_face.first().ok_or_else(|| refuse(&format!("the architecture {}", arch.name)))?;
    let mut keys = json!({
        "architectures": [name],
        "model_type": arch.model_types.first().unwrap_or(&arch.name),
        "hidden_act": arch.hidden_act,
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "rms_norm_eps": shortest(config.rms_eps),
        "rope_theta": config.rope_theta,
        "rope_scaling": rope_scaling(&config.rope_scaling),
        "tie_word_embeddings": config.tied,
        "attention_bias": false,
        "torch_dtype": dtype,
    });
    if !config.eos.is_empty() {
        keys["eos_token_id"] = json!(config.eos);
    }
    if let Some(windows) = config.windows {
        keys["sliding_window"] = json!(windows.positions);
        keys["sliding_window_pattern"] = json!(windows.period);
        keys["rope_local_base_freq"] = json!(windows.rope_theta);
    }
    if let Some(scalings) = config.scalings {
        keys["scale_emb"] = json!(scalings.embedding);
        keys["scale_depth"] = json!(f64::from(scalings.branch) * (config.layers as f64).sqrt());
        keys["dim_model_base"] = json!(config.hidden as f64 / f64::from(scalings.head));
    }
    if let (Some(keys), Value::Object(more)) = (keys.as_object_mut(), more) {
        keys.extend(more);
    }
    let read = huggingface::config::parse(path, &keys, &Value::Null, known)?.config;
    if read != *config {
        return Err(refuse(&format!("some options of this {}", arch.title)));
    }
    Ok(keys)
}

/// `generation_config.json`
pub(super) fn generation_json(config: &Config, text: &TextFiles) -> Value {
    let mut keys = Map::new();
    keys.insert("bos_token_id".into(), json!(bos(text)));
    if !config.eos.is_empty() {
        keys.insert("eos_token_id".into(), json!(config.eos));
    }
    Value::Object(keys)
}

/// The token that begins a text, if the vocabulary names it; without the key transformers takes another model's.
pub(super) fn bos(text: &TextFiles) -> Option<u32> {
    if let TextFiles::Gguf(GgufVocabulary { bos, .. }) = text { *bos } else { None }
}

/// The shortest decimal number that is the same `f32`.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn rope_scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::Yarn(yarn) => json!({
            "rope_type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original,
            "beta_fast": yarn.fast,
            "beta_slow": yarn.slow,
            "attention_factor": yarn.attention,
            "truncate": yarn.truncate,
        }),
        RopeScaling::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }),
        // The same divisors for every length, with the factor that belongs to it.
        RopeScaling::Divisors { divisors, attention } => {
            let divisors: Vec<f64> = divisors.iter().map(|divisor| shortest(*divisor)).collect();
            json!({
                "rope_type": "longrope",
                "short_factor": divisors,
                "long_factor": divisors,
                "attention_factor": attention,
            })
        }
        RopeScaling::None => Value::Null,
    }
}
