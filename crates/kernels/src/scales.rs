//! The scales of a ternary matrix: a weight is its trit times a scale.

/// One scale, or several.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    /// One for the whole matrix.
    One(f32),
    /// One a row.
    Rows(Vec<f32>),
    /// One for each group of `columns` neighbours in a row, row after row.
    Groups {
        /// Columns of a group: 32, 64, 128 or 256. The last group of a row may have fewer.
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
}
