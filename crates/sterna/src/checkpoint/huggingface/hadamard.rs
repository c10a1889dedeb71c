//! `hadamard.json` of MLX directories, and what config.json says about the same rotation.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sterna_kernels::format;

use super::config::Json;
use crate::Result;
use crate::arch::{Config, HADAMARD_PREFIX, HadamardKeys, Refusal};
use crate::checkpoint::safetensors::Entry;
use crate::checkpoint::{DAMAGED, malformed};

/// The keys of the file's JSON.
///
/// # Errors
///
/// [`Error::Malformed`](crate::Error::Malformed) if a value has another type.
pub(super) fn read(path: &Path, value: &Value) -> Result<HadamardKeys> {
    let json = Json { path, value };
    let key = |name: &str| format!("{HADAMARD_PREFIX}{name}");
    let size = |name: &str| Ok::<_, crate::Error>(json.optional_size(&key(name))?.map(|size| size as u64));
    let text = |name: &str| Ok::<_, crate::Error>(json.text(&key(name))?.map(str::to_owned));
    let flag = |name: &str| Ok::<_, crate::Error>(json.flag(&key(name))?.unwrap_or(false));
    Ok(HadamardKeys {
        version: size("version")?,
        block_size: size("block_size")?,
        transform: text("transform")?,
        axis: text("axis")?,
        sign_mode: text("sign_mode")?,
        sign_widths: list(&json, &key("sign_widths"), "whole numbers", Value::as_i64)?,
        sign_values: list(&json, &key("sign_values"), "whole numbers", Value::as_i64)?,
        weight_names: list(&json, &key("weight_names"), "texts", |value| value.as_str().map(str::to_owned))?,
        inverse_weight_names: list(&json, &key("inverse_weight_names"), "texts", |value| {
            value.as_str().map(str::to_owned)
        })?,
        grouped_values: flag("gdn_v_grouped")?,
        tied_output: flag("tied_output")?,
    })
}

fn list<T>(json: &Json<'_>, key: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
    let items = match json.value.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().map(|items| items.iter().map(read).collect::<Option<Vec<T>>>()),
    };
    items.flatten().ok_or_else(|| malformed(json.path, key, format!("is not a list of {what}"), DAMAGED))
}

/// Checks what config.json and the tensors `*.signs` say about the rotation of `config`.
///
/// # Errors
///
/// [`Refusal`] if they say something else than hadamard.json, or describe a pack that is not known.
pub(super) fn check(json: &Value, tensors: &BTreeMap<String, Entry>, config: &Config) -> Result<(), Refusal> {
    const REMEDY: &str = "download the directory again; if it is complete, report it: the pack is of an unknown kind";
    let refuse = |what: String| Err(Refusal::Unsupported { what, remedy: Some(REMEDY) });
    let Some(hadamard) = config.hybrid.as_ref().and_then(|hybrid| hybrid.hadamard.as_ref()) else {
        let rotated = json.get("model_type").and_then(Value::as_str) == Some("prism_hadamard_qwen35");
        return if rotated { refuse("a Hadamard-rotated model without hadamard.json".into()) } else { Ok(()) };
    };
    if let Some(version) = json.get("schema_version").filter(|version| ![Some(1), Some(2)].contains(&version.as_u64()))
    {
        return refuse(format!("schema_version = {version}"));
    }
    if let Some(layout) = json.get("gdn_activation_layout").filter(|layout| layout.as_str() != Some("grouped")) {
        return refuse(format!("gdn_activation_layout = {layout}"));
    }
    let modules = json.get("modules").and_then(Value::as_array).into_iter().flatten();
    let blocks: BTreeMap<&str, u64> =
        modules.filter_map(|module| Some((module.get("path")?.as_str()?, module.get("block")?.as_u64()?))).collect();
    for slot in config.architecture.tensors(config) {
        let stem = slot.name.trim_end_matches(".weight");
        let embedding = slot.name == "model.embed_tokens.weight";
        let block = if hadamard.rotates(&slot) || embedding && hadamard.embedding { hadamard.block as u64 } else { 0 };
        let other = blocks.get(stem).filter(|other| **other != block && (block > 0 || **other > 0));
        if let Some(other) = other {
            return refuse(format!("the module `{stem}` with rotated blocks of {other}, but {block} in hadamard.json"));
        }
        let signs = super::named(tensors, &format!("{stem}.signs"));
        let signs = signs.and_then(|(_, entry)| format::by_safetensors(entry.dtype)?.numbers(&entry.bytes));
        if signs.is_some_and(|signs| signs != hadamard.signs(slot.kind.shape().1)) {
            return refuse(format!("the tensor `{stem}.signs` with other signs than hadamard.json"));
        }
    }
    Ok(())
}
