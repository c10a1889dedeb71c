//! Screens: a small integer code for every weight of a dense matrix, with which its product is estimated, and how far
//! the estimate can be off. Rows whose estimate leaves no doubt need not be read.
//!
//! ```text
//! stored rows ──► Screen: codes, scale s, error e, norm n of each row
//! x ──► 12-bit integers ──► Σ code · integer, exact ──► value ± margin of every row
//! ```
//!
//! Codes lie in tiles of 16 rows; a line of 64 bytes has a dword for each row (little endian):
//!
//! ```text
//! 8 bits:  line g of a tile = columns 4g … 4g+3      byte b of a dword = column 4g + b            weight ≈ s · (code − 128)
//! 4 bits:  line g of a tile = columns 8g … 8g+7      low nibble of byte b = column 8g + b         weight ≈ s · (code − 7.5)
//!                                                    high nibble          = column 8g + 4 + b
//! ```
//!
//! # How far an estimate can be off
//!
//! Let w be a stored row in f32, ŵ = s·v what its codes stand for, x a token, x̂ = d·X its integers times their step,
//! u = 2⁻²⁴, and l the f32 that [`DenseMatrix::matmul`] gives for w·x. The estimate is a = fl(fl(s·d) · fl(v·X)).
//!
//! 1. l has the error of a float sum: products, additions of a lane and the fold are at most k = ⌈cols/16⌉ + 5
//!    roundings on any path, so |l − w·x| ≤ γ Σ|wᵢxᵢ| ≤ γ‖w‖‖x‖ with γ = ku/(1 − ku), and ‖w‖ ≤ ‖ŵ‖ + e.
//! 2. |w·x − ŵ·x̂| ≤ |(w − ŵ)·x| + |ŵ·(x − x̂)| ≤ e‖x‖ + ‖ŵ‖‖x − x̂‖ (Cauchy–Schwarz), with e ≥ ‖w − ŵ‖.
//! 3. v·X is an exact integer; its conversion, s·d and the product round once each: |a − ŵ·x̂| ≤ 4u‖ŵ‖‖x̂‖. Adding the
//!    margin to a rounds once more: another u(|a| + margin) ≤ 2u‖ŵ‖‖x̂‖ + u·margin.
//! 4. Underflow: products of the sum lose at most cols · 2⁻¹⁵⁰, s·d at most 2⁻¹⁵⁰ times |v·X| < 2³¹, and the last
//!    product 2⁻¹⁵⁰: together less than 2⁻¹¹⁰.
//!
//! Hence |l − a| ≤ e · A + n · B + 2⁻¹¹⁰ with n ≥ ‖ŵ‖, A = (1 + γ)‖x‖, B = ‖x − x̂‖ + γ‖x‖ + 8u‖x̂‖. A and B are computed
//! in f64 and enlarged (by 2⁻¹⁸, and by 2⁻¹²⁶ against underflow), which also covers the roundings of this formula in
//! f32 and the u·margin of step 3.
//! Nothing may overflow: (n + e)‖x‖ is bounded by `LARGEST`, else no margin is given (it is infinite or not a number).
//! A row with a weight that is not finite has e = ∞.

use crate::dense::DenseMatrix;
use crate::lines::{LINE, Line, Lines};
use crate::math::ROUND;
use crate::pool::SendPtr;
use crate::portable::{LANES, fold};
use crate::rows::Rows;
use crate::set::Cpu;
use crate::ternary::TILE;
use crate::vector::Vector;

/// Most columns: X keeps at least 7 bits (see `range`), and float sums a relative error below 2⁻⁹ (`fit`).
pub const MAX_COLS: usize = 1 << 18;
/// Tokens whose integers lie interleaved: dwords `[k / 4][token of the block][high, low]`.
pub(crate) const BLOCK: usize = 8;
/// X = 32 · high + low with low in 0 … 31 and high in −64 … 63.
pub(crate) const LOW_BITS: u32 = 5;
/// Above this, (norm of a row) · (norm of a token) might overflow in a product that is being bounded.
const LARGEST: f64 = 1e38;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 16 values: half of a byte a weight.
    Four,
    /// 255 values.
    Eight,
}

