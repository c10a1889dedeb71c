//! GGUF files of llama.cpp, bitnet.cpp and their relatives.

mod hadamard;
mod header;
mod i2s_layout;
mod split;
mod types;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use sterna_kernels::Bytes;
use sterna_kernels::format::{Format, Trits};

pub(super) use header::ALIGNMENT;
pub use header::{Header, Info, Value};
pub use i2s_layout::I2sLayout;
pub use split::{model_name, part_of};

use super::collect::collect;
use super::set_aside::set_aside;
use super::{
    Checkpoint, DAMAGED, Data, Files, Outline, Reasons, StoredFile, Tensor, malformed, over_limit, problem_at, refused,
    unsupported,
};
use crate::Result;
use crate::arch::facts::{self, Facts, Keys};
use crate::arch::{Arch, Config, Container, Kind, Pooling, RopeScaling, Slot, by_projection_norms, what_runs};
use types::{RECONVERT, Shared, Type};

/// Keys of tokens that end an answer.
pub(super) const ENDS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Opens the file if its network has one of the architectures `known`.
pub(super) fn open(file: &StoredFile, known: &[&'static Arch]) -> Result<Checkpoint> {
    let headers = split::parts(file)?;
    // The first part has the keys.
    let (path, header) = (headers[0].path(), &headers[0]);
    let parts = Part::all(&headers)?;
    let (names, mut remarks) = set_aside(headers.iter().flat_map(|part| part.tensors.keys()).map(String::as_str));
    let mut reasons = Reasons::default();
    reasons.keep(refuse_containers(path, header, &names))?;
    let config = match reasons.keep(architecture(path, header, &names, known))? {
        Some((name, arch)) => {
            let values = |name: &str| parts.iter().find_map(|part| part.values(name));
            let keys = ArchKeys { header, prefix: name };
            let facts = Facts { container: Container::Gguf, keys: &keys, tensors: &names, values: &values };
            network(&headers, name, (arch, known), &facts, (&mut reasons, &mut remarks))?
        }
        None => None,
    };
    reasons.keep(check_types(path, &parts, config.as_ref()))?;
    reasons.check()?;
    let Some(config) = config else { return Err(header.bad("general.architecture", "has no configuration")) };
    let arch = config.architecture;
    let find = |slot: &Slot| parts.iter().find(|part| part.header.tensors.contains_key(&slot.gguf));
    let mut tensors = collect(path, &config, |slot| find(slot).map_or(Ok(None), |part| part.find(slot, arch)))?;
    remarks.extend(i2s_layout::settle(&mut tensors, file.options().i2s_layout));
    let text = vocabulary::read(header, arch.template)?;
    let format = if header.version == 2 { "gguf v2" } else { "gguf v3" };
    let files = Files::new(headers.iter().filter_map(Header::watched));
    Ok(Checkpoint { path: file.path().into(), format, config, text, tensors, adapter: None, remarks, files })
}

/// What the file says about its model. Of a model with missing parts, the part alone counts.
pub(super) fn outline(file: &StoredFile) -> Result<Outline> {
    const SIZES: [(&str, &str); 8] = [
        ("layers", "block_count"),
        ("hidden", "embedding_length"),
        ("intermediate", "feed_forward_length"),
        ("heads", "attention.head_count"),
        ("kv_heads", "attention.head_count_kv"),
        ("head_dim", "attention.key_length"),
        ("context", "context_length"),
        ("experts", "expert_count"),
    ];
    let headers = split::parts(file).or_else(|_| Ok::<_, crate::Error>(vec![Header::read(file)?]))?;
    let header = &headers[0];
    let architecture = header.text("general.architecture").ok().flatten();
    let size = |key: &str| header.uint(&format!("{}.{key}", architecture?)).ok()?;
    let format = if header.version == 2 { "gguf v2" } else { "gguf v3" };
    let mut outline = Outline { format, architecture: architecture.map(str::to_owned), ..Outline::default() };
    outline.sizes = SIZES.iter().filter_map(|(name, key)| Some((*name, size(key)?))).collect();
    for part in Part::all(&headers)? {
        for info in part.header.tensors.values() {
            let kind = match part.format(info, None) {
                Ok(format) => format.name.to_owned(),
                Err((what, _)) => what,
            };
            outline.count(kind, info.weights as u64);
        }
    }
    Ok(outline)
}

fn architecture<'a>(
    path: &Path,
    header: &'a Header,
    tensors: &[&str],
    known: &[&'static Arch],
) -> Result<(&'a str, &'static Arch)> {
    let key = "general.architecture";
    let name = header.text(key)?.ok_or_else(|| header.bad(key, "is missing"))?;
    match by_projection_norms(known, tensors.iter().copied()).into_iter().find(|arch| arch.gguf.contains(&name)) {
        Some(arch) => Ok((name, arch)),
        None if name == "clip" => {
            let remedy = "it belongs to a model that also sees images: use the GGUF file of its language model";
            Err(unsupported(path, "a vision tower (the architecture `clip`)", remedy))
        }
        None => {
            let experts = match header.uint(&format!("{name}.expert_count")) {
                Ok(Some(count @ 1..)) => format!(", with {count} experts,"),
                _ => String::new(),
            };
            let what = format!("the architecture `{name}`{experts}");
            Err(unsupported(path, what, what_runs(known, Container::Gguf)))
        }
    }
}

/// The configuration of the network called `name`; `None` if there are reasons why it does not run.
fn network(
    headers: &[Header],
    name: &str,
    (arch, known): (&'static Arch, &[&'static Arch]),
    facts: &Facts<'_>,
    (reasons, remarks): (&mut Reasons, &mut Vec<String>),
) -> Result<Option<Config>> {
    let path = headers[0].path();
    let refuse = |refusal| refused(path, refusal, known, Container::Gguf);
    reasons.keep((arch.refuse)(facts).map_err(refuse))?;
    let rope_scaling = reasons.keep(RopeScaling::read(facts).map_err(refuse))?;
    let config = reasons.keep(config(headers, name, rope_scaling.unwrap_or_default(), (arch, known)))?;
    let Some(mut config) = config else { return Ok(None) };
    config.within_limits().map_err(|(what, limit)| over_limit(path, what, limit))?;
    if let Some((pooling, remark)) = reasons.keep(Pooling::of(arch, facts).map_err(refuse))? {
        config.pooling = pooling;
        remarks.extend(remark.map(str::to_owned));
    }
    reasons.keep((arch.details)(facts, &mut config).map_err(refuse))?;
    config.check().map_err(|problem| malformed(path, format!("keys `{name}.*`"), problem, DAMAGED))?;
    if let Some(keys) = hadamard::read(&headers[0])? {
        reasons.keep(config.rotate(&keys).map_err(refuse))?;
    }
    let rotary = format!("{name}.rope.dimension_count");
    if headers[0].uint(&rotary)?.is_some_and(|rotary| rotary != config.rotary_dim() as u64) {
        let what = format!("{rotary} different from the head size {}", config.head_dim);
        reasons.keep(Err::<(), _>(unsupported(path, what, what_runs(known, Container::Gguf))))?;
    }
    Ok(Some(config))
}

