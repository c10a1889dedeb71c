//! What a checkpoint holds, and whether the machine has the memory to run it.

use super::{Adapter, Checkpoint, Data, Tensor};
use crate::model::{KvCache, KvType, Precision};
use crate::{Error, Result};

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Weights of all tensors.
    pub parameters: u64,
    /// Tensors grouped by how they are stored, most bytes first.
    pub groups: Vec<Group>,
    /// How the ternary layers see their input.
    pub activations: Precision,
}

/// Tensors stored in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// "i2_s", "bf16", ….
    pub encoding: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Their weights.
    pub parameters: u64,
    /// Their bytes in the file, scales in tensors of their own not counted.
    pub bytes: u64,
}

/// Room for a token of the vocabulary in the tokenizer, its merges included.
const TOKEN: u64 = 640;
/// Room for activations and the program itself.
const PROGRAM: u64 = 16 << 20;

impl Checkpoint {
    /// Counts what the checkpoint holds.
    pub fn summary(&self) -> Summary {
        let mut groups: Vec<Group> = Vec::new();
        for tensor in self.tensors.values() {
            let (encoding, bytes) = match &tensor.data {
                Data::Ternary(trits) => (trits.encoding().name, trits.bytes().len()),
                Data::Dense { kind, bytes } => (kind.name(), bytes.len()),
                Data::Synthetic { .. } => ("synthetic", 0),
            };
            let group = match groups.iter_mut().find(|group| group.encoding == encoding) {
                Some(group) => group,
                None => {
                    groups.push(Group { encoding, tensors: 0, parameters: 0, bytes: 0 });
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            group.tensors += 1;
            group.parameters += weights(tensor);
            group.bytes += bytes as u64;
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
        // Every encoding that is read has one scale a tensor, as models trained with int8 activations have.
        let activations = Precision::Int8;
        Summary { parameters: groups.iter().map(|group| group.parameters).sum(), groups, activations }
    }

    /// Bytes that running the model takes, about: packed weights, adapter, embeddings and head, tokenizer, and a
    /// key/value cache of `positions`.
    pub fn memory_needed(&self, positions: usize, kv: KvType) -> u64 {
        let tensors = self.tensors.values().map(|tensor| match (&tensor.data, &tensor.shape[..]) {
            // Packed at 2 bits a weight, in tiles of 16 × 16.
            (Data::Ternary(_) | Data::Synthetic { .. }, [rows, cols]) => {
                rows.next_multiple_of(16) as u64 * cols.next_multiple_of(16) as u64 / 4
            }
            // Already in memory.
            (Data::Dense { .. }, _) if self.format == "synthetic" => 0,
            (Data::Dense { bytes, .. }, _) => bytes.len() as u64,
            _ => 0,
        });
        let cache = (KvCache::bytes_per_position(&self.config, kv) as u64).saturating_mul(positions as u64);
        let adapter = self.adapter.as_ref().map_or(0, Adapter::bytes) as u64;
        (tensors.sum::<u64>() + adapter + self.config.vocab as u64 * TOKEN + PROGRAM).saturating_add(cache)
    }

    /// Refuses a model that cannot fit into the memory that is available now, before hours of swapping show it.
    pub fn check_memory(&self, positions: usize, kv: KvType) -> Result<()> {
        let need = self.memory_needed(positions, kv);
        match sterna_kernels::memory::available() {
            Some(available) if available < need => Err(Error::OutOfMemory {
                path: self.path.clone(),
                need_mib: need >> 20,
                available_mib: available >> 20,
                remedy: "close other programs, ask for a shorter context, or use a smaller model".into(),
            }),
            _ => Ok(()),
        }
    }
}

fn weights(tensor: &Tensor) -> u64 {
    tensor.shape.iter().map(|n| *n as u64).product()
}
