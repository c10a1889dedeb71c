//! `f32` rows: the shape every activation of a model has, `(token, feature)`.

use std::cell::{Cell, RefCell};

/// A dense row-major matrix of `f32`, one row a token.
///
/// A forward pass makes the same few shapes for every layer, and fresh pages from the system cost more than the
/// arithmetic on them: dropped rows leave their buffer to the next ones of the thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    dim: usize,
    data: Vec<f32>,
}

/// Buffers a thread keeps unless it asks for more, and the most values of one that is kept.
const KEPT: usize = 12;
const KEPT_VALUES: usize = 4 << 20;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    static LIMIT: Cell<usize> = const { Cell::new(KEPT) };
}

/// From now on the calling thread keeps so many buffers of dropped rows. A training step keeps the rows of all its layers.
pub fn keep_buffers(count: usize) {
    LIMIT.set(count);
}

impl Drop for Rows {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.data);
        if (1..=KEPT_VALUES).contains(&buffer.capacity()) {
            // A thread that is ending has no list any more; the buffer is freed then.
            let _ = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if buffers.len() < LIMIT.get() {
                    buffers.push(buffer);
                }
            });
        }
    }
}

impl Rows {
    /// `rows` rows of `dim` zeros.
    pub fn zeros(rows: usize, dim: usize) -> Self {
        Self { dim, data: vec![0.0; rows * dim] }
    }

    /// Rows whose values are still to be written: zeros, or what an earlier matrix left.
    pub(crate) fn unwritten(rows: usize, dim: usize) -> Self {
        let len = rows * dim;
        let kept = BUFFERS.with_borrow_mut(|buffers| {
            let fitting = (0..buffers.len()).filter(|&i| buffers[i].capacity() >= len);
            let best = fitting.min_by_key(|&i| buffers[i].capacity())?;
            Some(buffers.swap_remove(best))
        });
        let Some(mut data) = kept else { return Self::zeros(rows, dim) };
        data.resize(len, 0.0);
        Self { dim, data }
    }

    /// Rows of `dim` values each; panics if `data` does not divide into them.
    pub fn from_vec(dim: usize, data: Vec<f32>) -> Self {
        assert!(dim > 0 && data.len().is_multiple_of(dim), "{} values are not rows of {dim}", data.len());
        Self { dim, data }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.dim).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// All values, row after row.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The same values as rows of `dim`; panics if they do not divide into them.
    pub fn reshape(mut self, dim: usize) -> Self {
        Self::from_vec(dim, std::mem::take(&mut self.data))
    }

    /// A copy of the rows `picked`, in that order.
    pub fn select(&self, picked: &[usize]) -> Self {
        let data = picked.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { dim: self.dim, data }
    }
}
