//! Matrix products for training: bf16 × bf16, summed in `f32`.
//!
//! Values are rounded to bf16 (to nearest even; results that would be denormal become zero). Two values that are
//! neighbours along the summed dimension share a dword, the even one in its low half:
//!
//! ```text
//! Bf16Rows     (row, col)  →  [row][col / 2]                  for the left side
//! Bf16Panels   (row, col)  →  [col / 32][row / 2][col % 32]   for the right side, or for the left one transposed
//! ```
//!
//! So `dX = dY · W` multiplies rows of dY with panels of W, and `dW = dYᵀ · X` multiplies panels with panels. Only the
//! right side of `X · Xᵀ` is transposed, while it is rounded.
//!
//! A sum begins with zero and takes the pairs in order: `s = s + odd · odd`, then `s = s + even · even`. Each addition
//! is rounded; the products are exact. `vdpbf16ps` computes the same, except that it flushes sums below 2⁻¹²⁶ to zero.
//! So all sets but AMX agree ([decision 011](../../../../docs/decisions/011-products-for-training.md)). On every set an
//! output is computed by one thread in one order, so the number of threads changes nothing.

mod product;

use std::cell::RefCell;
use std::ops::Range;

pub use product::{Left, product, product_rows, product_serial};

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::op::bf16::PANEL;
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::set::Isa;

/// Rows of dwords are padded with zeros to a multiple of this: a cache line, and the depth of an AMX tile.
const PAIRS: usize = 16;
/// Pairs of rows that are written to all panels together; divides `PAIRS`.
const BLOCK: usize = 4;

/// A view of row-major values; row `r` begins at `r · stride`.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> View<'a, T> {
    /// Consecutive rows of `cols` values.
    ///
    /// # Panics
    /// If `data` does not divide into them.
    pub fn new(data: &'a [T], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} values do not divide into rows of {cols}", data.len());
        Self { data, rows: data.len() / cols, cols, stride: cols }
    }

    /// The first `cols` of every `stride` values, `rows` times.
    ///
    /// # Panics
    /// If a row is longer than `stride`, or `data` is too short.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            cols <= stride && (rows == 0 || data.len() >= (rows - 1) * stride + cols),
            "the rows extend beyond the data"
        );
        Self { data, rows, cols, stride }
    }

    /// At most `count` rows from row `first` on, none after the last row.
    fn block(&self, first: usize, count: usize) -> Self {
        let first = first.min(self.rows);
        Self {
            data: &self.data[(first * self.stride).min(self.data.len())..],
            rows: count.min(self.rows - first),
            ..*self
        }
    }

    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.cols]
    }
}

/// `(rows, cols)` values in bf16, two neighbouring columns per dword.
#[derive(Clone, Default)]
pub struct Bf16Rows {
    rows: usize,
    cols: usize,
    dwords: Dwords,
}

impl Bf16Rows {
    /// Rounds the values of `x`.
    pub fn from_rows(cpu: &Cpu, x: &Rows) -> Self {
        Self::of(cpu, x.data(), x.dim())
    }

    /// Rounds rows of `cols` values.
    pub fn of(cpu: &Cpu, data: &[f32], cols: usize) -> Self {
        Self::build(cpu.isa, Some(&cpu.pool), View::new(data, cols))
    }

    /// Rounds the values of a view, on the calling thread.
    pub fn of_view(isa: Isa, view: View<'_, f32>) -> Self {
        Self::build(isa, None, view)
    }

    fn build(isa: Isa, pool: Option<&Pool>, view: View<'_, f32>) -> Self {
        let step = Self::step(view.cols);
        let mut dwords = Dwords::unwritten(view.rows * step);
        pieces(pool, dwords.get_mut(), step, |i, out| isa.bf16_row(view.row(i), out));
        Self { rows: view.rows, cols: view.cols, dwords }
    }

