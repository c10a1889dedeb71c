//! Products of group-scaled matrices with activations.

use std::ops::Range;

use super::{GroupedActivations, GroupedMatrix};
use crate::cpu::Cpu;
use crate::op::grouped::{TOKENS, Tiles};
use crate::op::ternary::TILE;
use crate::pool::SendPtr;
use crate::rows::Rows;

/// Most tokens of a chunk: their codes stay in the cache while the chunk's weights are read.
const MOST_TOKENS: usize = 64;

/// Most tiles of a chunk with several tokens.
const MOST_TILES: usize = 8;

/// A piece of work: some tiles of one matrix and some tokens.
struct Chunk {
    matrix: usize,
    tiles: Range<usize>,
    tokens: Range<usize>,
}

/// Divides the products of `m` tokens, so that there are several chunks for each thread.
fn chunks(threads: usize, matrices: &[&GroupedMatrix], m: usize) -> Vec<Chunk> {
    let counts = matrices.iter().map(|w| w.shape().0.div_ceil(TILE));
    let total: usize = counts.clone().sum();
    let most = if m == 1 { usize::MAX } else { MOST_TILES };
    let tiles = (total / (4 * threads)).clamp(1, most);
    let mut chunks = Vec::new();
    for token in (0..m).step_by(MOST_TOKENS) {
        for (matrix, count) in counts.clone().enumerate() {
            for first in (0..count).step_by(tiles) {
                let tiles = first..count.min(first + tiles);
                chunks.push(Chunk { matrix, tiles, tokens: token..m.min(token + MOST_TOKENS) });
            }
        }
    }
    chunks
}

/// Runs `dot(tiles, tokens, out)` over all chunks, where `out` is `(tokens, rows of the tiles)`.
fn run(
    cpu: &Cpu,
    matrices: &[&GroupedMatrix],
    m: usize,
    dot: impl Fn(&Tiles<'_>, Range<usize>, &mut [f32]) + Sync,
) -> Vec<Rows> {
    let mut outs: Vec<Rows> = matrices.iter().map(|w| Rows::unwritten(m, w.shape().0)).collect();
    let pointers: Vec<_> = outs.iter_mut().map(|out| SendPtr(out.data_mut().as_mut_ptr())).collect();
    let chunks = chunks(cpu.pool.threads(), matrices, m);
    cpu.pool.run(chunks.len(), |i| {
        let Chunk { matrix, tiles, tokens } = &chunks[i];
        let w = matrices[*matrix];
        let (rows, first, width) = (w.shape().0, tiles.start * TILE, tiles.len() * TILE);
        let kept = width.min(rows - first);
        let mut results = vec![0.0; tokens.len() * width];
        dot(&w.tiles(tiles.clone()), tokens.clone(), &mut results);
        for (token, results) in tokens.clone().zip(results.chunks_exact(width)) {
            // SAFETY: some rows of one token in this matrix's output, which is valid while `outs` lives. Chunks of a
            // matrix differ in their tokens or rows.
            let out =
                unsafe { std::slice::from_raw_parts_mut(pointers[*matrix].get().add(token * rows + first), kept) };
            out.copy_from_slice(&results[..kept]);
        }
    });
    outs
}

/// Products of matrices with the same input and the same size of groups, one `(token, matrix rows)` result per matrix.
///
/// # Panics
///
/// If a matrix and the activations differ in their input width or the size of groups.
pub fn matmul(cpu: &Cpu, matrices: &[&GroupedMatrix], x: &GroupedActivations) -> Vec<Rows> {
    let same = |w: &&GroupedMatrix| w.shape().1 == x.cols() && w.columns() == x.columns();
    assert!(matrices.iter().all(same), "matrices and activations have the same input width and groups");
    run(cpu, matrices, x.rows(), |tiles, tokens, out| cpu.isa.grouped_dot(tiles, &x.tokens(tokens), out))
}

/// The products with `f32` activations, which define the result: every sum adds its terms in order.
///
/// # Panics
///
/// If a matrix and the activations differ in their input width.
pub fn matmul_f32(cpu: &Cpu, matrices: &[&GroupedMatrix], x: &Rows) -> Vec<Rows> {
    assert!(matrices.iter().all(|w| w.shape().1 == x.dim()), "matrices and activations have the same input width");
    run(cpu, matrices, x.len(), |tiles, tokens, out| {
        cpu.isa.grouped_dot_f32(tiles, &x.data()[tokens.start * x.dim()..tokens.end * x.dim()], out);
    })
}

const _: () = assert!(MOST_TOKENS.is_multiple_of(TOKENS), "chunks of tokens are whole blocks");
