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
use super::blocks::{ScaledBlock, half};
use super::stored::{Decoder, Format, Problem, Ternary, Writer};
use crate::op::dense::Stored;
use crate::op::math::{f16_to_f32, f32_to_f16};

/// The format described in the module documentation.
pub static TQ1_0: Format = Format {
    ternary: Some(Ternary { scales: |trits, pool| Ok((BLOCK.scales(trits, pool)?, 1.0)), row, writer: Some(WRITER) }),
    ..Format::of_rows("tq1_0", &[34], Blocks::BLOCK)
};

const BLOCK: ScaledBlock = ScaledBlock { weights: 256, bytes: 54, scale_at: 52 };

const WRITER: Writer = Writer {
    rounded: |scale| f16_to_f32(f32_to_f16(scale)),
    blocks: |trits, scale, out| {
        for block in trits.chunks_exact(BLOCK.weights) {
            base3::pack(&block[..160], 32, out);
            base3::pack(&block[160..240], 16, out);
            base3::pack(&block[240..], 4, out);
            let zero = block.iter().all(|trit| *trit == 0);
            out.extend(f32_to_f16(if zero { 0.0 } else { scale }).to_le_bytes());
        }
    },
    tail: |_| Vec::new(),
};

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

/// Decodes the trits of a block.
#[inline(always)]
fn unpack(block: &[u8], out: &mut [i8]) {
    let (first, rest) = out.split_at_mut(160);
    let (second, third) = rest.split_at_mut(80);
    base3::unpack(&block[..32], first);
    base3::unpack(&block[32..48], second);
    base3::unpack(&block[48..52], third);
}
