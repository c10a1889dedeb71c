//! Products of ternary and binary matrices whose scales belong to groups of columns (weight-only models).
//!
//! ```text
//! weight = w · s      w: −1, 0, +1, or −1, +1;   s: the scale of the row's group of 32, 64, 128 or 256 columns
//! part   = a run of whole groups; at most eight parts make a row (`Division`)
//!
//! f32:       y = Σ parts (Σ groups (Σ columns w · x) · s)      every sum in order, beginning with 0
//! integers:  y = Σ parts (Σ groups d · (s · i))                d = Σ columns w · code, exact
//! ```
//!
//! Codes are the activations of one group times a scale a, rounded: 8 bits, or 14 bits as two parts of 8 bits
//! (code = 128 · high + low), and i = 1 / a. A sum d of 256 codes is below 2²¹, so its `f32` is exact. Parts are sums
//! of their own so that a matrix divided over machines by columns can give the same bytes.
//!
//! Weights are packed in tiles of 16 rows, like those of [`super::ternary`]:
//!
//! ```text
//! 2 bits (w + 1):        line = 16 rows × 16 columns    column k = 16 g + 4 · field + byte     4 fields in a byte
//! 1 bit ((w + 1) / 2):   line = 16 rows × 32 columns    column k = 32 g + 4 · field + byte     8 fields in a byte
//! ```

use super::math::{ROUND, f16_to_f32};
use super::vector::LANES;
use crate::lines::LINE;
use crate::op::ternary::TILE;

/// Tokens of a block: their codes lie side by side.
pub(crate) const TOKENS: usize = 4;

/// Allowed columns in a group: whole lines of every width.
pub(crate) const COLUMNS: [usize; 4] = [32, 64, 128, MOST_COLUMNS];

/// Most columns in a group, such that sums of `vpmaddubsw` fit 16 bits: 256 / 2 · 2 · 127 < 2¹⁵.
pub(crate) const MOST_COLUMNS: usize = 256;

/// Most parts of a row.
const PARTS: usize = 8;

/// The bits of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    /// −1 or +1.
    One,
    /// −1, 0 or +1.
    Two,
}

impl Bits {
    /// Columns in a line.
    pub const fn columns(self) -> usize {
        match self {
            Self::One => 32,
            Self::Two => 16,
        }
    }

    /// Bits of a field.
    pub const fn width(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The weight of a field.
    #[inline(always)]
    fn weight(self, field: u32) -> i32 {
        match self {
            Self::One => 2 * field as i32 - 1,
            Self::Two => field as i32 - 1,
        }
    }
}

/// How the columns of a matrix are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    pub bits: Bits,
    pub cols: usize,
    /// Columns in a group: 32, 64, 128 or 256. The last group may have fewer.
    pub columns: usize,
    /// Groups in a part. The last part may have fewer.
    pub part: usize,
}

impl Division {
    /// Divides `cols` columns. Parts are multiples of 256 columns and of `unit`, a power of two.
    pub fn new(bits: Bits, cols: usize, columns: usize, unit: usize) -> Self {
        let part = cols.div_ceil(PARTS).next_multiple_of(unit.max(MOST_COLUMNS));
        Self { bits, cols, columns, part: part / columns }
    }

    /// Groups in a row.
    pub fn groups(self) -> usize {
        self.cols.div_ceil(self.columns)
    }

    /// Lines in a tile.
    pub fn lines(self) -> usize {
        self.cols.div_ceil(self.bits.columns())
    }

    /// Columns padded to whole lines of every width.
    pub fn depth(self) -> usize {
        self.cols.next_multiple_of(Bits::One.columns())
    }

    /// The lines of a group in a tile.
    #[inline(always)]
    pub fn lines_of(self, group: usize) -> std::ops::Range<usize> {
        let lines = self.columns / self.bits.columns();
        group * lines..((group + 1) * lines).min(self.lines())
    }
}

/// Scales of some tiles: `[tile][group][row of the tile]`.
#[derive(Clone, Copy)]
pub(crate) enum TileScales<'a> {
    /// f16, if it represents every scale.
    Halves(&'a [u16]),
    Floats(&'a [f32]),
}

impl TileScales<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Halves(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// The scales of 16 rows, for scales of one tile.
    #[inline(always)]
    fn rows(&self, group: usize) -> [f32; TILE] {
        let at = group * TILE;
        let mut out = [0.0; TILE];
        match self {
            Self::Halves(values) => {
                for (out, half) in out.iter_mut().zip(&values[at..at + TILE]) {
                    *out = f16_to_f32(*half);
                }
            }
            Self::Floats(values) => out.copy_from_slice(&values[at..at + TILE]),
        }
        out
    }
}

/// The packed weights of some tiles.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a> {
    pub division: Division,
    pub codes: &'a [u8],
    pub scales: TileScales<'a>,
}

