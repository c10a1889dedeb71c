//! AVX-512 with VNNI: `vpdpbusd` multiplies 64 codes with a broadcast dword of activations.

use std::arch::x86_64::*;

use super::avx512_vector::F32x16;
use super::prefetch::{prefetch, prefetch_scattered};
use super::{STREAMS, avx512_bf16, avx512_sparse, grouped512};
use crate::lines::LINE;
use crate::op::attention::int8::Dots;
use crate::op::bf16::Operands;
use crate::op::codes::{BLOCK, Bits, LOW_BITS};
use crate::op::operand::{Operand, Order};
use crate::op::ternary::TILE;
use crate::set::{Cost, KernelSet, compiled};

compiled! { F32x16, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")] }

/// For Ice Lake, Zen 4 and newer.
pub(crate) static SET: KernelSet = KernelSet {
    name: "avx512",
    supported: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
    },
    order: |_| ORDER,
    bias: 128,
    ternary_dot,
    grouped_dot: grouped512::dot,
    coded_dot,
    int8_dot,
    rows_dot: avx512_sparse::rows_dot,
    columns_dot: avx512_sparse::columns_dot,
    columns_scaled: true,
    rows_to_tile: avx512_sparse::rows_to_tile,
    columns_to_tiles: avx512_sparse::columns_to_tiles,
    cost: COST,
    bf16_dot,
    ..compiled::TABLE
};

/// Products of bf16: by `vdpbf16ps` on CPUs that have it. The sums are the same.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn bf16_dot(operands: &Operands<'_>, sums: &mut [f32]) {
    if is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the CPU has the instruction, and AVX-512F is a feature of this function.
        unsafe { avx512_bf16::pairs(operands, sums) }
    } else {
        // SAFETY: the kernels of the table are compiled with the features that this function has.
        unsafe { (compiled::TABLE.bf16_dot)(operands, sums) }
    }
}

/// Measured on Zen 4 with BitNet b1.58 2B4T: four rows take as long as 2.1 steps of one row, and eight as 4.1, so that
/// more drafts would rarely pay.
pub(super) const COST: Cost =
    Cost { attention_per_weight: 5, rows_for_two: 4, whole: |tokens| 1.5 + 0.45 * tokens as f32 };

/// Tokens of a block: with two tiles 16 sums stay in registers.
const TOKENS: usize = 8;

/// The tokens of a block side by side.
const ORDER: Order = Order::blocks(TOKENS);

/// Prefetch distance of a stream, in bytes.
const AHEAD: usize = 1024;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn ternary_dot(codes: &[u8], x: &Operand<'_>, acc: &mut [i32]) {
    assert!(x.order == ORDER);
    let (depth, groups, tokens_of_x, x) = (x.depth, x.depth / 16, x.tokens, x.codes);
    let width = codes.len() / (groups * LINE) * TILE;
    match tokens_of_x {
        1 => return few::<1>(codes, groups, x, acc),
        2 => return few::<2>(codes, groups, x, acc),
        3 => return few::<3>(codes, groups, x, acc),
        4 => return few::<4>(codes, groups, x, acc),
        _ => {}
    }
    let pair = 2 * groups * LINE;
    for (i, tiles) in codes.chunks(pair).enumerate() {
        for (x, acc) in x.chunks(TOKENS * depth).zip(acc.chunks_mut(TOKENS * width)) {
            let acc = &mut acc[i * 2 * TILE..];
            match tiles.len() == pair {
                true => tokens::<2>(tiles, groups, x, acc, width),
                false => tokens::<1>(tiles, groups, x, acc, width),
            }
        }
    }
}

