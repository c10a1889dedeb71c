//! Products with many tokens by tables of sums, for any CPU with 256-bit integer additions.
//!
//! A byte of a line holds four trits of a row, so the sum of the four activations they choose is one of 81. For 16
//! tokens these sums are a table of 81 registers of 16-bit lanes. Each entry costs one addition, and all rows use the
//! table. One addition from memory does 64 multiply-adds, where `vpdpbusd` does 32 and `vpmaddubsw` 16 in a register of
//! this size.
//!
//! ```text
//! slab = 2 lines = 32 columns = 8 bytes of each row        tables[8][81][16 tokens]  21 KB, in L1
//! offsets[line][row][4]: where each byte's sums begin      built once a slab, for all tokens
//! sums[block of 16 tokens][row][16 tokens] += tables[0][offsets[0][row][0]] + … + tables[7][offsets[1][row][3]]
//! ```
//!
//! The 16-bit sums of a block move to the 32-bit results before one could wrap: when a token's activations since the
//! last move, in absolute value, could add up to more than 2¹⁵ − 1.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::prefetch::prefetch;
use crate::lines::LINE;
use crate::op::ternary::TILE;
use crate::set::Blocking;

/// Tokens in a block: the 16-bit lanes of a register.
pub(super) const TOKENS: usize = 16;
/// Most tiles and tokens processed at once: their 16-bit sums (3.5 KB per tile for all tokens) stay in L2.
pub(super) const MOST: (usize, usize) = (108, 64);

/// Number of values that four trits can have.
const ENTRIES: usize = 81;
/// Bytes in a register.
const WIDTH: usize = 32;
/// Lines in a slab.
const SLAB: usize = 2;

/// Totals of zero: only the sums themselves are added.
const NO_TOTALS: [i32; TOKENS] = [0; TOKENS];

type Table = [__m256i; ENTRIES];

/// Buffers that a thread keeps between calls: fresh pages cost more than the arithmetic on them.
#[derive(Default)]
struct Buffers {
    tables: Vec<[Table; 4]>,
    offsets: Vec<u64>,
    sums: Vec<__m256i>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// How many of `tokens` tokens to process with tables: whole blocks, and a last block if it has at least `from` tokens.
pub(super) fn share(tokens: usize, from: usize) -> usize {
    if tokens % TOKENS < from { tokens / TOKENS * TOKENS } else { tokens }
}

/// Uses large chunks where tables are used, because every chunk builds its own tables.
pub(super) fn blocking(tokens: usize, from: usize) -> Blocking {
    match share(tokens, from) {
        0 => Blocking::SMALL,
        _ => Blocking { tiles: MOST.0, tokens: (TOKENS, MOST.1), tokens_first: false },
    }
}

/// `acc[t][row]` = Σ code · x over blocks of 16 interleaved tokens; the last block may have fewer.
#[target_feature(enable = "avx2")]
pub(super) fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    let (tile_bytes, depth) = (groups * LINE, groups * 16);
    let width = codes.len() / tile_bytes * TILE;
    BUFFERS.with_borrow_mut(|buffers| {
        for (x, acc) in x.chunks(MOST.1 * depth).zip(acc.chunks_mut(MOST.1 * width)) {
            for (i, codes) in codes.chunks(MOST.0 * tile_bytes).enumerate() {
                part(codes, groups, x, &mut acc[i * MOST.0 * TILE..], width, buffers);
            }
        }
    });
}

