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

    /// The scale of a weight of a `(rows, cols)` matrix.
    ///
    /// # Panics
    ///
    /// If the matrix has no such weight, or another number of scales.
    pub fn of(&self, (_, cols): (usize, usize), row: usize, column: usize) -> f32 {
        match self {
            Self::One(scale) => *scale,
            Self::Rows(values) => values[row],
            Self::Groups { columns, values } => values[row * cols.div_ceil(*columns) + column / columns],
        }
    }

    /// The scales of a `(rows, cols)` matrix as those of groups of `columns` columns.
    ///
    /// # Errors
    ///
    /// Why groups of this size cannot hold them, as the end of a sentence about the matrix.
    pub fn grouped(&self, (rows, cols): (usize, usize), columns: usize) -> Result<Self, String> {
        let have = if let Self::Groups { columns, .. } = self { *columns } else { cols.max(1) };
        let whole = matches!(self, Self::One(_) | Self::Rows(_));
        if !(whole || have.is_multiple_of(columns) || columns.is_multiple_of(have)) {
            return Err(format!("has groups of {have} columns, which are not groups of {columns}"));
        }
        let group = |row: usize, group: usize| {
            let first = group * columns;
            let last = (first + columns).min(cols);
            let scales = (first..last).step_by(have.min(columns)).map(|column| self.of((rows, cols), row, column));
            single(scales, &format!("{columns} columns"))
        };
        let groups = (0..rows).flat_map(|row| (0..cols.div_ceil(columns)).map(move |g| (row, g)));
        let values = groups.map(|(row, g)| group(row, g)).collect::<Result<_, _>>()?;
        Ok(Self::Groups { columns, values })
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

/// The one scale of all these that are not 0: the scale 0 belongs to weights that are 0 whatever their scale.
pub(crate) fn single(scales: impl Iterator<Item = f32>, what: &str) -> Result<f32, String> {
    let mut nonzero = scales.filter(|scale| *scale != 0.0);
    let first = nonzero.next().unwrap_or(0.0);
    match nonzero.find(|scale| *scale != first) {
        None => Ok(first),
        Some(other) => Err(format!("has several scales ({first} and {other}), but the format stores one for {what}")),
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