/// Multiplies `M` tokens; memory-bound. Reads one tile after another, or four side by side where that is faster.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn few<const M: usize>(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    let tile_bytes = groups * LINE;
    let width = codes.len() / tile_bytes * TILE;
    let several = if *STREAMS > 1 && M == 1 { codes.len() / tile_bytes / 4 * 4 } else { 0 };
    let (in_streams, rest) = codes.split_at(several * tile_bytes);
    for (i, tiles) in in_streams.chunks_exact(4 * tile_bytes).enumerate() {
        masked::<M, 4>(tiles, x, &mut acc[i * 4 * TILE..], width);
    }
    for (i, tile) in (several..).zip(rest.chunks_exact(tile_bytes)) {
        masked::<M, 1>(tile, x, &mut acc[i * TILE..], width);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn tokens<const T: usize>(tiles: &[u8], groups: usize, x: &[i8], acc: &mut [i32], width: usize) {
    match x.len() / (groups * 16) {
        1 => block::<1, T>(tiles, groups, x, acc, width),
        2 => block::<2, T>(tiles, groups, x, acc, width),
        3 => block::<3, T>(tiles, groups, x, acc, width),
        4 => block::<4, T>(tiles, groups, x, acc, width),
        5 => block::<5, T>(tiles, groups, x, acc, width),
        6 => block::<6, T>(tiles, groups, x, acc, width),
        7 => block::<7, T>(tiles, groups, x, acc, width),
        _ => block::<TOKENS, T>(tiles, groups, x, acc, width),
    }
}

/// Multiplies `M` interleaved tokens with `T` tiles, with one sum for each field. Fields are masked but not shifted, so
/// the sums come out 1, 4, 16 and 64 times too large, and are shifted once at the end. 64 · 2 · 128 · cols / 4 reaches
/// at most 2³⁰ for the widest matrix allowed. Row t of the result begins at `acc[t · width]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn masked<const M: usize, const T: usize>(tiles: &[u8], x: &[i8], acc: &mut [i32], width: usize) {
    let depth = 4 * x.len() / M;
    assert!(tiles.len() == T * depth && depth.is_multiple_of(LINE));
    let masks = [_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30), _mm512_set1_epi8(-0x40)];
    let mut sums = [[[_mm512_setzero_si512(); 4]; M]; T];
    for (g, x) in x.chunks_exact(16 * M).enumerate() {
        for i in 0..T {
            let line = &tiles[i * depth + g * LINE..];
            if T > 1 {
                prefetch(line, AHEAD);
            }
            // SAFETY: line g of tile i lies inside `tiles`.
            let codes = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
            for f in 0..4 {
                let field = _mm512_and_si512(codes, masks[f]);
                for t in 0..M {
                    sums[i][t][f] = _mm512_dpbusd_epi32(sums[i][t][f], field, dword(&x[4 * (f * M + t)..]));
                }
            }
        }
    }
    for i in 0..T {
        for t in 0..M {
            let sums = sums[i][t];
            let low = _mm512_add_epi32(sums[0], _mm512_srai_epi32::<2>(sums[1]));
            let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(sums[2]), _mm512_srai_epi32::<6>(sums[3]));
            store(_mm512_add_epi32(low, high), &mut acc[t * width + i * TILE..][..TILE]);
        }
    }
}

