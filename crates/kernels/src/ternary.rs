//! Packed ternary matrices and their product with activations. `op/ternary.rs` draws the layout of a tile.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::lines::{LINE, Line, Lines};
pub use crate::op::ternary::{MAX_COLS, TILE};
use crate::op::ternary::{code, lane};
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::set::Cut;

/// A packed `(rows, cols)` matrix of −1, 0, +1 with one scale, which gives tiles to the product with many tokens.
pub trait Packed: Sized + Sync {
    /// Where ranges of tiles may begin: at multiples of this many.
    const STEP: usize;

    /// Packs a matrix whose row `r` is written by `fill(r, trits)` as −1, 0, +1 (`cols` values).
    ///
    /// Rows are filled in parallel; the error of the lowest failing piece of work is returned. Panics if the matrix has
    /// more columns than the layout's sums can take.
    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E>;

    /// Output features, input features.
    fn shape(&self) -> (usize, usize);

    /// What a sum of trits times inputs is multiplied with.
    fn scale(&self) -> f32;

    /// Bytes of packed weights.
    fn bytes(&self) -> usize;

    /// The codes of some tiles, if need be written into `scratch`.
    fn tiles<'a>(&'a self, cpu: &Cpu, tiles: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [u8];
}

/// A matrix packed as tiles.
pub struct TernaryMatrix {
    rows: usize,
    cols: usize,
    scale: f32,
    lines: Lines,
}

/// Packs one row of codes (0, 1, 2; padded to whole lines) into its lane of a tile.
fn pack_row(codes: &[u8], row: usize, tile: &mut [Line]) {
    for (line, codes) in tile.iter_mut().zip(codes.as_chunks::<16>().0) {
        line.0[4 * row..4 * row + 4].copy_from_slice(&lane(codes));
    }
}

/// The error of the lowest failing piece of work.
pub(crate) struct FirstError<E>(Mutex<Option<(usize, E)>>);

impl<E> FirstError<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn keep(&self, piece: usize, error: E) {
        let mut first = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if first.as_ref().is_none_or(|(first, _)| piece < *first) {
            *first = Some((piece, error));
        }
    }

    /// The error, or `done` if there was none.
    pub(crate) fn or<T>(self, done: T) -> Result<T, E> {
        match self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(done),
        }
    }
}

impl Packed for TernaryMatrix {
    const STEP: usize = 1;

    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        assert!(cols <= MAX_COLS, "a matrix has at most {MAX_COLS} columns");
        let groups = cols.div_ceil(16);
        let tiles = rows.div_ceil(TILE);
        let mut lines = Lines::zeroed(tiles * groups);
        let failure = FirstError::new();
        pool.pieces(&mut lines, groups.max(1), |tile, lines| {
            let mut trits = vec![0i8; groups * 16];
            let mut codes = vec![1u8; groups * 16];
            for lane in 0..TILE.min(rows - tile * TILE) {
                if let Err(error) = fill(tile * TILE + lane, &mut trits[..cols]) {
                    return failure.keep(tile, error);
                }
                for (code, trit) in codes.iter_mut().zip(&trits) {
                    *code = (trit + 1) as u8 & 3;
                }
                pack_row(&codes, lane, lines);
            }
        });
        failure.or(Self { rows, cols, scale, lines })
    }

    fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn scale(&self) -> f32 {
        self.scale
    }

    fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    fn tiles<'a>(&'a self, _: &Cpu, tiles: Range<usize>, _: &'a mut Vec<Line>) -> &'a [u8] {
        let tile = self.cols.div_ceil(16) * LINE;
        &self.lines.bytes()[tiles.start * tile..tiles.end * tile]
    }
}

impl TernaryMatrix {
    /// Row `r` as −1, 0, +1.
    pub fn trits(&self, r: usize) -> Vec<i8> {
        let tile = &self.lines.bytes()[r / TILE * self.cols.div_ceil(16) * LINE..];
        (0..self.cols).map(|k| code(tile, r % TILE, k) as i8 - 1).collect()
    }
}

/// A piece of work: some tiles of one matrix and some tokens.
struct Chunk {
    matrix: usize,
    tiles: Range<usize>,
    tokens: Range<usize>,
}

