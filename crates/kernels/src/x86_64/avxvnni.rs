//! AVX-VNNI: `vpdpbusd` on 256-bit registers, for CPUs without AVX-512 such as Intel's Alder Lake and newer.

use std::arch::x86_64::*;

use super::prefetch::prefetch;
use super::{STREAMS, avx2, grouped256};
use crate::lines::LINE;
use crate::op::operand::{Operand, Order};
use crate::op::ternary::TILE;
use crate::set::{Blocking, KernelSet};

/// For Alder Lake, Zen 5 and newer. The float kernels are those of AVX2.
pub(crate) static SET: KernelSet = KernelSet {
    name: "avxvnni",
    supported: || (avx2::SET.supported)() && is_x86_feature_detected!("avxvnni"),
    order: |_| ORDER,
    blocking: |_, _| Blocking::SMALL,
    ternary_dot: vex::ternary_dot,
    grouped_dot: grouped256::vnni::dot,
    ..avx2::SET
};

/// Tokens of a block: with the two halves of a tile 8 sums stay in registers.
const TOKENS: usize = 4;

/// The tokens of a block side by side.
const ORDER: Order = Order::blocks(TOKENS);

/// How far ahead of the loads a stream is prefetched, in bytes.
const AHEAD: usize = 1024;

/// Defines the kernel for one encoding of `vpdpbusd`.
macro_rules! kernel {
    ($name:ident, $features:literal, $dpbusd:ident) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) fn ternary_dot(codes: &[u8], x: &Operand<'_>, acc: &mut [i32]) {
                assert!(x.order == ORDER);
                let (depth, groups) = (x.depth, x.depth / 16);
                let width = codes.len() / (groups * LINE) * TILE;
                for (i, tile) in codes.chunks_exact(groups * LINE).enumerate() {
                    for (x, acc) in x.codes.chunks(TOKENS * depth).zip(acc.chunks_mut(TOKENS * width)) {
                        let acc = &mut acc[i * TILE..];
                        match x.len() / depth {
                            1 => block::<1>(tile, x, acc, width),
                            2 => block::<2>(tile, x, acc, width),
                            3 => block::<3>(tile, x, acc, width),
                            _ => block::<TOKENS>(tile, x, acc, width),
                        }
                    }
                }
            }

            /// Multiplies `M` interleaved tokens with one tile. Row t of the result begins at `acc[t · width]`.
            #[target_feature(enable = $features)]
            fn block<const M: usize>(tile: &[u8], x: &[i8], acc: &mut [i32], width: usize) {
                assert!(x.len() == M * tile.len() / 4);
                let two_bits = _mm256_set1_epi8(3);
                let ahead = *STREAMS > 1;
                let mut sums = [[_mm256_setzero_si256(); 2]; M];
                for (g, line) in tile.chunks_exact(LINE).enumerate() {
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
                            // SAFETY: `x` has `M` dwords for each four columns.
                            let x = unsafe { x.as_ptr().cast::<i32>().add((4 * g + f) * M + t).read_unaligned() };
                            let x = _mm256_set1_epi32(x);
                            for half in 0..2 {
                                sums[t][half] = $dpbusd(sums[t][half], field[half], x);
                            }
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
        }
    };
}

kernel! { vex, "avx2,avxvnni", _mm256_dpbusd_avx_epi32 }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::operand::arrange;

    // The same instruction in the encoding of AVX-512, which more test machines support.
    kernel! { evex, "avx2,avx512vnni,avx512vl", _mm256_dpbusd_epi32 }

    #[test]
    fn the_other_encoding_gives_the_portable_sums() {
        if !is_x86_feature_detected!("avx512vnni") || !is_x86_feature_detected!("avx512vl") {
            return;
        }
        let byte = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        for (tiles, groups, tokens) in [(1, 1, 1), (2, 5, 1), (3, 7, 2), (1, 160, 3), (2, 3, 4), (2, 9, 13)] {
            let depth = groups * 16;
            // No field has the value 3, which is not a trit.
            let codes: Vec<u8> =
                (0..tiles * groups * LINE).map(|i| byte(i) & !((byte(i) & byte(i) >> 1 & 0x55) << 1)).collect();
            let x: Vec<i8> = (0..tokens * depth).map(|i| byte(i + 9999) as i8).collect();
            let mut codes_of_x = vec![0; x.len()];
            for (rows, block) in x.chunks(TOKENS * depth).zip(codes_of_x.chunks_mut(TOKENS * depth)) {
                arrange(ORDER, rows, depth, block);
            }
            let operand = |codes, order| Operand { codes, order, tokens, depth };
            let (mut got, mut expected) = (vec![0; tokens * tiles * TILE], vec![0; tokens * tiles * TILE]);
            // SAFETY: the CPU has the features.
            unsafe { evex::ternary_dot(&codes, &operand(&codes_of_x, ORDER), &mut got) };
            crate::op::ternary::dot(&codes, &operand(&x, Order::ROWS), &mut expected);
            assert_eq!(got, expected, "{tiles} tiles of {groups} lines, {tokens} tokens");
        }
    }
}