/// Multiplies `M` interleaved tokens with `T` tiles. Row t of the result begins at `acc[t · width]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn block<const M: usize, const T: usize>(tiles: &[u8], groups: usize, x: &[i8], acc: &mut [i32], width: usize) {
    assert!(x.len() == M * groups * 16 && tiles.len() == T * groups * LINE);
    let two_bits = _mm512_set1_epi8(3);
    let mut sums = [[_mm512_setzero_si512(); T]; M];
    for g in 0..groups {
        let mut codes = [_mm512_setzero_si512(); T];
        for i in 0..T {
            // SAFETY: line g of tile i lies inside `tiles`.
            codes[i] = unsafe { _mm512_loadu_si512(tiles.as_ptr().add((i * groups + g) * LINE).cast()) };
        }
        for f in 0..4 {
            let mut field = [_mm512_setzero_si512(); T];
            for i in 0..T {
                field[i] = _mm512_and_si512(codes[i], two_bits);
                codes[i] = _mm512_srli_epi32::<2>(codes[i]);
            }
            for t in 0..M {
                // SAFETY: dword t of the M that belong to columns 16 g + 4 f …; `x` holds M · groups · 4 of them.
                let x = unsafe { x.as_ptr().cast::<i32>().add((4 * g + f) * M + t).read_unaligned() };
                let x = _mm512_set1_epi32(x);
                for i in 0..T {
                    sums[t][i] = _mm512_dpbusd_epi32(sums[t][i], field[i], x);
                }
            }
        }
    }
    for t in 0..M {
        for i in 0..T {
            store(sums[t][i], &mut acc[t * width + i * TILE..][..TILE]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn coded_dot(bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
    match bits {
        Bits::Four => coded::<4>(codes, depth, x, sums),
        Bits::Six => coded::<6>(codes, depth, x, sums),
        Bits::Eight => coded::<8>(codes, depth, x, sums),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn coded<const BITS: usize>(codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
    let tile_bytes = depth * 2 * BITS;
    let width = codes.len() / tile_bytes * TILE;
    let several = if *STREAMS > 1 && x.len() == depth * 2 { codes.len() / tile_bytes / 4 * 4 } else { 0 };
    let (in_streams, rest) = codes.split_at(several * tile_bytes);
    for (tiles, sums) in in_streams.chunks_exact(4 * tile_bytes).zip(sums.chunks_exact_mut(4 * TILE)) {
        coded_block::<BITS, 4, 1, 2>(tiles, depth, x, sums, width);
    }
    for (i, tile) in (several..).zip(rest.chunks_exact(tile_bytes)) {
        for (x, sums) in x.chunks(BLOCK * depth * 2).zip(sums.chunks_mut(BLOCK * width)) {
            let sums = &mut sums[i * TILE..];
            match x.len() / (depth * 2) {
                1 => coded_block::<BITS, 1, 1, 2>(tile, depth, x, sums, width),
                2 => coded_block::<BITS, 1, 2, 2>(tile, depth, x, sums, width),
                3 => coded_block::<BITS, 1, 3, 2>(tile, depth, x, sums, width),
                4 => coded_block::<BITS, 1, 4, 2>(tile, depth, x, sums, width),
                5 => coded_block::<BITS, 1, 5, 1>(tile, depth, x, sums, width),
                6 => coded_block::<BITS, 1, 6, 1>(tile, depth, x, sums, width),
                7 => coded_block::<BITS, 1, 7, 1>(tile, depth, x, sums, width),
                _ => coded_block::<BITS, 1, BLOCK, 1>(tile, depth, x, sums, width),
            }
        }
    }
}

/// The four dwords of codes in a step, from its lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn unpack<const BITS: usize>(lines: [__m512i; 4]) -> [__m512i; 4] {
    match BITS {
        4 => {
            let nibble = _mm512_set1_epi8(15);
            let high = [_mm512_srli_epi32::<4>(lines[0]), _mm512_srli_epi32::<4>(lines[1])];
            [
                _mm512_and_si512(lines[0], nibble),
                _mm512_and_si512(high[0], nibble),
                _mm512_and_si512(lines[1], nibble),
                _mm512_and_si512(high[1], nibble),
            ]
        }
        6 => {
            let code = _mm512_set1_epi8(0x3f);
            let low = _mm512_and_si512(_mm512_srli_epi32::<6>(lines[0]), _mm512_set1_epi8(0x03));
            let middle = _mm512_and_si512(_mm512_srli_epi32::<4>(lines[1]), _mm512_set1_epi8(0x0c));
            let high = _mm512_and_si512(_mm512_srli_epi32::<2>(lines[2]), _mm512_set1_epi8(0x30));
            [
                _mm512_and_si512(lines[0], code),
                _mm512_and_si512(lines[1], code),
                _mm512_and_si512(lines[2], code),
                _mm512_or_si512(_mm512_or_si512(low, middle), high),
            ]
        }
        _ => lines,
    }
}

/// Multiplies `T` tiles with `M` tokens, with `F` separate sums for the dwords of a step: a few tokens alone do not
/// give enough independent chains of additions. Row t of the result begins at `sums[t · width]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn coded_block<const BITS: usize, const T: usize, const M: usize, const F: usize>(
    tiles: &[u8],
    depth: usize,
    x: &[i8],
    sums: &mut [i32],
    width: usize,
) {
    let tile_bytes = depth * 2 * BITS;
    assert!(x.len() == M * depth * 2 && tiles.len() == T * tile_bytes && depth.is_multiple_of(16));
    let mut acc = [[[[_mm512_setzero_si512(); 2]; F]; M]; T];
    for g in 0..depth / 16 {
        for i in 0..T {
            let mut lines = [_mm512_setzero_si512(); 4];
            for l in 0..BITS / 2 {
                let line = &tiles[i * tile_bytes + (g * BITS / 2 + l) * LINE..];
                if T > 1 {
                    prefetch(line, AHEAD);
                }
                // SAFETY: a step of a tile is BITS / 2 lines, and there are depth / 16 of them.
                lines[l] = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
            }
            let codes = unpack::<BITS>(lines);
            for f in 0..4 {
                for t in 0..M {
                    for part in 0..2 {
                        let at = ((4 * g + f) * M + t) * 2 + part;
                        // SAFETY: one part of token t < M, columns 16 g + 4 f …; `x` holds M · depth / 2 dwords.
                        let x = unsafe { x.as_ptr().cast::<i32>().add(at).read_unaligned() };
                        let sum = &mut acc[i][t][f % F][part];
                        *sum = _mm512_dpbusd_epi32(*sum, codes[f], _mm512_set1_epi32(x));
                    }
                }
            }
        }
    }
    for i in 0..T {
        for t in 0..M {
            let [mut high, mut low] = acc[i][t][0];
            for f in 1..F {
                (high, low) = (_mm512_add_epi32(high, acc[i][t][f][0]), _mm512_add_epi32(low, acc[i][t][f][1]));
            }
            let sum = _mm512_add_epi32(_mm512_slli_epi32::<LOW_BITS>(high), low);
            store(sum, &mut sums[t * width + i * TILE..][..TILE]);
        }
    }
}

/// Multiplies rows of queries or weights with the lines of an int8 cache.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn int8_dot(dots: &Dots<'_>, acc: &mut [i32]) {
    let mut row = 0;
    while row < dots.rows {
        row += match dots.rows - row {
            8.. => int8_rows::<8>(dots, row, acc),
            4.. => int8_rows::<4>(dots, row, acc),
            2.. => int8_rows::<2>(dots, row, acc),
            _ => int8_rows::<1>(dots, row, acc),
        };
    }
}

/// Multiplies the rows `row .. row + R`. Returns `R`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn int8_rows<const R: usize>(dots: &Dots<'_>, row: usize, acc: &mut [i32]) -> usize {
    let tiles = dots.tiles();
    for tile in (0..tiles - tiles % 2).step_by(2) {
        int8_block::<R, 2>(dots, row, tile, acc);
    }
    if tiles % 2 == 1 {
        int8_block::<R, 1>(dots, row, tiles - 1, acc);
    }
    R
}

/// Multiplies `R` rows with `T` tiles. Sums and lines stay in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn int8_block<const R: usize, const T: usize>(dots: &Dots<'_>, row: usize, tile: usize, acc: &mut [i32]) {
    let lines = dots.depth / 4;
    let mut sums = [[_mm512_setzero_si512(); T]; R];
    for j in 0..lines {
        let mut line = [_mm512_setzero_si512(); T];
        for t in 0..T {
            let bytes = &dots.lines[((tile + t) * lines + j) * LINE..][..LINE];
            prefetch_scattered(bytes, dots.ahead);
            // SAFETY: a line has 64 bytes.
            line[t] = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        }
        for r in 0..R {
            // SAFETY: dword j of a row inside `dots.x` (`Dots::fits`).
            let x = unsafe { dots.x.as_ptr().add((row + r) * dots.x_stride + 4 * j).cast::<i32>().read_unaligned() };
            for t in 0..T {
                sums[r][t] = _mm512_dpbusd_epi32(sums[r][t], line[t], _mm512_set1_epi32(x));
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            let acc = &mut acc[(row + r) * dots.acc_stride + (tile + t) * TILE..][..TILE];
            // SAFETY: `acc` has 16 sums.
            let before = unsafe { _mm512_loadu_si512(acc.as_ptr().cast()) };
            store(_mm512_add_epi32(before, sums[r][t]), acc);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn dword(x: &[i8]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sum: __m512i, acc: &mut [i32]) {
    assert!(acc.len() == TILE);
    // SAFETY: `acc` has room for 16 sums.
    unsafe { _mm512_storeu_si512(acc.as_mut_ptr().cast(), sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_give_the_sums_of_one_tile_at_a_time() {
        if !(SET.supported)() {
            return;
        }
        let byte = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        // No field has the value 3, which is not a trit.
        let tiles: Vec<u8> = (0..4 * 5 * LINE).map(|i| byte(i) & !((byte(i) & byte(i) >> 1 & 0x55) << 1)).collect();
        let x: Vec<i8> = (0..5 * 16).map(|i| byte(i + 9999) as i8).collect();
        let (mut together, mut alone) = ([0; 4 * TILE], [0; 4 * TILE]);
        // SAFETY: the CPU supports the set, as checked above.
        unsafe {
            masked::<1, 4>(&tiles, &x, &mut together, 0);
            for (tile, acc) in tiles.chunks_exact(5 * LINE).zip(alone.chunks_exact_mut(TILE)) {
                masked::<1, 1>(tile, &x, acc, 0);
            }
        }
        assert_eq!(together, alone);
        assert!(alone.iter().any(|sum| *sum != 0));
        // SAFETY: the CPU supports the set, as checked above.
        unsafe {
            coded_block::<8, 4, 1, 2>(&tiles[..4 * 4 * LINE], 16, &x[..32], &mut together, 0);
            for (tile, sums) in tiles.chunks_exact(4 * LINE).zip(alone.chunks_exact_mut(TILE)) {
                coded_block::<8, 1, 1, 2>(tile, 16, &x[..32], sums, 0);
            }
        }
        assert_eq!(together, alone);
    }
}
