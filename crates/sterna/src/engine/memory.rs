//! Estimates the memory that a checkpoint needs, and checks that the machine has it.

use sterna_kernels::format::{MLX_1BIT, Q1_0, Trits};
use sterna_kernels::limits;

use super::accounts::RecurrentBudget;
use super::loaded::Loaded;
use crate::checkpoint::{Adapter, Checkpoint, Data};
use crate::model::kv::PAGE;
use crate::model::{KvCache, KvType, State};
use crate::{Error, Result};

/// Bytes per vocabulary token in the tokenizer, including merges.
const TOKEN: u64 = 640;
/// Bytes for activations and the program itself.
const PROGRAM: u64 = 16 << 20;

impl Checkpoint {
    /// About how many bytes the model needs: packed weights, adapter, embeddings and head, tokenizer, and a key/value
    /// cache of `positions`, and the recurrent state of one sequence. Memory already in use does not count.
    pub fn memory_needed(&self, positions: usize, kv: KvType) -> u64 {
        let tensors = self.tensors.values().map(|tensor| match (&tensor.data, &tensor.shape[..]) {
            (Data::Ternary(trits), [rows, cols]) => packed_bytes(trits, *rows, *cols),
            // A head of trits is packed; it takes about as many bytes as are stored.
            (Data::Dense { format, bytes }, _) if bytes.is_mapped() || format.stores_trits() => bytes.len() as u64,
            _ => 0,
        });
        let cache = (KvCache::bytes_per_position(&self.config, kv) as u64).saturating_mul(positions as u64);
        let state = self.config.hybrid.as_ref().map_or(0, |hybrid| hybrid.state_bytes()) as u64;
        let adapter = self.adapter().map_or(0, Adapter::bytes) as u64;
        (tensors.sum::<u64>() + adapter + state + self.config.vocab as u64 * TOKEN + PROGRAM).saturating_add(cache)
    }

    /// Refuses a model that does not fit into the memory available now, because it would swap for hours.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if it does not fit.
    pub fn check_memory(&self, positions: usize, kv: KvType) -> Result<()> {
        let need = self.memory_needed(positions, kv);
        let check = |need: u64, available: Option<u64>, remedy: &str| match available {
            Some(available) if available < need => Err(Error::OutOfMemory {
                path: self.path.clone(),
                need_mib: need >> 20,
                available_mib: available >> 20,
                remedy: remedy.into(),
            }),
            _ => Ok(()),
        };
        // Mapped files have their address space already.
        let unmapped = need.saturating_sub(self.mapped_bytes());
        let raise = "raise the limit of address space (ulimit -v), ask for a shorter context, or use a smaller model";
        check(unmapped, limits::address_space_left(), raise)?;
        let close = "close other programs, ask for a shorter context, or use a smaller model";
        check(need, sterna_kernels::memory::available(), close)
    }

    /// Bytes of embedding and head in mapped files.
    fn mapped_bytes(&self) -> u64 {
        let mapped = self.tensors.values().map(|tensor| match &tensor.data {
            Data::Dense { bytes, .. } if bytes.is_mapped() => bytes.len() as u64,
            _ => 0,
        });
        mapped.sum()
    }
}

/// About how many bytes a packed matrix takes: one bit per weight of a binary matrix with its scales, otherwise two in
/// tiles of 16 × 16, and the scales of groups.
fn packed_bytes(trits: &Trits, rows: usize, cols: usize) -> u64 {
    let two_bits = rows.next_multiple_of(16) as u64 * cols.next_multiple_of(16) as u64 / 4;
    let stored = trits.bytes().len() as u64;
    match trits.format() {
        format if [&Q1_0, &MLX_1BIT].contains(&format) => stored,
        format if format.stores_trits() => stored.max(two_bits),
        _ => two_bits,
    }
}

impl Loaded {
    /// Pages for full contexts of all sequences.
    pub(super) fn pages(&self) -> usize {
        self.context.div_ceil(PAGE).saturating_mul(self.sequences)
    }

    /// The number of recurrent states and snapshots that may exist; `None` without recurrent layers. Snapshots may use
    /// as many bytes as the paged keys and values; there are at least two per sequence.
    pub(super) fn recurrent_budget(&self, state: &State) -> Option<RecurrentBudget> {
        let bytes = Some(state.sequence_bytes()).filter(|&bytes| bytes > 0)?;
        let paged = state.position_bytes().saturating_mul(PAGE).saturating_mul(self.pages());
        let snapshots = (paged / bytes).max(self.sequences.saturating_mul(2)).min(self.pages());
        Some(RecurrentBudget { sequences: self.sequences, snapshots })
    }

    /// Refuses recurrent states that cannot fit into the memory that is available now.
    /// [`Checkpoint::check_memory`] has counted the keys and values.
    ///
    /// # Errors
    /// [`Error::Resources`] if they do not fit.
    pub(super) fn check_recurrent(&self) -> Result<()> {
        let state = self.network.state(self.kv);
        let Some(RecurrentBudget { sequences, snapshots }) = self.recurrent_budget(&state) else { return Ok(()) };
        let need = (state.sequence_bytes() as u64).saturating_mul((sequences + snapshots) as u64);
        match sterna_kernels::memory::available() {
            Some(available) if available < need => Err(Error::Resources {
                problem: format!(
                    "the recurrent states of {sequences} sequences and {snapshots} snapshots of them need about {} MiB \
                     of memory, but {} MiB are available; close other programs, or ask for fewer sequences or a shorter \
                     context",
                    need >> 20,
                    available >> 20,
                ),
            }),
            _ => Ok(()),
        }
    }
}
