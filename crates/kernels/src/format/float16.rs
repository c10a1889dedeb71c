//! IEEE f16, little endian.

use super::number::{self, Number};
use super::stored::Format;
use crate::op::dense::Plain;
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::op::vector::Vector;

/// The format described in the module documentation.
pub static F16: Format = number::format::<Blocks>("f16", &[1], "F16");

pub(super) struct Blocks;

impl Plain for Blocks {
    const BYTES: usize = 2;

    #[inline(always)]
    fn number(bytes: &[u8]) -> f32 {
        f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_f16(bytes)
    }
}

impl Number for Blocks {
    #[inline(always)]
    fn value(bytes: &[u8]) -> f32 {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        if bits & 0x7c00 == 0x7c00 { f32::NAN } else { f16_to_f32(bits) }
    }

    fn store(value: f32, out: &mut [u8]) {
        out.copy_from_slice(&f32_to_f16(value).to_le_bytes());
    }
}