impl Tiles<'_> {
    /// Rows of the tiles.
    pub fn rows(&self) -> usize {
        self.codes.len() / (self.division.lines() * LINE).max(1) * TILE
    }

    /// Tile `i` alone.
    pub fn tile(&self, i: usize) -> Self {
        let (bytes, values) = (self.division.lines() * LINE, self.division.groups() * TILE);
        let scales = match self.scales {
            TileScales::Halves(scales) => TileScales::Halves(&scales[i * values..(i + 1) * values]),
            TileScales::Floats(scales) => TileScales::Floats(&scales[i * values..(i + 1) * values]),
        };
        Self { division: self.division, codes: &self.codes[i * bytes..(i + 1) * bytes], scales }
    }

    /// Whether there are whole tiles, a scale for every group, and an output for every row and token.
    pub fn fit(&self, tokens: usize, out: &[f32]) -> bool {
        let (tile, columns) = (self.division.lines() * LINE, self.division.columns);
        tile > 0
            && COLUMNS.contains(&columns)
            && self.division.part > 0
            && self.codes.len().is_multiple_of(tile)
            && self.scales.len() == self.rows() * self.division.groups()
            && out.len() == tokens * self.rows()
    }
}

/// Activations of some tokens as codes.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    /// Blocks of at most [`TOKENS`] tokens: `[block][column / 4][token][8-bit part, high first][column % 4]`.
    pub codes: &'a [i8],
    /// 8-bit parts of a code: 1 or 2.
    pub parts: usize,
    pub tokens: usize,
    /// `[token][group]`: 1 / a.
    pub inverses: &'a [f32],
    /// `[token][group]`: sum of the codes.
    pub offsets: &'a [i32],
}

impl Codes<'_> {
    /// Whether there is a value for each token and column, and for each token and group.
    pub fn fit(&self, division: Division) -> bool {
        matches!(self.parts, 1 | 2)
            && self.codes.len() == self.tokens * division.depth() * self.parts
            && [self.inverses.len(), self.offsets.len()] == [self.tokens * division.groups(); 2]
    }

    /// The block of tokens that begins with token `first`.
    pub fn block(&self, first: usize, division: Division) -> Self {
        let (tokens, width, groups) =
            (TOKENS.min(self.tokens - first), division.depth() * self.parts, division.groups());
        Self {
            codes: &self.codes[first * width..(first + tokens) * width],
            tokens,
            inverses: &self.inverses[first * groups..(first + tokens) * groups],
            offsets: &self.offsets[first * groups..(first + tokens) * groups],
            ..*self
        }
    }

    /// The code of a token and column in one block.
    #[inline(always)]
    fn code(&self, token: usize, column: usize) -> i32 {
        let dword = column / 4 * self.tokens + token;
        let byte = |part| i32::from(self.codes[(dword * self.parts + part) * 4 + column % 4]);
        if self.parts == 2 { 128 * byte(0) + byte(1) } else { byte(0) }
    }
}

/// Whether the arguments of [`quantize`] match: at most one block of tokens, and a value for each.
pub(crate) fn codes_fit(
    x: &[f32],
    division: Division,
    parts: usize,
    codes: &[i8],
    inverses: &[f32],
    offsets: &[i32],
) -> bool {
    let tokens = x.len() / division.cols.max(1);
    matches!(parts, 1 | 2)
        && x.len() == tokens * division.cols
        && tokens <= TOKENS
        && codes.len() == tokens * division.depth() * parts
        && [inverses.len(), offsets.len()] == [tokens * division.groups(); 2]
}

/// Largest code of one 8-bit part, and of two: 63 · 128 + 63, so that both parts stay within ±64.
const LIMITS: [f32; 2] = [127.0, 8127.0];

/// Least magnitude that a scale is derived from; smaller activations become 0.
const LEAST: f32 = 1e-30;

