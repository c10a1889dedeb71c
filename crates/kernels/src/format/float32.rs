//! IEEE f32, little endian.

use super::number::{self, Number};
use super::stored::Format;
use crate::op::dense::Plain;
use crate::op::vector::Vector;

/// The format described in the module documentation.
pub static F32: Format = number::format::<Blocks>("f32", &[0], "F32");

pub(super) struct Blocks;

impl Plain for Blocks {
    const BYTES: usize = 4;

    #[inline(always)]
    fn number(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_f32(bytes)
    }
}

impl Number for Blocks {
    fn store(value: f32, out: &mut [u8]) {
        out.copy_from_slice(&value.to_le_bytes());
    }
}
