//! AngelSlim's STQ1_0 ("Sherry"): blocks of 256 weights in 42 bytes; of four weights exactly one is zero.
//!
//! ```text
//! slots: 32 bytes | negations: 8 bytes | scale: f16
//! group g of 64: slot = nibble g (low nibble first), negated = bit g
//! its weights:   64 · (g / 16) + g % 16 + {0, 16, 32, 48}
//! slot, bits:    3…2: which of the four is zero | 0, 1: the second and the third of the others are negative
//! ```
//!
//! A set negation bit negates all three. Source: AngelSlim's fork of llama.cpp.

use super::scaled::{self, ScaledBlock, TritBlock};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static STQ1_0: Format = scaled::read::<Blocks>("stq1_0", &[43, 42]);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        scaled::decode::<Self>(block, out);
    }
}

impl TritBlock for Blocks {
    const SHAPE: ScaledBlock = ScaledBlock { weights: 256, bytes: 42, scale_at: 40 };

    #[inline(always)]
    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        for g in 0..64 {
            let slot = block[g / 2] >> (4 * (g % 2)) & 15;
            let sign = 1 - 2 * (block[32 + g / 8] >> (g % 8) & 1) as i8;
            for (lane, trit) in TRITS[usize::from(slot)].into_iter().enumerate() {
                out[64 * (g / 16) + g % 16 + 16 * lane] = sign * trit;
            }
        }
        false
    }
}

/// The four trits of each of the 16 slots.
const TRITS: [[i8; 4]; 16] = {
    let mut all = [[0; 4]; 16];
    let mut slot = 0;
    while slot < 16 {
        let signs = [1, 1 - 2 * (slot as i8 & 1), 1 - 2 * (slot as i8 >> 1 & 1)];
        let (mut lane, mut other) = (0, 0);
        while lane < 4 {
            if lane != slot >> 2 {
                all[slot][lane] = signs[other];
                other += 1;
            }
            lane += 1;
        }
        slot += 1;
    }
    all
};
