//! bf16, little endian: the upper half of an `f32`.

use super::number::{self, Number};
use super::stored::Format;
use crate::op::dense::Plain;
use crate::op::math::{bf16_to_f32, f32_to_bf16};
use crate::op::vector::Vector;

/// The format described in the module documentation.
pub static BF16: Format = number::format::<Blocks>("bf16", &[30], "BF16");

pub(super) struct Blocks;

impl Plain for Blocks {
    const BYTES: usize = 2;

    #[inline(always)]
    fn number(bytes: &[u8]) -> f32 {
        bf16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_bf16(bytes)
    }
}

impl Number for Blocks {
    fn store(value: f32, out: &mut [u8]) {
        out.copy_from_slice(&f32_to_bf16(value).to_le_bytes());
    }
}
