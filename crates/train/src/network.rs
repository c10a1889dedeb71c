//! The network that is trained, BitNet b1.58 2B4T's, as a container: one `T` for every tensor.
//!
//! Parameters, their gradients, what the optimiser keeps and their names all have this shape, and are walked in one
//! order.

use std::convert::Infallible;

use sterna::checkpoint::Config;

/// What kind of tensor it is; it decides how it is used and optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `(vocab, hidden)`, embedding and head.
    Embedding,
    /// Weights of an RMS norm; one row.
    Norm,
    /// A linear layer, ternary when it is used.
    Linear,
    /// The low-rank update of a linear layer: A `(rank, cols)`, then B `(rows, rank)`.
    LowRank(usize),
    /// Not trained, and not held here.
    Frozen,
}

/// Name and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// As in the checkpoint.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Output features; 1 for norms.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
}

impl Slot {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self.role {
            Role::LowRank(rank) => rank * (self.rows + self.cols),
            Role::Frozen => 0,
            _ => self.rows * self.cols,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor's values, row after row, in full precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Which one.
    pub slot: Slot,
    /// Its values.
    pub values: Vec<f32>,
}

/// Something for every tensor of the network.
#[derive(Clone, Debug, Default)]
pub struct Network<T> {
    /// `model.embed_tokens`
    pub embedding: T,
    /// From first to last.
    pub layers: Vec<Layer<T>>,
    /// `model.norm`
    pub norm: T,
}

macro_rules! layer {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// Something for every tensor of a layer, in the order in which data meets them.
        #[derive(Clone, Debug, Default)]
        pub struct Layer<T> {$(
            $(#[$doc])*
            pub $field: T,
        )*}

        impl<T> Layer<T> {
            fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Layer<U>, E> {
                Ok(Layer { $($field: f(&self.$field)?,)* })
            }

            fn all(&self) -> Vec<&T> {
                vec![$(&self.$field,)*]
            }

            fn all_mut(&mut self) -> Vec<&mut T> {
                vec![$(&mut self.$field,)*]
            }
        }

        /// Names of a layer's tensors within it.
        const NAMES: Layer<&str> = Layer { $($field: $name,)* };
    };
}

layer! {
    /// Before attention.
    attention_norm: "input_layernorm",
    /// Queries.
    q: "self_attn.q_proj",
    /// Keys.
    k: "self_attn.k_proj",
    /// Values.
    v: "self_attn.v_proj",
    /// Before `o`.
    attention_sub_norm: "self_attn.attn_sub_norm",
    /// Attention's output.
    o: "self_attn.o_proj",
    /// Before the feed-forward block.
    ffn_norm: "post_attention_layernorm",
    /// Goes through ReLU².
    gate: "mlp.gate_proj",
    /// Is multiplied with it.
    up: "mlp.up_proj",
    /// Before `down`.
    ffn_sub_norm: "mlp.ffn_sub_norm",
    /// The block's output.
    down: "mlp.down_proj",
}

impl Network<Slot> {
    /// The tensors of a configuration.
    pub fn of(c: &Config) -> Self {
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let slot = |name: String, role, rows, cols| Slot { name: format!("{name}.weight"), role, rows, cols };
        let shapes = Layer {
            attention_norm: (1, c.hidden),
            q: (q, c.hidden),
            k: (kv, c.hidden),
            v: (kv, c.hidden),
            attention_sub_norm: (1, q),
            o: (c.hidden, q),
            ffn_norm: (1, c.hidden),
            gate: (c.intermediate, c.hidden),
            up: (c.intermediate, c.hidden),
            ffn_sub_norm: (1, c.intermediate),
            down: (c.hidden, c.intermediate),
        };
        let layer = |i: usize| {
            let mut shapes = shapes.all().into_iter();
            let Ok(layer) = NAMES.try_map(&mut |name| {
                let &(rows, cols) = shapes.next().expect("a shape for every name");
                let role = if name.ends_with("norm") { Role::Norm } else { Role::Linear };
                Ok::<_, Infallible>(slot(format!("model.layers.{i}.{name}"), role, rows, cols))
            });
            layer
        };
        Self {
            embedding: slot("model.embed_tokens".into(), Role::Embedding, c.vocab, c.hidden),
            layers: (0..c.layers).map(layer).collect(),
            norm: slot("model.norm".into(), Role::Norm, 1, c.hidden),
        }
    }
}

impl<T> Network<T> {
    /// The same shape with other contents.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Network<U> {
        let Ok(network) = self.try_map(|t| Ok::<_, Infallible>(f(t)));
        network
    }

    /// The same shape with other contents, or the first error.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(&T) -> Result<U, E>) -> Result<Network<U>, E> {
        Ok(Network {
            embedding: f(&self.embedding)?,
            layers: self.layers.iter().map(|layer| layer.try_map(&mut f)).collect::<Result<_, E>>()?,
            norm: f(&self.norm)?,
        })
    }

    /// Everything, in the one order.
    pub fn all(&self) -> Vec<&T> {
        let layers = self.layers.iter().flat_map(Layer::all);
        [&self.embedding].into_iter().chain(layers).chain([&self.norm]).collect()
    }

    /// The same, to change.
    pub fn all_mut(&mut self) -> Vec<&mut T> {
        let layers = self.layers.iter_mut().flat_map(Layer::all_mut);
        [&mut self.embedding].into_iter().chain(layers).chain([&mut self.norm]).collect()
    }
}
