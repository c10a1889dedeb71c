//! Codes of a screen: how they are computed, stored and multiplied.
//!
//! Codes are stored in tiles of 16 rows, in steps of 16 columns. A line of 64 bytes has a dword for each row (little
//! endian).
//! Column 4f + b of a step is found in byte b of a row's dword of these lines:
//!
//! ```text
//! 8 bits:  line f, as code − 128 + the bias of the set                                   weight ≈ s · (code − 128)
//! 6 bits:  f < 3: the low six bits of line f; f = 3: the high two of lines 0, 1 and 2    weight ≈ s · (code − 31.5)
//! 4 bits:  the low (f even) or high nibble of line f / 2                                 weight ≈ s · (code − 7.5)
//! ```
//!
//! Six-bit codes are the high bits of eight-bit codes. The two low bits are stored by rows, in the layout of matrices
//! packed by rows, so that single rows can be read: weight ≈ s · (code + (more − 1.5) / 4 − 31.5).

use super::math::ROUND;
use super::ternary::TILE;
use super::vector::{LANES, Vector, fold};
use crate::lines::{LINE, Line};

/// Tokens whose integers are interleaved: dwords `[k / 4][token of the block][high, low]`.
pub(crate) const BLOCK: usize = 8;
/// X = 32 · high + low with low in 0 … 31 and high in −64 … 63.
pub(crate) const LOW_BITS: u32 = 5;

/// Columns in one step of a tile.
pub(crate) const STEP: usize = 16;

/// Number of bits of a code in a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 16 values.
    Four,
    /// 64 values; two more bits are stored separately.
    Six,
    /// 255 values.
    Eight,
}

impl Bits {
    /// Bytes in a tile of `depth` columns.
    pub(crate) fn tile_bytes(self, depth: usize) -> usize {
        match self {
            Self::Four => TILE * depth / 2,
            Self::Six => TILE * depth / 4 * 3,
            Self::Eight => TILE * depth,
        }
    }

    /// The code stored for (row, column k) in a tile; the definition of the layout. Bytes are signed here, because the
    /// bias of the definitions is 0.
    #[inline(always)]
    pub(crate) fn stored(self, tile: &[u8], row: usize, k: usize) -> i32 {
        let step = &tile[k / STEP * self.tile_bytes(STEP)..];
        let (f, at) = (k % STEP / 4, row * 4 + k % 4);
        let code = match self {
            Self::Eight => return i32::from(step[f * LINE + at] as i8),
            Self::Six if f < 3 => step[f * LINE + at] & 63,
            Self::Six => step[at] >> 6 | step[LINE + at] >> 6 << 2 | step[2 * LINE + at] >> 6 << 4,
            Self::Four => step[f / 2 * LINE + at] >> (4 * (f % 2)) & 15,
        };
        i32::from(code)
    }

    /// (log₂ f, z): a stored code represents (f · stored − z) · s / f. `bias` is that of the set that stored it.
    pub(crate) fn value(self, bias: u8) -> (u32, i32) {
        match self {
            Self::Four => (1, 15),
            Self::Six => (1, 63),
            Self::Eight => (0, i32::from(bias)),
        }
    }
}

/// Scale and error bounds of the codes of one row w; the codes represent ŵ.
#[derive(Clone, Copy)]
pub(crate) struct RowEncoding {
    /// s
    pub scale: f32,
    /// An upper bound of ‖w − ŵ‖.
    pub error: f32,
    /// An upper bound of ‖ŵ‖.
    pub norm: f32,
    /// As `error`, including the two low bits of six-bit codes.
    pub fine_error: f32,
}

/// Rows whose magnitudes are smaller are not scaled.
pub(crate) const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Writes the codes of a row into its lane of a tile. `bias` is that of the set which will read them.
pub(crate) fn pack_row(bits: Bits, bias: u8, codes: &[u8], lane: usize, tile: &mut [Line]) {
    // Codes of eight bits are 128 + the signed code already.
    let flip = u32::from_le_bytes([bias ^ 128; 4]);
    let lines = bits.tile_bytes(STEP) / LINE;
    for (step, codes) in tile.chunks_exact_mut(lines).zip(codes.as_chunks::<4>().0.as_chunks::<4>().0) {
        let [a, b, c, d] = codes.map(u32::from_le_bytes);
        // The six high bits of each byte; no bit crosses into another byte.
        let [six_a, six_b, six_c] = [a, b, c].map(|codes| codes >> 2 & 0x3f3f_3f3f);
        let pair = |i: u32| (d >> (2 + 2 * i) & 0x0303_0303) << 6;
        let dwords = match bits {
            Bits::Four => [a | b << 4, c | d << 4, 0, 0],
            Bits::Six => [six_a | pair(0), six_b | pair(1), six_c | pair(2), 0],
            Bits::Eight => [a ^ flip, b ^ flip, c ^ flip, d ^ flip],
        };
        for (line, dword) in step.iter_mut().zip(dwords) {
            line.0[4 * lane..4 * lane + 4].copy_from_slice(&dword.to_le_bytes());
        }
    }
}