    /// Dwords from one row to the next. An odd number of cache lines, because rows at a distance of a power of two
    /// compete for few cache sets.
    fn step(cols: usize) -> usize {
        cols.div_ceil(2).next_multiple_of(PAIRS) | PAIRS
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// `(rows, cols)` values in bf16, two neighbouring rows per dword, in panels of 32 columns.
#[derive(Clone, Default)]
pub struct Bf16Panels {
    rows: usize,
    cols: usize,
    dwords: Dwords,
}

impl Bf16Panels {
    /// Rounds rows of `cols` values.
    pub fn of(cpu: &Cpu, data: &[f32], cols: usize) -> Self {
        Self::scaled(cpu, data, cols, &[])
    }

    /// Rounds rows of `cols` values after multiplying row `r` by `scales[r]`. Empty `scales` mean 1.
    ///
    /// # Panics
    /// If `scales` is neither empty nor one for each row.
    pub fn scaled(cpu: &Cpu, data: &[f32], cols: usize, scales: &[f32]) -> Self {
        let view = View::new(data, cols);
        assert!(scales.is_empty() || scales.len() == view.rows, "one scale for each row");
        Self::build(Some(&cpu.pool), view, |row, rows, out| {
            let scale = |row: usize| scales.get(row).copied().unwrap_or(1.0);
            cpu.isa.bf16_pairs(rows, [scale(row), scale(row + 1)], out);
        })
    }

    /// The int8 codes of `x`, which bf16 represents exactly.
    pub fn of_codes(cpu: &Cpu, x: &Activations) -> Self {
        Self::of_integers(cpu, View::strided(x.codes(), x.rows(), x.cols(), x.stride()))
    }

    /// Rows of small integers, which bf16 represents exactly.
    pub fn of_trits(cpu: &Cpu, rows: usize, cols: usize, trits: &[i8]) -> Self {
        Self::of_integers(cpu, View::strided(trits, rows, cols, cols))
    }

    fn of_integers(cpu: &Cpu, view: View<'_, i8>) -> Self {
        Self::build(Some(&cpu.pool), view, |_, rows, out| cpu.isa.bf16_integers(rows, out))
    }

    /// Rounds the values of a view, on the calling thread.
    pub fn of_view(isa: Isa, view: View<'_, f32>) -> Self {
        Self::build(None, view, |_, rows, out| isa.bf16_pairs(rows, [1.0; 2], out))
    }

    /// `pairs(row, rows, out)` makes the dwords of row `row` and the next one; after the last row the next one is
    /// empty.
    fn build<T: Copy + Sync>(
        pool: Option<&Pool>,
        view: View<'_, T>,
        pairs: impl Fn(usize, [&[T]; 2], &mut [u32]) + Sync,
    ) -> Self {
        let (step, panels) = (Self::step(view.rows), view.cols.div_ceil(PANEL));
        let mut dwords = Dwords::unwritten(panels * step);
        let base = SendPtr(dwords.get_mut().as_mut_ptr());
        // Takes a few whole rows together; filling one panel after another would read every row many times.
        run(pool, step / (BLOCK * PANEL), |i| {
            let mut block = Dwords::unwritten(BLOCK * panels * PANEL);
            for (pair, out) in block.get_mut().chunks_exact_mut((panels * PANEL).max(1)).enumerate() {
                let row = 2 * (i * BLOCK + pair);
                out.fill(0);
                if row < view.rows {
                    let odd = if row + 1 < view.rows { view.row(row + 1) } else { &[] };
                    pairs(row, [view.row(row), odd], &mut out[..view.cols]);
                }
            }
            let (block, _) = block.get().as_chunks::<PANEL>();
            for panel in 0..panels {
                for pair in 0..BLOCK {
                    // SAFETY: pair i · BLOCK + pair lies inside the panel, which has step / 32 pairs, and only this job
                    // writes the BLOCK pairs from i · BLOCK on.
                    unsafe {
                        let out = base.get().add(panel * step + (i * BLOCK + pair) * PANEL);
                        out.cast::<[u32; PANEL]>().write(block[pair * panels + panel]);
                    }
                }
            }
        });
        Self { rows: view.rows, cols: view.cols, dwords }
    }

    /// Rounds the transpose of `rows` rows of `cols` values.
    pub fn transposed(cpu: &Cpu, data: &[f32], rows: usize, cols: usize) -> Self {
        Self::build_transposed(cpu.isa, Some(&cpu.pool), View::strided(data, rows, cols, cols))
    }

    /// Rounds the transpose of a view, on the calling thread.
    pub fn transposed_view(isa: Isa, view: View<'_, f32>) -> Self {
        Self::build_transposed(isa, None, view)
    }

    /// Transposes blocks that fit the cache.
    fn build_transposed(isa: Isa, pool: Option<&Pool>, view: View<'_, f32>) -> Self {
        let step = Self::step(view.cols);
        let mut dwords = Dwords::unwritten(view.rows.div_ceil(PANEL) * step);
        pieces(pool, dwords.get_mut(), step, |i, out| {
            let rows = Bf16Rows::of_view(isa, view.block(i * PANEL, PANEL));
            isa.bf16_turn(rows.dwords.get(), Bf16Rows::step(view.cols), out);
        });
        Self { rows: view.cols, cols: view.rows, dwords }
    }

    /// The columns of some panels as rows.
    fn turned(&self, panels: Range<usize>) -> Bf16Rows {
        let step = Bf16Rows::step(self.rows);
        let mut dwords = Dwords::unwritten(panels.len() * PANEL * step);
        for (panel, out) in panels.clone().zip(dwords.get_mut().chunks_exact_mut((PANEL * step).max(1))) {
            // Blocks of 16 pairs: both sides are padded to this.
            for (i, pairs) in self.panel(panel).as_chunks::<{ PAIRS * PANEL }>().0.iter().enumerate() {
                for (row, out) in out.chunks_exact_mut(step).enumerate() {
                    for (pair, out) in out[i * PAIRS..][..PAIRS].iter_mut().enumerate() {
                        *out = pairs[pair * PANEL + row];
                    }
                }
            }
        }
        Bf16Rows { rows: panels.len() * PANEL, cols: self.rows, dwords }
    }

    /// Dwords in a panel.
    fn step(rows: usize) -> usize {
        (rows.div_ceil(2).next_multiple_of(PAIRS) | PAIRS) * PANEL
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Panel `i`.
    fn panel(&self, i: usize) -> &[u32] {
        let step = Self::step(self.rows);
        &self.dwords.get()[i * step..][..step]
    }
}

/// [`Pool::run`], or a loop on the calling thread if there is no pool.
fn run(pool: Option<&Pool>, chunks: usize, job: impl Fn(usize) + Sync) {
    match pool {
        Some(pool) => pool.run(chunks, job),
        None => (0..chunks).for_each(job),
    }
}

/// [`Pool::pieces`], or a loop on the calling thread if there is no pool.
fn pieces(pool: Option<&Pool>, data: &mut [u32], len: usize, job: impl Fn(usize, &mut [u32]) + Sync) {
    match pool {
        Some(pool) => pool.pieces(data, len, job),
        None => data.chunks_mut(len.max(1)).enumerate().for_each(|(i, piece)| job(i, piece)),
    }
}

/// One cache line of dwords.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; 16]);

/// Dwords that begin at a cache line. As with [`Rows`], the memory is reused by the same thread: training steps repeat
/// the same shapes, and fresh pages cost as much as filling them.
#[derive(Clone, Default)]
struct Dwords {
    /// At least `len` dwords. Lines after those keep old values for later reuse.
    lines: Vec<Line>,
    len: usize,
}

/// How many buffers a thread keeps, and the range of sizes worth keeping.
const KEPT: usize = 32;
const KEPT_LINES: Range<usize> = 1 << 5..1 << 20;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

impl Dwords {
    /// `len` dwords with arbitrary contents.
    fn unwritten(len: usize) -> Self {
        let needed = len.div_ceil(16);
        let kept = BUFFERS.with_borrow_mut(|buffers| {
            let fitting = (0..buffers.len()).filter(|&i| (needed..=2 * needed).contains(&buffers[i].len()));
            let best = fitting.min_by_key(|&i| buffers[i].len())?;
            Some(buffers.swap_remove(best))
        });
        Self { lines: kept.unwrap_or_else(|| vec![Line([0; 16]); needed]), len }
    }

    fn get(&self) -> &[u32] {
        // SAFETY: a `Line` is 16 plain dwords without padding, and there are `len` dwords of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    fn get_mut(&mut self) -> &mut [u32] {
        // SAFETY: a `Line` is 16 plain dwords without padding, there are `len` dwords of them, and any dwords make one;
        // `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl Drop for Dwords {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.lines);
        if !KEPT_LINES.contains(&buffer.len()) {
            return;
        }
        // A thread that is ending has no list any more; then the buffer is freed.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            buffers.push(buffer);
            if buffers.len() > KEPT {
                let smallest = (0..buffers.len()).min_by_key(|&i| buffers[i].len());
                smallest.map(|i| buffers.swap_remove(i));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::portable;

    #[test]
    fn panels_turned_are_the_rows_of_the_transpose() {
        for (rows, cols) in [(1, 1), (31, 40), (33, 64), (70, 97)] {
            let x: Vec<f32> = (0..rows * cols).map(|i| i as f32 - 9.0).collect();
            let transpose: Vec<f32> = (0..cols * rows).map(|i| x[i % rows * cols + i / rows]).collect();
            let expected = Bf16Rows::of_view(portable(), View::new(&transpose, rows));
            let panels = Bf16Panels::of_view(portable(), View::new(&x, cols));
            let got = panels.turned(0..cols.div_ceil(PANEL));
            let len = expected.dwords.len;
            assert!(got.dwords.get()[..len] == *expected.dwords.get(), "{rows}x{cols}");
            let second = panels.turned(1..cols.div_ceil(PANEL).max(1));
            assert!(*second.dwords.get() == got.dwords.get()[PANEL * Bf16Rows::step(rows)..], "{rows}x{cols}");
        }
    }
}
