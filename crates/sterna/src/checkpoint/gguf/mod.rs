//! GGUF files of llama.cpp, bitnet.cpp and their relatives.

mod header;
mod types;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use sterna_kernels::{Bytes, DenseType};

pub(super) use header::ALIGNMENT;
pub use header::{Header, Info, Value};
pub(super) use types::DENSE;

use super::encoding::Trits;
use super::names::{self, Kind, Wanted};
use super::{Architecture, Checkpoint, Config, DAMAGED, Data, Tensor, malformed, unsupported};
use crate::Result;
use types::Type;

/// Architectures by the name in `general.architecture`. The activation function is not stored: the name decides.
pub(super) const ARCHITECTURES: &[(&str, Architecture)] = &[
    ("bitnet-b1.58", Architecture::Bitnet),
    ("bitnet-25", Architecture::Bitnet),
    ("bitnet", Architecture::OneBitLlm),
    ("llama", Architecture::Llama),
    ("qwen3", Architecture::Qwen3),
];

/// Keys of the tokens that end an answer.
pub(super) const ENDS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

impl Architecture {
    /// Its name in GGUF files.
    pub fn gguf_name(self) -> &'static str {
        ARCHITECTURES.iter().find(|(_, architecture)| *architecture == self).map_or("", |(name, _)| name)
    }
}

const WHAT_RUNS: &str = "Sterna runs bitnet-b1.58, bitnet-25, bitnet, and ternary llama and qwen3 models, without biases and with \
     plain rotary embedding";

/// Opens the file.
pub(super) fn open(path: &Path, bytes: &Bytes) -> Result<Checkpoint> {
    let header = Header::parse(path, bytes)?;
    let (name, architecture) = architecture(path, &header)?;
    refuse_other_graphs(path, &header, name)?;
    let config = config(path, &header, name, architecture)?;
    let file = File { path, header: &header, architecture, spans: spans(path, &header)? };
    let tensors = names::collect(path, &config, |wanted| file.find(wanted))?;
    let text = vocabulary::read(&header, architecture == Architecture::Bitnet)?;
    let format = if header.version == 2 { "gguf v2" } else { "gguf v3" };
    Ok(Checkpoint { path: path.into(), format, config, text, tensors, adapter: None })
}

fn architecture<'a>(path: &Path, header: &'a Header) -> Result<(&'a str, Architecture)> {
    let key = "general.architecture";
    let name = header.text(key)?.ok_or_else(|| header.bad(key, "is missing"))?;
    match ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        Some((_, architecture)) => Ok((name, *architecture)),
        None => Err(unsupported(path, format!("the architecture `{name}`"), WHAT_RUNS)),
    }
}

/// Keys and tensors that tell of a computation which Sterna does not follow.
fn refuse_other_graphs(path: &Path, header: &Header, name: &str) -> Result<()> {
    let refuse = |what: String, remedy: &str| Err(unsupported(path, what, remedy));
    if let Some(key) = header.keys.keys().find(|key| key.starts_with("prism.hadamard.")) {
        return refuse(format!("a Hadamard-rotated model (key `{key}`)"), super::encoding::SEVERAL_SCALES);
    }
    if header.uint("split.count")?.is_some_and(|count| count > 1) {
        return refuse("a GGUF file in several parts".into(), "merge it with `llama-gguf-split --merge`");
    }
    for tensor in header.tensors.keys() {
        if tensor.ends_with("_norm_in.weight") {
            let what = format!("an embedding model with a norm in every projection (tensor `{tensor}`)");
            return refuse(what, "embedding models are not supported yet; use a causal language model");
        }
        if tensor.ends_with(".bias") {
            return refuse(format!("a bias (tensor `{tensor}`)"), WHAT_RUNS);
        }
    }
    if header.tensors.contains_key("rope_freqs.weight") {
        return refuse("scaled rotary embedding (tensor `rope_freqs.weight`)".into(), WHAT_RUNS);
    }
    if let Some(kind) = header.text(&format!("{name}.rope.scaling.type"))?.filter(|kind| *kind != "none") {
        return refuse(format!("rotary embedding scaling of the type `{kind}`"), WHAT_RUNS);
    }
    for (key, plain) in [("rope.scale_linear", 1.0), ("expert_count", 0.0), ("attention.sliding_window", 0.0)] {
        if let Some(value) = header.float(&format!("{name}.{key}"))?.filter(|value| *value != plain) {
            return refuse(format!("{name}.{key} = {value}"), WHAT_RUNS);
        }
    }
    // A fork has another graph under the same name.
    if name == "bitnet" && !header.tensors.contains_key("blk.0.attn_sub_norm.weight") {
        return refuse("the architecture `bitnet` without `blk.0.attn_sub_norm.weight`".into(), WHAT_RUNS);
    }
    Ok(())
}

