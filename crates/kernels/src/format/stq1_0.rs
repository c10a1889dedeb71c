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

use super::blocks::{ScaledBlock, half};
use super::stored::{Decoder, Format, Problem, Ternary};
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static STQ1_0: Format = Format {
    ternary: Some(Ternary { scales: |trits, pool| Ok((BLOCK.scales(trits, pool)?, 1.0)), row, writer: None }),
    ..Format::of_rows("stq1_0", &[43, 42], Blocks::BLOCK)
};

const BLOCK: ScaledBlock = ScaledBlock { weights: 256, bytes: 42, scale_at: 40 };

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (BLOCK.weights, BLOCK.bytes);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let mut trits = [0; BLOCK.weights];
        unpack(block, &mut trits);
        let d = half(&block[BLOCK.scale_at..]);
        for (out, trit) in out.iter_mut().zip(trits) {
            *out = d * f32::from(trit);
        }
    }
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (block, out) in decoder.stored_row(r).chunks_exact(BLOCK.bytes).zip(out.chunks_exact_mut(BLOCK.weights)) {
        if BLOCK.is_zero(block) { out.fill(0) } else { unpack(block, out) }
    }
    Ok(())
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

/// Decodes the trits of a block.
#[inline(always)]
fn unpack(block: &[u8], out: &mut [i8]) {
    for g in 0..64 {
        let slot = block[g / 2] >> (4 * (g % 2)) & 15;
        let sign = 1 - 2 * (block[32 + g / 8] >> (g % 8) & 1) as i8;
        for (lane, trit) in TRITS[usize::from(slot)].into_iter().enumerate() {
            out[64 * (g / 16) + g % 16 + 16 * lane] = sign * trit;
        }
    }
}
