//! `f32` rows: the shape every activation of a model has, `(token, feature)`.

/// A dense row-major matrix of `f32`, one row a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    dim: usize,
    data: Vec<f32>,
}

impl Rows {
    /// `rows` rows of `dim` zeros.
    pub fn zeros(rows: usize, dim: usize) -> Self {
        Self { dim, data: vec![0.0; rows * dim] }
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
    pub fn reshape(self, dim: usize) -> Self {
        Self::from_vec(dim, self.data)
    }

    /// A copy of the rows `picked`, in that order.
    pub fn select(&self, picked: &[usize]) -> Self {
        let data = picked.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { dim: self.dim, data }
    }
}
