//! Whether the machine has the memory to run a checkpoint.

use crate::checkpoint::{Adapter, Checkpoint, Data};
use crate::model::{KvCache, KvType};
use crate::{Error, Result};

/// Room for a token of the vocabulary in the tokenizer, its merges included.
const TOKEN: u64 = 640;
/// Room for activations and the program itself.
const PROGRAM: u64 = 16 << 20;

impl Checkpoint {
    /// Bytes that running the model takes, about: packed weights, adapter, embeddings and head, tokenizer, and a
    /// key/value cache of `positions`. What is in memory already does not count.
    pub fn memory_needed(&self, positions: usize, kv: KvType) -> u64 {
        let tensors = self.tensors.values().map(|tensor| match (&tensor.data, &tensor.shape[..]) {
            // Packed at 2 bits a weight, in tiles of 16 × 16.
            (Data::Ternary(_), [rows, cols]) => rows.next_multiple_of(16) as u64 * cols.next_multiple_of(16) as u64 / 4,
            (Data::Dense { bytes, .. }, _) if bytes.is_mapped() => bytes.len() as u64,
            _ => 0,
        });
        let cache = (KvCache::bytes_per_position(&self.config, kv) as u64).saturating_mul(positions as u64);
        let adapter = self.adapter().map_or(0, Adapter::bytes) as u64;
        (tensors.sum::<u64>() + adapter + self.config.vocab as u64 * TOKEN + PROGRAM).saturating_add(cache)
    }

    /// Refuses a model that cannot fit into the memory that is available now, before hours of swapping show it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if it does not fit.
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
