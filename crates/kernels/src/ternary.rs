//! Products of packed ternary matrices with activations.
//!
//! A product has two steps: `sums` (exact integers) and [`Finish`](crate::finish::Finish) (scales). [`matmul`] runs
//! both for one piece of work at a time, so that sums never leave the processor's cache.

use std::cell::RefCell;
use std::ops::Range;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::lines::Line;
use crate::matrix::Matrix;
pub use crate::op::ternary::{MAX_COLS, TILE};
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::set::Blocking;
use crate::sparse::Part;
use crate::sums::Sums;

/// A piece of work: some tiles of one matrix and some tokens.
struct Chunk {
    matrix: usize,
    tiles: Range<usize>,
    tokens: Range<usize>,
}

/// Divides a batch of `m` tokens into chunks. Rows are divided no further than `blocking` and the number of threads
/// require, because preparing tokens pays off more in chunks with many rows.
fn chunks(threads: usize, matrices: &[&Matrix], m: usize, blocking: &Blocking) -> Vec<Chunk> {
    let (fewest, most) = blocking.tokens;
    let counts = matrices.iter().map(|w| w.shape().0.div_ceil(TILE));
    let total: usize = counts.clone().sum();
    let tiles = match m {
        // Weights are read once, so few long runs of memory are best, but there must be enough chunks that an
        // interrupted thread does not hold up the others.
        1 => (total / (4 * threads)).max(blocking.tiles),
        _ => total.div_ceil(threads.div_ceil(m.div_ceil(fewest).max(1))).clamp(1, blocking.tiles),
    };
    let groups = threads.div_ceil(total.div_ceil(tiles).max(1));
    let tokens = m.div_ceil(groups).div_ceil(fewest).max(1).saturating_mul(fewest).min(most);
    let mut chunks = Vec::new();
    for (matrix, count) in counts.enumerate() {
        // Equal parts, so that no thread waits for a longer one.
        let parts = count.div_ceil(tiles).max(1);
        let part = count.div_ceil(parts).max(1).next_multiple_of(matrices[matrix].layout().step());
        for first in (0..count).step_by(part) {
            for token in (0..m).step_by(tokens) {
                let tiles = first..count.min(first + part);
                chunks.push(Chunk { matrix, tiles, tokens: token..m.min(token.saturating_add(tokens)) });
            }
        }
    }
    if blocking.tokens_first {
        chunks.sort_by_key(|chunk| chunk.tokens.start);
    }
    chunks
}

thread_local! {
    /// Tiles converted from another layout, a buffer that a thread keeps between chunks.
    static CONVERTED: RefCell<Vec<Line>> = RefCell::default();
}

/// The destination of the sums of some rows and one token.
struct Target {
    matrix: usize,
    token: usize,
    /// The first of the rows.
    row: usize,
}

/// Runs `dot(codes, lines, tokens, sums)` over all chunks, where `sums` is `(tokens, rows of the chunk)`, and passes the
/// sums of each token to `store`.
fn run<T: Copy + Default>(
    cpu: &Cpu,
    matrices: &[&Matrix],
    m: usize,
    blocking: &Blocking,
    dot: impl Fn(&[u8], usize, Range<usize>, &mut [T]) + Sync,
    store: impl Fn(&Target, &[T]) + Sync,
) {
    let chunks = chunks(cpu.pool.threads(), matrices, m, blocking);
    cpu.pool.run(chunks.len(), |i| {
        let Chunk { matrix, tiles, tokens } = &chunks[i];
        let w = matrices[*matrix];
        let ((rows, cols), row, width) = (w.shape(), tiles.start * TILE, tiles.len() * TILE);
        let (lines, kept) = (cols.div_ceil(16), width.min(rows - row));
        let mut sums = vec![T::default(); tokens.len() * width];
        CONVERTED.with_borrow_mut(|converted| {
            let codes = w.layout().tiles(cpu, tiles.clone(), converted);
            dot(codes, lines, tokens.clone(), &mut sums);
        });
        for (token, sums) in tokens.clone().zip(sums.chunks_exact(width)) {
            store(&Target { matrix: *matrix, token, row }, &sums[..kept]);
        }
    });
}

/// Passes the sums of codes (trit + 1) times activations to `store`, together with the sum of the activations, which
/// must be subtracted.
fn integers(cpu: &Cpu, matrices: &[&Matrix], x: &Activations, store: impl Fn(&Target, &[i32], i32) + Sync) {
    assert!(matrices.iter().all(|w| w.shape().1 == x.cols()), "matrices and activations have the same input width");
    let arranged = x.arranged(cpu);
    run(
        cpu,
        matrices,
        x.rows(),
        &cpu.isa.blocking(x.rows(), x.cols()),
        |codes, _, tokens, sums: &mut [i32]| cpu.isa.ternary_dot(codes, &arranged.tokens(tokens), sums),
        |target, dots| store(target, dots, x.sums()[target.token]),
    );
}

