//! Screens: a small integer code for each weight of a dense matrix. The codes give an estimate of the matrix product
//! and a bound on its error. Rows that the estimate rules out need not be read.
//!
//! ```text
//! stored rows ──► Screen: codes ([`Bits`]), scale s, error e, norm n of each row
//! x ──► 12-bit integers ──► Σ code · integer, exact ──► value ± margin of every row
//! ```
//!
//! # How far an estimate can be off
//!
//! Let w be a stored row in f32, ŵ = s·v the values of its codes, x a token, x̂ = d·X its integers times their step,
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
//! Hence |l − a| ≤ e · A + n · B + 2⁻¹¹⁰ with n ≥ ‖ŵ‖, A = (1 + γ)‖x‖, B = ‖x − x̂‖ + γ‖x‖ + 8u‖x̂‖. A and B are
//! computed in f64 and enlarged (by 2⁻¹⁸, and by 2⁻¹²⁶ against underflow), which also covers the roundings of this
//! formula in f32 and the u·margin of step 3.
//! [`Screen::refine`] adds to a the products of two more bits of each code, which represent r̂ = s · (more − 1.5) / 4:
//! another conversion, s·d, product and sum, so |a − (ŵ + r̂)·x̂| ≤ 4u(‖ŵ‖ + ‖r̂‖)‖x̂‖ + u|a|. With n ≥ ‖ŵ‖ + ‖r̂‖ and
//! e ≥ ‖w − ŵ − r̂‖ the margin above holds for it: these are 6 of the 8u of B, and adding the margin takes the others.
//!
//! Nothing may overflow: (n + e)‖x‖ is bounded by `LARGEST`, else no margin is given (it is infinite or not a number).
//! A row with a weight that is not finite has e = ∞.

use crate::cpu::Cpu;
use crate::dense::DenseMatrix;
use crate::lines::{LINE, Lines};
pub use crate::op::codes::Bits;
use crate::op::codes::{BLOCK, LOW_BITS, RowEncoding, STEP, TINY, largest, pack_row};
use crate::op::math::ROUND;
use crate::op::sparse::{self, COLS, arrange};
use crate::op::ternary::TILE;
use crate::pool::SendPtr;
use crate::rows::Rows;

/// The most columns a screen can have: X keeps at least 7 bits (see `range`), and float sums keep a relative error
/// below 2⁻⁹ (`codes::encode_row`).
pub const MAX_COLS: usize = 1 << 18;
/// Above this, (norm of a row) · (norm of a token) might overflow while the error is bounded.
const LARGEST: f64 = 1e38;

/// A screen of a `(rows, cols)` matrix.
pub struct Screen {
    bits: Bits,
    /// The bias of the set that stored the codes.
    bias: u8,
    rows: usize,
    cols: usize,
    lines: Lines,
    /// The two low bits of six-bit codes, by rows.
    fine: Option<Lines>,
    encodings: RowEncodings,
    /// The greatest ‖ŵ‖ + ‖w − ŵ‖ of the rows whose weights are finite.
    largest_norm: f64,
}

/// The [`RowEncoding`] of each row, one list per field.
struct RowEncodings {
    scales: Vec<f32>,
    errors: Vec<f32>,
    norms: Vec<f32>,
    fine_errors: Vec<f32>,
}

impl RowEncodings {
    /// Computes the estimates of one token and their margins from the integer sums of the rows from `first` on.
    fn bound(&self, token: &Token, sums: &[i32], first: usize, values: &mut [f32], margins: &mut [f32]) {
        let [a, b, c] = token.margin;
        for ((value, sum), scale) in values.iter_mut().zip(sums).zip(&self.scales[first..]) {
            let exact = (sum << token.shift).wrapping_sub(token.zero * token.sum);
            *value = exact as f32 * (scale * token.step);
        }
        for ((margin, error), norm) in margins.iter_mut().zip(&self.errors[first..]).zip(&self.norms[first..]) {
            *margin = error * a + norm * b + c;
        }
    }
}

/// Scale and error bounds of one token's integers.
#[derive(Clone, Copy)]
struct Token {
    /// Step d of the token's integers, divided by the f of [`Bits::value`].
    step: f32,
    /// log₂ f.
    shift: u32,
    /// The z of [`Bits::value`].
    zero: i32,
    /// ΣX, the sum of the integers.
    sum: i32,
    /// A, B and the constant term of the margin.
    margin: [f32; 3],
}

/// How wide margins are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// The proven bound: every product lies inside.
    Proven,
    /// Treats the rounding errors of a row's codes as random: uses this number of standard deviations e‖x‖/√cols
    /// instead of e‖x‖ where that is less.
    Sigmas(f64),
}

/// Estimates of a product, `(token, row)`: the product lies within `values` ± `margins`. A margin that is not a finite
/// number gives no bound.
pub struct Estimates {
    /// The estimated products.
    pub values: Rows,
    /// The greatest distance of the exact product from its estimate.
    pub margins: Rows,
}

