//! llama.cpp's TQ1_0: blocks of 256 weights in 54 bytes, five trits per byte.
//!
//! ```text
//! low: 48 bytes, five trits each | high: 4 bytes, four trits each | scale: f16
//! trit n of   low[m], m < 32       low[32 + m], m < 16     high[j], j < 4
//!   weight    32n + m              160 + 16n + m           240 + 4n + j
//! ```
//!
//! Bytes are those of [`super::base3`]. Source: llama.cpp, `ggml-quants.c`.

use super::base3;
use super::scaled::{self, ScaledBlock, TritBlock, WrittenBlock};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static TQ1_0: Format = scaled::written::<Blocks>("tq1_0", &[34]);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        scaled::decode::<Self>(block, out);
    }
}

impl TritBlock for Blocks {
    const SHAPE: ScaledBlock = ScaledBlock { weights: 256, bytes: 54, scale_at: 52 };

    #[inline(always)]
    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        let (first, rest) = out.split_at_mut(160);
        let (second, third) = rest.split_at_mut(80);
        base3::unpack(&block[..32], first);
        base3::unpack(&block[32..48], second);
        base3::unpack(&block[48..52], third);
        false
    }
}

impl WrittenBlock for Blocks {
    fn pack(trits: &[i8], out: &mut Vec<u8>) {
        base3::pack(&trits[..160], 32, out);
        base3::pack(&trits[160..240], 16, out);
        base3::pack(&trits[240..], 4, out);
    }
}
