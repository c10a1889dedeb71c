//! The network that is trained, BitNet b1.58 2B4T's, as a container: one `T` for every tensor.
//!
//! Parameters, their gradients, what the optimiser keeps and their names all have this shape, and are walked in one
//! order.

use std::convert::Infallible;

use sterna::arch::{self, Kind, decoder};
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

impl From<arch::Slot> for Slot {
    fn from(slot: arch::Slot) -> Self {
        let (role, rows, cols) = match slot.kind {
            Kind::Dense { rows, cols } => (Role::Embedding, rows, cols),
            Kind::Ternary { rows, cols, .. } => (Role::Linear, rows, cols),
            Kind::Vector { len } => (Role::Norm, 1, len),
        };
        Self { name: slot.name, role, rows, cols }
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
    ($($(#[$doc:meta])* $field:ident,)*) => {
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

        impl Layer<Slot> {
            fn of(slots: &decoder::Layer<'_>) -> Self {
                Layer { $($field: slots.$field().into(),)* }
            }
        }
    };
}

layer! {
    /// Before attention.
    attention_norm,
    /// Queries.
    q,
    /// Keys.
    k,
    /// Values.
    v,
    /// Before `o`.
    attention_sub_norm,
    /// Attention's output.
    o,
    /// Before the feed-forward block.
    ffn_norm,
    /// Goes through ReLU².
    gate,
    /// Is multiplied with it.
    up,
    /// Before `down`.
    ffn_sub_norm,
    /// The block's output.
    down,
}

impl Network<Slot> {
    /// The tensors of a configuration.
    pub fn of(config: &Config) -> Self {
        let layer = |number| Layer::of(&decoder::Layer { config, number });
        Self {
            embedding: decoder::embedding(config).into(),
            layers: (0..config.layers).map(layer).collect(),
            norm: decoder::final_norm(config).into(),
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
    ///
    /// # Errors
    /// The first one that `f` returns.
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
