//! RMS norm of a row, and its gradients.

use super::vector::{LANES, Vector, fold, lanes};

/// `out = w · (x / sqrt(mean(x²) + eps))`
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut acc = [0.0; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for block in blocks.by_ref() {
        let block = lanes(block);
        acc = acc.add_product(block, block);
    }
    let tail = lanes(blocks.remainder());
    acc = acc.add_product(tail, tail);
    let scale = 1.0 / (fold(acc) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = w * (x * scale);
    }
}

/// Adds the gradients of one row of [`rms_norm`] to `dx` and `dweight`.
///
/// With r = 1 / sqrt(mean(x²) + eps): `dx += r·(w·dy − x·r²·mean(w·dy·x))`, `dweight += dy·x·r`.
#[inline(always)]
pub(crate) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32]) {
    let (mut squares, mut dots) = ([0.0; LANES], [0.0; LANES]);
    for ((x, w), dy) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(dy.chunks(LANES)) {
        let (x, w, dy) = (lanes(x), lanes(w), lanes(dy));
        squares = squares.add_product(x, x);
        for i in 0..LANES {
            dots[i] += w[i] * dy[i] * x[i];
        }
    }
    let n = x.len() as f32;
    let r = 1.0 / (fold(squares) / n + eps).sqrt();
    let along = r * r * (fold(dots) / n);
    for ((((x, w), dy), dx), dweight) in x.iter().zip(weight).zip(dy).zip(dx).zip(dweight) {
        *dx += r * (w * dy - x * along);
        *dweight += dy * (x * r);
    }
}
