//! IEEE singles, little endian.

use super::number::{self, Number};
use super::stored::Format;
use crate::op::dense::{Plain, Stored, dot_plain};
use crate::op::vector::Vector;

/// See the module.
pub static F32: Format = number::format::<Blocks>("f32", 0, "F32");

pub(super) struct Blocks;

impl Number for Blocks {
    const BYTES: usize = 4;

    #[inline(always)]
    fn value(b: &[u8]) -> f32 {
        f32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    fn store(value: f32, out: &mut [u8]) {
        out.copy_from_slice(&value.to_le_bytes());
    }
}

impl Plain for Blocks {
    const BYTES: usize = 4;

    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_f32(bytes)
    }
}

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (1, 4);

    #[inline(always)]
    fn decode(row: &[u8], out: &mut [f32]) {
        for (out, stored) in out.iter_mut().zip(row.as_chunks().0) {
            *out = f32::from_le_bytes(*stored);
        }
    }

    #[inline(always)]
    fn dot<V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
        dot_plain::<Self, V>(zeros, rows, cols, x, out);
    }
}
