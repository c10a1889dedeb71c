//! The `Cpu`: an instruction set, threads, and the operations on rows of activations.

use crate::check::first_right;
use crate::pool::{Pool, default_threads};
use crate::rows::Rows;
use crate::set::{Cost, Isa};
use crate::sets::{UnknownSet, by_name, from};

/// An instruction set, and the threads to run it on.
pub struct Cpu {
    pub(crate) isa: Isa,
    pub(crate) pool: Pool,
    warning: Option<String>,
}

impl Cpu {
    /// Uses the set named by `STERNA_ISA` (the best one if unset or empty) on `threads` threads (0: as many as CPUs).
    ///
    /// The set first runs one small case of every kernel. If a result differs from `portable`'s, the next set is used,
    /// and [`Cpu::warning`] reports it.
    ///
    /// # Errors
    /// If `STERNA_ISA` names a set that this build or this CPU lacks.
    pub fn new(threads: usize) -> Result<Self, UnknownSet> {
        let name = std::env::var("STERNA_ISA").unwrap_or_default();
        by_name(&name)?;
        let (isa, warning) = first_right(from(&name));
        Ok(Self { warning, ..Self::with(isa, threads) })
    }

    /// Uses a given set on `threads` threads (0: as many as CPUs), without the self-test of [`Cpu::new`]. For tests and
    /// measurements of that set.
    pub fn with(isa: Isa, threads: usize) -> Self {
        Self { isa, pool: Pool::new(if threads == 0 { default_threads() } else { threads }), warning: None }
    }

    /// A warning for the user if sets were skipped because they compute wrongly on this CPU.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Relative costs of work with this instruction set.
    pub fn cost(&self) -> Cost {
        self.isa.cost()
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// `out = w · (x / sqrt(mean(x²) + eps))`, row by row.
    ///
    /// # Panics
    /// If `weight` does not have one value for each feature of `x`.
    pub fn rms_norm(&self, x: &Rows, weight: &[f32], eps: f32) -> Rows {
        assert_eq!(x.dim(), weight.len(), "one weight for each feature");
        let mut out = Rows::unwritten(x.len(), x.dim());
        self.pool.pieces(out.data_mut(), weight.len(), |i, out| self.isa.rms_norm(x.row(i), weight, eps, out));
        out
    }

    /// `x += y`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&self, x: &mut Rows, y: &Rows) {
        assert_eq!((x.len(), x.dim()), (y.len(), y.dim()), "same shape");
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |i, x| self.isa.add(x, y.row(i)));
    }

    /// `x + y`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn sum(&self, x: &Rows, y: &Rows) -> Rows {
        assert_eq!((x.len(), x.dim()), (y.len(), y.dim()), "same shape");
        let mut out = Rows::unwritten(x.len(), x.dim());
        self.pool.pieces(out.data_mut(), x.dim(), |i, out| {
            out.copy_from_slice(x.row(i));
            self.isa.add(out, y.row(i));
        });
        out
    }

    /// `relu(gate)² · up`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn relu2_product(&self, gate: &Rows, up: &Rows) -> Rows {
        assert_eq!((gate.len(), gate.dim()), (up.len(), up.dim()), "same shape");
        let mut out = Rows::unwritten(gate.len(), gate.dim());
        self.pool.pieces(out.data_mut(), gate.dim(), |i, out| {
            out.copy_from_slice(gate.row(i));
            self.isa.relu2_mul(out, up.row(i));
        });
        out
    }

    /// `gate = relu(gate)² · up`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn relu2_mul(&self, gate: &mut Rows, up: &Rows) {
        assert_eq!((gate.len(), gate.dim()), (up.len(), up.dim()), "same shape");
        let dim = gate.dim();
        self.pool.pieces(gate.data_mut(), dim, |i, gate| self.isa.relu2_mul(gate, up.row(i)));
    }

    /// `gate = silu(gate) · up`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn silu_mul(&self, gate: &mut Rows, up: &Rows) {
        assert_eq!((gate.len(), gate.dim()), (up.len(), up.dim()), "same shape");
        let dim = gate.dim();
        self.pool.pieces(gate.data_mut(), dim, |i, gate| self.isa.silu_mul(gate, up.row(i)));
    }

    /// `gate = gelu(gate) · up`, with the approximation by a tanh
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn gelu_mul(&self, gate: &mut Rows, up: &Rows) {
        assert_eq!((gate.len(), gate.dim()), (up.len(), up.dim()), "same shape");
        let dim = gate.dim();
        self.pool.pieces(gate.data_mut(), dim, |i, gate| self.isa.gelu_mul(gate, up.row(i)));
    }

    /// `x · factor`
    pub fn scale(&self, x: &mut Rows, factor: f32) {
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |_, row| row.iter_mut().for_each(|x| *x *= factor));
    }

    /// Rotates every head of every row (pairs i, i + dim/2). `cos` and `sin` have `head_dim / 2` values per row.
    ///
    /// # Panics
    /// If `cos` or `sin` does not have one row for each row of `x`, if their widths differ, or if the rows of `x` are
    /// not whole heads.
    pub fn rotate(&self, x: &mut Rows, cos: &Rows, sin: &Rows) {
        self.rotate_heads(x, 2 * cos.dim(), cos, sin);
    }

    /// Rotates the first values of every head of `head_dim` values, as many as `cos` and `sin` have angles for.
    ///
    /// # Panics
    /// As [`Cpu::rotate`], and if heads have fewer values than the angles are for.
    pub fn rotate_heads(&self, x: &mut Rows, head_dim: usize, cos: &Rows, sin: &Rows) {
        let (dim, rotated) = (x.dim(), 2 * cos.dim());
        assert!(cos.len() == x.len() && sin.len() == x.len() && sin.dim() == cos.dim(), "angles for every row");
        assert!(
            dim.is_multiple_of(head_dim.max(1)) && rotated <= head_dim,
            "rows are whole heads of {head_dim} values"
        );
        self.pool.pieces(x.data_mut(), dim, |i, row| {
            for head in row.chunks_exact_mut(head_dim) {
                self.isa.rotate(&mut head[..rotated], cos.row(i), sin.row(i));
            }
        });
    }
}
