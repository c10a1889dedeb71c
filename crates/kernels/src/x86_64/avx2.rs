//! AVX2: `vpmaddubsw` on shifted fields, widened before a 16-bit sum can wrap.

use std::arch::x86_64::*;

use super::avx2_vector::F32x16;
use super::prefetch::{prefetch, prefetch_scattered};
use super::{STREAMS, avx2_sparse, avx512, grouped256, sums};
use crate::lines::LINE;
use crate::op::attention::int8::Dots;
use crate::op::codes::{BLOCK, Bits, LOW_BITS};
use crate::op::operand::{Operand, Order};
use crate::op::ternary::TILE;
use crate::set::{Cost, KernelSet, compiled};

compiled! { F32x16, #[target_feature(enable = "avx2,f16c")] }

/// For Haswell, Zen and newer.
pub(crate) static SET: KernelSet = KernelSet {
    name: "avx2",
    supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
    order: |_| ORDER,
    bias: 128,
    blocking: |tokens, _| sums::blocking(tokens, SUMS_FROM),
    ternary_dot,
    grouped_dot: grouped256::maddubs::dot,
    coded_dot,
    int8_dot,
    rows_dot: avx2_sparse::rows_dot,
    columns_dot: avx2_sparse::columns_dot,
    rows_to_tile: avx2_sparse::rows_to_tile,
    columns_to_tiles: avx2_sparse::columns_to_tiles,
    // `whole` was measured on Zen 4; the others are those of AVX-512, with which AVX2 has been used so far.
    cost: Cost { whole: |tokens| 3.0 + 0.35 * tokens as f32, ..avx512::COST },
    ..compiled::TABLE
};

/// As many tokens side by side as a table of sums has.
const ORDER: Order = Order::blocks(sums::TOKENS);

/// Tokens of a block without tables.
const TOKENS: usize = 4;

/// Prefetch distance of a stream, in bytes.
const AHEAD: usize = 1024;

/// Lines whose products fit a 16-bit sum: 16 lines · 4 fields · (2 · 2 · −128) = −2¹⁵.
const LINES: usize = 16;

/// The number of tokens from which tables of sums are faster, measured on Zen 4.
const SUMS_FROM: usize = 12;

#[target_feature(enable = "avx2")]
fn ternary_dot(codes: &[u8], x: &Operand<'_>, acc: &mut [i32]) {
    assert!(x.order == ORDER);
    let (depth, groups) = (x.depth, x.depth / 16);
    let width = codes.len() / (groups * LINE) * TILE;
    let summed = sums::share(x.tokens, SUMS_FROM);
    let ((summed_x, x), (summed_acc, acc)) = (x.codes.split_at(summed * depth), acc.split_at_mut(summed * width));
    sums::ternary_dot(codes, groups, summed_x, summed_acc);
    let tokens = x.len() / depth;
    for (i, tile) in codes.chunks_exact(groups * LINE).enumerate() {
        for first in (0..tokens).step_by(TOKENS) {
            let acc = &mut acc[first * width + i * TILE..];
            match tokens - first {
                1 => block::<1>(tile, x, tokens, first, acc, width),
                2 => block::<2>(tile, x, tokens, first, acc, width),
                3 => block::<3>(tile, x, tokens, first, acc, width),
                _ => block::<TOKENS>(tile, x, tokens, first, acc, width),
            }
        }
    }
}

/// Multiplies one tile with `M` tokens from token `first` on, of `tokens` interleaved tokens. Row t of the result
/// begins at `acc[t · width]`.
#[target_feature(enable = "avx2")]
fn block<const M: usize>(tile: &[u8], x: &[i8], tokens: usize, first: usize, acc: &mut [i32], width: usize) {
    assert!(first + M <= tokens && x.len() == tokens * tile.len() / 4);
    let (two_bits, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1));
    let ahead = *STREAMS > 1;
    let mut sums = [[_mm256_setzero_si256(); 2]; M];
    for (part, lines) in tile.chunks(LINES * LINE).enumerate() {
        let mut narrow = [[_mm256_setzero_si256(); 2]; M];
        for (g, line) in lines.chunks_exact(LINE).enumerate() {
            let mut codes = [_mm256_setzero_si256(); 2];
            if ahead {
                prefetch(line, AHEAD);
            }
            for half in 0..2 {
                // SAFETY: `line` has 64 bytes.
                codes[half] = unsafe { _mm256_loadu_si256(line.as_ptr().add(32 * half).cast()) };
            }
            for f in 0..4 {
                let mut field = [_mm256_setzero_si256(); 2];
                for half in 0..2 {
                    field[half] = _mm256_and_si256(codes[half], two_bits);
                    codes[half] = _mm256_srli_epi32::<2>(codes[half]);
                }
                for t in 0..M {
                    let dword = 4 * (part * LINES + g) + f;
                    // SAFETY: `x` has `tokens` dwords for each four columns.
                    let x = unsafe { x.as_ptr().cast::<i32>().add(dword * tokens + first + t).read_unaligned() };
                    let x = _mm256_set1_epi32(x);
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(field[half], x);
                        narrow[t][half] = _mm256_add_epi16(narrow[t][half], products);
                    }
                }
            }
        }
        for t in 0..M {
            for half in 0..2 {
                let wide = _mm256_madd_epi16(narrow[t][half], ones);
                sums[t][half] = _mm256_add_epi32(sums[t][half], wide);
            }
        }
    }
    for t in 0..M {
        let acc = &mut acc[t * width..][..TILE];
        for (half, acc) in acc.chunks_exact_mut(8).enumerate() {
            // SAFETY: `acc` has room for 8 sums.
            unsafe { _mm256_storeu_si256(acc.as_mut_ptr().cast(), sums[t][half]) };
        }
    }
}

