//! Matrix products: how the work is divided among threads, and in which order it passes through the caches.

use std::ops::Range;

use super::{Bf16Panels, Bf16Rows};
use crate::cpu::Cpu;
use crate::op::bf16::{Operands, PANEL};
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::set::Isa;

/// The left side of a product.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Rows as stored.
    Rows(&'a Bf16Rows),
    /// The transpose of the stored panels: row `i` is column `i` of the panels.
    Transposed(&'a Bf16Panels),
}

impl Left<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Rows(x) => x.rows,
            Self::Transposed(x) => x.cols,
        }
    }

    /// The length of the summed dimension.
    fn cols(&self) -> usize {
        match self {
            Self::Rows(x) => x.cols,
            Self::Transposed(x) => x.rows,
        }
    }
}

/// Most rows in a piece of work, and bytes of the left side that stay in the second-level cache while the panels pass.
const ROWS: usize = 128;
const BYTES: usize = 512 << 10;

/// A product being computed.
#[derive(Clone, Copy)]
struct Job<'a> {
    isa: Isa,
    left: Left<'a>,
    right: &'a Bf16Panels,
    scale: f32,
    add: bool,
    out: SendPtr<f32>,
}

/// [`product`] into new rows.
///
/// # Panics
/// If the left side's columns are not as many as the right side's rows.
pub fn product_rows(cpu: &Cpu, left: Left<'_>, right: &Bf16Panels, scale: f32) -> Rows {
    let mut out = Rows::unwritten(left.rows(), right.cols);
    product(cpu, left, right, scale, false, out.data_mut());
    out
}

/// Computes `out[i][j] = scale · Σ_k left[i][k] · right[k][j]`; with `add`, the old value of `out[i][j]` is added.
///
/// `out` is row-major, `(rows of the left side, columns of the right side)`.
///
/// # Panics
/// If the shapes do not match.
pub fn product(cpu: &Cpu, left: Left<'_>, right: &Bf16Panels, scale: f32, add: bool, out: &mut [f32]) {
    let job = Job::new(cpu.isa, left, right, scale, add, out);
    let (rows, panels) = (left.rows(), right.cols.div_ceil(PANEL));
    // Several pieces per thread, so that a thread that the system interrupts does not hold up the others.
    let wanted = if cpu.pool.threads() == 1 { 1 } else { 4 * cpu.pool.threads() };
    let mut height = height(&left);
    while height > PANEL && rows.div_ceil(height) * panels < wanted {
        height /= 2;
    }
    let blocks = rows.div_ceil(height);
    let width = panels.div_ceil(wanted.div_ceil(blocks.max(1)).max(1)).max(1);
    let columns = panels.div_ceil(width);
    cpu.pool.run(blocks * columns, |i| {
        let (row, panel) = (i / columns * height, i % columns * width);
        // SAFETY: no two pieces share both rows and panels, so they write different outputs, and `out` stays borrowed
        // until all are done.
        unsafe { job.piece(row..rows.min(row + height), panel..panels.min(panel + width)) }
    });
}

/// [`product`] on the calling thread, for use inside a job of the pool.
///
/// # Panics
/// If the shapes do not match.
pub fn product_serial(isa: Isa, left: Left<'_>, right: &Bf16Panels, scale: f32, add: bool, out: &mut [f32]) {
    let job = Job::new(isa, left, right, scale, add, out);
    let (rows, height) = (left.rows(), height(&left));
    for row in (0..rows).step_by(height) {
        // SAFETY: `out` is borrowed mutably, and no other thread writes to it.
        unsafe { job.piece(row..rows.min(row + height), 0..right.cols.div_ceil(PANEL)) }
    }
}

/// Rows in a piece: a power of two, at least the width of a panel.
fn height(left: &Left<'_>) -> usize {
    let mut height = ROWS;
    while height > PANEL && height * left.cols() * 2 > BYTES {
        height /= 2;
    }
    height
}

impl<'a> Job<'a> {
    fn new(isa: Isa, left: Left<'a>, right: &'a Bf16Panels, scale: f32, add: bool, out: &mut [f32]) -> Self {
        assert_eq!(left.cols(), right.rows, "the left side's columns match the right side's rows");
        assert_eq!(out.len(), left.rows() * right.cols, "one output for each row and column");
        Self { isa, left, right, scale, add, out: SendPtr(out.as_mut_ptr()) }
    }

    /// Computes some rows × some panels. `rows` begins with a multiple of 32.
    ///
    /// # Safety
    /// `out` is as long as it was in `new`, and nobody else accesses these rows and columns of it at the same time.
    unsafe fn piece(&self, rows: Range<usize>, panels: Range<usize>) {
        if let Left::Transposed(x) = self.left
            && self.isa.bf16_rows()
        {
            let left = x.turned(rows.start / PANEL..rows.end.div_ceil(PANEL));
            let out = SendPtr(self.out.get().wrapping_add(rows.start * self.right.cols));
            // SAFETY: the new `out` points to the first of these rows, so this writes exactly the outputs that the
            // caller reserved for this piece.
            return unsafe { Job { left: Left::Rows(&left), out, ..*self }.piece(0..rows.len(), panels) };
        }
        let mut sums = [0.0; ROWS * PANEL];
        for panel in panels {
            let first = panel * PANEL;
            let width = PANEL.min(self.right.cols - first);
            // Within a panel, rows are neighbours; each panel begins elsewhere.
            let step = if matches!(self.left, Left::Rows(_)) { ROWS } else { PANEL };
            for row in rows.clone().step_by(step) {
                let count = step.min(rows.end - row);
                let sums = &mut sums[..count * PANEL];
                self.isa.bf16_dot(&self.operands(row, panel), sums);
                for (i, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate() {
                    // SAFETY: row + i < rows of the left side, and first + width ≤ columns of the right one.
                    let out = unsafe {
                        let out = self.out.get().add((row + i) * self.right.cols + first);
                        std::slice::from_raw_parts_mut(out, width)
                    };
                    self.isa.bf16_finish(sums, self.scale, self.add, out);
                }
            }
        }
    }

    fn operands(&self, row: usize, panel: usize) -> Operands<'_> {
        let (left, row_step, pair_step) = match self.left {
            Left::Rows(x) => {
                let step = Bf16Rows::step(x.cols);
                (&x.dwords.get()[row * step..], step, 1)
            }
            Left::Transposed(x) => (x.panel(row / PANEL), 1, PANEL),
        };
        Operands { left, row_step, pair_step, panel: self.right.panel(panel), pairs: self.right.rows.div_ceil(2) }
    }
}
