//! AVX-512 with VNNI: `vpdpbusd` multiplies 64 codes with a broadcast dword of activations.

use std::arch::x86_64::*;

use crate::set::{KernelSet, float_kernels};
use crate::ternary::{LINE, TILE};

float_kernels! { #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")] }

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
    ternary_dot,
    floats: FLOATS,
};

/// How far ahead of the loads a stream is prefetched, in bytes.
const AHEAD: usize = 4096;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    let depth = groups * 16;
    let width = codes.len() / (groups * LINE) * TILE;
    if x.len() == depth {
        for (tile, acc) in codes.chunks_exact(groups * LINE).zip(acc.chunks_exact_mut(TILE)) {
            one_token(tile, x, acc);
        }
        return;
    }
    let pair = 2 * groups * LINE;
    for (i, tiles) in codes.chunks(pair).enumerate() {
        let (mut x, mut acc) = (x, &mut acc[i * 2 * TILE..]);
        while !x.is_empty() {
            let tokens = match (x.len() / depth, tiles.len() == pair) {
                (12.., true) => block::<12, 2>(tiles, groups, x, acc, width),
                (4.., true) => block::<4, 2>(tiles, groups, x, acc, width),
                (_, true) => block::<1, 2>(tiles, groups, x, acc, width),
                (4.., false) => block::<4, 1>(tiles, groups, x, acc, width),
                (_, false) => block::<1, 1>(tiles, groups, x, acc, width),
            };
            x = &x[tokens * depth..];
            if !x.is_empty() {
                acc = &mut acc[tokens * width..];
            }
        }
    }
}

/// One tile, one token: bound by memory, so the fields are masked but not shifted. Their sums come out 1, 4, 16 and
/// 64 times too large and are shifted once at the end; 64 · 2 · 128 · cols stays below 2³¹ for cols ≤ 2¹⁷.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn one_token(tile: &[u8], x: &[i8], acc: &mut [i32]) {
    let masks = [0x03, 0x0c, 0x30, 0xc0u8].map(|mask| _mm512_set1_epi8(mask as i8));
    let mut sums = [_mm512_setzero_si512(); 4];
    for (line, x) in tile.chunks_exact(LINE).zip(x.chunks_exact(16)) {
        // SAFETY: `line` has 64 bytes; a prefetch may point anywhere.
        let codes = unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
            _mm512_loadu_si512(line.as_ptr().cast())
        };
        for f in 0..4 {
            sums[f] = _mm512_dpbusd_epi32(sums[f], _mm512_and_si512(codes, masks[f]), dword(&x[4 * f..]));
        }
    }
    let low = _mm512_add_epi32(sums[0], _mm512_srai_epi32::<2>(sums[1]));
    let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(sums[2]), _mm512_srai_epi32::<6>(sums[3]));
    store(_mm512_add_epi32(low, high), acc);
}

/// `M` tokens × `T` tiles; returns `M`. Row t of the result lies at `acc[t · width ..]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn block<const M: usize, const T: usize>(
    tiles: &[u8],
    groups: usize,
    x: &[i8],
    acc: &mut [i32],
    width: usize,
) -> usize {
    let depth = groups * 16;
    let x: [&[i8]; M] = std::array::from_fn(|t| &x[t * depth..(t + 1) * depth]);
    let tiles: [&[u8]; T] = std::array::from_fn(|i| &tiles[i * groups * LINE..(i + 1) * groups * LINE]);
    let two_bits = _mm512_set1_epi8(3);
    let mut sums = [[_mm512_setzero_si512(); T]; M];
    for g in 0..groups {
        // SAFETY: line g lies inside each tile.
        let mut codes: [__m512i; T] =
            std::array::from_fn(|i| unsafe { _mm512_loadu_si512(tiles[i].as_ptr().add(g * LINE).cast()) });
        for f in 0..4 {
            let field: [__m512i; T] = std::array::from_fn(|i| _mm512_and_si512(codes[i], two_bits));
            for t in 0..M {
                // SAFETY: 16 g + 4 f + 3 < depth, the length of each row.
                let x = unsafe { _mm512_set1_epi32(x[t].as_ptr().add(16 * g + 4 * f).cast::<i32>().read_unaligned()) };
                for i in 0..T {
                    sums[t][i] = _mm512_dpbusd_epi32(sums[t][i], field[i], x);
                }
            }
            codes = codes.map(|codes| _mm512_srli_epi32::<2>(codes));
        }
    }
    for t in 0..M {
        for i in 0..T {
            store(sums[t][i], &mut acc[t * width + i * TILE..][..TILE]);
        }
    }
    M
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