impl Screen {
    /// Computes the codes of `stored`. If its rows lie in a mapped file, their pages are released. `None` above
    /// [`MAX_COLS`].
    pub fn build(cpu: &Cpu, stored: &DenseMatrix, bits: Bits) -> Option<Self> {
        /// Tiles in one chunk of work.
        const TILES: usize = 4;
        let (rows, cols) = (stored.rows(), stored.cols());
        if cols > MAX_COLS {
            return None;
        }
        let depth = cols.next_multiple_of(STEP);
        let tile_lines = bits.tile_bytes(depth) / LINE;
        let mut lines = Lines::zeroed(rows.div_ceil(TILE) * tile_lines);
        let fine_stride = if bits == Bits::Six { cols.div_ceil(COLS) } else { 0 };
        let mut fine = Lines::zeroed(rows * fine_stride);
        let mut encodings = vec![RowEncoding { scale: 0.0, error: 0.0, norm: 0.0, fine_error: 0.0 }; rows];
        let (encodings_at, fine_at) = (SendPtr(encodings.as_mut_ptr()), SendPtr(fine.as_mut_ptr()));
        cpu.pool.pieces(&mut lines, TILES * tile_lines, |chunk, lines| {
            let first = chunk * TILES * TILE;
            let count = (TILES * TILE).min(rows - first);
            let (mut row, mut codes) = (vec![0.0; cols], vec![0; depth]);
            for r in 0..count {
                stored.decode_row(cpu, first + r, &mut row);
                let encoding = cpu.isa.encode_row(bits, &row, &mut codes);
                // SAFETY: row first + r < rows, and only this chunk writes it.
                unsafe { *encodings_at.get().add(first + r) = encoding };
                pack_row(bits, cpu.isa.bias(), &codes, r % TILE, &mut lines[r / TILE * tile_lines..][..tile_lines]);
                if bits == Bits::Six {
                    // SAFETY: `fine` has `fine_stride` lines for each of `rows` rows, and only this chunk writes those
                    // of row first + r.
                    let fine = unsafe {
                        std::slice::from_raw_parts_mut(fine_at.get().add((first + r) * fine_stride), fine_stride)
                    };
                    codes.iter_mut().for_each(|code| *code &= 3);
                    sparse::pack_row(&codes, fine);
                }
            }
            stored.release(first, count);
        });
        stored.release(0, rows);
        let finite = encodings.iter().filter(|row| row.error.is_finite());
        Some(Self {
            bits,
            bias: cpu.isa.bias(),
            rows,
            cols,
            lines,
            fine: (bits == Bits::Six).then_some(fine),
            largest_norm: finite.map(|row| f64::from(row.norm) + f64::from(row.error)).fold(0.0, f64::max),
            encodings: RowEncodings {
                scales: encodings.iter().map(|row| row.scale).collect(),
                errors: encodings.iter().map(|row| row.error).collect(),
                norms: encodings.iter().map(|row| row.norm).collect(),
                fine_errors: encodings.iter().map(|row| row.fine_error).collect(),
            },
        })
    }

