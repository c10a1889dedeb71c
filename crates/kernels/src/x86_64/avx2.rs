//! AVX2: `vpmaddubsw` on shifted fields, widened before a 16-bit sum can wrap.

use std::arch::x86_64::*;

use crate::set::{KernelSet, float_kernels};
use crate::ternary::{LINE, TILE};

float_kernels! { #[target_feature(enable = "avx2")] }

/// For Haswell, Zen and newer.
pub(crate) static SET: KernelSet =
    KernelSet { name: "avx2", supported: || is_x86_feature_detected!("avx2"), ternary_dot, floats: FLOATS };

/// How far ahead of the loads a stream is prefetched, in bytes.
const AHEAD: usize = 4096;

/// Lines whose products fit a 16-bit sum: 16 lines · 4 fields · (2 · 2 · −128) = −2¹⁵.
const LINES: usize = 16;

#[target_feature(enable = "avx2")]
fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    let depth = groups * 16;
    let width = codes.len() / (groups * LINE) * TILE;
    for (i, tile) in codes.chunks_exact(groups * LINE).enumerate() {
        let (mut x, mut acc) = (x, &mut acc[i * TILE..]);
        while !x.is_empty() {
            let tokens = match x.len() / depth {
                4.. => block::<4>(tile, depth, x, acc, width),
                _ => block::<1>(tile, depth, x, acc, width),
            };
            x = &x[tokens * depth..];
            if !x.is_empty() {
                acc = &mut acc[tokens * width..];
            }
        }
    }
}

/// `M` tokens × one tile; returns `M`. Row t of the result lies at `acc[t · width ..]`.
#[target_feature(enable = "avx2")]
fn block<const M: usize>(tile: &[u8], depth: usize, x: &[i8], acc: &mut [i32], width: usize) -> usize {
    let x: [&[i8]; M] = std::array::from_fn(|t| &x[t * depth..(t + 1) * depth]);
    let (two_bits, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1));
    let mut sums = [[_mm256_setzero_si256(); 2]; M];
    for (part, lines) in tile.chunks(LINES * LINE).enumerate() {
        let mut narrow = [[_mm256_setzero_si256(); 2]; M];
        for (g, line) in lines.chunks_exact(LINE).enumerate() {
            // SAFETY: `line` has 64 bytes; a prefetch may point anywhere.
            let mut codes: [__m256i; 2] = std::array::from_fn(|half| unsafe {
                _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
                _mm256_loadu_si256(line.as_ptr().add(32 * half).cast())
            });
            for f in 0..4 {
                let field = codes.map(|codes| _mm256_and_si256(codes, two_bits));
                for t in 0..M {
                    let k = 16 * (part * LINES + g) + 4 * f;
                    // SAFETY: k + 3 < depth, the length of each row.
                    let x = unsafe { _mm256_set1_epi32(x[t].as_ptr().add(k).cast::<i32>().read_unaligned()) };
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(field[half], x);
                        narrow[t][half] = _mm256_add_epi16(narrow[t][half], products);
                    }
                }
                codes = codes.map(|codes| _mm256_srli_epi32::<2>(codes));
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
    M
}
