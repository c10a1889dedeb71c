//! The last step of a product: scales. `op/scales.rs` has the formulas.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::op::scales;
use crate::rows::Rows;
use crate::scales::Scales;
use crate::sums::Sums;

/// Allowed columns in a group: whole lines of every layout.
const GROUPS: [usize; 4] = [32, 64, 128, 256];

/// Converts the sums of a `(rows, cols)` matrix to its outputs.
///
/// Group scales are stored group by group, with the rows of one group side by side, in the order in which a piece of
/// work reads them.
#[derive(Debug)]
pub struct Finish {
    rows: usize,
    scales: StoredScales,
}

#[derive(Debug)]
enum StoredScales {
    One(f32),
    Rows(Vec<f32>),
    /// f16 scales, used if this is exact for all. Files store f16 scales, and at 2 bits per weight a group of 32 takes
    /// 8 bytes, so f32 scales would be a third of the matrix. Scales that f16 cannot represent stay f32.
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
    /// If there are not as many scales as rows or groups, or a group does not have 32, 64, 128 or 256 columns.
    pub fn new(scales: &Scales, rows: usize, cols: usize) -> Self {
        let scales = match scales {
            Scales::One(scale) => StoredScales::One(*scale),
            Scales::Rows(scales) => {
                assert_eq!(scales.len(), rows, "one scale for each row");
                StoredScales::Rows(scales.clone())
            }
            Scales::Groups { columns, values } => {
                assert!(GROUPS.contains(columns), "groups of 32, 64, 128 or 256 columns, not {columns}");
                let groups = cols.div_ceil(*columns);
                assert_eq!(values.len(), rows * groups, "one scale for each group");
                let columns = *columns;
                let values: Vec<f32> = (0..values.len()).map(|i| values[i % rows * groups + i / rows]).collect();
                let exact = |value: &f32| f16_to_f32(f32_to_f16(*value)).to_bits() == value.to_bits();
                if values.iter().all(exact) {
                    StoredScales::Halves { columns, values: values.into_iter().map(f32_to_f16).collect() }
                } else {
                    StoredScales::Floats { columns, values }
                }
            }
        };
        Self { rows, scales }
    }

    /// The scale, if the matrix has a single one.
    pub(crate) fn one(&self) -> Option<f32> {
        if let StoredScales::One(scale) = self.scales { Some(scale) } else { None }
    }

    /// Columns in a group, if the matrix has group scales.
    pub(crate) fn columns(&self) -> Option<usize> {
        match self.scales {
            StoredScales::One(_) | StoredScales::Rows(_) => None,
            StoredScales::Halves { columns, .. } | StoredScales::Floats { columns, .. } => Some(columns),
        }
    }

    /// Bytes of the scales.
    pub(crate) fn bytes(&self) -> usize {
        match &self.scales {
            StoredScales::One(_) => size_of::<f32>(),
            StoredScales::Rows(values) | StoredScales::Floats { values, .. } => size_of_val(&values[..]),
            StoredScales::Halves { values, .. } => size_of_val(&values[..]),
        }
    }

    /// Computes the outputs of all tokens. `activation_scales` has one scale per token ([`Activations::scales`]).
    ///
    /// # Panics
    ///
    /// If the sums do not match the matrix's shape and group size, or `activation_scales` has another length.
    ///
    /// [`Activations::scales`]: crate::Activations::scales
    pub fn apply(&self, cpu: &Cpu, sums: &Sums, activation_scales: &[f32]) -> Rows {
        assert_eq!((sums.rows(), sums.columns()), (self.rows, self.columns()), "sums of the same rows and groups");
        assert_eq!(sums.tokens(), activation_scales.len(), "one scale for each token");
        if let StoredScales::Halves { columns, values } = &self.scales {
            assert_eq!(sums.groups() * self.rows, values.len(), "sums of all groups of {columns} columns");
        }
        if let StoredScales::Floats { columns, values } = &self.scales {
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

    /// Adds the sums of one group, for one token and the rows from `first` on. A matrix without groups has a single
    /// group. Groups come in order, and `last` marks the last one.
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
            StoredScales::One(scale) => return scales::one(dots, value, scale / activation, out),
            StoredScales::Rows(values) => {
                return scales::rows(dots, value, values[of].iter().copied(), activation, out);
            }
            _ if group == 0 => out.fill(0.0),
            _ => {}
        }
        match &self.scales {
            StoredScales::Halves { values, .. } => {
                scales::add_group(dots, value, values[of].iter().map(|half| f16_to_f32(*half)), out);
            }
            StoredScales::Floats { values, .. } => scales::add_group(dots, value, values[of].iter().copied(), out),
            StoredScales::One(_) | StoredScales::Rows(_) => {}
        }
        if last {
            scales::end_groups(activation, out);
        }
    }

    /// The outputs of single rows from their sums over all columns: sum `i` belongs to row `picked[i]`.
    ///
    /// # Panics
    ///
    /// If the matrix has group scales.
    pub(crate) fn picked(
        &self,
        picked: &[u32],
        dots: &[i32],
        value: impl Fn(i32) -> f32,
        activation: f32,
        out: &mut [f32],
    ) {
        match &self.scales {
            StoredScales::One(scale) => scales::one(dots, value, scale / activation, out),
            StoredScales::Rows(values) => {
                scales::rows(dots, value, picked.iter().map(|row| values[*row as usize]), activation, out);
            }
            StoredScales::Halves { .. } | StoredScales::Floats { .. } => {
                panic!("sums over all columns have no scales of groups")
            }
        }
    }
}