fn config(path: &Path, header: &Header, name: &str, architecture: Architecture) -> Result<Config> {
    let optional = |key: &str| -> Result<Option<usize>> {
        let key = format!("{name}.{key}");
        // Too large for the address space is too large for every check that follows.
        Ok(header.uint(&key)?.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    };
    let size = |key: &str| optional(key)?.ok_or_else(|| header.bad(&format!("{name}.{key}"), "is missing"));
    let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = match optional("attention.key_length")?.or(optional("rope.dimension_count")?) {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(header.bad(&format!("{name}.attention.key_length"), "is missing")),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if optional(key)?.is_some_and(|other| other != head_dim) {
            let what = format!("{name}.{key} different from the head size {head_dim}");
            return Err(unsupported(path, what, WHAT_RUNS));
        }
    }
    let embedding = header.tensors.get("token_embd.weight").and_then(|info| info.shape.first().copied());
    let vocab = match optional("vocab_size")?.or(embedding) {
        Some(vocab) => vocab,
        None => return Err(malformed(path, "tensors", "missing: `token_embd.weight`", DAMAGED)),
    };
    let eps = format!("{name}.attention.layer_norm_rms_epsilon");
    let mut eos = Vec::new();
    for key in ENDS {
        let id = header.uint(key)?.filter(|id| *id < vocab as u64);
        eos.extend(id.and_then(|id| u32::try_from(id).ok()));
    }
    eos.sort_unstable();
    eos.dedup();
    let config = Config {
        architecture,
        hidden,
        intermediate: size("feed_forward_length")?,
        layers: size("block_count")?,
        heads,
        kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context: size("context_length")?,
        rms_eps: header.float(&eps)?.ok_or_else(|| header.bad(&eps, "is missing"))? as f32,
        rope_theta: header.float(&format!("{name}.rope.freq_base"))?.unwrap_or(10_000.0),
        tied: !header.tensors.contains_key(&names::gguf(names::HEAD)),
        eos,
    };
    config.check(path, &format!("keys `{name}.*`"))?;
    Ok(config)
}

/// Room of each tensor up to the next one, by offset.
fn spans(path: &Path, header: &Header) -> Result<BTreeMap<u64, usize>> {
    let mut offsets: Vec<_> = header.tensors.iter().map(|(name, info)| (info.offset, name)).collect();
    offsets.sort_unstable();
    if let Some(pair) = offsets.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let problem = format!("the tensors `{}` and `{}` overlap", pair[0].1, pair[1].1);
        return Err(malformed(path, format!("offset {}", pair[0].0), problem, DAMAGED));
    }
    let ends = offsets.iter().skip(1).map(|(offset, _)| *offset).chain([header.data_len() as u64]);
    Ok(offsets.iter().zip(ends).map(|((start, _), end)| (*start, end.saturating_sub(*start) as usize)).collect())
}

struct File<'a> {
    path: &'a Path,
    header: &'a Header,
    architecture: Architecture,
    spans: BTreeMap<u64, usize>,
}