impl Bits {
    /// Bytes of a tile of `depth` columns.
    pub(crate) fn tile_bytes(self, depth: usize) -> usize {
        match self {
            Self::Four => TILE * depth / 2,
            Self::Eight => TILE * depth,
        }
    }

    /// The code of (row, column k) in a tile; the definition of the layout.
    #[inline(always)]
    pub(crate) fn code(self, tile: &[u8], row: usize, k: usize) -> u8 {
        match self {
            Self::Eight => tile[k / 4 * LINE + row * 4 + k % 4],
            Self::Four => tile[k / 8 * LINE + row * 4 + k % 4] >> (k & 4) & 15,
        }
    }

    /// (log₂ f, z): what `code` stands for is (f · code − z) · s / f.
    fn value(self) -> (u32, i32) {
        match self {
            Self::Four => (1, 15),
            Self::Eight => (0, 128),
        }
    }
}

/// The codes of a `(rows, cols)` matrix.
pub struct Screen {
    bits: Bits,
    rows: usize,
    cols: usize,
    lines: Lines,
    fits: Fits,
    /// No row of finite weights has a greater ‖ŵ‖ + ‖w − ŵ‖.
    largest_norm: f64,
}

/// What is known of each row: its scale s, and upper bounds e of ‖w − ŵ‖ and n of ‖ŵ‖.
pub(crate) struct Fits {
    scales: Vec<f32>,
    errors: Vec<f32>,
    norms: Vec<f32>,
}

impl Fits {
    /// The estimates of one token and their margins, from the sums of rows `first` and following.
    fn bound(&self, token: &Token, sums: &[i32], first: usize, values: &mut [f32], margins: &mut [f32]) {
        let [a, b, c] = token.margin;
        for ((value, sum), scale) in values.iter_mut().zip(sums).zip(&self.scales[first..]) {
            let exact = (sum << token.shift).wrapping_sub(token.offset);
            *value = exact as f32 * (scale * token.step);
        }
        for ((margin, error), norm) in margins.iter_mut().zip(&self.errors[first..]).zip(&self.norms[first..]) {
            *margin = error * a + norm * b + c;
        }
    }
}

/// The same of one row.
#[derive(Clone, Copy)]
pub(crate) struct Fit {
    scale: f32,
    error: f32,
    norm: f32,
}

/// What is known of one token.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    /// Step d of its integers, divided by the f of [`Bits::value`].
    step: f32,
    /// log₂ f.
    shift: u32,
    /// z · ΣX.
    offset: i32,
    /// A, B and the constant of the margin.
    margin: [f32; 3],
}

/// How wide margins are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// The proven bound: no product lies outside.
    Proven,
    /// As if the errors of a row's codes were random: so many standard deviations e‖x‖/√cols in the place of e‖x‖,
    /// where that is less.
    Sigmas(f64),
}

/// Estimates of a product, `(token, row)`: it lies within `values` ± `margins`. Where a margin is not a finite number,
/// nothing is known.
pub struct Estimates {
    /// The products of the codes.
    pub values: Rows,
    /// How far the products of the stored rows can be from them.
    pub margins: Rows,
}

