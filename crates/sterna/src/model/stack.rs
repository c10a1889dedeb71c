//! A decoder: layers of one type between the embedding and the head.

use sterna_kernels::{Cpu, Rows};

use super::kv::Mask;
use super::layers::{Frame, Loader};
use super::rotation::Rotation;
use super::{Batch, Density, Head, KvCache, Network, State, Weights};
use crate::Result;
use crate::arch::decoder;
use crate::checkpoint::Config;

/// One layer of a decoder.
pub(super) trait Layer: Send + Sync + Sized {
    /// Adds the outputs of attention and the feed-forward block to the hidden states `h`: `(token, hidden)`.
    fn forward(&self, step: &Step<'_>, kv: &mut KvCache, h: &mut Rows);

    /// The positions that its attention attends to.
    fn mask(&self) -> Mask {
        Mask::Causal
    }

    /// Packed bytes of its matrices.
    fn bytes(&self) -> usize;

    /// The share of its feed-forward block that tokens needed so far; `None` if all weights are always read.
    fn density(&self) -> Option<Density> {
        None
    }
}

/// The inputs of one layer in a forward pass.
pub(super) struct Step<'a> {
    pub cpu: &'a Cpu,
    pub batch: &'a Batch,
    /// The rotation of each row's position.
    pub rotation: &'a Rotation,
    /// Index of the layer.
    pub layer: usize,
}

/// A decoder with layers of type `L`.
pub(super) struct Stack<L> {
    frame: Frame,
    layers: Vec<L>,
}

impl<L: Layer> Stack<L> {
    /// Loads all layers from their slots.
    pub fn load(loader: &Loader<'_>, layer: impl Fn(&decoder::Layer<'_>) -> Result<L>) -> Result<Self> {
        let config = &loader.checkpoint.config;
        let layers = (0..config.layers).map(|number| layer(&decoder::Layer { config, number }));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { frame: loader.frame()?, layers })
    }

    /// The same network, with factors of a token's embedding and of the head's input.
    pub fn scaled(mut self, embedding: f32, head: f32) -> Self {
        (self.frame.embedding_factor, self.frame.head_factor) = (embedding, head);
        self
    }
}

impl<L: Layer> Network for Stack<L> {
    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        let mut h = self.frame.embedded(cpu, batch);
        let rotation = self.frame.rope.at(&batch.positions);
        let in_windows = self.frame.window_rope.as_ref().map(|rope| rope.at(&batch.positions));
        for (layer, part) in self.layers.iter().enumerate() {
            let windows = self.frame.config.windows.filter(|windows| windows.has(layer));
            let rotation = in_windows.as_ref().filter(|_| windows.is_some()).unwrap_or(&rotation);
            part.forward(&Step { cpu, batch, rotation, layer }, &mut state.kv, &mut h);
        }
        self.frame.outputs(cpu, batch, &h)
    }

    fn config(&self) -> &Config {
        &self.frame.config
    }

    fn mask(&self, layer: usize) -> Mask {
        self.layers.get(layer).map_or_else(Mask::default, Layer::mask)
    }

    fn head(&self) -> Option<&Head> {
        self.frame.head.as_ref()
    }

    fn weights(&self) -> Weights {
        self.frame.weights(self.layers.iter().map(Layer::bytes).sum())
    }

    fn density(&self) -> Vec<Density> {
        self.layers.iter().filter_map(Layer::density).collect()
    }
}
