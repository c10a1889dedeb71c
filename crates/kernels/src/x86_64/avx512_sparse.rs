//! Single rows and columns with AVX-512 VNNI: fields are masked but not shifted, as in `avx512::masked`.

use std::arch::x86_64::*;

use super::prefetch::prefetch_scattered;
use super::singles::{self, Later};
use crate::lines::LINE;
use crate::op::sparse::Columns;

/// Rows processed together; also the prefetch distance in rows.
const ROWS: usize = 4;
const AHEAD: usize = 8;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn rows_dot(rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]) {
    for (i, sums) in sums.chunks_mut(ROWS).enumerate() {
        let at: [_; ROWS] = singles::rows(rows, stride, picked, ROWS * i);
        let later = singles::rows(rows, stride, picked, ROWS * i + AHEAD);
        let dots = four_rows(at, later, x);
        sums.copy_from_slice(&dots[..sums.len()]);
    }
}

/// Multiplies four rows. Unshifted fields fit: a lane adds up at most 64 · 2 · −128 · columns / 16, which an i32 holds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn four_rows(rows: [&[u8]; ROWS], later: [&[u8]; ROWS], x: &[i8]) -> [i32; ROWS] {
    let masks = masks();
    let mut sums = [[_mm512_setzero_si512(); 4]; ROWS];
    for (g, x) in x.chunks_exact(4 * LINE).enumerate() {
        let mut fields = [_mm512_setzero_si512(); 4];
        for f in 0..4 {
            // SAFETY: `x` has four times 64 codes.
            fields[f] = unsafe { _mm512_loadu_si512(x.as_ptr().add(f * LINE).cast()) };
        }
        for r in 0..ROWS {
            prefetch_scattered(later[r], g * LINE);
            let codes = load(rows[r], g * LINE);
            for f in 0..4 {
                sums[r][f] = _mm512_dpbusd_epi32(sums[r][f], _mm512_and_si512(codes, masks[f]), fields[f]);
            }
        }
    }
    let mut lanes = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        let low = _mm512_add_epi32(sums[r][0], _mm512_srai_epi32::<2>(sums[r][1]));
        let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(sums[r][2]), _mm512_srai_epi32::<6>(sums[r][3]));
        lanes[r] = _mm512_add_epi32(low, high);
    }
    // Place the lanes of the four rows side by side, then fold them together.
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(lanes[0], lanes[1]), _mm512_unpackhi_epi32(lanes[0], lanes[1]));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(lanes[2], lanes[3]), _mm512_unpackhi_epi32(lanes[2], lanes[3]));
    let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64::<1>(abcd));
    let dots = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut out = [0; ROWS];
    // SAFETY: `out` has four places.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), dots) };
    out
}

/// Takes four columns and 256 outputs at a time: the sums stay in 16 registers. Meanwhile the next columns are
/// prefetched completely, one after another.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn columns_dot(columns: &[u8], stride: usize, these: &Columns<'_>, sums: &mut [i32]) {
    let masks = masks();
    let (at, codes) = singles::columns(these, stride);
    let count = these.picked.len().next_multiple_of(4);
    let mut later = Later { columns, stride, next: these.next, line: 0 };
    for (block, sums) in sums.chunks_exact_mut(4 * LINE).enumerate() {
        let mut acc = [[_mm512_setzero_si512(); 4]; 4];
        for u in 0..4 {
            for f in 0..4 {
                // SAFETY: 16 of the 256 sums.
                acc[u][f] = unsafe { _mm512_loadu_si512(sums.as_ptr().add(64 * u + 16 * f).cast()) };
            }
        }
        for i in (0..count).step_by(4) {
            later.fetch::<4>();
            let line = |i: usize| at[i] + block * LINE;
            let quarters = interleave([
                load(columns, line(i)),
                load(columns, line(i + 1)),
                load(columns, line(i + 2)),
                load(columns, line(i + 3)),
            ]);
            let x = i32::from_le_bytes([codes[i] as u8, codes[i + 1] as u8, codes[i + 2] as u8, codes[i + 3] as u8]);
            let x = _mm512_set1_epi32(x);
            for u in 0..4 {
                for f in 0..4 {
                    acc[u][f] = _mm512_dpbusd_epi32(acc[u][f], _mm512_and_si512(quarters[u], masks[f]), x);
                }
            }
        }
        for u in 0..4 {
            for f in 0..4 {
                // SAFETY: 16 of the 256 sums.
                unsafe { _mm512_storeu_si512(sums.as_mut_ptr().add(64 * u + 16 * f).cast(), acc[u][f]) };
            }
        }
    }
}

