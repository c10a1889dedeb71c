//! The trained network (BitNet b1.58 2B4T's) as a container: one `T` for every tensor.
//!
//! Parameters, gradients, optimiser state and names all have this shape, and are iterated in one order.

use std::convert::Infallible;

use sterna::arch::{self, Kind, decoder};
use sterna::checkpoint::Config;

/// The kind of a tensor. It decides how the tensor is used and optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding, which is also the head: `(vocab, hidden)`.
    Embedding,
    /// Weights of an RMS norm; one row.
    Norm,
    /// A linear layer; its weights are rounded to trits for the forward pass.
    Linear,
    /// The low-rank update of a linear layer: A `(rank, cols)`, then B `(rows, rank)`.
    LowRank(usize),
    /// Not trained; holds no values here.
    Frozen,
}

/// Name and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Name in the checkpoint.
    pub name: String,
    /// Kind of the tensor.
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

    /// Whether the tensor has no values.
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

/// A tensor's values in f32, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name and shape.
    pub slot: Slot,
    /// Values, row by row.
    pub values: Vec<f32>,
}

/// A `T` for every tensor of the network.
#[derive(Clone, Debug, Default)]
pub struct Network<T> {
    /// `model.embed_tokens`
    pub embedding: T,
    /// The layers, first to last.
    pub layers: Vec<Layer<T>>,
    /// `model.norm`
    pub norm: T,
}

macro_rules! layer {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// A `T` for every tensor of a layer, in the order of the forward pass.
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
    /// Norm before attention.
    attention_norm,
    /// Query projection.
    q,
    /// Key projection.
    k,
    /// Value projection.
    v,
    /// Norm before `o`.
    attention_sub_norm,
    /// Output projection of attention.
    o,
    /// Norm before the feed-forward block.
    ffn_norm,
    /// Gate projection; its output goes through ReLU².
    gate,
    /// Up projection; its output is multiplied by the gate.
    up,
    /// Norm before `down`.
    ffn_sub_norm,
    /// Down projection: the output of the feed-forward block.
    down,
}

impl Network<Slot> {
    /// Names and shapes of all tensors of a configuration.
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
    /// Maps every tensor, in order.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Network<U> {
        let Ok(network) = self.try_map(|t| Ok::<_, Infallible>(f(t)));
        network
    }

    /// Maps every tensor, in order, and stops at the first error.
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

    /// All tensors, in order.
    pub fn all(&self) -> Vec<&T> {
        let layers = self.layers.iter().flat_map(Layer::all);
        [&self.embedding].into_iter().chain(layers).chain([&self.norm]).collect()
    }

    /// All tensors, in order, as mutable references.
    pub fn all_mut(&mut self) -> Vec<&mut T> {
        let layers = self.layers.iter_mut().flat_map(Layer::all_mut);
        [&mut self.embedding].into_iter().chain(layers).chain([&mut self.norm]).collect()
    }
}
