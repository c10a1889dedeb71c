//! `f32` rows: the shape every activation of a model has, `(token, feature)`.

use std::cell::{Cell, RefCell};

/// A dense row-major matrix of `f32`, one row per token.
///
/// Every layer of a forward pass makes the same few shapes, and fresh pages from the system cost more than the
/// arithmetic on them. So the buffers of dropped rows are kept, and reused by later rows of the same thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    dim: usize,
    data: Vec<f32>,
}

/// How many buffers a thread keeps by default, and the most values in a buffer that is kept.
const KEPT: usize = 12;
const KEPT_VALUES: usize = 4 << 20;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    static LIMIT: Cell<usize> = const { Cell::new(KEPT) };
}

/// Sets how many buffers of dropped rows the calling thread keeps. A training step holds the rows of all its layers.
pub fn keep_buffers(count: usize) {
    LIMIT.set(count);
}

impl Drop for Rows {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.data);
        if (1..=KEPT_VALUES).contains(&buffer.capacity()) {
            // A thread that is ending has no list any more; then the buffer is freed.
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

    /// Rows that the caller will overwrite: they hold zeros or the values of an earlier matrix.
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

    /// Rows of `dim` values each.
    ///
    /// # Panics
    /// If `dim` is 0, or `data` does not divide into rows of `dim`.
    pub fn from_vec(dim: usize, data: Vec<f32>) -> Self {
        assert!(dim > 0 && data.len().is_multiple_of(dim), "{} values do not divide into rows of {dim}", data.len());
        Self { dim, data }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.dim).unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The number of values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// Row `i`, to write.
    ///
    /// # Panics
    /// If there is no such row.
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

    /// The same values as rows of `dim`.
    ///
    /// # Panics
    /// If the values do not divide into rows of `dim`.
    pub fn reshape(mut self, dim: usize) -> Self {
        Self::from_vec(dim, std::mem::take(&mut self.data))
    }

    /// A copy of the rows with the indices `picked`, in that order.
    ///
    /// # Panics
    /// If one of them does not exist.
    pub fn select(&self, picked: &[usize]) -> Self {
        let data = picked.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { dim: self.dim, data }
    }
}
