//! Scales as the last step of a product reads them. `op/scales.rs` has the formulas.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::op::scales;
use crate::rows::Rows;
use crate::scales::Scales;
use crate::sums::Sums;

/// Columns that a group may have: whole lines of every layout.
const GROUPS: [usize; 4] = [32, 64, 128, 256];

/// Turns the sums of a `(rows, cols)` matrix into its outputs.
///
/// Scales of groups lie group after group, the rows of one group side by side, as a piece of work reads them.
#[derive(Debug)]
pub struct Finish {
    rows: usize,
    scales: Kept,
}

#[derive(Debug)]
enum Kept {
    One(f32),
    Rows(Vec<f32>),
    /// Halves, if each of them is exact. Files store halves, and at 2 bits a weight a group of 32 takes 8 bytes, so
    /// that a wider scale would be a sixth of the matrix. Scales that do not fit halves stay as they are.
    Halves {
        columns: usize,
        values: Vec<u16>,
    },
    Floats {
        columns: usize,
        values: Vec<f32>,
    },
}

impl Finish {
    /// The last step for a `(rows, cols)` matrix with these scales.
    ///
    /// # Panics
    ///
    /// If there are not as many scales as rows or groups, or a group has another size than 32, 64, 128 or 256 columns.
    pub fn new(scales: &Scales, rows: usize, cols: usize) -> Self {
        let scales = match scales {
            Scales::One(scale) => Kept::One(*scale),
            Scales::Rows(scales) => {
                assert_eq!(scales.len(), rows, "one scale a row");
                Kept::Rows(scales.clone())
            }
            Scales::Groups { columns, values } => {
                assert!(GROUPS.contains(columns), "groups of 32, 64, 128 or 256 columns, not {columns}");
                let groups = cols.div_ceil(*columns);
                assert_eq!(values.len(), rows * groups, "one scale a group");
                let columns = *columns;
                let values: Vec<f32> = (0..values.len()).map(|i| values[i % rows * groups + i / rows]).collect();
                let exact = |value: &f32| f16_to_f32(f32_to_f16(*value)).to_bits() == value.to_bits();
                if values.iter().all(exact) {
                    Kept::Halves { columns, values: values.into_iter().map(f32_to_f16).collect() }
                } else {
                    Kept::Floats { columns, values }
                }
            }
        };
        Self { rows, scales }
    }

    /// The scale, if the matrix has one only.
    pub(crate) fn one(&self) -> Option<f32> {
        if let Kept::One(scale) = self.scales { Some(scale) } else { None }
    }

    /// Columns of a group, if the matrix has scales of groups.
    pub(crate) fn columns(&self) -> Option<usize> {
        match self.scales {
            Kept::One(_) | Kept::Rows(_) => None,
            Kept::Halves { columns, .. } | Kept::Floats { columns, .. } => Some(columns),
        }
    }

    /// Bytes of the scales.
    pub(crate) fn bytes(&self) -> usize {
        match &self.scales {
            Kept::One(_) => size_of::<f32>(),
            Kept::Rows(values) | Kept::Floats { values, .. } => size_of_val(&values[..]),
            Kept::Halves { values, .. } => size_of_val(&values[..]),
        }
    }

    /// The outputs of all tokens; `activation_scales` has one scale a token ([`Activations::scales`]).
    ///
    /// # Panics
    ///
    /// If the sums are not those of a matrix of this shape and group size, or `activation_scales` has another length.
    ///
    /// [`Activations::scales`]: crate::Activations::scales
    pub fn apply(&self, cpu: &Cpu, sums: &Sums, activation_scales: &[f32]) -> Rows {
        assert_eq!((sums.rows(), sums.columns()), (self.rows, self.columns()), "sums of the same rows and groups");
        assert_eq!(sums.tokens(), activation_scales.len(), "one scale a token");
        if let Kept::Halves { columns, values } = &self.scales {
            assert_eq!(sums.groups() * self.rows, values.len(), "sums of all groups of {columns} columns");
        }
        if let Kept::Floats { columns, values } = &self.scales {
            assert_eq!(sums.groups() * self.rows, values.len(), "sums of all groups of {columns} columns");
        }
        let mut out = Rows::unwritten(sums.tokens(), self.rows);
        cpu.pool.pieces(out.data_mut(), self.rows, |token, out| {
            for group in 0..sums.groups() {
                let last = group + 1 == sums.groups();
                self.group(group, last, 0, sums.of(token, group), |dot| dot as f32, activation_scales[token], out);
            }
        });
        out
    }

    /// Takes the sums of one group of one token and of the rows from `first` on; a matrix without groups has one.
    /// Groups come in order, and `last` says whether it is the last one.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the place of the sums, and what the formula needs")]
    pub(crate) fn group<T: Copy>(
        &self,
        group: usize,
        last: bool,
        first: usize,
        dots: &[T],
        value: impl Fn(T) -> f32,
        activation: f32,
        out: &mut [f32],
    ) {
        let at = group * self.rows + first;
        let of: Range<usize> = at..at + out.len();
        match &self.scales {
            Kept::One(scale) => return scales::one(dots, value, scale / activation, out),
            Kept::Rows(values) => return scales::rows(dots, value, values[of].iter().copied(), activation, out),
            _ if group == 0 => out.fill(0.0),
            _ => {}
        }
        match &self.scales {
            Kept::Halves { values, .. } => {
                scales::add_group(dots, value, values[of].iter().map(|half| f16_to_f32(*half)), out);
            }
            Kept::Floats { values, .. } => scales::add_group(dots, value, values[of].iter().copied(), out),
            Kept::One(_) | Kept::Rows(_) => {}
        }
        if last {
            scales::end_groups(activation, out);
        }
    }

    /// The outputs of single rows from their sums over all columns: sum `i` is that of row `picked[i]`.
    ///
    /// # Panics
    ///
    /// If the matrix has scales of groups.
    pub(crate) fn picked(
        &self,
        picked: &[u32],
        dots: &[i32],
        value: impl Fn(i32) -> f32,
        activation: f32,
        out: &mut [f32],
    ) {
        match &self.scales {
            Kept::One(scale) => scales::one(dots, value, scale / activation, out),
            Kept::Rows(values) => {
                scales::rows(dots, value, picked.iter().map(|row| values[*row as usize]), activation, out);
            }
            Kept::Halves { .. } | Kept::Floats { .. } => panic!("sums over all columns have no scales of groups"),
        }
    }
}