#[target_feature(enable = "avx2")]
fn coded_dot(bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
    match bits {
        Bits::Four => coded::<4>(codes, depth, x, sums),
        Bits::Six => coded::<6>(codes, depth, x, sums),
        Bits::Eight => coded::<8>(codes, depth, x, sums),
    }
}

#[target_feature(enable = "avx2")]
fn coded<const BITS: usize>(codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
    let tile_bytes = depth * 2 * BITS;
    let width = codes.len() / tile_bytes * TILE;
    for (i, tile) in codes.chunks_exact(tile_bytes).enumerate() {
        for (x, sums) in x.chunks(BLOCK * depth * 2).zip(sums.chunks_mut(BLOCK * width)) {
            let m = x.len() / (depth * 2);
            let mut t = 0;
            while t + 1 < m {
                coded_block::<BITS, 2>(tile, depth, x, m, t, &mut sums[t * width + i * TILE..], width);
                t += 2;
            }
            if t < m {
                coded_block::<BITS, 1>(tile, depth, x, m, t, &mut sums[t * width + i * TILE..], width);
            }
        }
    }
}

/// The four dwords of codes in a step, from one half of its lines.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack<const BITS: usize>(lines: [__m256i; 4]) -> [__m256i; 4] {
    match BITS {
        4 => {
            let nibble = _mm256_set1_epi8(15);
            let high = [_mm256_srli_epi32::<4>(lines[0]), _mm256_srli_epi32::<4>(lines[1])];
            [
                _mm256_and_si256(lines[0], nibble),
                _mm256_and_si256(high[0], nibble),
                _mm256_and_si256(lines[1], nibble),
                _mm256_and_si256(high[1], nibble),
            ]
        }
        6 => {
            let code = _mm256_set1_epi8(0x3f);
            let low = _mm256_and_si256(_mm256_srli_epi32::<6>(lines[0]), _mm256_set1_epi8(0x03));
            let middle = _mm256_and_si256(_mm256_srli_epi32::<4>(lines[1]), _mm256_set1_epi8(0x0c));
            let high = _mm256_and_si256(_mm256_srli_epi32::<2>(lines[2]), _mm256_set1_epi8(0x30));
            [
                _mm256_and_si256(lines[0], code),
                _mm256_and_si256(lines[1], code),
                _mm256_and_si256(lines[2], code),
                _mm256_or_si256(_mm256_or_si256(low, middle), high),
            ]
        }
        _ => lines,
    }
}

