//! Helpers for formats that store weights in blocks: reading their parts, and scales of rows.

use crate::op::math::f16_to_f32;
use crate::scales::Scales;

/// The f16 at the beginning of `bytes`.
#[inline(always)]
pub(super) fn half(bytes: &[u8]) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The first `N` bytes as an array: loops over a constant length become vector instructions.
#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// The scales of groups of `columns` columns: one if all groups with a nonzero weight have the same scale. A group with
/// the scale 0 must have zeros only.
pub(super) fn group_scales(values: Vec<f32>, columns: usize) -> Scales {
    match row_scales(values) {
        Scales::Rows(values) => Scales::Groups { columns, values },
        one => one,
    }
}

/// The scales of rows: one if all rows with a nonzero weight have the same scale. A row with the scale 0 must have zeros
/// only.
pub(super) fn row_scales(values: Vec<f32>) -> Scales {
    let mut nonzero = values.iter().copied().filter(|value| *value != 0.0);
    match nonzero.next() {
        // In an all-zero matrix any scale is right.
        None => Scales::One(1.0),
        Some(first) if first > 0.0 && nonzero.all(|value| value == first) => Scales::One(first),
        Some(_) => Scales::Rows(values),
    }
}
