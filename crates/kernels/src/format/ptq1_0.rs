//! PrismML's PTQ1_0: blocks of 128 weights in 28 bytes, five trits per byte.
//!
//! ```text
//! low: 24 bytes, five trits each | high: 2 bytes, four trits each | scale: f16
//! trit n of   low[m], m < 16       low[16 + m], m < 8      high[j], j < 2
//!   weight    16n + m              80 + 8n + m             120 + 2n + j
//! ```
//!
//! Bytes are those of [`super::base3`]. Source: PrismML's fork of llama.cpp.

use super::base3;
use super::scaled::{self, ScaledBlock, TritBlock, WrittenBlock};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static PTQ1_0: Format = scaled::written::<Blocks>("ptq1_0", &[143]);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        scaled::decode::<Self>(block, out);
    }
}

impl TritBlock for Blocks {
    const SHAPE: ScaledBlock = ScaledBlock { weights: 128, bytes: 28, scale_at: 26 };

    #[inline(always)]
    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        let (first, rest) = out.split_at_mut(80);
        let (second, third) = rest.split_at_mut(40);
        base3::unpack(&block[..16], first);
        base3::unpack(&block[16..24], second);
        base3::unpack(&block[24..26], third);
        false
    }
}

impl WrittenBlock for Blocks {
    fn pack(trits: &[i8], out: &mut Vec<u8>) {
        base3::pack(&trits[..80], 16, out);
        base3::pack(&trits[80..120], 8, out);
        base3::pack(&trits[120..], 2, out);
    }
}
