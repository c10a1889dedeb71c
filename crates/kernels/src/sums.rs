//! The exact integers of a ternary product, before scales make outputs of them.

/// Σ trit · code of every token and row: over all columns, or over each group of columns.
///
/// Products of shards can be put together before they are finished, so a matrix that is cut over machines gives the
/// bytes of the whole:
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
    /// Columns of a group, if the scales are those of groups.
    columns: Option<usize>,
    /// `[token][group][row]`
    values: Vec<i32>,
}

impl Sums {
    pub(crate) fn zeros(tokens: usize, rows: usize, groups: usize, columns: Option<usize>) -> Self {
        Self { tokens, rows, groups, columns, values: vec![0; tokens * groups * rows] }
    }

    /// Tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sums of a row and token: one, or one for each group of columns.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Columns of a group, if each group has a sum of its own.
    pub fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// The sums of a token and group, one a row.
    pub fn of(&self, token: usize, group: usize) -> &[i32] {
        &self.values[(token * self.groups + group) * self.rows..][..self.rows]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [i32] {
        &mut self.values
    }

    /// Takes in the columns that follow, of the same tokens and rows: without groups the integers are added, with groups
    /// those of `right` come after these.
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