/// As [`ternary_dot`] for at most [`MOST`] tiles and tokens. The results of token t begin at `acc[t · width]`.
#[target_feature(enable = "avx2")]
fn part(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32], width: usize, buffers: &mut Buffers) {
    let (rows, depth) = (codes.len() / (groups * LINE) * TILE, groups * 16);
    let (zero, limit) = (_mm256_setzero_si256(), _mm256_set1_epi16(i16::MAX));
    let blocks = x.len().div_ceil(TOKENS * depth);
    let Buffers { tables, offsets, sums } = buffers;
    tables.resize(SLAB, [[zero; ENTRIES]; 4]);
    offsets.resize(SLAB * rows, 0);
    sums.clear();
    sums.resize(blocks * rows, zero);
    let mut sizes = [zero; MOST.1 / TOKENS];
    let mut totals = [[zero; 2]; MOST.1 / TOKENS];
    for first in (0..groups).step_by(SLAB) {
        let lines = SLAB.min(groups - first);
        for tile in 0..rows / TILE {
            for g in 0..lines {
                let line = &codes[(tile * groups + first + g) * LINE..];
                prefetch(line, SLAB * LINE);
                locate(&line[..LINE], &mut offsets[g * rows + tile * TILE..][..TILE]);
            }
        }
        for (b, x) in x.chunks(TOKENS * depth).enumerate() {
            let tokens = x.len() / depth;
            let sums = &mut sums[b * rows..][..rows];
            let mut size = zero;
            for g in 0..lines {
                let columns = &x[(first + g) * 16 * tokens..][..16 * tokens];
                size = _mm256_add_epi16(size, build(columns, &mut tables[g], &mut totals[b]));
            }
            // Sums of absolute values reach at most 2¹⁵ − 1 + 32 · 128, which unsigned 16-bit lanes hold.
            sizes[b] = _mm256_add_epi16(sizes[b], size);
            let fits = _mm256_cmpeq_epi16(_mm256_max_epu16(sizes[b], limit), limit);
            if _mm256_movemask_epi8(fits) != -1 {
                widen(sums, &mut acc[b * TOKENS * width..], width, &NO_TOTALS[..tokens]);
                sizes[b] = size;
            }
            match lines {
                SLAB => add::<SLAB>(tables, offsets, sums),
                _ => add::<1>(tables, offsets, sums),
            }
        }
    }
    // Σ code · x = Σ trit · x + Σ x.
    for (b, x) in x.chunks(TOKENS * depth).enumerate() {
        let mut plus = NO_TOTALS;
        for half in 0..2 {
            // SAFETY: writes 8 of the 16 totals in `plus`.
            unsafe { _mm256_storeu_si256(plus.as_mut_ptr().add(8 * half).cast(), totals[b][half]) };
        }
        let acc = &mut acc[b * TOKENS * width..];
        widen(&mut sums[b * rows..][..rows], acc, width, &plus[..x.len() / depth]);
    }
}

/// Computes where each byte of a line finds its sum in the tables. Byte = Σ code_f · 4^f, entry = Σ code_f · 3^f.
#[inline]
#[target_feature(enable = "avx2")]
fn locate(line: &[u8], offsets: &mut [u64]) {
    assert!(line.len() == LINE && offsets.len() == TILE);
    let low = _mm256_setr_epi8(
        0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0,
    );
    let high = _mm256_setr_epi8(
        0, 9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0, 0, 9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0,
    );
    let nibble = _mm256_set1_epi8(15);
    for half in 0..2 {
        // SAFETY: `line` has 64 bytes and `offsets` 128, of which each turn takes a half.
        unsafe {
            let codes = _mm256_loadu_si256(line.as_ptr().add(32 * half).cast());
            let entries = _mm256_add_epi8(
                _mm256_shuffle_epi8(low, _mm256_and_si256(codes, nibble)),
                _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble)),
            );
            let first = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(entries));
            let second = _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(entries));
            let out: *mut __m256i = offsets.as_mut_ptr().add(8 * half).cast();
            _mm256_storeu_si256(out, _mm256_slli_epi16::<5>(first));
            _mm256_storeu_si256(out.add(1), _mm256_slli_epi16::<5>(second));
        }
    }
}

/// Builds the tables of a line's four bytes, from 16 columns of up to 16 interleaved tokens. Adds the columns to the
/// tokens' `totals`. Returns the sums of |x|.
#[target_feature(enable = "avx2")]
fn build(x: &[i8], tables: &mut [Table; 4], totals: &mut [__m256i; 2]) -> __m256i {
    let (bytes, pairs) = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
    let tokens = x.len() / 16;
    let mut dwords = [[_mm256_setzero_si256(); 2]; 4];
    for f in 0..4 {
        let mut padded = [0i8; 4 * TOKENS];
        padded[..4 * tokens].copy_from_slice(&x[f * 4 * tokens..][..4 * tokens]);
        for half in 0..2 {
            // SAFETY: reads 32 of the 64 bytes in `padded`.
            dwords[f][half] = unsafe { _mm256_loadu_si256(padded.as_ptr().add(32 * half).cast()) };
            let total = _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, dwords[f][half]), pairs);
            totals[half] = _mm256_add_epi32(totals[half], total);
        }
    }
    let mut size = _mm256_setzero_si256();
    for table in tables {
        // Column 4 f + b of the line for this table's byte b, which is the lowest byte of each dword.
        let mut columns = [_mm256_setzero_si256(); 4];
        for f in 0..4 {
            let [low, high] = dwords[f];
            let low_byte = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(low));
            let high_byte = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(high));
            columns[f] = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low_byte, high_byte));
            size = _mm256_add_epi16(size, _mm256_abs_epi16(columns[f]));
            dwords[f] = [_mm256_srli_epi32::<8>(low), _mm256_srli_epi32::<8>(high)];
        }
        fill(columns, table);
    }
    size
}