/// Refuses kinds of files that cannot be read with any architecture.
fn refuse_containers(path: &Path, header: &Header, tensors: &[&str]) -> Result<()> {
    let drafts = header.tensors.keys().any(|name| name.contains(".nextn."));
    if drafts && !tensors.iter().any(|name| name.starts_with("blk.0.")) {
        let what = "a file with nothing but the layer that drafts tokens (MTP)";
        return Err(unsupported(path, what, "use the model's main file, which runs without it"));
    }
    Ok(())
}

/// Refuses types of tensors that are not read; each type is named once. Without a configuration, all tensors count.
fn check_types(path: &Path, parts: &[Part<'_>], config: Option<&Config>) -> Result<()> {
    let mut refused: BTreeMap<Refused, Vec<&str>> = BTreeMap::new();
    let slots: Option<BTreeMap<String, Kind>> = config
        .map(|config| config.architecture.tensors(config).into_iter().map(|slot| (slot.gguf, slot.kind)).collect());
    for part in parts {
        for (name, info) in &part.header.tensors {
            let kind = slots.as_ref().and_then(|slots| slots.get(name)).copied();
            if slots.is_some() && kind.is_none() {
                continue;
            }
            if let Err(problem) = part.format(info, kind) {
                refused.entry(problem).or_default().push(name);
            }
        }
    }
    let mut reasons = Reasons::default();
    for ((what, remedy), names) in refused {
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        reasons.keep(Err::<(), _>(unsupported(path, format!("tensor `{}`{more}: {what}", names[0]), remedy)))?;
    }
    reasons.check()
}

/// The keys `prefix.*`.
struct ArchKeys<'a> {
    header: &'a Header,
    prefix: &'a str,
}

impl Keys for ArchKeys<'_> {
    fn value(&self, key: &str) -> Option<facts::Value<'_>> {
        let key = self.full_name(key);
        Some(match self.header.keys.get(&key)? {
            Value::Bool(flag) => facts::Value::Flag(*flag),
            Value::Unsigned(number) => facts::Value::Number(*number as f64),
            Value::Signed(number) => facts::Value::Number(*number as f64),
            Value::Float(number) => facts::Value::Number(*number),
            Value::Text(_) => match self.header.text(&key) {
                Ok(Some(text)) => facts::Value::Text(text),
                _ => facts::Value::Other,
            },
            Value::Array { kind: 7, .. } => {
                self.header.flags(&key, facts::MAX_VALUES).map_or(facts::Value::Other, facts::Value::Flags)
            }
            Value::Array { .. } => facts::Value::Other,
        })
    }

    fn full_name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }
}