/// Computes the codes of a row for all padded columns, and bounds on their errors. Six-bit codes are the high bits of
/// eight-bit codes.
///
/// With s the scale and y = fl(w · fl(1/s)), |y − w/s| ≤ 4u|y|; v is the value of the code, ρ = fl(y − v). So
/// ‖w − ŵ‖ ≤ s (‖ρ‖ + 8u (‖v‖ + ‖ρ‖)). With two more bits v changes by at most 1.5 where no |v| is below 2, so its norm
/// is less than twice that of v, which 8u instead of 5u covers. The factor 1 + 2⁻⁹ covers the float sums (2¹⁴ + 5
/// roundings) and the rest.
#[inline(always)]
pub(crate) fn encode_row<V: Vector>(zeros: V, bits: Bits, w: &[f32], codes: &mut [u8]) -> RowEncoding {
    const UP: f32 = 1.0 + 1.0 / 512.0;
    /// Weights per pass.
    const STRIP: usize = 256;
    let largest = largest(w);
    if !(TINY..=f32::MAX).contains(&largest) {
        codes.fill(0);
        let bound = largest.max(f32::MIN_POSITIVE) * (w.len() as f32).sqrt() * UP;
        let error = if largest.is_finite() { bound } else { f32::INFINITY };
        return RowEncoding { scale: 0.0, error, norm: 0.0, fine_error: error };
    }
    // (the greatest v, the code of v = 0, the greatest code)
    let (side, middle, last) = match bits {
        Bits::Four => (7.5, 7.5, 15.0),
        Bits::Six => (127.5, 127.5, 255.0),
        Bits::Eight => (127.0, 128.0, 255.0),
    };
    // The weight that the greatest v represents.
    let mut end = largest;
    let (mut v, mut rest) = ([0.0f32; STRIP], [0.0f32; STRIP]);
    if bits == Bits::Four {
        let mut squares = zeros;
        for w in w.chunks(STRIP) {
            for (y, w) in v.iter_mut().zip(w) {
                *y = w * (side / largest);
            }
            squares = add_squares(squares, &mut v, w.len());
        }
        // 16 values are too few to cover the tails of a row.
        end = largest.min(CLIP / side * (fold(squares.lanes()) / w.len() as f32).sqrt() * largest);
    }
    let (scale, inverse) = (end / side, side / end);
    let [mut of_v, mut of_rest, mut of_fine] = [zeros; 3];
    for (w, codes) in w.chunks(STRIP).zip(codes.chunks_mut(STRIP)) {
        for (((w, code), v), rest) in w.iter().zip(&mut *codes).zip(&mut v).zip(&mut rest) {
            let y = w * inverse;
            let place = y + middle;
            let place = if place > 0.0 { place } else { 0.0 };
            let place = if place < last { place } else { last };
            let rounded = place + ROUND;
            *code = rounded.to_bits() as u8;
            *v = (rounded - ROUND) - middle;
            *rest = y - *v;
        }
        if bits == Bits::Six {
            of_fine = add_squares(of_fine, &mut rest, w.len());
            for (((w, code), v), rest) in w.iter().zip(&*codes).zip(&mut v).zip(&mut rest) {
                // The middle of the four codes that share these high bits.
                *v = f32::from(*code & !3) + 1.5 - middle;
                *rest = w * inverse - *v;
            }
        }
        of_v = add_squares(of_v, &mut v, w.len());
        of_rest = add_squares(of_rest, &mut rest, w.len());
    }
    let [v, rest, fine] = [of_v, of_rest, of_fine].map(|sum| fold(sum.lanes()).sqrt());
    let error = |rest: f32| scale * (rest + 4.0 * f32::EPSILON * (v + rest)) * UP;
    // One step of the codes in tiles.
    let step = if bits == Bits::Six { 4.0 * scale } else { scale };
    RowEncoding { scale: step, error: error(rest), norm: scale * v * UP, fine_error: error(fine) }
}

/// The largest magnitude in `x`; NaN if `x` contains one.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    // As integers, magnitudes have the same order as floats, with NaN above infinity.
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    f32::from_bits(largest)
}

/// Adds the squares of the first `len` values of `x` to `sum`; the other values count as zero.
#[inline(always)]
fn add_squares<V: Vector>(mut sum: V, x: &mut [f32], len: usize) -> V {
    x[len..].fill(0.0);
    for x in x[..len.next_multiple_of(LANES)].chunks_exact(LANES) {
        sum = sum.add_product(sum.load(x), sum.load(x));
    }
    sum
}

/// Weights of a row beyond this multiple of its root mean square get the outermost of 16 values. This is close to the
/// least mean square error for normally distributed weights (Max, "Quantizing for minimum distortion", 1960).
const CLIP: f32 = 2.8;

/// Whether the lengths of the arguments of [`dot`] match.
pub(crate) fn fits(bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &[i32]) -> bool {
    let tile_bytes = bits.tile_bytes(depth);
    let tiles = codes.len() / tile_bytes.max(1);
    depth.is_multiple_of(STEP) && codes.len() == tiles * tile_bytes && sums.len() * depth * 2 == x.len() * tiles * TILE
}

/// Dot products of codes with the integers of tokens: `tiles` tiles of `depth` columns, `m` tokens in blocks of
/// [`BLOCK`], `sums[t][row]`. Partial sums may wrap; the final sum fits (`screen::range`).
#[inline(always)]
pub(crate) fn dot(bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
    let tile_bytes = bits.tile_bytes(depth);
    let width = codes.len() / tile_bytes * TILE;
    for (x, sums) in x.chunks(BLOCK * depth * 2).zip(sums.chunks_mut(BLOCK * width)) {
        let m = x.len() / (depth * 2);
        for (t, sums) in sums.chunks_exact_mut(width).enumerate() {
            for (row, sum) in sums.iter_mut().enumerate() {
                let tile = &codes[row / TILE * tile_bytes..][..tile_bytes];
                *sum = (0..depth).fold(0i32, |sum, k| {
                    let at = (k / 4 * m + t) * 8 + k % 4;
                    let x = (i32::from(x[at]) << LOW_BITS) + i32::from(x[at + 4]);
                    sum.wrapping_add(bits.stored(tile, row % TILE, k) * x)
                });
            }
        }
    }
}
