//! The second product of a low-rank update: a matrix of few columns times a short row.

/// Rows whose sums stay in registers.
pub(crate) const BLOCK: usize = 64;

/// `out[i] += Σ t[j] · columns[j · stride + i]`: the sum begins at 0 and takes j in order.
#[inline(always)]
pub(crate) fn add_columns(columns: &[f32], stride: usize, t: &[f32], out: &mut [f32]) {
    let mut first = 0;
    while first < out.len() {
        let mut sums = [0.0f32; BLOCK];
        let len = BLOCK.min(out.len() - first);
        for j in 0..t.len() {
            let column = &columns[j * stride + first..][..len];
            if len == BLOCK {
                // The length is a constant, so the sums stay in registers.
                for i in 0..BLOCK {
                    sums[i] += t[j] * column[i];
                }
            } else {
                for i in 0..len {
                    sums[i] += t[j] * column[i];
                }
            }
        }
        for i in 0..len {
            out[first + i] += sums[i];
        }
        first += len;
    }
}