/// Multiplies one tile with the tokens `first` … `first + M` of `m` interleaved tokens. Row t of the result begins at
/// `sums[t · width]`.
///
/// A pair of products fits 16 bits without saturating. Low parts, up to 2 · 255 · 31, leave room for one addition; high
/// parts, down to 2 · 255 · −64, do not. For codes below 64 a whole step fits: 4 · 2 · 63 · −64.
#[target_feature(enable = "avx2")]
fn coded_block<const BITS: usize, const M: usize>(
    tile: &[u8],
    depth: usize,
    x: &[i8],
    m: usize,
    first: usize,
    sums: &mut [i32],
    width: usize,
) {
    assert!(x.len() == m * depth * 2 && first + M <= m && tile.len() == depth * 2 * BITS);
    let (ones, highs) = (_mm256_set1_epi16(1), _mm256_set1_epi16(1 << LOW_BITS));
    let ahead = *STREAMS > 1;
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    for (g, step) in tile.chunks_exact(BITS / 2 * LINE).enumerate() {
        if ahead {
            for l in 0..BITS / 2 {
                prefetch(&step[l * LINE..], AHEAD);
            }
        }
        for half in 0..2 {
            let mut lines = [_mm256_setzero_si256(); 4];
            for l in 0..BITS / 2 {
                // SAFETY: a step is BITS / 2 lines.
                lines[l] = unsafe { _mm256_loadu_si256(step.as_ptr().add(l * LINE + half * 32).cast()) };
            }
            let codes = unpack::<BITS>(lines);
            for t in 0..M {
                let (mut high, mut low, mut wide) = (_mm256_setzero_si256(), _mm256_setzero_si256(), acc[t][half]);
                for f in 0..4 {
                    let dwords = ((4 * g + f) * m + first + t) * 2;
                    // SAFETY: both dwords of a token below m, of columns below depth; `x` holds m · depth / 2 dwords.
                    let [h, l] = unsafe { x.as_ptr().cast::<[i32; 2]>().byte_add(4 * dwords).read_unaligned() };
                    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(codes[f], _mm256_set1_epi32(h)));
                    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(codes[f], _mm256_set1_epi32(l)));
                    if BITS == 8 || f == 3 {
                        wide = _mm256_add_epi32(wide, _mm256_madd_epi16(high, highs));
                        high = _mm256_setzero_si256();
                    }
                    if BITS == 8 && f == 1 || f == 3 {
                        wide = _mm256_add_epi32(wide, _mm256_madd_epi16(low, ones));
                        low = _mm256_setzero_si256();
                    }
                }
                acc[t][half] = wide;
            }
        }
    }
    for t in 0..M {
        for (half, sums) in sums[t * width..][..TILE].chunks_exact_mut(8).enumerate() {
            // SAFETY: `sums` has room for 8 sums.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), acc[t][half]) };
        }
    }
}

/// Multiplies rows of queries or weights with the lines of an int8 cache.
#[target_feature(enable = "avx2")]
fn int8_dot(dots: &Dots<'_>, acc: &mut [i32]) {
    for tile in 0..dots.tiles() {
        let mut row = 0;
        while row < dots.rows {
            row += match dots.rows - row {
                4.. => int8_block::<4>(dots, row, tile, acc),
                2.. => int8_block::<2>(dots, row, tile, acc),
                _ => int8_block::<1>(dots, row, tile, acc),
            };
        }
    }
}

/// Multiplies `R` rows with one tile, even and odd bytes apart. Products are widened to 16 bits, as `vpmaddubsw` would
/// saturate. Returns `R`.
#[inline]
#[target_feature(enable = "avx2")]
fn int8_block<const R: usize>(dots: &Dots<'_>, row: usize, tile: usize, acc: &mut [i32]) -> usize {
    let low = _mm256_set1_epi16(0xff);
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for (j, line) in dots.lines[tile * dots.depth * TILE..][..dots.depth * TILE].chunks_exact(LINE).enumerate() {
        prefetch_scattered(line, dots.ahead);
        let (mut even, mut odd) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
        for half in 0..2 {
            // SAFETY: `line` has 64 bytes.
            let bytes = unsafe { _mm256_loadu_si256(line.as_ptr().add(32 * half).cast()) };
            even[half] = _mm256_and_si256(bytes, low);
            odd[half] = _mm256_srli_epi16::<8>(bytes);
        }
        for r in 0..R {
            // SAFETY: dword j of a row inside `dots.x` (`Dots::fits`).
            let x = unsafe { dots.x.as_ptr().add((row + r) * dots.x_stride + 4 * j).cast::<i32>().read_unaligned() };
            let x = _mm256_set1_epi32(x);
            let (x_even, x_odd) = (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x));
            for half in 0..2 {
                let products =
                    _mm256_add_epi32(_mm256_madd_epi16(even[half], x_even), _mm256_madd_epi16(odd[half], x_odd));
                sums[r][half] = _mm256_add_epi32(sums[r][half], products);
            }
        }
    }
    for r in 0..R {
        let acc = &mut acc[(row + r) * dots.acc_stride + tile * TILE..][..TILE];
        for (half, acc) in acc.chunks_exact_mut(8).enumerate() {
            // SAFETY: `acc` has 8 sums.
            unsafe {
                let before = _mm256_loadu_si256(acc.as_ptr().cast());
                _mm256_storeu_si256(acc.as_mut_ptr().cast(), _mm256_add_epi32(before, sums[r][half]));
            }
        }
    }
    R
}