/// The chunks of a batch of `m` tokens: rows are split no further than `cut` and the number of threads ask for, since a
/// chunk with many rows gets more out of what it prepares for its tokens.
fn chunks<P: Packed>(threads: usize, matrices: &[&P], m: usize, cut: &Cut) -> Vec<Chunk> {
    let (fewest, most) = cut.tokens;
    let counts = matrices.iter().map(|w| w.shape().0.div_ceil(TILE));
    let total: usize = counts.clone().sum();
    let tiles = match m {
        // Weights that are read once: the fewer and longer the runs of memory the better, but enough chunks that a
        // thread put aside does not hold up the others.
        1 => (total / (4 * threads)).max(cut.tiles),
        _ => total.div_ceil(threads.div_ceil(m.div_ceil(fewest).max(1))).clamp(1, cut.tiles),
    };
    let groups = threads.div_ceil(total.div_ceil(tiles).max(1));
    let tokens = m.div_ceil(groups).div_ceil(fewest).max(1).saturating_mul(fewest).min(most);
    let mut chunks = Vec::new();
    for (matrix, count) in counts.enumerate() {
        // Equal parts: a short last one would leave a thread waiting.
        let parts = count.div_ceil(tiles).max(1);
        let part = count.div_ceil(parts).max(1).next_multiple_of(P::STEP);
        for first in (0..count).step_by(part) {
            for token in (0..m).step_by(tokens) {
                let tiles = first..count.min(first + part);
                chunks.push(Chunk { matrix, tiles, tokens: token..m.min(token.saturating_add(tokens)) });
            }
        }
    }
    if cut.tokens_first {
        chunks.sort_by_key(|chunk| chunk.tokens.start);
    }
    chunks
}

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Runs `dot(groups, codes, tokens, sums)` over all chunks, `sums` being `(tokens, rows of the chunk)`, and hands the
/// sums of each token to `finish(matrix, token, sums, out)`.
fn run<P: Packed, T: Copy + Default + Send>(
    cpu: &Cpu,
    matrices: &[&P],
    m: usize,
    cut: &Cut,
    dot: impl Fn(usize, &[u8], Range<usize>, &mut [T]) + Sync,
    finish: impl Fn(&P, usize, &[T], &mut [f32]) + Sync,
) -> Vec<Rows> {
    let mut outs: Vec<Rows> = matrices.iter().map(|w| Rows::unwritten(m, w.shape().0)).collect();
    let pointers: Vec<_> = outs.iter_mut().map(|out| SendPtr(out.data_mut().as_mut_ptr())).collect();
    let chunks = chunks(cpu.pool.threads(), matrices, m, cut);
    cpu.pool.run(chunks.len(), |i| {
        let Chunk { matrix, tiles, tokens } = &chunks[i];
        let (w, out) = (matrices[*matrix], pointers[*matrix].get());
        let ((rows, cols), first, width) = (w.shape(), tiles.start * TILE, tiles.len() * TILE);
        let mut sums = vec![T::default(); tokens.len() * width];
        SCRATCH.with_borrow_mut(|scratch| {
            let codes = w.tiles(cpu, tiles.clone(), scratch);
            dot(cols.div_ceil(16), codes, tokens.clone(), &mut sums);
        });
        let kept = width.min(rows - first);
        for (t, sums) in tokens.clone().zip(sums.chunks_exact(width)) {
            // SAFETY: row t < m and columns first .. + kept ≤ rows of this matrix's own output; the chunks of a matrix
            // differ in their tokens or in their columns.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(t * rows + first), kept) };
            finish(w, t, sums, out);
        }
    });
    outs
}

/// Products of matrices that share their input: `y = (Σ trit · code) · (matrix scale / activation scale)`, one
/// `(token, matrix rows)` result a matrix. The sums are exact.
pub fn matmul<P: Packed>(cpu: &Cpu, matrices: &[&P], x: &Activations) -> Vec<Rows> {
    assert!(matrices.iter().all(|w| w.shape().1 == x.cols()), "matrices and activations have the same input width");
    let codes_of_x = x.arranged(cpu);
    run(
        cpu,
        matrices,
        x.rows(),
        &cpu.isa.cut(x.rows(), x.cols()),
        |_, codes, tokens, acc: &mut [i32]| {
            cpu.isa.ternary_dot(codes, &codes_of_x.tokens(tokens), acc);
        },
        |w, t, sums, out| finish(out, sums, x.sums()[t], w.scale() / x.scales()[t]),
    )
}

/// Sums of codes to outputs: codes are trits + 1, so the sum of the activations is one too many.
pub(crate) fn finish(out: &mut [f32], sums: &[i32], sum: i32, scale: f32) {
    for (out, dot) in out.iter_mut().zip(sums) {
        *out = (dot - sum) as f32 * scale;
    }
}

/// The same with `f32` activations (weight-only models): `y = (Σ trit · x, in the order of k) · scale`.
pub fn matmul_f32(cpu: &Cpu, matrices: &[&TernaryMatrix], x: &Rows) -> Vec<Rows> {
    assert!(matrices.iter().all(|w| w.cols == x.dim()), "matrices and activations have the same input width");
    run(
        cpu,
        matrices,
        x.len(),
        &Cut::SMALL,
        |groups, codes, _, acc: &mut [f32]| cpu.isa.ternary_dot_f32(codes, groups, x.data(), x.dim(), acc),
        |w, _, sums, out| {
            for (out, dot) in out.iter_mut().zip(sums) {
                *out = dot * w.scale;
            }
        },
    )
}
