//! The last step of a product: scales. `op/scales.rs` has the formulas.

use crate::cpu::Cpu;
use crate::op::scales;
use crate::rows::Rows;
use crate::scales::Scales;
use crate::sums::Sums;

/// Converts the sums of a matrix to its outputs.
#[derive(Debug)]
pub struct Finish {
    rows: usize,
    scales: StoredScales,
}

#[derive(Debug)]
enum StoredScales {
    One(f32),
    Rows(Vec<f32>),
}

impl Finish {
    /// The last step for a matrix of `rows` rows with these scales.
    ///
    /// # Panics
    ///
    /// If there are not as many scales as rows, or scales belong to groups of columns: those are for
    /// [`crate::GroupedMatrix`].
    pub fn new(scales: &Scales, rows: usize) -> Self {
        let scales = match scales {
            Scales::One(scale) => StoredScales::One(*scale),
            Scales::Rows(scales) => {
                assert_eq!(scales.len(), rows, "one scale for each row");
                StoredScales::Rows(scales.clone())
            }
            Scales::Groups { .. } => panic!("one scale for the matrix or for each row"),
        };
        Self { rows, scales }
    }

    /// The scale, if the matrix has a single one.
    pub(crate) fn one(&self) -> Option<f32> {
        if let StoredScales::One(scale) = self.scales { Some(scale) } else { None }
    }

    /// Bytes of the scales.
    pub(crate) fn bytes(&self) -> usize {
        match &self.scales {
            StoredScales::One(_) => size_of::<f32>(),
            StoredScales::Rows(values) => size_of_val(&values[..]),
        }
    }

    /// Computes the outputs of all tokens. `activation_scales` has one scale per token ([`Activations::scales`]).
    ///
    /// # Panics
    ///
    /// If the sums do not match the matrix's rows, or `activation_scales` has another length.
    ///
    /// [`Activations::scales`]: crate::Activations::scales
    pub fn apply(&self, cpu: &Cpu, sums: &Sums, activation_scales: &[f32]) -> Rows {
        assert_eq!(sums.rows(), self.rows, "sums of the same rows");
        assert_eq!(sums.tokens(), activation_scales.len(), "one scale for each token");
        let mut out = Rows::unwritten(sums.tokens(), self.rows);
        cpu.pool.pieces(out.data_mut(), self.rows, |token, out| {
            self.outputs(0, sums.of(token), |dot| dot as f32, activation_scales[token], out);
        });
        out
    }

    /// The outputs of one token and the rows from `first` on.
    #[inline(always)]
    pub(crate) fn outputs<T: Copy>(
        &self,
        first: usize,
        dots: &[T],
        value: impl Fn(T) -> f32,
        activation: f32,
        out: &mut [f32],
    ) {
        match &self.scales {
            StoredScales::One(scale) => scales::one(dots, value, scale / activation, out),
            StoredScales::Rows(values) => {
                let values = values[first..first + out.len()].iter().copied();
                scales::rows(dots, value, values, activation, out);
            }
        }
    }

    /// The outputs of single rows: sum `i` belongs to row `picked[i]`.
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
        }
    }
}
