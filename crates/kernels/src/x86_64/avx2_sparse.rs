//! Single rows and columns with AVX2: `vpmaddubsw` on fields 0 and 1 and, shifted by four bits, 2 and 3. The odd fields
//! come out four times too large and are widened before a 16-bit sum can wrap.

use std::arch::x86_64::*;

use super::prefetch::prefetch_scattered;
use super::singles::{self, Later};
use crate::lines::LINE;
use crate::op::sparse::Columns;

/// Rows processed together; also the prefetch distance in rows.
const ROWS: usize = 2;
const AHEAD: usize = 8;

/// Lines whose products fit a 16-bit sum: 4 lines · 2 halves · 2 fields · (4 · 2 · 2 · −128) = −2¹⁵.
const LINES: usize = 4;

#[target_feature(enable = "avx2")]
pub(super) fn rows_dot(rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]) {
    for (i, sums) in sums.chunks_mut(ROWS).enumerate() {
        let at: [_; ROWS] = singles::rows(rows, stride, picked, ROWS * i);
        let later = singles::rows(rows, stride, picked, ROWS * i + AHEAD);
        let dots = some_rows(at, later, x);
        sums.copy_from_slice(&dots[..sums.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn some_rows(rows: [&[u8]; ROWS], later: [&[u8]; ROWS], x: &[i8]) -> [i32; ROWS] {
    let (ones, even, odd) = (_mm256_set1_epi16(1), _mm256_set1_epi8(0x03), _mm256_set1_epi8(0x0c));
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (part, x) in x.chunks(LINES * 4 * LINE).enumerate() {
        let mut narrow = [[_mm256_setzero_si256(); 2]; ROWS];
        for (g, x) in x.chunks_exact(4 * LINE).enumerate() {
            let line = (part * LINES + g) * LINE;
            for half in 0..2 {
                let mut fields = [_mm256_setzero_si256(); 4];
                for f in 0..4 {
                    // SAFETY: `x` has four times 64 codes.
                    fields[f] = unsafe { _mm256_loadu_si256(x.as_ptr().add(f * LINE + 32 * half).cast()) };
                }
                for r in 0..ROWS {
                    if half == 0 {
                        prefetch_scattered(later[r], line);
                    }
                    let low = load(rows[r], line + 32 * half);
                    let high = _mm256_srli_epi16::<4>(low);
                    for (i, mask) in [even, odd].into_iter().enumerate() {
                        let low = _mm256_maddubs_epi16(_mm256_and_si256(low, mask), fields[i]);
                        let high = _mm256_maddubs_epi16(_mm256_and_si256(high, mask), fields[2 + i]);
                        narrow[r][i] = _mm256_add_epi16(narrow[r][i], _mm256_add_epi16(low, high));
                    }
                }
            }
        }
        for r in 0..ROWS {
            for i in 0..2 {
                sums[r][i] = _mm256_add_epi32(sums[r][i], _mm256_madd_epi16(narrow[r][i], ones));
            }
        }
    }
    let mut out = [0; ROWS];
    for r in 0..ROWS {
        let lanes = _mm256_add_epi32(sums[r][0], _mm256_srai_epi32::<2>(sums[r][1]));
        let half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let pair = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
        out[r] = _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<1>(pair)));
    }
    out
}

/// Takes two columns and 128 outputs at a time: the 16-bit sums stay in 8 registers for the whole group.
#[target_feature(enable = "avx2")]
pub(super) fn columns_dot(columns: &[u8], stride: usize, these: &Columns<'_>, sums: &mut [i32]) {
    let (even, odd) = (_mm256_set1_epi8(0x03), _mm256_set1_epi8(0x0c));
    let (at, codes) = singles::columns(these, stride);
    let count = these.picked.len().next_multiple_of(2);
    let mut later = Later { columns, stride, next: these.next, line: 0 };
    for (part, sums) in sums.chunks_exact_mut(4 * LINE).enumerate() {
        for half in 0..2 {
            let mut acc = [[_mm256_setzero_si256(); 4]; 2];
            for i in (0..count).step_by(2) {
                later.fetch::<1>();
                let [a, b] = [
                    load(columns, at[i] + part * LINE + 32 * half),
                    load(columns, at[i + 1] + part * LINE + 32 * half),
                ];
                let x = _mm256_set1_epi16(i16::from_le_bytes([codes[i] as u8, codes[i + 1] as u8]));
                for (acc, low) in acc.iter_mut().zip([_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)]) {
                    let high = _mm256_srli_epi16::<4>(low);
                    for (i, field) in [(low, even), (low, odd), (high, even), (high, odd)].into_iter().enumerate() {
                        acc[i] = _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(_mm256_and_si256(field.0, field.1), x));
                    }
                }
            }
            for (u, acc) in acc.iter().enumerate() {
                for f in 0..4 {
                    let sum = if f % 2 == 1 { _mm256_srai_epi16::<2>(acc[f]) } else { acc[f] };
                    let wide = [_mm256_unpacklo_epi16(sum, sum), _mm256_unpackhi_epi16(sum, sum)];
                    for (i, wide) in wide.into_iter().enumerate() {
                        let sums = sums[64 * (2 * u + i) + 16 * f + 8 * half..][..8].as_mut_ptr().cast();
                        // SAFETY: eight sums.
                        unsafe {
                            let wide = _mm256_srai_epi32::<16>(wide);
                            _mm256_storeu_si256(sums, _mm256_add_epi32(_mm256_loadu_si256(sums), wide));
                        }
                    }
                }
            }
        }
    }
}

