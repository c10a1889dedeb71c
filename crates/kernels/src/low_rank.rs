//! Low-rank updates: `B · (A · x)`, added to the product of a matrix that stays as it is.
//!
//! A is `(rank, cols)`, a row at a time as every dense matrix. B is `(rows, rank)`, too narrow for dots: it lies by
//! columns, and 16 rows at a time add up their products in the order of the rank.

use crate::cpu::Cpu;
use crate::dense::{DenseMatrix, DenseType};
use crate::op::low_rank::BLOCK;
use crate::rows::Rows;

/// The two matrices of one update.
#[derive(Clone, Debug)]
pub struct LowRank {
    a: DenseMatrix,
    /// Column j of B from `j · rows` on.
    columns: Vec<f32>,
    rows: usize,
}

impl LowRank {
    /// `scale · B · A` from the rows of both; `None` if they are not made of rows and columns of `rank`.
    pub fn new(rank: usize, a: &[f32], b: &[f32], scale: f32) -> Option<Self> {
        let (cols, rows) = (a.len().checked_div(rank)?, b.len() / rank);
        if cols * rank != a.len() || rows * rank != b.len() || rows == 0 {
            return None;
        }
        let bytes: Vec<u8> = a.iter().flat_map(|a| a.to_le_bytes()).collect();
        let a = DenseMatrix::new(DenseType::F32, rank, cols, bytes.into())?;
        let columns = (0..b.len()).map(|i| scale * b[i % rows * rank + i / rows]).collect();
        Some(Self { a, columns, rows })
    }

    /// (output, input) features.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.a.cols())
    }

    /// Bytes of both matrices: what one product reads.
    pub fn bytes(&self) -> usize {
        self.a.bytes() + 4 * self.columns.len()
    }

    /// `A · x`, row by row.
    pub fn project(&self, cpu: &Cpu, x: &Rows) -> Rows {
        self.a.matmul(cpu, x)
    }

    /// `out += B · (A · x)`, row by row.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        /// Outputs of one piece of work when there is one token.
        const PIECE: usize = 32 * BLOCK;
        assert_eq!((out.len(), out.dim()), (x.len(), self.rows), "one output a row of B and token");
        let t = self.project(cpu, x);
        let piece = if x.len() == 1 { PIECE } else { self.rows };
        cpu.pool.pieces(out.data_mut(), piece, |i, out| {
            let (token, first) = if x.len() == 1 { (0, i * PIECE) } else { (i, 0) };
            cpu.isa.add_columns(&self.columns[first..], self.rows, t.row(token), out);
        });
    }
}