impl Screen {
    /// Codes for the rows of `stored`, whose pages are released if they lie in a mapped file; `None` above
    /// [`MAX_COLS`].
    pub fn build(cpu: &Cpu, stored: &DenseMatrix, bits: Bits) -> Option<Self> {
        /// Tiles of one chunk of work.
        const TILES: usize = 4;
        let (rows, cols) = (stored.rows(), stored.cols());
        if cols > MAX_COLS {
            return None;
        }
        let depth = cols.next_multiple_of(8);
        let tile_lines = bits.tile_bytes(depth) / LINE;
        let mut lines = Lines::zeroed(rows.div_ceil(TILE) * tile_lines);
        let mut fits = vec![Fit { scale: 0.0, error: 0.0, norm: 0.0 }; rows];
        let fits_at = SendPtr(fits.as_mut_ptr());
        cpu.pool.pieces(&mut lines, TILES * tile_lines, |chunk, lines| {
            let first = chunk * TILES * TILE;
            let count = (TILES * TILE).min(rows - first);
            let (mut row, mut codes) = (vec![0.0; cols], vec![0; depth]);
            for r in 0..count {
                stored.decode_row(cpu, first + r, &mut row);
                let fit = cpu.set.fit(bits, &row, &mut codes);
                // SAFETY: row first + r < rows belongs to this chunk alone.
                unsafe { *fits_at.get().add(first + r) = fit };
                pack_row(bits, &codes, r % TILE, &mut lines[r / TILE * tile_lines..][..tile_lines]);
            }
            stored.release(first, count);
        });
        stored.release(0, rows);
        let finite = fits.iter().filter(|fit| fit.error.is_finite());
        Some(Self {
            bits,
            rows,
            cols,
            lines,
            largest_norm: finite.map(|fit| f64::from(fit.norm) + f64::from(fit.error)).fold(0.0, f64::max),
            fits: Fits {
                scales: fits.iter().map(|fit| fit.scale).collect(),
                errors: fits.iter().map(|fit| fit.error).collect(),
                norms: fits.iter().map(|fit| fit.norm).collect(),
            },
        })
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE + 3 * size_of::<f32>() * self.rows
    }

    /// Estimates the product of every row with every token.
    pub fn estimate(&self, cpu: &Cpu, x: &Rows, margin: Margin) -> Estimates {
        assert_eq!(x.dim(), self.cols, "matrix and activations have the same input width");
        let (m, rows, depth) = (x.len(), self.rows, self.depth());
        let (integers, tokens) = self.tokens(cpu, x, margin);
        let (mut values, mut margins) = (Rows::unwritten(m, rows), Rows::unwritten(m, rows));
        let outs = [&mut values, &mut margins].map(|out| SendPtr(out.data_mut().as_mut_ptr()));
        let tile_bytes = self.bits.tile_bytes(depth);
        // Tiles of one chunk of work, as for ternary matrices: codes that are read once are read in long runs.
        let tiles = rows.div_ceil(TILE);
        let most = if m == 1 { (tiles / (4 * cpu.pool.threads())).max(8) } else { 8 };
        cpu.pool.run(tiles.div_ceil(most), |chunk| {
            let first = chunk * most * TILE;
            let range = first..rows.min(first + most * TILE);
            let tiles = range.len().div_ceil(TILE);
            let codes = &self.lines.bytes()[first / TILE * tile_bytes..][..tiles * tile_bytes];
            let mut sums = vec![0; m * tiles * TILE];
            cpu.set.coded_dot(self.bits, codes, depth, &integers, &mut sums);
            for (t, sums) in sums.chunks_exact(tiles * TILE).enumerate() {
                // SAFETY: row t < m, columns `range` inside 0 .. rows; the chunks are disjoint columns.
                let [values, margins] = outs
                    .map(|out| unsafe { std::slice::from_raw_parts_mut(out.get().add(t * rows + first), range.len()) });
                self.fits.bound(&tokens[t], sums, first, values, margins);
            }
        });
        Estimates { values, margins }
    }

    fn depth(&self) -> usize {
        self.cols.next_multiple_of(8)
    }

    /// The integers of every token, in blocks of [`BLOCK`], and what is known of each.
    fn tokens(&self, cpu: &Cpu, x: &Rows, margin: Margin) -> (Vec<i8>, Vec<Token>) {
        let depth = self.depth();
        let mut integers = vec![0; x.len() * depth * 2];
        let mut tokens = vec![Token { step: f32::NAN, shift: 0, offset: 0, margin: [f32::NAN; 3] }; x.len()];
        let tokens_at = SendPtr(tokens.as_mut_ptr());
        cpu.pool.pieces(&mut integers, BLOCK * depth * 2, |block, integers| {
            let count = integers.len() / (depth * 2);
            for t in 0..count {
                let token = self.token(x.row(block * BLOCK + t), margin, &mut integers[8 * t..], 8 * count);
                // SAFETY: this token belongs to this block alone.
                unsafe { *tokens_at.get().add(block * BLOCK + t) = token };
            }
        });
        (integers, tokens)
    }

