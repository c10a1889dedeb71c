//! Storage of a position in the f16 cache; `op/attention/halves.rs` reads it.

use super::PAGE;
use crate::op::attention::halves::BLOCK;
use crate::op::vector::LANES;
use crate::set::Isa;

/// Stores one position's key and value in the bytes of its head. See [`super`] for the layout.
pub(super) fn store(isa: Isa, padded: usize, bytes: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    let mut halves = vec![0; k.len()];
    let (keys, values) = bytes.split_at_mut(PAGE * padded * 2);
    let (tile, lane) = (&mut keys[slot / LANES * padded * BLOCK..][..padded * BLOCK], slot % LANES);
    isa.to_f16(k, &mut halves);
    for (block, half) in tile.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&halves) {
        block[2 * lane..2 * lane + 2].copy_from_slice(&half.to_le_bytes());
    }
    isa.to_f16(v, &mut halves);
    for (to, half) in values[slot * padded * 2..].as_chunks_mut::<2>().0.iter_mut().zip(&halves) {
        *to = half.to_le_bytes();
    }
}
