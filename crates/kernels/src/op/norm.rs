//! RMS norm of a row, and its gradients.

use super::vector::{LANES, Vector, fold, lanes};

/// Columns whose squares are summed together.
pub(crate) const SEGMENT: usize = 256;

/// The sum of squares of at most [`SEGMENT`] columns: 16 lanes, multiply then add, then folded.
#[inline(always)]
fn segment_sum<V: Vector>(zeros: V, x: &[f32]) -> f32 {
    let mut acc = zeros;
    let (blocks, tail) = x.as_chunks::<LANES>();
    for block in blocks {
        let block = zeros.load(block);
        acc = acc.add_product(block, block);
    }
    if !tail.is_empty() {
        let tail = zeros.load(&lanes(tail));
        acc = acc.add_product(tail, tail);
    }
    fold(acc.lanes())
}

/// The sum of squares of a row: the sums of its segments of 256 columns are added in order, starting from 0.
///
/// So a row that is split over machines at multiples of 256 columns gives the same bytes: each machine sums its
/// segments, and the sums are added in the order of the row.
#[inline(always)]
fn sum_of_squares<V: Vector>(zeros: V, x: &[f32]) -> f32 {
    let mut sum = 0.0;
    for segment in x.chunks(SEGMENT) {
        sum += segment_sum(zeros, segment);
    }
    sum
}

/// `1 / sqrt(mean(x²) + eps)` of a row with `len` columns.
#[inline(always)]
fn inverse_rms(sum_of_squares: f32, len: usize, eps: f32) -> f32 {
    1.0 / (sum_of_squares / len as f32 + eps).sqrt()
}

/// `out = w · (x / sqrt(mean(x²) + eps))`
#[inline(always)]
pub(crate) fn rms_norm<V: Vector>(zeros: V, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = inverse_rms(sum_of_squares(zeros, x), x.len(), eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = w * (x * scale);
    }
}

/// Adds the gradients of one row of [`rms_norm`] to `dx` and `dweight`.
///
/// With r = 1 / sqrt(mean(x²) + eps): `dx += r·(w·dy − x·r²·mean(w·dy·x))`, `dweight += dy·x·r`.
#[inline(always)]
pub(crate) fn rms_norm_backward<V: Vector>(
    zeros: V,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    eps: f32,
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let mut dots = [0.0; LANES];
    for ((x, w), dy) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(dy.chunks(LANES)) {
        let (x, w, dy) = (lanes(x), lanes(w), lanes(dy));
        for i in 0..LANES {
            dots[i] += w[i] * dy[i] * x[i];
        }
    }
    let r = inverse_rms(sum_of_squares(zeros, x), x.len(), eps);
    let along = r * r * (fold(dots) / x.len() as f32);
    for ((((x, w), dy), dx), dweight) in x.iter().zip(weight).zip(dy).zip(dx).zip(dweight) {
        *dx += r * (w * dy - x * along);
        *dweight += dy * (x * r);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: [f32; LANES] = [0.0; LANES];

    /// Values whose sums round: another order would give other bits.
    fn row(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i as f32 + 1.3) * 12.9898).sin() * 3f32.powi((i % 7) as i32 - 3)).collect()
    }

    #[test]
    fn shards_of_whole_segments_give_the_bytes_of_the_row() {
        let len = 5 * SEGMENT + 70;
        let (x, weight, eps) = (row(len), row(len).iter().map(|x| 1.0 + x).collect::<Vec<_>>(), 1e-5);
        let mut whole = vec![0.0; len];
        rms_norm(ZEROS, &x, &weight, eps, &mut whole);
        for cuts in [vec![SEGMENT], vec![2 * SEGMENT, 3 * SEGMENT], vec![SEGMENT, 4 * SEGMENT, 5 * SEGMENT]] {
            let ends = cuts.iter().copied().chain([len]);
            let shards: Vec<_> = [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(a, b)| a..b).collect();
            // The segment sums of all shards, in the order of the row.
            let gathered = shards.iter().flat_map(|shard| x[shard.clone()].chunks(SEGMENT));
            let sum = gathered.map(|segment| segment_sum(ZEROS, segment)).fold(0.0, |sum, segment| sum + segment);
            let scale = inverse_rms(sum, len, eps);
            for shard in shards {
                let out: Vec<f32> = shard.clone().map(|i| weight[i] * (x[i] * scale)).collect();
                assert_eq!(out, whole[shard.clone()], "columns {shard:?}");
            }
        }
    }

    /// Segments matter: a single sum over the whole row rounds differently.
    #[test]
    fn segments_are_summed_apart() {
        let x = row(20 * SEGMENT);
        let in_segments = sum_of_squares(ZEROS, &x);
        let exact: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        assert!((f64::from(in_segments) / exact - 1.0).abs() < 1e-6);
        assert_ne!(in_segments, segment_sum(ZEROS, &x));
    }
}