/// Transposes 8 × 8 dwords at a time.
#[target_feature(enable = "avx2")]
pub(super) fn rows_to_tile(rows: &[u8], stride: usize, tile: &mut [u8]) {
    for (piece, lines) in tile.chunks_mut(8 * LINE).enumerate() {
        for half in 0..2 {
            let mut dwords = [_mm256_setzero_si256(); 8];
            for r in 0..8 {
                dwords[r] = load(rows, (8 * half + r) * stride + 32 * piece);
            }
            transpose(&mut dwords);
            for (line, dwords) in lines.chunks_exact_mut(LINE).zip(dwords) {
                // SAFETY: `line` has 64 bytes.
                unsafe { _mm256_storeu_si256(line.as_mut_ptr().add(32 * half).cast(), dwords) };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &mut [__m256i; 8]) {
    // Transpose within 128-bit lanes: lane L of register 4 i + j holds column 4 L + j of rows 4 i … 4 i + 3.
    for i in 0..2 {
        let [a, b, c, d] = [rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]];
        let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        rows[4 * i] = _mm256_unpacklo_epi64(ab, cd);
        rows[4 * i + 1] = _mm256_unpackhi_epi64(ab, cd);
        rows[4 * i + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        rows[4 * i + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    for j in 0..4 {
        let (low, high) = (rows[j], rows[4 + j]);
        rows[j] = _mm256_permute2x128_si256::<0x20>(low, high);
        rows[4 + j] = _mm256_permute2x128_si256::<0x31>(low, high);
    }
}

/// 16 columns become one line in each of 16 tiles: bytes are interleaved, then the fields of four registers are
/// transposed.
#[target_feature(enable = "avx2")]
pub(super) fn columns_to_tiles(columns: &[u8], stride: usize, tiles: &mut [u8]) {
    let groups = tiles.len() / (16 * LINE);
    for g in 0..groups {
        for half in 0..2 {
            let mut quarters = [[_mm256_setzero_si256(); 4]; 4];
            for f in 0..4 {
                let at = (16 * g + 4 * f) * stride + 32 * half;
                quarters[f] = interleave([
                    load(columns, at),
                    load(columns, at + stride),
                    load(columns, at + 2 * stride),
                    load(columns, at + 3 * stride),
                ]);
            }
            for u in 0..4 {
                let fields = transpose_fields([quarters[0][u], quarters[1][u], quarters[2][u], quarters[3][u]]);
                for f in 0..4 {
                    let line = &mut tiles[((4 * u + f) * groups + g) * LINE..][..LINE];
                    // SAFETY: `line` has 64 bytes.
                    unsafe { _mm256_storeu_si256(line.as_mut_ptr().add(32 * half).cast(), fields[f]) };
                }
            }
        }
    }
}

/// Interleaves the bytes of four half lines into dwords; quarter u holds 8 of them.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(lines: [__m256i; 4]) -> [__m256i; 4] {
    let [a, b, c, d] = lines;
    let (ab, cd) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
    [
        _mm256_unpacklo_epi16(ab, cd),
        _mm256_unpackhi_epi16(ab, cd),
        _mm256_unpacklo_epi16(ab_high, cd_high),
        _mm256_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// Transposes the fields of every byte: field f of register g becomes field g of register f.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_fields(registers: [__m256i; 4]) -> [__m256i; 4] {
    let [mut a, mut b, mut c, mut d] = registers;
    let (nibble, pairs) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi8(0x33));
    for (x, y) in [(&mut a, &mut c), (&mut b, &mut d)] {
        let swap = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi32::<4>(*x), *y), nibble);
        *y = _mm256_xor_si256(*y, swap);
        *x = _mm256_xor_si256(*x, _mm256_slli_epi32::<4>(swap));
    }
    for (x, y) in [(&mut a, &mut b), (&mut c, &mut d)] {
        let swap = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi32::<2>(*x), *y), pairs);
        *y = _mm256_xor_si256(*y, swap);
        *x = _mm256_xor_si256(*x, _mm256_slli_epi32::<2>(swap));
    }
    [a, b, c, d]
}

/// Loads the half line at `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8], at: usize) -> __m256i {
    let half = &bytes[at..at + LINE / 2];
    // SAFETY: `half` has 32 bytes.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}