    /// Bytes read for one product.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE + 3 * size_of::<f32>() * self.rows
    }

    /// Estimates the product of every row with every token.
    ///
    /// # Panics
    /// If `x` has another width than the matrix, or `cpu` uses an instruction set with another bias than the one that
    /// built the screen.
    pub fn estimate(&self, cpu: &Cpu, x: &Rows, margin: Margin) -> Estimates {
        assert_eq!(x.dim(), self.cols, "matrix and activations have the same input width");
        assert_eq!(cpu.isa.bias(), self.bias, "a screen is read with an instruction set like that which built it");
        let (m, rows, depth) = (x.len(), self.rows, self.depth());
        let (integers, tokens) = self.tokens(cpu, x, margin);
        let (mut values, mut margins) = (Rows::unwritten(m, rows), Rows::unwritten(m, rows));
        let outs = [&mut values, &mut margins].map(|out| SendPtr(out.data_mut().as_mut_ptr()));
        let tile_bytes = self.bits.tile_bytes(depth);
        // Tiles in one chunk of work. As for ternary matrices, codes that are read only once are read in long runs.
        let tiles = rows.div_ceil(TILE);
        let most = if m == 1 { (tiles / (4 * cpu.pool.threads())).max(8) } else { 8 };
        cpu.pool.run(tiles.div_ceil(most), |chunk| {
            let first = chunk * most * TILE;
            let range = first..rows.min(first + most * TILE);
            let tiles = range.len().div_ceil(TILE);
            let codes = &self.lines.bytes()[first / TILE * tile_bytes..][..tiles * tile_bytes];
            let mut sums = vec![0; m * tiles * TILE];
            cpu.isa.coded_dot(self.bits, codes, depth, &integers, &mut sums);
            for (t, sums) in sums.chunks_exact(tiles * TILE).enumerate() {
                // SAFETY: row t < m, columns `range` inside 0 .. rows; the chunks are disjoint columns.
                let [values, margins] = outs
                    .map(|out| unsafe { std::slice::from_raw_parts_mut(out.get().add(t * rows + first), range.len()) });
                self.encodings.bound(&tokens[t], sums, first, values, margins);
            }
        });
        Estimates { values, margins }
    }

    /// Whether [`Screen::refine`] can narrow estimates: the codes have six bits.
    pub fn refines(&self) -> bool {
        self.fine.is_some()
    }

    /// Narrows the estimates of the rows `ids` for the token `x`, using the two low bits stored for six-bit codes.
    /// Other codes have no low bits, and nothing changes. `values` and `margins` hold the estimates of all rows for
    /// this token.
    ///
    /// # Panics
    /// If `x` has another width than the matrix, or an id is not a row.
    pub fn refine(&self, cpu: &Cpu, x: &[f32], margin: Margin, ids: &[u32], values: &mut [f32], margins: &mut [f32]) {
        /// Rows in one chunk of work: they stay in the second-level cache between the two products.
        const CHUNK: usize = 128;
        let Some(fine) = &self.fine else { return };
        let mut integers = vec![0; 2 * self.depth()];
        let token = self.token(x, margin, &mut integers, 8);
        let stride = self.cols.div_ceil(COLS) * LINE;
        let [high, low] = [0, 4].map(|part| {
            let part: Vec<i8> = integers.as_chunks::<8>().0.iter().flat_map(|x| &x[part..part + 4]).copied().collect();
            let mut arranged = vec![0; 4 * stride];
            arrange(&part, &mut arranged);
            arranged
        });
        // Codes up to 3 times parts of 7 bits have smaller sums than trits times 8 bits, as 3 · 64 < 2 · 128.
        let mut sums = vec![0; ids.len()];
        cpu.pool.pieces(&mut sums, CHUNK, |chunk, sums| {
            let (picked, mut of_low) = (&ids[chunk * CHUNK..][..sums.len()], [0; CHUNK]);
            let of_low = &mut of_low[..sums.len()];
            cpu.isa.rows_dot(fine.bytes(), stride, picked, &high, sums);
            cpu.isa.rows_dot(fine.bytes(), stride, picked, &low, of_low);
            for (sum, low) in sums.iter_mut().zip(of_low) {
                *sum = (*sum << LOW_BITS) + *low;
            }
        });
        let [a, b, c] = token.margin;
        // ‖r̂‖ ≤ 1.5 / 4 · s · √cols
        let most = 0.375 * (self.cols as f32).sqrt() * (1.0 + f32::EPSILON.sqrt());
        for (&id, sum) in ids.iter().zip(sums) {
            let id = id as usize;
            let scale = self.encodings.scales[id];
            values[id] += (2 * sum - 3 * token.sum) as f32 * (scale * token.step) * 0.25;
            margins[id] = self.encodings.fine_errors[id] * a + (self.encodings.norms[id] + scale * most) * b + c;
        }
    }

    fn depth(&self) -> usize {
        self.cols.next_multiple_of(STEP)
    }

    /// The integers of every token, in blocks of [`BLOCK`], and the [`Token`] of each.
    fn tokens(&self, cpu: &Cpu, x: &Rows, margin: Margin) -> (Vec<i8>, Vec<Token>) {
        let depth = self.depth();
        let mut integers = vec![0; x.len() * depth * 2];
        let mut tokens = vec![Token { step: f32::NAN, shift: 0, zero: 0, sum: 0, margin: [f32::NAN; 3] }; x.len()];
        let tokens_at = SendPtr(tokens.as_mut_ptr());
        cpu.pool.pieces(&mut integers, BLOCK * depth * 2, |block, integers| {
            let count = integers.len() / (depth * 2);
            for t in 0..count {
                let token = self.token(x.row(block * BLOCK + t), margin, &mut integers[8 * t..], 8 * count);
                // SAFETY: token block · BLOCK + t < tokens, and only this block writes it.
                unsafe { *tokens_at.get().add(block * BLOCK + t) = token };
            }
        });
        (integers, tokens)
    }

    /// Writes the integers of a token, 8 bytes every `stride`. Returns its scale and the bounds on what rounding
    /// removed.
    fn token(&self, x: &[f32], margin: Margin, out: &mut [i8], stride: usize) -> Token {
        let (shift, zero) = self.bits.value(self.bias);
        let range = range(self.cols);
        let max = largest(x);
        // Below TINY the step would lose precision. All integers are then 0, and the whole token counts as rounding
        // error.
        let step = if max < TINY { 0.0 } else { max / range };
        let inverse = if max < TINY { 0.0 } else { range / max };
        // Sums of squares of x, x̂ and x − x̂. In f64, squares of f32 values neither overflow nor vanish.
        let (mut sum, mut squares) = (0i32, [0.0f64; 3]);
        for (x, out) in x.chunks(4).zip(out.chunks_mut(stride)) {
            for (i, &x) in x.iter().enumerate() {
                // NaN becomes 0 here, and makes the margins below NaN.
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
        Token { step, shift, zero, sum, margin }
    }
}

/// The greatest integer for a token of `cols` values: at most 2047, and such that |Σ (f · code − z) · X| < 2³¹.
/// (Partial sums may wrap.)
fn range(cols: usize) -> f32 {
    (i32::MAX as usize / (128 * cols)).min(2047) as f32
}