/// Fills a table with all sums of four columns, each times −1, 0 or +1; the first column's factor changes fastest.
#[inline]
#[target_feature(enable = "avx2")]
fn fill(columns: [__m256i; 4], table: &mut Table) {
    let [x0, x1, x2, x3] = columns;
    let all = _mm256_add_epi16(_mm256_add_epi16(x0, x1), _mm256_add_epi16(x2, x3));
    let mut with3 = _mm256_sub_epi16(_mm256_setzero_si256(), all);
    for i in 0..3 {
        let mut with2 = with3;
        for j in 0..3 {
            let mut with1 = with2;
            for k in 0..3 {
                let entries = &mut table[27 * i + 9 * j + 3 * k..][..3];
                entries[0] = with1;
                entries[1] = _mm256_add_epi16(with1, x0);
                entries[2] = _mm256_add_epi16(entries[1], x0);
                with1 = _mm256_add_epi16(with1, x1);
            }
            with2 = _mm256_add_epi16(with2, x2);
        }
        with3 = _mm256_add_epi16(with3, x3);
    }
}

/// Adds to each row the table entries that its bytes in `L` lines select.
#[target_feature(enable = "avx2")]
fn add<const L: usize>(tables: &[[Table; 4]], offsets: &[u64], sums: &mut [__m256i]) {
    let rows = sums.len();
    assert!(tables.len() >= L && offsets.len() >= L * rows);
    let tables: *const u8 = tables.as_ptr().cast();
    // Four rows at a time, so that loads run ahead of the additions that wait for them.
    for (i, sums) in sums.chunks_exact_mut(4).enumerate() {
        let mut sum = [sums[0], sums[1], sums[2], sums[3]];
        for g in 0..L {
            for r in 0..4 {
                // SAFETY: there are `rows` offsets a line.
                let mut offset = unsafe { *offsets.get_unchecked(g * rows + 4 * i + r) };
                for b in 0..4 {
                    let entry = (4 * g + b) * ENTRIES * WIDTH + (offset & 0xffff) as usize;
                    // SAFETY: `locate` writes offsets of one of the 81 registers of a table; `L` · 4 tables are there.
                    let chosen = unsafe { _mm256_load_si256(tables.add(entry).cast()) };
                    sum[r] = _mm256_add_epi16(sum[r], chosen);
                    offset >>= 16;
                }
            }
        }
        sums.copy_from_slice(&sum);
    }
}

/// Moves the 16-bit sums `[row][16 tokens]` to the 32-bit results, and adds `plus[t]` to all results of token t.
#[target_feature(enable = "avx2")]
fn widen(sums: &mut [__m256i], acc: &mut [i32], width: usize, plus: &[i32]) {
    for (i, sums) in sums.chunks_exact_mut(8).enumerate() {
        let columns = transpose(sums);
        sums.fill(_mm256_setzero_si256());
        for t in 0..plus.len() {
            let column = columns[t % 8];
            let column = if t < 8 { _mm256_castsi256_si128(column) } else { _mm256_extracti128_si256::<1>(column) };
            let acc: *mut __m256i = acc[t * width + 8 * i..][..8].as_mut_ptr().cast();
            // SAFETY: eight results.
            unsafe {
                let sum = _mm256_add_epi32(_mm256_cvtepi16_epi32(column), _mm256_set1_epi32(plus[t]));
                let sum = _mm256_add_epi32(_mm256_loadu_si256(acc), sum);
                _mm256_storeu_si256(acc, sum);
            }
        }
    }
}

/// Transposes eight rows of 16 lanes: register t has the rows' lanes t in its lower half, t + 8 in its upper half.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &[__m256i]) -> [__m256i; 8] {
    let mut pairs = [_mm256_setzero_si256(); 8];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
    }
    // Lanes 2 q and 2 q + 1 of rows 0 … 3 (4 … 7) in quads[q] (quads[4 + q]).
    let mut quads = [_mm256_setzero_si256(); 8];
    for i in 0..2 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + 2 + half]);
            quads[4 * i + 2 * half] = _mm256_unpacklo_epi32(a, b);
            quads[4 * i + 2 * half + 1] = _mm256_unpackhi_epi32(a, b);
        }
    }
    let mut columns = [_mm256_setzero_si256(); 8];
    for q in 0..4 {
        columns[2 * q] = _mm256_unpacklo_epi64(quads[q], quads[4 + q]);
        columns[2 * q + 1] = _mm256_unpackhi_epi64(quads[q], quads[4 + q]);
    }
    columns
}