    /// Writes the integers of a token, 8 bytes every `stride`, and bounds what they leave out.
    fn token(&self, x: &[f32], margin: Margin, out: &mut [i8], stride: usize) -> Token {
        let (shift, zero) = self.bits.value();
        let range = range(self.cols);
        let max = largest(x);
        // Below, a step would lose its digits; the integers are all 0 and everything counts as left out.
        let step = if max < TINY { 0.0 } else { max / range };
        let inverse = if max < TINY { 0.0 } else { range / max };
        // Of x, of x̂ and of x − x̂. In f64, squares of singles neither overflow nor vanish.
        let (mut sum, mut squares) = (0i32, [0.0f64; 3]);
        for (x, out) in x.chunks(4).zip(out.chunks_mut(stride)) {
            for (i, &x) in x.iter().enumerate() {
                // NaN becomes 0 here; the margins below are NaN then.
                let integer = ((x * inverse + ROUND) - ROUND).clamp(-range, range) as i32;
                (out[i], out[4 + i]) = ((integer >> LOW_BITS) as i8, (integer & ((1 << LOW_BITS) - 1)) as i8);
                sum += integer;
                let (x, hat) = (f64::from(x), f64::from(step) * f64::from(integer));
                for (sum, value) in squares.iter_mut().zip([x, hat, x - hat]) {
                    *sum += value * value;
                }
            }
        }
        let [x, hat, rest] = squares.map(f64::sqrt);
        let u = f64::from(f32::EPSILON / 2.0);
        let roundings = u * (self.cols.div_ceil(16) + 5) as f64;
        let gamma = roundings / (1.0 - roundings);
        let share = match margin {
            Margin::Proven => 1.0,
            Margin::Sigmas(sigmas) => (sigmas / (self.cols as f64).sqrt()).min(1.0),
        };
        let parts = [(share + gamma) * x, rest + gamma * x + 8.0 * u * hat, 2f64.powi(-110)];
        let bounded = self.largest_norm * x <= LARGEST;
        let margin = parts.map(|part| {
            if bounded { ((part + f64::from(f32::MIN_POSITIVE)) * (1.0 + 2f64.powi(-18))) as f32 } else { f32::NAN }
        });
        let step = if max.is_finite() { step / (1 << shift) as f32 } else { f32::NAN };
        Token { step, shift, offset: zero * sum, margin }
    }
}

/// Smaller numbers are not scaled to codes.
const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// The greatest integer of a token of `cols` values: at most 2047, and |Σ (f · code − z) · X| < 2³¹. (Sums that are not
/// yet finished may wrap.)
fn range(cols: usize) -> f32 {
    (i32::MAX as usize / (128 * cols)).min(2047) as f32
}

