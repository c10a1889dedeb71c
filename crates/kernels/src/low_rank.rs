//! Low-rank updates: `B · (A · x)` is added to the product of a matrix, which stays unchanged.
//!
//! A is `(rank, cols)` and stored by rows, as every dense matrix. B is `(rows, rank)`, and its rows are too short for
//! dot products. So B is stored by columns, and 16 rows at a time add up their products in the order of the rank.

use crate::cpu::Cpu;
use crate::dense::DenseMatrix;
use crate::format::F32;
use crate::op::low_rank::BLOCK;
use crate::rows::Rows;

/// The two matrices of a low-rank update.
#[derive(Clone, Debug)]
pub struct LowRank {
    a: DenseMatrix,
    /// B by columns: column j begins at `j · rows`.
    columns: Vec<f32>,
    rows: usize,
}

impl LowRank {
    /// The update `scale · B · A` from the rows of both matrices. `None` if `a` does not consist of `rank` rows, or `b`
    /// not of rows of `rank` values.
    pub fn new(rank: usize, a: &[f32], b: &[f32], scale: f32) -> Option<Self> {
        let (cols, rows) = (a.len().checked_div(rank)?, b.len() / rank);
        if cols * rank != a.len() || rows * rank != b.len() || rows == 0 {
            return None;
        }
        let bytes: Vec<u8> = a.iter().flat_map(|a| a.to_le_bytes()).collect();
        let a = DenseMatrix::new(&F32, rank, cols, bytes.into())?;
        let columns = (0..b.len()).map(|i| scale * b[i % rows * rank + i / rows]).collect();
        Some(Self { a, columns, rows })
    }

    /// (output, input) features.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.a.cols())
    }

    /// Bytes of both matrices, which one product reads.
    pub fn bytes(&self) -> usize {
        self.a.bytes() + 4 * self.columns.len()
    }

    /// Computes `A · x` for every row of `x`.
    ///
    /// # Panics
    /// If `x` has another width than A.
    pub fn project(&self, cpu: &Cpu, x: &Rows) -> Rows {
        self.a.matmul(cpu, x)
    }

    /// Computes `out += B · (A · x)` for every row of `x`.
    ///
    /// # Panics
    /// If `x` has another width than A, or if `out` does not have one row for each row of `x` and one column for each
    /// row of B.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        /// Outputs in one piece of work for a single token.
        const PIECE: usize = 32 * BLOCK;
        assert_eq!((out.len(), out.dim()), (x.len(), self.rows), "one output for each token and row of B");
        let t = self.project(cpu, x);
        let piece = if x.len() == 1 { PIECE } else { self.rows };
        cpu.pool.pieces(out.data_mut(), piece, |i, out| {
            let (token, first) = if x.len() == 1 { (0, i * PIECE) } else { (i, 0) };
            cpu.isa.add_columns(&self.columns[first..], self.rows, t.row(token), out);
        });
    }
}
