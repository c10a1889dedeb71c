//! The exact integer sums of a ternary product, before they are multiplied by scales.

/// Σ trit · code of every token and row.
///
/// Products of shards can be combined before scaling, so a matrix divided over machines gives the same bytes as the
/// whole:
///
/// ```text
/// shards of rows:      finish each, outputs side by side
/// shards of columns:   add_columns, then finish
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    tokens: usize,
    rows: usize,
    /// `[token][row]`
    values: Vec<i32>,
}

impl Sums {
    pub(crate) fn zeros(tokens: usize, rows: usize) -> Self {
        Self { tokens, rows, values: vec![0; tokens * rows] }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of rows (output features).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The sums of a token, one per row.
    pub fn of(&self, token: usize) -> &[i32] {
        &self.values[token * self.rows..][..self.rows]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [i32] {
        &mut self.values
    }

    /// Adds the sums of other columns, of the same tokens and rows.
    ///
    /// # Panics
    ///
    /// If tokens or rows differ.
    pub fn add_columns(&mut self, other: &Self) {
        assert_eq!((self.tokens, self.rows), (other.tokens, other.rows), "sums of the same tokens and rows");
        self.values.iter_mut().zip(&other.values).for_each(|(sum, other)| *sum += other);
    }
}
