//! Storage of a position in the f16 and f32 caches; `op/attention/floats.rs` reads it.

use super::PAGE;
use crate::op::vector::LANES;
use crate::set::Isa;

/// Stores one position's key and value as f16 in the bytes of its head. See [`super`] for the layout.
pub(super) fn store_halves(isa: Isa, padded: usize, bytes: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    let (mut keys, mut values) = (vec![0; k.len()], vec![0; v.len()]);
    isa.to_f16(k, &mut keys);
    isa.to_f16(v, &mut values);
    store(padded, bytes, slot, keys.into_iter().map(u16::to_le_bytes), values.into_iter().map(u16::to_le_bytes));
}

/// Stores one position's key and value as f32.
pub(super) fn store_floats(padded: usize, bytes: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    store(padded, bytes, slot, k.iter().map(|x| x.to_le_bytes()), v.iter().map(|x| x.to_le_bytes()));
}

/// Stores values of `N` bytes.
fn store<const N: usize>(
    padded: usize,
    bytes: &mut [u8],
    slot: usize,
    k: impl Iterator<Item = [u8; N]>,
    v: impl Iterator<Item = [u8; N]>,
) {
    let (keys, values) = bytes.split_at_mut(PAGE * padded * N);
    let (tile, lane) = (&mut keys[slot / LANES * padded * LANES * N..][..padded * LANES * N], slot % LANES);
    for (block, value) in tile.chunks_exact_mut(LANES * N).zip(k) {
        block[N * lane..N * (lane + 1)].copy_from_slice(&value);
    }
    for (to, value) in values[slot * padded * N..].as_chunks_mut::<N>().0.iter_mut().zip(v) {
        *to = value;
    }
}
