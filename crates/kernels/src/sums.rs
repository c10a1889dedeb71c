//! The exact integer sums of a ternary product, before they are multiplied by scales.

/// Σ trit · code of every token and row: over all columns, or over each group of columns.
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
    groups: usize,
    /// Columns in a group, if the matrix has group scales.
    columns: Option<usize>,
    /// `[token][group][row]`
    values: Vec<i32>,
}

impl Sums {
    pub(crate) fn zeros(tokens: usize, rows: usize, groups: usize, columns: Option<usize>) -> Self {
        Self { tokens, rows, groups, columns, values: vec![0; tokens * groups * rows] }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of rows (output features).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of sums per row and token: one, or one for each group of columns.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Columns in a group, if each group has its own sum.
    pub fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// The sums of a token and group, one per row.
    pub fn of(&self, token: usize, group: usize) -> &[i32] {
        &self.values[(token * self.groups + group) * self.rows..][..self.rows]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [i32] {
        &mut self.values
    }

    /// Adds the following columns of the same tokens and rows. Without groups the integers are added; with groups those
    /// of `right` are appended.
    ///
    /// # Panics
    ///
    /// If tokens, rows or columns of a group differ.
    pub fn add_columns(&mut self, right: &Self) {
        let shape = |sums: &Self| (sums.tokens, sums.rows, sums.columns);
        assert_eq!(shape(self), shape(right), "sums of the same tokens and rows");
        if self.columns.is_none() {
            self.values.iter_mut().zip(&right.values).for_each(|(sum, other)| *sum += other);
            return;
        }
        let left = (self.groups * self.rows).max(1);
        let other = (right.groups * right.rows).max(1);
        let tokens = self.values.chunks(left).zip(right.values.chunks(other));
        self.values = tokens.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
        self.groups += right.groups;
    }
}