/// The configuration without the details of its architecture, not yet checked.
fn config(
    parts: &[Header],
    name: &str,
    rope_scaling: RopeScaling,
    (architecture, known): (&'static Arch, &[&'static Arch]),
) -> Result<Config> {
    let (path, header) = (parts[0].path(), &parts[0]);
    let tensor = |name: &str| parts.iter().find_map(|part| part.tensors.get(name));
    let optional = |key: &str| -> Result<Option<usize>> {
        let key = format!("{name}.{key}");
        // A value too large for the address space also fails every later check.
        Ok(header.uint(&key)?.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    };
    let size = |key: &str| optional(key)?.ok_or_else(|| header.bad(&format!("{name}.{key}"), "is missing"));
    let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = match optional("attention.key_length")?.or(optional("rope.dimension_count")?) {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(header.bad(&format!("{name}.attention.key_length"), "is missing")),
    };
    if optional("attention.value_length")?.is_some_and(|other| other != head_dim) {
        let what = format!("{name}.attention.value_length different from the head size {head_dim}");
        return Err(unsupported(path, what, what_runs(known, Container::Gguf)));
    }
    let embedding = tensor("token_embd.weight").and_then(|info| info.shape.first().copied());
    let vocab = match optional("vocab_size")?.or(embedding) {
        Some(vocab) => vocab,
        None => return Err(malformed(path, "tensors", "missing: `token_embd.weight`", DAMAGED)),
    };
    let eps = format!("{name}.attention.layer_norm_rms_epsilon");
    let mut eos = Vec::new();
    for key in ENDS {
        eos.extend(header.token_id(key)?.filter(|id| (*id as usize) < vocab));
    }
    eos.sort_unstable();
    eos.dedup();
    Ok(Config {
        architecture,
        hidden,
        intermediate: size("feed_forward_length")?,
        // Layers that draft tokens come last.
        layers: size("block_count")?.saturating_sub(optional("nextn_predict_layers")?.unwrap_or(0)),
        heads,
        kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context: size("context_length")?,
        rms_eps: header.float(&eps)?.ok_or_else(|| header.bad(&eps, "is missing"))? as f32,
        rope_theta: header.float(&format!("{name}.rope.freq_base"))?.unwrap_or(10_000.0),
        rope_scaling,
        pooling: None,
        windows: None,
        scalings: None,
        tied: architecture.head && tensor("output.weight").is_none(),
        eos,
        hybrid: None,
    })
}

/// The room of each tensor up to the next one, by offset.
fn spans(header: &Header) -> Result<BTreeMap<u64, usize>> {
    let mut offsets: Vec<_> = header.tensors.iter().map(|(name, info)| (info.offset, name)).collect();
    offsets.sort_unstable();
    if let Some(pair) = offsets.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let problem = format!("the tensors `{}` and `{}` overlap", pair[0].1, pair[1].1);
        return Err(malformed(header.path(), format!("offset {}", pair[0].0), problem, DAMAGED));
    }
    let ends = offsets.iter().skip(1).map(|(offset, _)| *offset).chain([header.data_len() as u64]);
    Ok(offsets.iter().zip(ends).map(|((start, _), end)| (*start, end.saturating_sub(*start) as usize)).collect())
}

/// An unsupported type: what it is, and what to do.
type Refused = (String, &'static str);

/// A part of the model, or all of it.
struct Part<'a> {
    header: &'a Header,
    spans: BTreeMap<u64, usize>,
    /// The types that share their ids with others.
    shared: Shared,
}

impl<'a> Part<'a> {
    /// The parts of a model.
    fn all(headers: &'a [Header]) -> Result<Vec<Self>> {
        let parts = headers.iter().map(|header| Ok((header, spans(header)?))).collect::<Result<Vec<_>>>()?;
        let infos = parts.iter().flat_map(|(header, spans)| {
            let span = |info: &Info| spans.get(&info.offset).copied().unwrap_or(0);
            header.tensors.iter().map(move |(name, info)| (name.as_str(), info, span(info), header.alignment))
        });
        let shared = Shared::of(infos).map_err(|problem| malformed(headers[0].path(), "tensors", problem, DAMAGED))?;
        Ok(parts.into_iter().map(|(header, spans)| Part { header, spans, shared: shared.clone() }).collect())
    }

    fn span(&self, info: &Info) -> usize {
        self.spans.get(&info.offset).copied().unwrap_or(0)
    }

