//! The gradient of causal attention, for training.
//!
//! Scores are recomputed in bf16, block by block; the forward pass stores nothing of size positions².
//!
//! ```text
//! for each (sequence, key/value head):                       blocks of 64 positions, j ≤ i
//!     for each query head of the group, block i of queries:
//!         S  = Q_i·K_jᵀ·scale   P = softmax(S)               dP = dO_i·V_jᵀ
//!         dS = P·(dP − Σ dO·O)·scale
//!         dQ_i += dS·K_j        dK_j += dSᵀ·Q_i              dV_j += Pᵀ·dO_i
//! ```

use std::cell::RefCell;
use std::ops::Range;

use crate::bf16::{Bf16Panels, Bf16Rows, Left, View, product_serial};
use crate::cpu::Cpu;
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::set::Isa;

/// Positions in a block.
const BLOCK: usize = 64;
const TILE: usize = BLOCK * BLOCK;

/// Numbers and sizes of heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; each belongs to heads / kv_heads query heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
}

/// Inputs and outputs of the forward pass, and the gradient of the outputs: rows of all sequences, one sequence after
/// another.
pub struct Forward<'a> {
    /// Rotated queries `(token, heads · head_dim)`.
    pub q: &'a Rows,
    /// Rotated keys `(token, kv_heads · head_dim)`.
    pub k: &'a Rows,
    /// Values `(token, kv_heads · head_dim)`.
    pub v: &'a Rows,
    /// Outputs, with the shape of `q`.
    pub out: &'a Rows,
    /// Gradient of the outputs.
    pub dout: &'a Rows,
}

/// Gradients of queries, keys and values.
///
/// # Panics
/// If the rows do not have the shapes given by `shape`, or if `sequences` do not cover all rows in order.
pub fn backward(cpu: &Cpu, shape: Heads, sequences: &[Range<usize>], forward: &Forward<'_>) -> [Rows; 3] {
    let (q_dim, kv_dim) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let Forward { q, k, v, out, dout } = forward;
    let tokens = q.len();
    assert!([q, out, dout].iter().all(|rows| rows.dim() == q_dim && rows.len() == tokens), "rows of all heads");
    assert!([k, v].iter().all(|rows| rows.dim() == kv_dim && rows.len() == tokens), "rows of all key/value heads");
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "heads share key/value heads evenly");
    let mut end = 0;
    for sequence in sequences {
        assert!(sequence.start == end && sequence.start <= sequence.end, "sequences follow each other");
        end = sequence.end;
    }
    assert_eq!(end, tokens, "every row belongs to a sequence");
    let mut gradients = [q_dim, kv_dim, kv_dim].map(|dim| Rows::unwritten(tokens, dim));
    let outs = gradients.each_mut().map(|rows| SendPtr(rows.data_mut().as_mut_ptr()));
    // Long sequences first, so that the last pieces of work are small.
    let mut order: Vec<_> = sequences.iter().flat_map(|s| (0..shape.kv_heads).map(move |head| (s, head))).collect();
    order.sort_by_key(|(sequence, _)| std::cmp::Reverse(sequence.len()));
    cpu.pool.run(order.len(), |i| {
        let (sequence, kv_head) = order[i];
        SCRATCH.with_borrow_mut(|scratch| {
            Task { isa: cpu.isa, shape, forward, rows: sequence.clone(), kv_head }.run(scratch, outs);
        });
    });
    gradients
}

/// One key/value head of one sequence.
struct Task<'a> {
    isa: Isa,
    shape: Heads,
    forward: &'a Forward<'a>,
    rows: Range<usize>,
    kv_head: usize,
}

/// A block of keys and values, and the sums of their gradients.
#[derive(Default)]
struct KeyBlock {
    /// Kᵀ and Vᵀ: `(head_dim, 64)`
    k_transposed: Bf16Panels,
    v_transposed: Bf16Panels,
    /// K: `(64, head_dim)`
    k: Bf16Panels,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// A block of queries of one head.
#[derive(Default)]
struct QueryBlock {
    values: Vec<f32>,
    dvalues: Vec<f32>,
    rows: Bf16Rows,
    panels: Bf16Panels,
    dout_rows: Bf16Rows,
    dout_panels: Bf16Panels,
    deltas: Vec<f32>,
    dq: Vec<f32>,
}

/// Buffers that a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    keys: Vec<KeyBlock>,
    queries: QueryBlock,
    block: Vec<f32>,
    scores: Vec<f32>,
    line: Vec<f32>,
    dweights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// 64 rows of one head from `first` on, with zeros after `end`.
fn gather(rows: &Rows, first: usize, end: usize, cols: Range<usize>, out: &mut Vec<f32>) {
    out.clear();
    for row in first..end.min(first + BLOCK) {
        out.extend_from_slice(&rows.row(row)[cols.clone()]);
    }
    out.resize(BLOCK * cols.len(), 0.0);
}

impl Task<'_> {
    fn run(&self, scratch: &mut Scratch, outs: [SendPtr<f32>; 3]) {
        let dim = self.shape.head_dim;
        let blocks = self.rows.len().div_ceil(BLOCK);
        let kv_cols = self.kv_head * dim..(self.kv_head + 1) * dim;
        scratch.keys.resize_with(blocks.max(scratch.keys.len()), KeyBlock::default);
        for (j, keys) in scratch.keys[..blocks].iter_mut().enumerate() {
            let first = self.rows.start + j * BLOCK;
            gather(self.forward.k, first, self.rows.end, kv_cols.clone(), &mut scratch.block);
            keys.k = Bf16Panels::of_view(self.isa, View::new(&scratch.block, dim));
            keys.k_transposed = Bf16Panels::transposed_view(self.isa, View::new(&scratch.block, dim));
            gather(self.forward.v, first, self.rows.end, kv_cols.clone(), &mut scratch.block);
            keys.v_transposed = Bf16Panels::transposed_view(self.isa, View::new(&scratch.block, dim));
            for sums in [&mut keys.dk, &mut keys.dv] {
                sums.clear();
                sums.resize(BLOCK * dim, 0.0);
            }
        }
        let group = self.shape.heads / self.shape.kv_heads;
        for head in self.kv_head * group..(self.kv_head + 1) * group {
            for i in 0..blocks {
                self.queries(scratch, head, i);
                self.scatter(outs[0], &scratch.queries.dq, i, self.shape.heads, head);
            }
        }
        for (j, keys) in scratch.keys[..blocks].iter().enumerate() {
            self.scatter(outs[1], &keys.dk, j, self.shape.kv_heads, self.kv_head);
            self.scatter(outs[2], &keys.dv, j, self.shape.kv_heads, self.kv_head);
        }
    }