/// Interleaves the bytes of four lines into dwords; quarter u holds 16 of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(lines: [__m512i; 4]) -> [__m512i; 4] {
    let [a, b, c, d] = lines;
    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab, cd),
        _mm512_unpackhi_epi16(ab, cd),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// Transposes 16 × 16 dwords, 16 lines at a time.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn rows_to_tile(rows: &[u8], stride: usize, tile: &mut [u8]) {
    for (piece, lines) in tile.chunks_mut(16 * LINE).enumerate() {
        let mut dwords = [_mm512_setzero_si512(); 16];
        for r in 0..16 {
            dwords[r] = load(rows, r * stride + piece * LINE);
            prefetch_scattered(rows, r * stride + piece * LINE + 16 * stride);
        }
        transpose(&mut dwords);
        for (line, dwords) in lines.chunks_exact_mut(LINE).zip(dwords) {
            // SAFETY: `line` has 64 bytes.
            unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), dwords) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; 16]) {
    // Transpose within 128-bit lanes: lane L of register 4 i + j holds column 4 L + j of rows 4 i … 4 i + 3.
    for i in 0..4 {
        let [a, b, c, d] = [rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]];
        let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        rows[4 * i] = _mm512_unpacklo_epi64(ab, cd);
        rows[4 * i + 1] = _mm512_unpackhi_epi64(ab, cd);
        rows[4 * i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        rows[4 * i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Transpose whole 128-bit lanes.
    for j in 0..4 {
        let [a, b, c, d] = [rows[j], rows[4 + j], rows[8 + j], rows[12 + j]];
        let (ab, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
        let (cd, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
        rows[j] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        rows[4 + j] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        rows[8 + j] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
}

/// 16 columns become one line in each of 16 tiles: bytes are interleaved, then the fields of four registers are
/// transposed.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn columns_to_tiles(columns: &[u8], stride: usize, tiles: &mut [u8]) {
    let groups = tiles.len() / (16 * LINE);
    for g in 0..groups {
        let mut quarters = [[_mm512_setzero_si512(); 4]; 4];
        for f in 0..4 {
            let at = (16 * g + 4 * f) * stride;
            for b in 0..4 {
                prefetch_scattered(columns, at + b * stride + 32 * stride);
            }
            let line = |b: usize| load(columns, at + b * stride);
            quarters[f] = interleave([line(0), line(1), line(2), line(3)]);
        }
        for u in 0..4 {
            let fields = transpose_fields([quarters[0][u], quarters[1][u], quarters[2][u], quarters[3][u]]);
            for f in 0..4 {
                let line = &mut tiles[((4 * u + f) * groups + g) * LINE..][..LINE];
                // SAFETY: `line` has 64 bytes.
                unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), fields[f]) };
            }
        }
    }
}

/// Transposes the fields of every byte: field f of register g becomes field g of register f.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_fields(registers: [__m512i; 4]) -> [__m512i; 4] {
    let [mut a, mut b, mut c, mut d] = registers;
    let (nibble, pairs) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x33));
    for (x, y) in [(&mut a, &mut c), (&mut b, &mut d)] {
        let swap = _mm512_and_si512(_mm512_xor_si512(_mm512_srli_epi32::<4>(*x), *y), nibble);
        *y = _mm512_xor_si512(*y, swap);
        *x = _mm512_xor_si512(*x, _mm512_slli_epi32::<4>(swap));
    }
    for (x, y) in [(&mut a, &mut b), (&mut c, &mut d)] {
        let swap = _mm512_and_si512(_mm512_xor_si512(_mm512_srli_epi32::<2>(*x), *y), pairs);
        *y = _mm512_xor_si512(*y, swap);
        *x = _mm512_xor_si512(*x, _mm512_slli_epi32::<2>(swap));
    }
    [a, b, c, d]
}

/// Masks that select the fields 0 to 3 of every byte.
#[inline]
#[target_feature(enable = "avx512f")]
fn masks() -> [__m512i; 4] {
    [_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30), _mm512_set1_epi8(-0x40)]
}

/// Loads the line at `at`.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8], at: usize) -> __m512i {
    let line = &bytes[at..at + LINE];
    // SAFETY: `line` has 64 bytes.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}
