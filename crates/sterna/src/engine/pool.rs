//! Pooling: turns the hidden states of a text into one vector.

use sterna_kernels::Rows;

/// The vector of one text while its hidden states arrive.
pub(super) struct Pool {
    normalized: bool,
    dimensions: usize,
    sum: Vec<f32>,
    count: usize,
}

impl Pool {
    /// An empty sum. The result has the first `dimensions` numbers, and unit length if `normalized`.
    pub fn new(normalized: bool, dimensions: usize) -> Self {
        Self { normalized, dimensions, sum: Vec::new(), count: 0 }
    }

    /// Adds hidden states one by one in the order of their positions, so that chunks do not change the sum.
    pub fn add(&mut self, hidden: &Rows) {
        self.sum.resize(hidden.dim(), 0.0);
        for row in 0..hidden.len() {
            self.sum.iter_mut().zip(hidden.row(row)).for_each(|(sum, x)| *sum += x);
        }
        self.count += hidden.len();
    }

    /// Returns the first numbers of the mean, divided by their length if normalized. A vector of zeros stays.
    pub fn finish(&mut self) -> Vec<f32> {
        let mut values = std::mem::take(&mut self.sum);
        values.truncate(self.dimensions);
        let mut scale = 1.0 / self.count.max(1) as f64;
        if self.normalized {
            let length = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            scale = if length > 0.0 { 1.0 / length } else { 1.0 };
        }
        values.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(normalized: bool, chunks: &[&[f32]]) -> Vec<f32> {
        let mut pool = Pool::new(normalized, 2);
        chunks.iter().for_each(|values| pool.add(&Rows::from_vec(2, values.to_vec())));
        pool.finish()
    }

    #[test]
    fn means_and_lengths_are_what_they_say() {
        assert_eq!(pooled(false, &[&[1.0, 2.0, 3.0, 4.0], &[5.0, 9.0]]), [3.0, 5.0]);
        assert_eq!(pooled(false, &[&[1.0, 2.0], &[3.0, 4.0, 5.0, 9.0]]), [3.0, 5.0]);
        assert_eq!(pooled(true, &[&[3.0, -4.0]]), [0.6, -0.8]);
        assert_eq!(pooled(true, &[&[3.0, -4.0, 3.0, -4.0]]), [0.6, -0.8]);
        assert_eq!(pooled(true, &[&[0.0, 0.0]]), [0.0, 0.0]);
        let mut first = Pool::new(true, 2);
        first.add(&Rows::from_vec(3, vec![3.0, -4.0, 12.0]));
        assert_eq!(first.finish(), [0.6, -0.8], "cut before the length is taken");
    }
}
