//! Encodes ternary matrices, and converts their scales to the form that a format stores.

use crate::scales::{Scales, single};

/// How many scales a format stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// One for the matrix.
    Matrix,
    /// One for each row.
    Rows,
    /// One for each group of this many columns.
    Groups(usize),
}

/// Encodes ternary matrices in a format.
#[derive(Clone, Copy)]
pub struct Writer {
    /// How many scales the format stores.
    pub scaling: Scaling,
    /// Whether the format has a code for the weight 0.
    pub zeros: bool,
    /// Rounds a scale as the format stores it.
    pub rounded: fn(f32) -> f32,
    /// Appends whole rows of trits. The scales are those of these rows, or that of the matrix.
    pub rows: fn(&[i8], &[f32], &mut Vec<u8>),
    /// Returns the bytes after the last row.
    pub tail: fn(f32) -> Vec<u8>,
}

impl Writer {
    /// The scales of a `(rows, cols)` matrix in the form of the format. One scale may be rounded by 1/1024 of its value;
    /// several scales must be exact.
    ///
    /// # Errors
    ///
    /// Why the format cannot store them, as the end of a sentence about the matrix.
    pub fn scales(&self, scales: &Scales, (rows, cols): (usize, usize)) -> Result<Scales, String> {
        let of_row = if let Scales::Groups { columns, .. } = scales { *columns } else { cols.max(1) };
        let row = |row| (0..cols).step_by(of_row).map(move |column| scales.of((rows, cols), row, column));
        let converted = match self.scaling {
            Scaling::Matrix => Scales::One(single((0..rows).flat_map(row), "a matrix")?),
            Scaling::Rows => Scales::Rows((0..rows).map(|r| single(row(r), "a row")).collect::<Result<_, _>>()?),
            Scaling::Groups(columns) => scales.grouped((rows, cols), columns)?,
        };
        let one = matches!(scales, Scales::One(_));
        for scale in values(&converted) {
            let rounded = (self.rounded)(*scale);
            let off = (scale - rounded).abs();
            if off > scale.abs() / 1024.0 {
                return Err(format!("has the scale {scale}, which is out of range for f16"));
            }
            if off > 0.0 && !one {
                return Err(format!("has the scale {scale}, which f16 does not represent"));
            }
        }
        Ok(converted)
    }

    /// The scales of the rows `first ..`, `count` of them, of scales from [`Writer::scales`] for a matrix of `rows` rows.
    pub fn of_rows<'a>(&self, scales: &'a Scales, rows: usize, first: usize, count: usize) -> &'a [f32] {
        let values = values(scales);
        match self.scaling {
            Scaling::Matrix => values,
            Scaling::Rows | Scaling::Groups(_) => {
                let of_row = values.len() / rows.max(1);
                &values[first * of_row..(first + count) * of_row]
            }
        }
    }
}

fn values(scales: &Scales) -> &[f32] {
    match scales {
        Scales::One(scale) => std::slice::from_ref(scale),
        Scales::Rows(values) | Scales::Groups { values, .. } => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::math::{f16_to_f32, f32_to_f16};

    fn writer(scaling: Scaling) -> Writer {
        let rounded = |scale| f16_to_f32(f32_to_f16(scale));
        Writer { scaling, zeros: true, rounded, rows: |_, _, _| (), tail: |_| Vec::new() }
    }

    fn groups_of(columns: usize, values: &[f32]) -> Scales {
        Scales::Groups { columns, values: values.to_vec() }
    }

    #[test]
    fn groups_are_divided_and_joined_without_loss() {
        let small = writer(Scaling::Groups(64));
        let large = writer(Scaling::Groups(128));
        let (wide, narrow) = (groups_of(128, &[1.0, 2.0]), groups_of(64, &[1.0, 1.0, 2.0, 2.0]));
        assert_eq!(small.scales(&wide, (2, 128)), Ok(narrow.clone()));
        assert_eq!(large.scales(&narrow, (2, 128)), Ok(wide));
        // A group with the scale 0 takes any.
        assert_eq!(large.scales(&groups_of(64, &[0.0, 1.0]), (1, 128)), Ok(groups_of(128, &[1.0])));
        assert!(large.scales(&groups_of(64, &[1.0, 2.0]), (1, 128)).is_err());
        assert_eq!(small.scales(&Scales::One(0.5), (1, 128)), Ok(groups_of(64, &[0.5, 0.5])));
        assert_eq!(small.scales(&Scales::Rows(vec![0.5, 2.0]), (2, 64)), Ok(groups_of(64, &[0.5, 2.0])));
    }

    #[test]
    fn one_scale_and_scales_of_rows() {
        let one = writer(Scaling::Matrix);
        assert_eq!(one.scales(&groups_of(64, &[2.0, 0.0, 2.0]), (3, 64)), Ok(Scales::One(2.0)));
        assert!(one.scales(&Scales::Rows(vec![1.0, 2.0]), (2, 64)).is_err());
        let rows = writer(Scaling::Rows);
        assert_eq!(rows.scales(&groups_of(64, &[1.0, 1.0, 2.0, 0.0]), (2, 128)), Ok(Scales::Rows(vec![1.0, 2.0])));
        assert!(rows.scales(&groups_of(64, &[1.0, 3.0]), (1, 128)).is_err());
        assert_eq!(rows.scales(&Scales::One(0.5), (3, 64)), Ok(Scales::Rows(vec![0.5; 3])));
        assert_eq!(rows.of_rows(&Scales::Rows(vec![1.0, 2.0, 3.0]), 3, 1, 2), [2.0, 3.0]);
    }

    #[test]
    fn only_one_scale_may_be_rounded() {
        let one = writer(Scaling::Matrix);
        assert_eq!(one.scales(&Scales::One(0.1), (1, 64)), Ok(Scales::One(0.1)));
        assert!(one.scales(&Scales::One(1e-9), (1, 64)).is_err(), "out of range");
        assert!(writer(Scaling::Rows).scales(&Scales::Rows(vec![0.1, 0.2]), (2, 64)).is_err(), "no halves");
    }
}
