//! The tensors of each architecture: canonical names (Microsoft's Hugging Face checkpoint), shapes, and what other
//! formats call them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Architecture, Config, DAMAGED, Tensor, malformed};
use crate::Result;

/// Embedding matrix.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// Norm before the head.
pub(super) const FINAL_NORM: &str = "model.norm.weight";
/// Output matrix, unless it is the embedding.
pub(super) const HEAD: &str = "lm_head.weight";

/// A tensor that a network needs.
pub(super) struct Wanted {
    pub name: String,
    pub kind: Kind,
}

/// What kind of tensor, and its shape.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `(vocab or more, hidden)` numbers.
    Dense { rows: usize, cols: usize },
    /// `(rows, cols)` trits; for query and key matrices the heads whose rows are rotated.
    Ternary { rows: usize, cols: usize, rotated: Option<usize> },
    /// A norm's weights.
    Vector { len: usize },
}

/// Tensors of a layer: canonical name, other name in Hugging Face checkpoints (1bitLLM's), name in GGUF.
const LAYER: &[(&str, &str, &str)] = &[
    ("input_layernorm", "", "attn_norm"),
    ("self_attn.q_proj", "", "attn_q"),
    ("self_attn.k_proj", "", "attn_k"),
    ("self_attn.v_proj", "", "attn_v"),
    ("self_attn.q_norm", "", "attn_q_norm"),
    ("self_attn.k_norm", "", "attn_k_norm"),
    ("self_attn.attn_sub_norm", "self_attn.inner_attn_ln", "attn_sub_norm"),
    ("self_attn.o_proj", "", "attn_output"),
    ("post_attention_layernorm", "", "ffn_norm"),
    ("mlp.gate_proj", "", "ffn_gate"),
    ("mlp.up_proj", "", "ffn_up"),
    ("mlp.ffn_sub_norm", "mlp.ffn_layernorm", "ffn_sub_norm"),
    ("mlp.down_proj", "", "ffn_down"),
];

/// What GGUF files call the tensor `name`.
pub(super) fn gguf(name: &str) -> String {
    match layer(name) {
        Some((number, (_, _, gguf))) => format!("blk.{number}.{gguf}.weight"),
        None => match name {
            EMBEDDING => "token_embd.weight".into(),
            FINAL_NORM => "output_norm.weight".into(),
            _ => "output.weight".into(),
        },
    }
}

/// The other name of the tensor `name` in Hugging Face checkpoints, if it has one.
pub(super) fn alias(name: &str) -> Option<String> {
    let (number, (_, alias, _)) = layer(name)?;
    (!alias.is_empty()).then(|| format!("model.layers.{number}.{alias}.weight"))
}

fn layer(name: &str) -> Option<(&str, &'static (&'static str, &'static str, &'static str))> {
    let (number, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let part = rest.strip_suffix(".weight")?;
    Some((number, LAYER.iter().find(|row| row.0 == part)?))
}

/// All tensors of a network, in the order in which it uses them.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let Config { hidden, intermediate, head_dim, vocab, .. } = *config;
    let (q, kv) = (config.heads * head_dim, config.kv_heads * head_dim);
    let vector = |len| Some(Kind::Vector { len });
    let ternary = |rows, cols| Some(Kind::Ternary { rows, cols, rotated: None });
    let rotated = |heads| Some(Kind::Ternary { rows: heads * head_dim, cols: hidden, rotated: Some(heads) });
    let sub_norms = matches!(config.architecture, Architecture::Bitnet | Architecture::OneBitLlm);
    let head_norms = config.architecture == Architecture::Qwen3;
    let kind = |part: &str| match part {
        "input_layernorm" | "post_attention_layernorm" => vector(hidden),
        "self_attn.q_proj" => rotated(config.heads),
        "self_attn.k_proj" => rotated(config.kv_heads),
        "self_attn.v_proj" => ternary(kv, hidden),
        "self_attn.o_proj" => ternary(hidden, q),
        "mlp.gate_proj" | "mlp.up_proj" => ternary(intermediate, hidden),
        "mlp.down_proj" => ternary(hidden, intermediate),
        "self_attn.q_norm" | "self_attn.k_norm" if head_norms => vector(head_dim),
        "self_attn.attn_sub_norm" if sub_norms => vector(q),
        "mlp.ffn_sub_norm" if sub_norms => vector(intermediate),
        _ => None,
    };
    let matrix = |name: &str| Wanted { name: name.into(), kind: Kind::Dense { rows: vocab, cols: hidden } };
    let mut all = vec![matrix(EMBEDDING)];
    for i in 0..config.layers {
        all.extend(LAYER.iter().filter_map(|(part, ..)| {
            Some(Wanted { name: format!("model.layers.{i}.{part}.weight"), kind: kind(part)? })
        }));
    }
    all.push(Wanted { name: FINAL_NORM.into(), kind: Kind::Vector { len: hidden } });
    if !config.tied {
        all.push(matrix(HEAD));
    }
    all
}

/// Finds every tensor of the network: all that are missing are reported together, and each must have its shape.
pub(super) fn collect(
    path: &Path,
    config: &Config,
    mut find: impl FnMut(&Wanted) -> Result<Option<Tensor>>,
) -> Result<BTreeMap<String, Tensor>> {
    /// Missing tensors named in a message.
    const NAMED: usize = 3;
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for wanted in wanted(config) {
        match find(&wanted)? {
            Some(tensor) => {
                check_shape(path, &wanted, &tensor)?;
                found.insert(wanted.name, tensor);
            }
            None => missing.push(wanted.name),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let more = missing.len().saturating_sub(NAMED);
    let mut list = missing[..missing.len().min(NAMED)].join("`, `");
    list.push('`');
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let remedy = "the file does not hold the model that its configuration describes: download it again";
    Err(malformed(path, "tensors", format!("missing: `{list}"), remedy))
}

fn check_shape(path: &Path, wanted: &Wanted, tensor: &Tensor) -> Result<()> {
    let (fits, shape) = match (wanted.kind, &tensor.shape[..]) {
        // Some vocabularies are padded to a round number.
        (Kind::Dense { rows, cols }, shape) => {
            (matches!(shape, [r, c] if *r >= rows && *c == cols), format!("at least [{rows}, {cols}]"))
        }
        (Kind::Ternary { rows, cols, .. }, shape) => (shape == [rows, cols], format!("[{rows}, {cols}]")),
        (Kind::Vector { len }, shape) => (shape == [len], format!("[{len}]")),
    };
    if fits {
        return Ok(());
    }
    let problem = format!("shape {:?}, but the configuration asks for {shape}", tensor.shape);
    Err(malformed(path, format!("tensor `{}`", tensor.stored_name), problem, DAMAGED))
}
