//! Tensors of decoders: the names and shapes that Llama and its relatives share. A network picks those it has.

use super::{Config, Kind, Slot};

/// Embedding matrix: `(vocab, hidden)`.
pub fn embedding(config: &Config) -> Slot {
    table(config, "model.embed_tokens.weight", "token_embd.weight")
}

/// Norm before the head.
pub fn final_norm(config: &Config) -> Slot {
    let kind = Kind::Vector { len: config.hidden };
    Slot { name: "model.norm.weight".into(), kind, gguf: "output_norm.weight".into(), aliases: Vec::new() }
}

/// Output matrix: `(vocab, hidden)`. It is the embedding if `config.tied`.
pub fn head(config: &Config) -> Slot {
    if config.tied { embedding(config) } else { table(config, "lm_head.weight", "output.weight") }
}

/// All tensors of a decoder whose layers have the tensors `layer`.
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

/// The tensors that layer `number` may have.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Dimensions of the network.
    pub config: &'a Config,
    /// Counted from 0.
    pub number: usize,
}

impl Layer<'_> {
    /// Norm before attention.
    pub fn attention_norm(&self) -> Slot {
        self.vector("input_layernorm", "attn_norm", self.config.hidden)
    }

    /// Queries.
    pub fn q(&self) -> Slot {
        self.heads("self_attn.q_proj", "attn_q", self.config.heads)
    }

    /// Keys.
    pub fn k(&self) -> Slot {
        self.heads("self_attn.k_proj", "attn_k", self.config.kv_heads)
    }

    /// Values.
    pub fn v(&self) -> Slot {
        let Config { hidden, kv_heads, head_dim, .. } = *self.config;
        self.ternary("self_attn.v_proj", "attn_v", kv_heads * head_dim, hidden)
    }

    /// Norm of each query head.
    pub fn q_norm(&self) -> Slot {
        self.vector("self_attn.q_norm", "attn_q_norm", self.config.head_dim)
    }

    /// Norm of each key head.
    pub fn k_norm(&self) -> Slot {
        self.vector("self_attn.k_norm", "attn_k_norm", self.config.head_dim)
    }

    /// Norm of attention's output, before [`Layer::o`].
    pub fn attention_sub_norm(&self) -> Slot {
        let len = self.config.heads * self.config.head_dim;
        self.alias(self.vector("self_attn.attn_sub_norm", "attn_sub_norm", len), "self_attn.inner_attn_ln")
    }

    /// Attention's output projection.
    pub fn o(&self) -> Slot {
        let Config { hidden, heads, head_dim, .. } = *self.config;
        self.ternary("self_attn.o_proj", "attn_output", hidden, heads * head_dim)
    }

    /// Norm before the feed-forward block.
    pub fn ffn_norm(&self) -> Slot {
        self.vector("post_attention_layernorm", "ffn_norm", self.config.hidden)
    }

    /// The projection that goes through the activation function.
    pub fn gate(&self) -> Slot {
        self.ternary("mlp.gate_proj", "ffn_gate", self.config.intermediate, self.config.hidden)
    }

    /// The projection that the gate is multiplied with.
    pub fn up(&self) -> Slot {
        self.ternary("mlp.up_proj", "ffn_up", self.config.intermediate, self.config.hidden)
    }

    /// Norm before [`Layer::down`].
    pub fn ffn_sub_norm(&self) -> Slot {
        self.alias(self.vector("mlp.ffn_sub_norm", "ffn_sub_norm", self.config.intermediate), "mlp.ffn_layernorm")
    }

    /// The output projection of the feed-forward block.
    pub fn down(&self) -> Slot {
        self.ternary("mlp.down_proj", "ffn_down", self.config.hidden, self.config.intermediate)
    }

    fn vector(&self, name: &str, gguf: &str, len: usize) -> Slot {
        self.slot(name, gguf, Kind::Vector { len })
    }

    fn ternary(&self, name: &str, gguf: &str, rows: usize, cols: usize) -> Slot {
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

    /// The slot with another name in Hugging Face checkpoints: 1bitLLM's.
    fn alias(&self, mut slot: Slot, name: &str) -> Slot {
        slot.aliases.push(format!("model.layers.{}.{name}.weight", self.number));
        slot
    }
}
