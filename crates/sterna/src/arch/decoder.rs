//! The tensors of decoders: names and shapes that Llama and related networks share. Each network lists those it has.

use super::{Config, Kind, Slot};

/// Embedding matrix: `(vocab, hidden)`.
pub fn embedding(config: &Config) -> Slot {
    table(config, "model.embed_tokens.weight", "token_embd.weight")
}

/// Weights of the norm before the head.
pub fn final_norm(config: &Config) -> Slot {
    let kind = Kind::Vector { len: config.hidden };
    Slot { name: "model.norm.weight".into(), kind, gguf: "output_norm.weight".into(), aliases: Vec::new() }
}

/// Output matrix, `(vocab, hidden)`; if `config.tied`, the embedding is used instead.
pub fn head(config: &Config) -> Slot {
    if config.tied { embedding(config) } else { table(config, "lm_head.weight", "output.weight") }
}

/// All tensors of a decoder. `layer` lists the tensors of one layer.
pub fn tensors(config: &Config, layer: impl Fn(&Layer<'_>) -> Vec<Slot>) -> Vec<Slot> {
    let mut all = vec![embedding(config)];
    for number in 0..config.layers {
        all.extend(layer(&Layer { config, number }));
    }
    all.push(final_norm(config));
    if config.architecture.head && !config.tied {
        all.push(head(config));
    }
    all
}

fn table(config: &Config, name: &str, gguf: &str) -> Slot {
    let kind = Kind::Dense { rows: config.vocab, cols: config.hidden };
    Slot { name: name.into(), kind, gguf: gguf.into(), aliases: Vec::new() }
}

/// Makes the slots of one layer's tensors.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The dimensions of the network.
    pub config: &'a Config,
    /// Index of the layer, from 0.
    pub number: usize,
}

impl Layer<'_> {
    /// Weights of the norm before attention.
    pub fn attention_norm(&self) -> Slot {
        self.vector("input_layernorm", "attn_norm", self.config.hidden)
    }

    /// Query projection.
    pub fn q(&self) -> Slot {
        self.heads("self_attn.q_proj", "attn_q", self.config.heads)
    }

    /// Key projection.
    pub fn k(&self) -> Slot {
        self.heads("self_attn.k_proj", "attn_k", self.config.kv_heads)
    }

    /// Value projection.
    pub fn v(&self) -> Slot {
        let Config { hidden, kv_heads, head_dim, .. } = *self.config;
        self.ternary("self_attn.v_proj", "attn_v", kv_heads * head_dim, hidden)
    }

    /// Weights of the norm of each query head.
    pub fn q_norm(&self) -> Slot {
        self.vector("self_attn.q_norm", "attn_q_norm", self.config.head_dim)
    }

    /// Weights of the norm of each key head.
    pub fn k_norm(&self) -> Slot {
        self.vector("self_attn.k_norm", "attn_k_norm", self.config.head_dim)
    }

    /// Weights of the norm of attention's output, before [`Layer::o`].
    pub fn attention_sub_norm(&self) -> Slot {
        let len = self.config.heads * self.config.head_dim;
        self.alias(self.vector("self_attn.attn_sub_norm", "attn_sub_norm", len), "self_attn.inner_attn_ln")
    }

    /// Attention's output projection.
    pub fn o(&self) -> Slot {
        let Config { hidden, heads, head_dim, .. } = *self.config;
        self.ternary("self_attn.o_proj", "attn_output", hidden, heads * head_dim)
    }

    /// Weights of the norm before the feed-forward block.
    pub fn ffn_norm(&self) -> Slot {
        self.vector("post_attention_layernorm", "ffn_norm", self.config.hidden)
    }

    /// Gate projection, the input of the activation function.
    pub fn gate(&self) -> Slot {
        self.ternary("mlp.gate_proj", "ffn_gate", self.config.intermediate, self.config.hidden)
    }

    /// Up projection, which is multiplied by the activated gate.
    pub fn up(&self) -> Slot {
        self.ternary("mlp.up_proj", "ffn_up", self.config.intermediate, self.config.hidden)
    }

    /// Weights of the norm before [`Layer::down`].
    pub fn ffn_sub_norm(&self) -> Slot {
        self.alias(self.vector("mlp.ffn_sub_norm", "ffn_sub_norm", self.config.intermediate), "mlp.ffn_layernorm")
    }

    /// The output projection of the feed-forward block.
    pub fn down(&self) -> Slot {
        self.ternary("mlp.down_proj", "ffn_down", self.config.hidden, self.config.intermediate)
    }

    /// Gemma's norm of attention's output, before it is added to the hidden state.
    pub fn attention_post_norm(&self) -> Slot {
        self.vector("post_attention_layernorm", "post_attention_norm", self.config.hidden)
    }

    /// Gemma's norm before the feed-forward block.
    pub fn ffn_pre_norm(&self) -> Slot {
        self.vector("pre_feedforward_layernorm", "ffn_norm", self.config.hidden)
    }

    /// Gemma's norm of the feed-forward block's output, before it is added to the hidden state.
    pub fn ffn_post_norm(&self) -> Slot {
        self.vector("post_feedforward_layernorm", "post_ffw_norm", self.config.hidden)
    }

    /// The same tensor, which Hugging Face checkpoints of this architecture call `name`.
    pub fn called(&self, slot: Slot, name: &str) -> Slot {
        Slot { name: format!("model.layers.{}.{name}.weight", self.number), ..slot }
    }

    /// Weights of the norm inside a projection, of its input.
    pub fn norm_in(&self, projection: &Slot) -> Slot {
        let (_, len) = projection.kind.shape();
        let stem = projection.name.trim_end_matches(".weight");
        Slot {
            name: format!("{stem}.norm.weight"),
            kind: Kind::Vector { len },
            gguf: format!("{}_norm_in.weight", projection.gguf.trim_end_matches(".weight")),
            aliases: vec![format!("{stem}.rms_norm.weight")],
        }
    }

    pub(super) fn vector(&self, name: &str, gguf: &str, len: usize) -> Slot {
        self.slot(name, gguf, Kind::Vector { len })
    }

    pub(super) fn ternary(&self, name: &str, gguf: &str, rows: usize, cols: usize) -> Slot {
        self.slot(name, gguf, Kind::Ternary { rows, cols, rotated: None })
    }

    fn heads(&self, name: &str, gguf: &str, heads: usize) -> Slot {
        let Config { hidden, head_dim, .. } = *self.config;
        self.slot(name, gguf, Kind::Ternary { rows: heads * head_dim, cols: hidden, rotated: Some(heads) })
    }

    fn slot(&self, name: &str, gguf: &str, kind: Kind) -> Slot {
        let number = self.number;
        Slot {
            name: format!("model.layers.{number}.{name}.weight"),
            kind,
            gguf: format!("blk.{number}.{gguf}.weight"),
            aliases: Vec::new(),
        }
    }

    /// Adds 1bitLLM's name of the tensor in Hugging Face checkpoints.
    fn alias(&self, mut slot: Slot, name: &str) -> Slot {
        slot.aliases.push(format!("model.layers.{}.{name}.weight", self.number));
        slot
    }
}
