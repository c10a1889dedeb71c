//! Group-scaled products in 512-bit registers, with `vpdpbusd`. `grouped256.rs` draws the steps; a register holds all 16
//! rows of a tile.

use std::arch::x86_64::*;

use crate::lines::LINE;
use crate::op::grouped::{Bits, Codes, TOKENS, TileScales, Tiles};
use crate::op::ternary::TILE;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn dot(tiles: &Tiles<'_>, x: &Codes<'_>, out: &mut [f32]) {
    match (tiles.division.bits, x.parts) {
        (Bits::One, 1) => blocks::<1, 1>(tiles, x, out),
        (Bits::One, _) => blocks::<1, 2>(tiles, x, out),
        (Bits::Two, 1) => blocks::<2, 1>(tiles, x, out),
        (Bits::Two, _) => blocks::<2, 2>(tiles, x, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn blocks<const BITS: u32, const PARTS: usize>(tiles: &Tiles<'_>, x: &Codes<'_>, out: &mut [f32]) {
    let width = tiles.rows();
    for first in (0..x.tokens).step_by(TOKENS) {
        let x = x.block(first, tiles.division);
        let out = &mut out[first * width..][..x.tokens * width];
        for tile in 0..width / TILE {
            let out = &mut out[tile * TILE..];
            match x.tokens {
                1 => rows::<BITS, PARTS, 1>(&tiles.tile(tile), &x, out, width),
                2 => rows::<BITS, PARTS, 2>(&tiles.tile(tile), &x, out, width),
                3 => rows::<BITS, PARTS, 3>(&tiles.tile(tile), &x, out, width),
                _ => rows::<BITS, PARTS, TOKENS>(&tiles.tile(tile), &x, out, width),
            }
        }
    }
}

/// Multiplies a tile with `M` tokens. Row t of the result begins at `out[t · width]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn rows<const BITS: u32, const PARTS: usize, const M: usize>(
    tile: &Tiles<'_>,
    x: &Codes<'_>,
    out: &mut [f32],
    width: usize,
) {
    let (division, groups) = (tile.division, tile.division.groups());
    let mut sums = [_mm512_setzero_ps(); M];
    let mut part = sums;
    for group in 0..groups {
        let dots = group_dots::<BITS, PARTS, M>(tile, x, group);
        let scale = scales(&tile.scales, group * TILE);
        for t in 0..M {
            let inverse = _mm512_set1_ps(x.inverses[t * groups + group]);
            let offset = _mm512_set1_epi32(x.offsets[t * groups + group]);
            let dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(dots[t], offset));
            part[t] = _mm512_add_ps(part[t], _mm512_mul_ps(dot, _mm512_mul_ps(scale, inverse)));
        }
        if (group + 1) % division.part == 0 || group + 1 == groups {
            for t in 0..M {
                sums[t] = _mm512_add_ps(sums[t], part[t]);
                part[t] = _mm512_setzero_ps();
            }
        }
    }
    for t in 0..M {
        let out = &mut out[t * width..][..TILE];
        // SAFETY: `out` has 16 values.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums[t]) };
    }
}

/// Σ field · code of one group.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn group_dots<const BITS: u32, const PARTS: usize, const M: usize>(
    tile: &Tiles<'_>,
    x: &Codes<'_>,
    group: usize,
) -> [__m512i; M] {
    let (lines, fields) = (tile.division.lines_of(group), 8 / BITS as usize);
    assert!(tile.codes.len() >= lines.end * LINE && x.codes.len() >= lines.end * fields * M * PARTS * 4);
    let mask = _mm512_set1_epi8((1 << BITS) - 1);
    let mut sums = [[_mm512_setzero_si512(); PARTS]; M];
    for line in lines {
        // SAFETY: a line inside the tile's codes, as asserted.
        let mut codes = unsafe { _mm512_loadu_si512(tile.codes.as_ptr().add(line * LINE).cast()) };
        for f in 0..fields {
            let field = _mm512_and_si512(codes, mask);
            codes = _mm512_srli_epi32::<BITS>(codes);
            for t in 0..M {
                for p in 0..PARTS {
                    let dword = ((line * fields + f) * M + t) * PARTS + p;
                    // SAFETY: a dword inside `x.codes`, as asserted.
                    let x = unsafe { x.codes.as_ptr().cast::<i32>().add(dword).read_unaligned() };
                    sums[t][p] = _mm512_dpbusd_epi32(sums[t][p], field, _mm512_set1_epi32(x));
                }
            }
        }
    }
    let mut dots = [_mm512_setzero_si512(); M];
    for t in 0..M {
        let mut dot = sums[t][PARTS - 1];
        if PARTS == 2 {
            dot = _mm512_add_epi32(dot, _mm512_slli_epi32::<7>(sums[t][0]));
        }
        // A bit stands for −1 or +1.
        dots[t] = if BITS == 1 { _mm512_add_epi32(dot, dot) } else { dot };
    }
    dots
}

/// The scales of a tile's rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn scales(scales: &TileScales<'_>, at: usize) -> __m512 {
    match scales {
        TileScales::Halves(values) => {
            // SAFETY: reads 16 of the values from `at` on, which the slicing checks.
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values[at..at + TILE].as_ptr().cast())) }
        }
        // SAFETY: reads 16 of the values from `at` on, which the slicing checks.
        TileScales::Floats(values) => unsafe { _mm512_loadu_ps(values[at..at + TILE].as_ptr()) },
    }
}