    /// The format of a tensor of this kind; of any kind if it is not known.
    fn format(&self, info: &Info, kind: Option<Kind>) -> Result<&'static Format, Refused> {
        let format = match self.shared.type_of(info.kind, &info.shape, self.span(info), self.header.alignment) {
            Type::Known(format) => format,
            Type::Refused(what, remedy) => return Err((what, remedy)),
        };
        let name = format.name.to_uppercase();
        match kind {
            Some(Kind::Ternary { .. }) if !format.is_ternary() => {
                let remedy = "use a ternary model; re-convert it to I2_S or TQ2_0";
                Err((format!("linear weights stored as {name}"), remedy))
            }
            Some(Kind::Dense { .. } | Kind::Vector { .. }) if !format.is_dense() => {
                Err((format!("{name}, for a tensor that is not ternary"), "re-convert the model with F16 embeddings"))
            }
            _ => Ok(format),
        }
    }

    /// The values of a small tensor, if it can be read as plain numbers.
    fn values(&self, name: &str) -> Option<Vec<f32>> {
        let info = self.header.tensors.get(name).filter(|info| info.weights <= facts::MAX_VALUES)?;
        let format = self.format(info, None).ok()?;
        let size = format.bytes(1, info.weights).filter(|size| *size <= self.span(info))?;
        format.numbers(&self.header.data(info.offset, size).ok()??)
    }

    fn find(&self, slot: &Slot, arch: &Arch) -> Result<Option<Tensor>> {
        let name = slot.gguf.clone();
        let Some(info) = self.header.tensors.get(&name) else { return Ok(None) };
        let format = self.format(info, Some(slot.kind)).map_err(|(what, remedy)| self.refused(&name, &what, remedy))?;
        let data = match slot.kind {
            Kind::Ternary { .. } => Data::Ternary(self.trits(&name, info, (format, arch))?),
            _ => self.numbers(&name, info, format)?,
        };
        let interleaved_heads = match slot.kind {
            Kind::Ternary { rotated, .. } if arch.interleaved_qk => rotated,
            _ => None,
        };
        Ok(Some(Tensor { stored_name: name, shape: info.shape.clone(), data, interleaved_heads }))
    }

    fn trits(&self, name: &str, info: &Info, (format, arch): (&'static Format, &Arch)) -> Result<Trits> {
        let &[rows, cols] = &info.shape[..] else { return Err(self.damaged(name, "is not a matrix")) };
        // An impossible shape has no size; `Trits::new` reports it.
        let bytes = self.bytes(name, info, format.bytes(rows, cols).unwrap_or(0))?;
        let trits =
            Trits::new(format, rows, cols, bytes).map_err(|problem| problem_at(self.header.path(), name, problem))?;
        let trits = if arch.quantize_at_load { trits.quantized_at_load() } else { trits };
        Ok(trits.scaled(self.extra_scale(name)?))
    }

    fn numbers(&self, name: &str, info: &Info, format: &'static Format) -> Result<Data> {
        let cols = info.shape.last().copied().unwrap_or(0);
        match format.bytes(info.weights / cols.max(1), cols) {
            Some(size) => Ok(Data::Dense { format, bytes: self.bytes(name, info, size)? }),
            None => {
                let problem = format!("its rows of {cols} are not whole blocks of {}", format.name.to_uppercase());
                Err(self.damaged(name, &problem))
            }
        }
    }

    fn bytes(&self, name: &str, info: &Info, size: usize) -> Result<Bytes> {
        let span = self.span(info);
        let bytes = if size <= span { self.header.data(info.offset, size)? } else { None };
        bytes.ok_or_else(|| {
            let left = (self.header.data_len() as u64).saturating_sub(info.offset);
            let room = left.min(span as u64);
            self.damaged(name, &format!("needs {size} bytes at offset {}, but there are only {room}", info.offset))
        })
    }

    /// The optional factor of a projection in llama.cpp: `blk.N.attn_q.scale`.
    fn extra_scale(&self, name: &str) -> Result<f32> {
        let Some(name) = name.strip_suffix("weight").map(|stem| format!("{stem}scale")) else { return Ok(1.0) };
        let Some(info) = self.header.tensors.get(&name) else { return Ok(1.0) };
        if info.weights != 1 || info.kind != 0 {
            return Err(self.refused(&name, "a scale that is not one F32 value", RECONVERT));
        }
        let bytes = self.bytes(&name, info, size_of::<f32>())?;
        Ok(bytes.first_chunk::<4>().map_or(f32::NAN, |scale| f32::from_le_bytes(*scale)))
    }

    fn refused(&self, name: &str, what: &str, remedy: &str) -> crate::Error {
        unsupported(self.header.path(), format!("tensor `{name}`: {what}"), remedy)
    }

    fn damaged(&self, name: &str, problem: &str) -> crate::Error {
        malformed(self.header.path(), format!("tensor `{name}`"), problem, DAMAGED)
    }
}
