//! The scales of a ternary matrix: a weight is its trit times a scale.

/// A single scale, or several.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    /// One scale for the whole matrix.
    One(f32),
    /// One per row.
    Rows(Vec<f32>),
    /// One for each group of `columns` adjacent weights in a row, row by row.
    Groups {
        /// Columns in a group: 32, 64, 128 or 256. The last group of a row may have fewer.
        columns: usize,
        /// `rows · ceil(cols / columns)` scales. A group of zeros may have the scale 0.
        values: Vec<f32>,
    },
}

impl Scales {
    /// The same scales times `factor`.
    pub fn times(self, factor: f32) -> Self {
        let all = |values: Vec<f32>| values.into_iter().map(|value| value * factor).collect();
        match self {
            Self::One(value) => Self::One(value * factor),
            Self::Rows(values) => Self::Rows(all(values)),
            Self::Groups { columns, values } => Self::Groups { columns, values: all(values) },
        }
    }

    /// The scales of a matrix with `rows` rows, whose row `r` is row `from(r)` of this one.
    ///
    /// # Panics
    ///
    /// If `from` returns a row that does not exist.
    pub fn reordered(&self, rows: usize, from: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::One(value) => Self::One(*value),
            Self::Rows(values) => Self::Rows((0..rows).map(|row| values[from(row)]).collect()),
            Self::Groups { columns, values } => {
                let groups = values.len() / rows.max(1);
                let row = |row| &values[from(row) * groups..][..groups];
                Self::Groups { columns: *columns, values: (0..rows).flat_map(row).copied().collect() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_their_rows() {
        let swap = |row: usize| row ^ 1;
        assert_eq!(Scales::One(2.0).reordered(4, swap), Scales::One(2.0));
        assert_eq!(Scales::Rows(vec![1.0, 2.0, 3.0, 4.0]).reordered(4, swap), Scales::Rows(vec![2.0, 1.0, 4.0, 3.0]));
        let groups = |values| Scales::Groups { columns: 32, values };
        assert_eq!(groups(vec![1.0, 2.0, 3.0, 4.0]).reordered(2, swap), groups(vec![3.0, 4.0, 1.0, 2.0]));
    }
}