impl File<'_> {
    fn find(&self, wanted: &Wanted) -> Result<Option<Tensor>> {
        let name = names::gguf(&wanted.name);
        let Some(info) = self.header.tensors.get(&name) else { return Ok(None) };
        let span = self.spans.get(&info.offset).copied().unwrap_or(0);
        let kind = types::of(info.kind, info.weights, span, self.header.alignment);
        let data = match (wanted.kind, kind) {
            (_, Type::Refused(what, remedy)) => return Err(self.refused(&name, &what, remedy)),
            (Kind::Ternary { .. }, Type::Ternary(encoding) | Type::Plain(_, encoding)) => {
                let &[rows, cols] = &info.shape[..] else { return Err(self.damaged(&name, "is not a matrix")) };
                // An impossible shape has no size; `Trits::new` says so.
                let bytes = self.bytes(&name, info, (encoding.bytes)(rows, cols).unwrap_or(0))?;
                let trits = Trits::new(encoding, rows, cols, bytes).map_err(|problem| problem.at(self.path, &name))?;
                let bitnet = matches!(self.architecture, Architecture::Bitnet | Architecture::OneBitLlm);
                let trits = if bitnet { trits.quantized_at_load() } else { trits };
                Data::Ternary(trits.scaled(self.extra_scale(&name)?))
            }
            (Kind::Ternary { .. }, Type::Blocks(kind)) => {
                let what = format!("linear weights stored as {}", kind.name().to_uppercase());
                return Err(self.refused(&name, &what, "use a ternary model; re-convert it to I2_S or TQ2_0"));
            }
            (_, Type::Ternary(encoding)) => {
                let what = format!("{}, for a tensor that is not ternary", encoding.name.to_uppercase());
                return Err(self.refused(&name, &what, "re-convert the model with F16 embeddings"));
            }
            (_, Type::Plain(kind, _) | Type::Blocks(kind)) => {
                let cols = info.shape.last().copied().unwrap_or(0);
                let size = kind.row_bytes(cols).and_then(|row| row.checked_mul(info.weights / cols.max(1)));
                let Some(size) = size else { return Err(self.damaged(&name, "its rows are not whole blocks")) };
                Data::Dense { kind, bytes: self.bytes(&name, info, size)? }
            }
        };
        let interleaved_heads = match wanted.kind {
            Kind::Ternary { rotated, .. } if self.architecture == Architecture::Llama => rotated,
            _ => None,
        };
        Ok(Some(Tensor { stored_name: name, shape: info.shape.clone(), data, interleaved_heads }))
    }

    fn bytes(&self, name: &str, info: &Info, size: usize) -> Result<Bytes> {
        let span = self.spans.get(&info.offset).copied().unwrap_or(0);
        let bytes = self.header.data(info.offset, size).filter(|_| size <= span);
        bytes.ok_or_else(|| {
            let problem = format!("takes {size} bytes at offset {}, where there are {span}", info.offset);
            self.damaged(name, &problem)
        })
    }

    /// Upstream's optional factor of a projection: `blk.N.attn_q.scale`.
    fn extra_scale(&self, name: &str) -> Result<f32> {
        let Some(name) = name.strip_suffix("weight").map(|stem| format!("{stem}scale")) else { return Ok(1.0) };
        let Some(info) = self.header.tensors.get(&name) else { return Ok(1.0) };
        if info.weights != 1 || info.kind != 0 {
            return Err(self.refused(&name, "several scales", super::encoding::SEVERAL_SCALES));
        }
        let bytes = self.bytes(&name, info, DenseType::F32.block().1)?;
        Ok(bytes.first_chunk::<4>().map_or(f32::NAN, |scale| f32::from_le_bytes(*scale)))
    }

    fn refused(&self, name: &str, what: &str, remedy: &str) -> crate::Error {
        unsupported(self.path, format!("tensor `{name}`: {what}"), remedy)
    }

    fn damaged(&self, name: &str, problem: &str) -> crate::Error {
        malformed(self.path, format!("tensor `{name}`"), problem, DAMAGED)
    }
}