/// Writes the codes of a row into its lane of a tile.
fn pack_row(bits: Bits, codes: &[u8], lane: usize, tile: &mut [Line]) {
    let dwords = codes.as_chunks::<4>().0;
    match bits {
        Bits::Eight => {
            for (line, dword) in tile.iter_mut().zip(dwords) {
                line.0[4 * lane..4 * lane + 4].copy_from_slice(dword);
            }
        }
        Bits::Four => {
            for (line, pair) in tile.iter_mut().zip(dwords.as_chunks::<2>().0) {
                // Codes are below 16, so shifting a dword of them never crosses a byte.
                let word = u32::from_le_bytes(pair[0]) | u32::from_le_bytes(pair[1]) << 4;
                line.0[4 * lane..4 * lane + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
}

/// Codes of a row, as many as `codes` has places (the columns, padded), and bounds of what they leave out.
///
/// With s the scale and y = fl(w · fl(1/s)), |y − w/s| ≤ 4u|y|; v is what the code stands for, ρ = fl(y − v). So
/// ‖w − ŵ‖ ≤ s (‖ρ‖ + 8u (‖v‖ + ‖ρ‖)). The factor 1 + 2⁻⁹ covers the float sums (2¹⁴ + 5 roundings) and the rest.
#[inline(always)]
pub(crate) fn fit<V: Vector>(bits: Bits, w: &[f32], codes: &mut [u8]) -> Fit {
    const UP: f32 = 1.0 + 1.0 / 512.0;
    /// Weights of one pass.
    const STRIP: usize = 256;
    let largest = largest(w);
    if !(TINY..=f32::MAX).contains(&largest) {
        codes.fill(0);
        let bound = largest.max(f32::MIN_POSITIVE) * (w.len() as f32).sqrt() * UP;
        let error = if largest.is_finite() { bound } else { f32::INFINITY };
        return Fit { scale: 0.0, error, norm: 0.0 };
    }
    // (the greatest v, the code of v = 0, the last code)
    let (side, middle, last) = match bits {
        Bits::Four => (7.5, 7.5, 15.0),
        Bits::Eight => (127.0, 128.0, 255.0),
    };
    // The weight that the greatest v stands for.
    let mut end = largest;
    let (mut v, mut rest) = ([0.0f32; STRIP], [0.0f32; STRIP]);
    if bits == Bits::Four {
        let mut squares = V::splat(0.0);
        for w in w.chunks(STRIP) {
            for (y, w) in v.iter_mut().zip(w) {
                *y = w * (side / largest);
            }
            squares = add_squares(squares, &mut v, w.len());
        }
        // 16 values are too few to spend on the tails of a row.
        end = largest.min(CLIP / side * (fold(squares.lanes()) / w.len() as f32).sqrt() * largest);
    }
    let (scale, inverse) = (end / side, side / end);
    let (mut of_v, mut of_rest) = (V::splat(0.0), V::splat(0.0));
    for (w, codes) in w.chunks(STRIP).zip(codes.chunks_mut(STRIP)) {
        for (((w, code), v), rest) in w.iter().zip(codes).zip(&mut v).zip(&mut rest) {
            let y = w * inverse;
            let place = y + middle;
            let place = if place > 0.0 { place } else { 0.0 };
            let place = if place < last { place } else { last };
            let rounded = place + ROUND;
            *code = rounded.to_bits() as u8;
            *v = (rounded - ROUND) - middle;
            *rest = y - *v;
        }
        of_v = add_squares(of_v, &mut v, w.len());
        of_rest = add_squares(of_rest, &mut rest, w.len());
    }
    let (v, rest) = (fold(of_v.lanes()).sqrt(), fold(of_rest.lanes()).sqrt());
    let roundings = 4.0 * f32::EPSILON * (v + rest);
    Fit { scale, error: scale * (rest + roundings) * UP, norm: scale * v * UP }
}

/// The largest magnitude of `x`; NaN if one is there.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    // As integers, magnitudes sort as they do as floats, and NaN above infinity.
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    f32::from_bits(largest)
}

/// `sum` and the squares of the first `len` values of `x`; zeros take the place of the others.
#[inline(always)]
fn add_squares<V: Vector>(mut sum: V, x: &mut [f32], len: usize) -> V {
    x[len..].fill(0.0);
    for x in x[..len.next_multiple_of(LANES)].chunks_exact(LANES) {
        sum = sum.add_product(V::load(x), V::load(x));
    }
    sum
}

/// Weights of a row beyond this many times its root mean square get the outermost of 16 values: near the least mean
/// square error for normally distributed weights (Max, "Quantizing for minimum distortion", 1960).
const CLIP: f32 = 2.8;

/// Dot products of codes with the integers of tokens: `tiles` tiles of `depth` columns, `m` tokens in blocks of
/// [`BLOCK`], `sums[t][row]`. They wrap; what they end in does not ([`range`]).
#[inline(always)]
pub(crate) fn coded_dot(bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
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
                    sum.wrapping_add(i32::from(bits.code(tile, row % TILE, k)) * x)
                });
            }
        }
    }
}