    /// Computes the gradients of query block `i` of one head and the keys before it.
    fn queries(&self, scratch: &mut Scratch, head: usize, i: usize) {
        let (isa, dim) = (self.isa, self.shape.head_dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let Scratch { keys, queries, scores, line, dweights, .. } = scratch;
        self.load(queries, head, i);
        scores.resize(((i + 1) * TILE).max(scores.len()), 0.0);
        dweights.resize(TILE, 0.0);
        for (keys, scores) in keys[..=i].iter().zip(scores.chunks_exact_mut(TILE)) {
            product_serial(isa, Left::Rows(&queries.rows), &keys.k_transposed, scale, false, scores);
        }
        weights(isa, &mut scores[..(i + 1) * TILE], line);
        queries.dq.clear();
        queries.dq.resize(BLOCK * dim, 0.0);
        for (keys, weights) in keys[..=i].iter_mut().zip(scores.chunks_exact(TILE)) {
            let panels = Bf16Panels::of_view(isa, View::new(weights, BLOCK));
            product_serial(isa, Left::Transposed(&panels), &queries.dout_panels, 1.0, true, &mut keys.dv);
            product_serial(isa, Left::Rows(&queries.dout_rows), &keys.v_transposed, 1.0, false, dweights);
            let lines = weights.chunks_exact(BLOCK).zip(dweights.chunks_exact_mut(BLOCK));
            for ((weights, dweights), delta) in lines.zip(&queries.deltas) {
                isa.softmax_backward(weights, dweights, *delta, scale);
            }
            let rows = Bf16Rows::of_view(isa, View::new(dweights, BLOCK));
            product_serial(isa, Left::Rows(&rows), &keys.k, 1.0, true, &mut queries.dq);
            let panels = Bf16Panels::of_view(isa, View::new(dweights, BLOCK));
            product_serial(isa, Left::Transposed(&panels), &queries.panels, 1.0, true, &mut keys.dk);
        }
    }

    fn load(&self, queries: &mut QueryBlock, head: usize, i: usize) {
        let dim = self.shape.head_dim;
        let (first, cols) = (self.rows.start + i * BLOCK, head * dim..(head + 1) * dim);
        gather(self.forward.q, first, self.rows.end, cols.clone(), &mut queries.values);
        let view = View::new(&queries.values, dim);
        queries.rows = Bf16Rows::of_view(self.isa, view);
        queries.panels = Bf16Panels::of_view(self.isa, view);
        gather(self.forward.dout, first, self.rows.end, cols.clone(), &mut queries.dvalues);
        let view = View::new(&queries.dvalues, dim);
        queries.dout_rows = Bf16Rows::of_view(self.isa, view);
        queries.dout_panels = Bf16Panels::of_view(self.isa, view);
        gather(self.forward.out, first, self.rows.end, cols, &mut queries.values);
        let lines = queries.values.chunks_exact(dim).zip(queries.dvalues.chunks_exact(dim));
        queries.deltas.clear();
        queries.deltas.extend(lines.map(|(out, dout)| self.isa.dot(out, dout)));
    }

    /// Copies a block to its rows and columns in an output with `heads` heads.
    fn scatter(&self, out: SendPtr<f32>, block: &[f32], i: usize, heads: usize, head: usize) {
        let dim = self.shape.head_dim;
        let first = self.rows.start + i * BLOCK;
        for (row, values) in (first..self.rows.end).zip(block.chunks_exact(dim)) {
            // SAFETY: the values of this row and head are in the output, which has all rows and `heads` heads. One task
            // has the rows of this key/value head, and a query head belongs to one key/value head.
            let out = unsafe { std::slice::from_raw_parts_mut(out.get().add((row * heads + head) * dim), dim) };
            out.copy_from_slice(values);
        }
    }
}

/// Converts the scores of 64 queries, tile by tile, to softmax weights; query r attends to r + 1 positions of the last
/// tile.
fn weights(isa: Isa, tiles: &mut [f32], line: &mut Vec<f32>) {
    let seen = tiles.len() / BLOCK - BLOCK + 1;
    for row in 0..BLOCK {
        line.clear();
        for tile in tiles.chunks_exact(TILE) {
            line.extend_from_slice(&tile[row * BLOCK..][..BLOCK]);
        }
        isa.softmax(line, seen + row);
        for (tile, weights) in tiles.chunks_exact_mut(TILE).zip(line.chunks_exact(BLOCK)) {
            tile[row * BLOCK..][..BLOCK].copy_from_slice(weights);
        }
    }
}