/// Quantises the groups of one block of tokens `x`, each of `division.cols` values: `a = limit / max|x|` of the group,
/// code = `clamp(round_half_even(x · a), −limit, limit)`. NaN becomes −limit.
#[inline(always)]
pub(crate) fn quantize(
    x: &[f32],
    division: Division,
    parts: usize,
    codes: &mut [i8],
    inverses: &mut [f32],
    offsets: &mut [i32],
) {
    let (tokens, groups) = (x.len() / division.cols, division.groups());
    let limit = LIMITS[parts - 1];
    codes.fill(0);
    for (token, x) in x.chunks_exact(division.cols).enumerate() {
        for (group, x) in x.chunks(division.columns).enumerate() {
            let mut rounded = [0i32; MOST_COLUMNS];
            let scale = limit / largest(x);
            let mut sum = 0;
            for (rounded, x) in rounded.iter_mut().zip(x) {
                let y = x * scale;
                let y = if y > -limit { y } else { -limit };
                let y = if y < limit { y } else { limit };
                // Adding ROUND rounds half to even, and leaves the integer in the low bits.
                *rounded = (y + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
                sum += *rounded;
            }
            inverses[token * groups + group] = 1.0 / scale;
            offsets[token * groups + group] = sum;
            for (quad, rounded) in rounded[..x.len().next_multiple_of(4)].as_chunks::<4>().0.iter().enumerate() {
                let dword = (group * division.columns / 4 + quad) * tokens + token;
                let out = &mut codes[dword * parts * 4..][..parts * 4];
                if parts == 2 {
                    let (high, low) = out.split_at_mut(4);
                    for i in 0..4 {
                        high[i] = ((rounded[i] + 64) >> 7) as i8;
                        low[i] = (((rounded[i] + 64) & 127) - 64) as i8;
                    }
                } else {
                    for i in 0..4 {
                        out[i] = rounded[i] as i8;
                    }
                }
            }
        }
    }
}

/// `max(max|x|, LEAST)`; NaN is ignored.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut max = [LEAST; LANES];
    for x in x.chunks(LANES) {
        for (max, x) in max.iter_mut().zip(x) {
            let x = x.abs();
            *max = if x > *max { x } else { *max };
        }
    }
    max.into_iter().fold(LEAST, |a, b| if b > a { b } else { a })
}

/// The product of tiles with codes: `out[token][row]`.
#[inline(always)]
pub(crate) fn dot(tiles: &Tiles<'_>, x: &Codes<'_>, out: &mut [f32]) {
    let Division { cols, columns, .. } = tiles.division;
    let groups = tiles.division.groups();
    for (token, out) in out.chunks_exact_mut(tiles.rows()).enumerate() {
        let block = x.block(token / TOKENS * TOKENS, tiles.division);
        let token = token % TOKENS;
        let row: Vec<i32> = (0..cols).map(|column| block.code(token, column)).collect();
        product(tiles, out, |group, lines, scales| {
            let values = &row[group * columns..cols.min((group + 1) * columns)];
            let mut sums = [0i32; TILE];
            each(tiles.division.bits, lines, values, |r, weight, x| sums[r] += weight * x);
            let inverse = block.inverses[token * groups + group];
            for (scale, sum) in scales.iter_mut().zip(sums) {
                *scale = sum as f32 * (*scale * inverse);
            }
        });
    }
}

/// The product of tiles with `f32` rows `x` of `cols` values: `out[token][row]`.
#[inline(always)]
pub(crate) fn dot_f32(tiles: &Tiles<'_>, x: &[f32], out: &mut [f32]) {
    let Division { cols, columns, .. } = tiles.division;
    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(tiles.rows())) {
        product(tiles, out, |group, lines, scales| {
            let values = &x[group * columns..cols.min((group + 1) * columns)];
            let mut sums = [0f32; TILE];
            each(tiles.division.bits, lines, values, |r, weight, x| sums[r] += weight as f32 * x);
            for (scale, sum) in scales.iter_mut().zip(sums) {
                *scale *= sum;
            }
        });
    }
}

/// Adds the groups of every tile: `term(group, its lines, scales)` replaces the scales of 16 rows by their terms.
#[inline(always)]
fn product(tiles: &Tiles<'_>, out: &mut [f32], term: impl Fn(usize, &[u8], &mut [f32; TILE])) {
    let (division, groups) = (tiles.division, tiles.division.groups());
    for (i, out) in out.chunks_exact_mut(TILE).enumerate() {
        let tile = tiles.tile(i);
        out.fill(0.0);
        for first in (0..groups).step_by(division.part) {
            let mut part = [0.0; TILE];
            for group in first..groups.min(first + division.part) {
                let lines = division.lines_of(group);
                let mut terms = tile.scales.rows(group);
                term(group, &tile.codes[lines.start * LINE..lines.end * LINE], &mut terms);
                for (part, term) in part.iter_mut().zip(terms) {
                    *part += term;
                }
            }
            for (out, part) in out.iter_mut().zip(part) {
                *out += part;
            }
        }
    }
}

/// Calls `add(row of the tile, weight, x)` for the columns of some lines, in order.
#[inline(always)]
fn each<T: Copy>(bits: Bits, lines: &[u8], x: &[T], mut add: impl FnMut(usize, i32, T)) {
    let (width, mask) = (bits.width(), (1 << bits.width()) - 1);
    for (line, x) in lines.chunks_exact(LINE).zip(x.chunks(bits.columns())) {
        let mut words = [0u32; TILE];
        for (word, bytes) in words.iter_mut().zip(line.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        for (k, &x) in x.iter().enumerate() {
            let shift = 8 * (k % 4) + width * (k / 4);
            for (r, word) in words.iter().enumerate() {
                add(r, bits.weight(word >> shift & mask), x);
            }
        }
    }
}
