//! Group-scaled products in 256-bit registers, with `vpmaddubsw` or `vpdpbusd`.
//!
//! ```text
//! line ──► field: 8 rows × 4 columns ──► × high and low parts of the tokens' codes ──► integer sums of a group
//! sums ──► 128 · high + low − offset ──► f32 · (scale · inverse) ──► sum of a part ──► out
//! ```

use std::arch::x86_64::*;

use crate::lines::LINE;
use crate::op::grouped::{Bits, Codes, TOKENS, TileScales, Tiles};
use crate::op::ternary::TILE;

/// Defines the kernel from two operations: `$add` adds the products of a field, `$wide` multiplies sums by 1 or 128.
macro_rules! kernel {
    ($name:ident, $features:literal, $add:ident, $wide:ident) => {
        pub(super) mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            pub(in crate::x86_64) fn dot(tiles: &Tiles<'_>, x: &Codes<'_>, out: &mut [f32]) {
                match (tiles.division.bits, x.parts) {
                    (Bits::One, 1) => blocks::<1, 1>(tiles, x, out),
                    (Bits::One, _) => blocks::<1, 2>(tiles, x, out),
                    (Bits::Two, 1) => blocks::<2, 1>(tiles, x, out),
                    (Bits::Two, _) => blocks::<2, 2>(tiles, x, out),
                }
            }

            #[target_feature(enable = $features)]
            fn blocks<const BITS: i32, const PARTS: usize>(tiles: &Tiles<'_>, x: &Codes<'_>, out: &mut [f32]) {
                let width = tiles.rows();
                for first in (0..x.tokens).step_by(TOKENS) {
                    let x = x.block(first, tiles.division);
                    let out = &mut out[first * width..][..x.tokens * width];
                    for tile in 0..width / TILE {
                        let out = &mut out[tile * TILE..];
                        match x.tokens {
                            1 => halves::<BITS, PARTS, 1, 2>(&tiles.tile(tile), &x, out, width),
                            2 => halves::<BITS, PARTS, 2, 1>(&tiles.tile(tile), &x, out, width),
                            3 => halves::<BITS, PARTS, 3, 1>(&tiles.tile(tile), &x, out, width),
                            _ => halves::<BITS, PARTS, TOKENS, 1>(&tiles.tile(tile), &x, out, width),
                        }
                    }
                }
            }

            /// Multiplies a tile with `M` tokens, `H` of its halves at a time, so that sums stay in registers. Row t of
            /// the result begins at `out[t · width]`.
            #[target_feature(enable = $features)]
            fn halves<const BITS: i32, const PARTS: usize, const M: usize, const H: usize>(
                tile: &Tiles<'_>,
                x: &Codes<'_>,
                out: &mut [f32],
                width: usize,
            ) {
                let (division, groups) = (tile.division, tile.division.groups());
                for from in (0..2).step_by(H) {
                    let mut sums = [[_mm256_setzero_ps(); H]; M];
                    let mut part = sums;
                    for group in 0..groups {
                        let dots = group_dots::<BITS, PARTS, M, H>(tile, x, group, from);
                        for h in 0..H {
                            let scale = scales(&tile.scales, group * TILE + 8 * (from + h));
                            for t in 0..M {
                                let inverse = _mm256_set1_ps(x.inverses[t * groups + group]);
                                let offset = _mm256_set1_epi32(x.offsets[t * groups + group]);
                                let dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(dots[t][h], offset));
                                let term = _mm256_mul_ps(dot, _mm256_mul_ps(scale, inverse));
                                part[t][h] = _mm256_add_ps(part[t][h], term);
                            }
                        }
                        if (group + 1) % division.part == 0 || group + 1 == groups {
                            for t in 0..M {
                                for h in 0..H {
                                    sums[t][h] = _mm256_add_ps(sums[t][h], part[t][h]);
                                    part[t][h] = _mm256_setzero_ps();
                                }
                            }
                        }
                    }
                    for t in 0..M {
                        for h in 0..H {
                            let out = &mut out[t * width + 8 * (from + h)..][..8];
                            // SAFETY: `out` has 8 values.
                            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sums[t][h]) };
                        }
                    }
                }
            }

            /// Σ field · code of one group.
            #[inline]
            #[target_feature(enable = $features)]
            fn group_dots<const BITS: i32, const PARTS: usize, const M: usize, const H: usize>(
                tile: &Tiles<'_>,
                x: &Codes<'_>,
                group: usize,
                from: usize,
            ) -> [[__m256i; H]; M] {
                let (lines, fields) = (tile.division.lines_of(group), 8 / BITS as usize);
                assert!(tile.codes.len() >= lines.end * LINE && from + H <= 2);
                assert!(x.codes.len() >= lines.end * fields * M * PARTS * 4);
                let mask = _mm256_set1_epi8((1 << BITS) - 1);
                let mut narrow = [[[_mm256_setzero_si256(); PARTS]; H]; M];
                for line in lines {
                    let mut codes = [_mm256_setzero_si256(); H];
                    for h in 0..H {
                        // SAFETY: half `from + h` of a line inside the tile's codes, as asserted.
                        codes[h] = unsafe {
                            _mm256_loadu_si256(tile.codes.as_ptr().add(line * LINE + 32 * (from + h)).cast())
                        };
                    }
                    for f in 0..fields {
                        let mut field = [_mm256_setzero_si256(); H];
                        for h in 0..H {
                            field[h] = _mm256_and_si256(codes[h], mask);
                            codes[h] = _mm256_srli_epi32::<BITS>(codes[h]);
                        }
                        for t in 0..M {
                            for p in 0..PARTS {
                                let dword = ((line * fields + f) * M + t) * PARTS + p;
                                // SAFETY: a dword inside `x.codes`, as asserted.
                                let x = unsafe { x.codes.as_ptr().cast::<i32>().add(dword).read_unaligned() };
                                let x = _mm256_set1_epi32(x);
                                for h in 0..H {
                                    narrow[t][h][p] = $add(narrow[t][h][p], field[h], x);
                                }
                            }
                        }
                    }
                }
                let mut dots = [[_mm256_setzero_si256(); H]; M];
                for t in 0..M {
                    for h in 0..H {
                        let sums = &narrow[t][h];
                        let mut dot = $wide::<1>(sums[PARTS - 1]);
                        if PARTS == 2 {
                            dot = _mm256_add_epi32(dot, $wide::<128>(sums[0]));
                        }
                        // A bit stands for −1 or +1.
                        dots[t][h] = if BITS == 1 { _mm256_add_epi32(dot, dot) } else { dot };
                    }
                }
                dots
            }
        }
    };
}

