//! A decoder: layers of one kind between the embedding and the head.

use sterna_kernels::{Cpu, Rows};

use super::layers::{Frame, Loader};
use super::rotation::Rotation;
use super::{Batch, Density, Head, KvCache, Network, State, Weights};
use crate::Result;
use crate::arch::decoder;
use crate::checkpoint::Config;

/// One layer of a decoder.
pub(super) trait Layer: Send + Sync + Sized {
    /// Adds what attention and the feed-forward block compute to the hidden states `h`: `(token, hidden)`.
    fn forward(&self, step: &Step<'_>, kv: &mut KvCache, h: &mut Rows);

    /// Packed bytes of its matrices.
    fn bytes(&self) -> usize;

    /// How much of its feed-forward block the tokens so far needed; `None` if everything is always read.
    fn density(&self) -> Option<Density> {
        None
    }
}

/// One layer's turn in a forward pass.
pub(super) struct Step<'a> {
    pub cpu: &'a Cpu,
    pub batch: &'a Batch,
    /// The rotation of each row's position.
    pub rotation: &'a Rotation,
    /// Number of the layer.
    pub layer: usize,
}

/// A decoder made of layers `L`.
pub(super) struct Stack<L> {
    frame: Frame,
    layers: Vec<L>,
}

impl<L: Layer> Stack<L> {
    /// Loads all layers, each by its slots.
    pub fn load(loader: &Loader<'_>, layer: impl Fn(&decoder::Layer<'_>) -> Result<L>) -> Result<Self> {
        let config = &loader.checkpoint.config;
        let layers = (0..config.layers).map(|number| layer(&decoder::Layer { config, number }));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { frame: loader.frame()?, layers })
    }
}

impl<L: Layer> Network for Stack<L> {
    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        let mut h = self.frame.embedding.lookup(cpu, &batch.tokens);
        let rotation = self.frame.rope.at(&batch.positions);
        for (layer, part) in self.layers.iter().enumerate() {
            part.forward(&Step { cpu, batch, rotation: &rotation, layer }, &mut state.kv, &mut h);
        }
        self.frame.outputs(cpu, batch, &h)
    }

    fn config(&self) -> &Config {
        &self.frame.config
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.frame.head)
    }

    fn weights(&self) -> Weights {
        self.frame.weights(self.layers.iter().map(Layer::bytes).sum())
    }

    fn density(&self) -> Vec<Density> {
        self.layers.iter().filter_map(Layer::density).collect()
    }
}
