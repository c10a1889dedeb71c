//! The places of the keys and values of each layer in a page. The parent module draws a page.

use std::ops::Range;

use super::{PAGE, Page, floats, int8};
use crate::cpu::Cpu;
use crate::lines::{LINE, Lines};
use crate::op::vector::LANES;

/// Number type of the key/value cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// f16, rounded half to even.
    #[default]
    F16,
    /// f32: keys and values are not rounded.
    F32,
    /// int8 with one scale per position and head. Scores and weighted sums are exact integer dot products.
    Int8,
}

impl KvType {
    /// The name: "f16", "f32" or "int8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

/// The key/value heads of one layer; none in a layer that keeps no keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHeads {
    /// Key/value heads.
    pub count: usize,
    /// Dimensions of a head.
    pub dim: usize,
}

impl KvHeads {
    /// A layer that keeps no keys and values.
    pub const NONE: Self = Self { count: 0, dim: 0 };

    /// Head size as stored: a multiple of 16.
    pub(super) fn padded_dim(self) -> usize {
        self.dim.next_multiple_of(LANES)
    }
}

/// The layout of a page: keys and values of every layer. The heads of layers may differ.
#[derive(Clone, Debug)]
pub struct Layout {
    kind: KvType,
    layers: Vec<Layer>,
    /// Bytes of a page.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    heads: KvHeads,
    /// Where its first head begins in a page.
    start: usize,
}

impl Layout {
    /// A page of these layers, in order.
    pub fn new(kind: KvType, layers: impl IntoIterator<Item = KvHeads>) -> Self {
        let mut layout = Self { kind, layers: Vec::new(), bytes: 0 };
        for heads in layers {
            layout.layers.push(Layer { heads, start: layout.bytes });
            layout.bytes += heads.count * layout.head_bytes(heads);
        }
        layout
    }

    /// Number type of keys and values.
    pub fn kind(&self) -> KvType {
        self.kind
    }

    /// The heads of a layer.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn heads(&self, layer: usize) -> KvHeads {
        self.layers[layer].heads
    }

    /// Bytes per position: keys, values and their scales, of all layers and heads.
    pub fn position_bytes(&self) -> usize {
        self.bytes / PAGE
    }

    /// Bytes of one head's keys in a page; its values take as many.
    pub(super) fn side_bytes(&self, heads: KvHeads) -> usize {
        let size = match self.kind {
            KvType::F16 => size_of::<u16>(),
            KvType::F32 => size_of::<f32>(),
            KvType::Int8 => 1,
        };
        PAGE * heads.padded_dim() * size
    }

    /// Bytes of one head in a page; whole lines.
    fn head_bytes(&self, heads: KvHeads) -> usize {
        let scales = if self.kind == KvType::Int8 { PAGE * size_of::<f32>() } else { 0 };
        2 * (self.side_bytes(heads) + scales)
    }

    /// The byte range of (layer, key/value head) in a page.
    pub(super) fn head(&self, layer: usize, head: usize) -> Range<usize> {
        let Layer { heads, start } = self.layers[layer];
        let bytes = self.head_bytes(heads);
        start + head * bytes..start + (head + 1) * bytes
    }
}

impl Page {
    /// An empty page.
    pub fn new(layout: &Layout) -> Self {
        Self(Lines::zeroed(layout.bytes.div_ceil(LINE)))
    }
}

/// Stores the keys and values (`count · dim` each) of one position and layer in its page.
///
/// # Panics
/// If there is no such layer, if a page has no such position, or if `k` or `v` are shorter than the layer's heads.
pub fn store(cpu: &Cpu, layout: &Layout, page: &mut Page, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
    assert!(slot < PAGE, "a page has {PAGE} positions");
    let heads = layout.heads(layer);
    for head in 0..heads.count {
        let bytes = &mut page.0.bytes_mut()[layout.head(layer, head)];
        let (k, v) = (&k[head * heads.dim..][..heads.dim], &v[head * heads.dim..][..heads.dim]);
        match layout.kind {
            KvType::F16 => floats::store_halves(cpu.isa, heads.padded_dim(), bytes, slot, k, v),
            KvType::F32 => floats::store_floats(heads.padded_dim(), bytes, slot, k, v),
            KvType::Int8 => int8::store(cpu.isa, heads.padded_dim(), bytes, slot, k, v),
        }
    }
}
