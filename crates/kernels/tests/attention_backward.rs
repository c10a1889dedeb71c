//! The gradient of attention, against the chain rule written out in f64.

mod random;

use std::ops::Range;

use random::Random;
use sterna_kernels::Rows;
use sterna_kernels::attention::backward::{Forward, Heads, backward};
use sterna_kernels::{Cpu, sets};

/// Sequence lengths around multiples of the block size, and a single token.
const LENGTHS: [usize; 5] = [5, 64, 1, 130, 65];
const SHAPES: [Heads; 3] = [
    Heads { heads: 4, kv_heads: 2, head_dim: 32 },
    Heads { heads: 3, kv_heads: 1, head_dim: 24 },
    Heads { heads: 2, kv_heads: 2, head_dim: 64 },
];

impl Random {
    /// Rows of values between −`most` and `most`.
    fn rows(&mut self, rows: usize, dim: usize, most: f32) -> Rows {
        let mut value = || self.next() as i32 as f32 / 2f32.powi(31) * most;
        Rows::from_vec(dim, (0..rows * dim).map(|_| value()).collect())
    }
}

/// The values of a row that belong to a head.
fn part(rows: &Rows, row: usize, head: usize, dim: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    rows.row(row)[head * dim..][..dim].iter().map(|x| f64::from(*x))
}

fn dot(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> f64 {
    a.zip(b).map(|(a, b)| a * b).sum()
}

/// Attention weights of query `row` of a head over the positions up to its own.
fn weights(shape: Heads, q: &Rows, k: &Rows, sequence: &Range<usize>, row: usize, head: usize) -> Vec<f64> {
    let (dim, kv_head) = (shape.head_dim, head * shape.kv_heads / shape.heads);
    let scores = (sequence.start..=row).map(|j| dot(part(q, row, head, dim), part(k, j, kv_head, dim)));
    let exps: Vec<f64> = scores.map(|score| (score / (dim as f64).sqrt()).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|exp| exp / sum).collect()
}

/// Adds `factor` × `values` to a head's part of a row.
fn add(out: &mut [f64], at: usize, factor: f64, values: impl Iterator<Item = f64>) {
    out[at..].iter_mut().zip(values).for_each(|(out, value)| *out += factor * value);
}

/// Outputs, and the gradients of queries, keys and values.
fn naive(shape: Heads, sequences: &[Range<usize>], [q, k, v, dout]: [&Rows; 4]) -> [Vec<f64>; 4] {
    let (dim, (q_dim, kv_dim)) = (shape.head_dim, (q.dim(), k.dim()));
    let mut results = [q_dim, q_dim, kv_dim, kv_dim].map(|dim| vec![0.0; q.len() * dim]);
    let [out, dq, dk, dv] = &mut results;
    for sequence in sequences {
        for (row, head) in sequence.clone().flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
            let kv_head = head * shape.kv_heads / shape.heads;
            let weights = weights(shape, q, k, sequence, row, head);
            let dweights: Vec<f64> =
                (sequence.start..=row).map(|j| dot(part(dout, row, head, dim), part(v, j, kv_head, dim))).collect();
            let mean = dot(weights.iter().copied(), dweights.iter().copied());
            for (j, (weight, dweight)) in (sequence.start..=row).zip(weights.iter().zip(dweights)) {
                let dscore = weight * (dweight - mean) / (dim as f64).sqrt();
                let (query, key) = (row * q_dim + head * dim, j * kv_dim + kv_head * dim);
                add(out, query, *weight, part(v, j, kv_head, dim));
                add(dv, key, *weight, part(dout, row, head, dim));
                add(dq, query, dscore, part(k, j, kv_head, dim));
                add(dk, key, dscore, part(q, row, head, dim));
            }
        }
    }
    results
}

/// |a − b| / |b|
fn relative(a: &[f32], b: &[f64]) -> f64 {
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

#[test]
fn gradients_are_those_of_the_chain_rule() {
    let mut random = Random(5);
    for shape in SHAPES {
        let tokens = LENGTHS.iter().sum();
        let ends = LENGTHS.iter().scan(0, |end, length| Some(std::mem::replace(end, *end + length)));
        let sequences: Vec<_> = ends.zip(LENGTHS).map(|(start, length)| start..start + length).collect();
        let (q_dim, kv_dim) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        // Large scores make some weights sharp.
        let [q, k, v, dout] = [(q_dim, 2.0), (kv_dim, 2.0), (kv_dim, 1.0), (q_dim, 1.0)]
            .map(|(dim, most)| random.rows(tokens, dim, most));
        let [out, expected @ ..] = naive(shape, &sequences, [&q, &k, &v, &dout]);
        let out = Rows::from_vec(q_dim, out.into_iter().map(|x| x as f32).collect());
        let forward = Forward { q: &q, k: &k, v: &v, out: &out, dout: &dout };
        for set in sets::available() {
            let [one, two] = [1, 2].map(|threads| backward(&Cpu::with(set, threads), shape, &sequences, &forward));
            for ((name, expected), (one, two)) in ["dq", "dk", "dv"].iter().zip(&expected).zip(one.iter().zip(&two)) {
                assert!(one.data() == two.data(), "{set:?} {name}: threads change nothing");
                // bf16 has 8 bits; errors of sums cancel in part.
                let off = relative(one.data(), expected);
                println!("{set:?} {shape:?} {name}: {off:.1e}");
                assert!(off < 7e-3, "{set:?} {shape:?} {name}: {off}");
                // No sequence hides behind the longer ones.
                for rows in &sequences {
                    let dim = one.dim();
                    let at = rows.start * dim..rows.end * dim;
                    let expected = &expected[at.clone()];
                    if expected.iter().all(|x| x.abs() < 1e-12) {
                        // A lone token's weight is 1 whatever it is.
                        assert!(one.data()[at].iter().all(|x| x.abs() < 1e-2), "{set:?} {name} of {rows:?}");
                        continue;
                    }
                    let off = relative(&one.data()[at], expected);
                    assert!(off < 1e-2, "{set:?} {shape:?} {name} of {rows:?}: {off}");
                }
            }
        }
    }
}