kernel! { maddubs, "avx2,f16c", add_maddubs, wide_maddubs }
kernel! { vnni, "avx2,f16c,avxvnni", add_vnni, wide_vnni }

/// The scales of 8 rows.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn scales(scales: &TileScales<'_>, at: usize) -> __m256 {
    match scales {
        TileScales::Halves(values) => {
            // SAFETY: reads 8 of the values from `at` on, which the slicing checks.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(values[at..at + 8].as_ptr().cast())) }
        }
        // SAFETY: reads 8 of the values from `at` on, which the slicing checks.
        TileScales::Floats(values) => unsafe { _mm256_loadu_ps(values[at..at + 8].as_ptr()) },
    }
}

/// Adds pairs of products to 16-bit sums, which a group of 256 columns cannot overflow.
#[inline]
#[target_feature(enable = "avx2")]
fn add_maddubs(sums: __m256i, field: __m256i, x: __m256i) -> __m256i {
    _mm256_add_epi16(sums, _mm256_maddubs_epi16(field, x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_maddubs<const FACTOR: i16>(sums: __m256i) -> __m256i {
    _mm256_madd_epi16(sums, _mm256_set1_epi16(FACTOR))
}

#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn add_vnni(sums: __m256i, field: __m256i, x: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sums, field, x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_vnni<const FACTOR: i16>(sums: __m256i) -> __m256i {
    if FACTOR == 1 { sums } else { _mm256_slli_epi32::<7>(sums) }
}
