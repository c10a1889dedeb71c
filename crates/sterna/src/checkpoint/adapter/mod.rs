//! Low-rank adapters (LoRA): trained additions to ternary layers, which stay unchanged.
//!
//! ```text
//! y = scale · trits · int8(x)  +  alpha/rank · B · (A · x)      A: (rank, inputs), B: (outputs, rank)
//! ```
//! Both terms use the same normed input; the adapter uses it without rounding. Source: Hu et al., "LoRA: Low-Rank
//! Adaptation of Large Language Models" (arXiv 2106.09685). Names and files are those of Hugging Face's PEFT
//! ([`Adapter::open`]).

mod peft;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sterna_kernels as kernels;

use super::{Checkpoint, malformed};
use crate::arch::Kind;
use crate::{Error, Result};

pub use peft::write;

/// A low-rank adapter for one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// Directory of the adapter, for error messages.
    pub path: PathBuf,
    /// Name of the model it was trained on, as stored in the adapter.
    pub base: Option<String>,
    /// Rows of every A and columns of every B; at least 1.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Adapted layers by name: `model.layers.N.self_attn.q_proj`, ….
    pub layers: BTreeMap<String, LowRank>,
}

/// The two matrices of one layer, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LowRank {
    /// `(rank, inputs)`
    pub a: Vec<f32>,
    /// `(outputs, rank)`
    pub b: Vec<f32>,
}

impl Adapter {
    /// Bytes of all matrices as `f32`.
    pub fn bytes(&self) -> usize {
        self.layers.values().map(|pair| 4 * (pair.a.len() + pair.b.len())).sum()
    }

    /// `alpha / rank`, the factor of B.
    fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// Checks that the model has every layer, with this shape, and that every number is finite.
    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let config = &checkpoint.config;
        let ternary = config.architecture.tensors(config).into_iter().filter_map(|slot| match slot.kind {
            Kind::Ternary { rows, cols, .. } => Some((slot.name, (rows, cols))),
            _ => None,
        });
        let shapes: BTreeMap<String, (usize, usize)> = ternary.collect();
        for (layer, pair) in &self.layers {
            let Some(&(rows, cols)) = shapes.get(&format!("{layer}.weight")) else {
                return Err(self.foreign(layer, "the model has no such ternary layer".into()));
            };
            let (a, b) = (self.rank.checked_mul(cols), self.rank.checked_mul(rows));
            if self.rank == 0 || (Some(pair.a.len()), Some(pair.b.len())) != (a, b) {
                let (a, b, rank) = (pair.a.len(), pair.b.len(), self.rank);
                let problem =
                    format!("{a} and {b} weights of rank {rank} do not fit the model's layer of {rows} × {cols}");
                return Err(self.foreign(layer, problem));
            }
            let scale = self.scale();
            if !pair.a.iter().all(|a| a.is_finite()) || !pair.b.iter().all(|b| (scale * b).is_finite()) {
                let remedy = "the training diverged or the file is damaged: use an earlier state of the adapter";
                return Err(malformed(&self.path, layer.as_str(), "holds numbers that are not finite", remedy));
            }
        }
        Ok(())
    }

    fn foreign(&self, layer: &str, problem: String) -> Error {
        let base = self.base.as_ref().map_or_else(String::new, |base| format!("; the adapter was trained on `{base}`"));
        malformed(&self.path, layer, problem + &base, "use the adapter with the model it was trained on")
    }
}

impl Checkpoint {
    /// The same network with this adapter instead of its current one.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the adapter has a layer that the model lacks, another shape, or a number that is not
    /// finite.
    pub fn with_adapter(mut self, adapter: Adapter) -> Result<Self> {
        adapter.check(&self)?;
        self.adapter = Some(adapter);
        Ok(self)
    }

    /// The adapter's update of the layer `name`, if there is one.
    pub fn update(&self, name: &str) -> Option<kernels::LowRank> {
        let adapter = self.adapter.as_ref()?;
        let pair = adapter.layers.get(name)?;
        kernels::LowRank::new(adapter.rank, &pair.a, &pair.b, adapter.scale())
    }
}