/// Products of matrices with the same input, one `(token, matrix rows)` result per matrix: exact sums, then scales
/// (`op/scales.rs` has the formulas).
///
/// # Panics
///
/// If a matrix and the activations differ in their input width.
pub fn matmul(cpu: &Cpu, matrices: &[&Matrix], x: &Activations) -> Vec<Rows> {
    let outs = Outputs::new(matrices, x.rows());
    integers(cpu, matrices, x, |target, dots, offset| {
        outs.finish(matrices, target, dots, |dot| (dot - offset) as f32, x.scales()[target.token]);
    });
    outs.rows
}

/// Only the sums of these products, for shards of a matrix: see [`Sums`].
///
/// # Panics
///
/// If a matrix and the activations differ in their input width.
pub fn sums(cpu: &Cpu, matrices: &[&Matrix], x: &Activations) -> Vec<Sums> {
    let mut outs: Vec<Sums> = matrices.iter().map(|w| Sums::zeros(x.rows(), w.shape().0)).collect();
    let pointers: Vec<_> = outs.iter_mut().map(|sums| SendPtr(sums.values_mut().as_mut_ptr())).collect();
    integers(cpu, matrices, x, |target, dots, offset| {
        let at = target.token * matrices[target.matrix].shape().0 + target.row;
        // SAFETY: the output has a place for each token and row, and `run` passes each of them once.
        let out = unsafe { std::slice::from_raw_parts_mut(pointers[target.matrix].get().add(at), dots.len()) };
        for (out, dot) in out.iter_mut().zip(dots) {
            *out = dot - offset;
        }
    });
    outs
}

/// The product with `f32` activations: each sum adds its products in the order of columns. Then
/// scales are applied as in [`matmul`].
///
/// # Panics
///
/// If a matrix and the activations differ in their input width.
pub fn matmul_f32(cpu: &Cpu, matrices: &[&Matrix], x: &Rows) -> Vec<Rows> {
    assert!(matrices.iter().all(|w| w.shape().1 == x.dim()), "matrices and activations have the same input width");
    let outs = Outputs::new(matrices, x.len());
    run(
        cpu,
        matrices,
        x.len(),
        &Blocking::SMALL,
        |codes, lines, _, sums: &mut [f32]| cpu.isa.ternary_dot_f32(codes, lines, x.data(), x.dim(), sums),
        |target, dots| outs.finish(matrices, target, dots, |dot| dot, 1.0),
    );
    outs.rows
}

/// The needed part of a product; the needed outputs equal those of [`matmul`]. Only this part is read, if the layout
/// supports it and it takes less time.
///
/// # Panics
///
/// If the numbers of tokens differ, or the input width is not the matrix's.
pub fn matmul_part(cpu: &Cpu, matrix: &Matrix, x: &Activations, needed: Part<'_>) -> Rows {
    let (Part::Rows(indices) | Part::Columns(indices)) = needed;
    assert_eq!((x.rows(), x.cols()), (indices.len(), matrix.shape().1), "as many tokens, the matrix's input width");
    matrix.layout().product(cpu, x, needed, matrix.finish()).unwrap_or_else(|| matmul(cpu, &[matrix], x).remove(0))
}

/// The results of a product while chunks write to them.
struct Outputs {
    rows: Vec<Rows>,
    pointers: Vec<SendPtr<f32>>,
}

impl Outputs {
    fn new(matrices: &[&Matrix], tokens: usize) -> Self {
        let mut rows: Vec<Rows> = matrices.iter().map(|w| Rows::unwritten(tokens, w.shape().0)).collect();
        let pointers = rows.iter_mut().map(|rows| SendPtr(rows.data_mut().as_mut_ptr())).collect();
        Self { rows, pointers }
    }

    /// Applies scales to the sums of a target.
    #[inline(always)]
    fn finish<T: Copy>(
        &self,
        matrices: &[&Matrix],
        target: &Target,
        dots: &[T],
        value: impl Fn(T) -> f32,
        activation: f32,
    ) {
        let w = matrices[target.matrix];
        let at = target.token * w.shape().0 + target.row;
        // SAFETY: `at .. at + dots.len()` are some rows of one token in this matrix's output, which is valid as long as
        // `self.rows` lives. The chunks of a matrix differ in their tokens or rows.
        let out = unsafe { std::slice::from_raw_parts_mut(self.pointers[target.matrix].get().add(at), dots.len()) };
        w.finish().outputs(target.row, dots, value, activation, out);
    }
}
