//! Matrices that are not ternary (embeddings and heads), kept in their stored format and decoded row by row.

use crate::cpu::Cpu;
use crate::format::{Format, Row};
use crate::memory::Bytes;
use crate::pool::SendPtr;
use crate::rows::Rows;

/// A `(rows, cols)` matrix in its stored format.
#[derive(Clone, Debug)]
pub struct DenseMatrix {
    format: &'static Format,
    /// The index of the format's operations.
    row: Row,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl DenseMatrix {
    /// A matrix over `bytes`. `None` if their number does not match the format and shape, or the format is not
    /// row-wise.
    pub fn new(format: &'static Format, rows: usize, cols: usize, bytes: Bytes) -> Option<Self> {
        let (row, size) = (Row::of(format)?, format.bytes(rows, cols)?);
        (size == bytes.len() && cols > 0).then_some(Self { format, row, rows, cols, bytes })
    }

    /// The number format of the weights.
    pub fn format(&self) -> &'static Format {
        self.format
    }

    /// Output features (tokens of the vocabulary).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in the stored format, which one product reads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows.max(1)
    }

    fn stored(&self, first: usize, count: usize) -> &[u8] {
        &self.bytes[first * self.row_bytes()..][..count * self.row_bytes()]
    }

    /// Decodes row `r`.
    pub(crate) fn decode_row(&self, cpu: &Cpu, r: usize, out: &mut [f32]) {
        cpu.isa.dense_row(self.row, self.stored(r, 1), out);
    }

    /// Tells the operating system that these rows are not needed soon (see [`Bytes::release`]).
    pub(crate) fn release(&self, first: usize, count: usize) {
        let bytes = first * self.row_bytes()..(first + count) * self.row_bytes();
        if let Some(bytes) = self.bytes.slice(bytes) {
            bytes.release();
        }
    }

    /// The rows `ids` as `f32`: an embedding lookup.
    ///
    /// # Panics
    /// If an id is not a row of the matrix.
    pub fn lookup(&self, cpu: &Cpu, ids: &[u32]) -> Rows {
        let mut out = Rows::unwritten(ids.len(), self.cols);
        cpu.pool.pieces(out.data_mut(), self.cols, |i, out| {
            cpu.isa.dense_row(self.row, self.stored(ids[i] as usize, 1), out);
        });
        out
    }

    /// `y = x · Wᵀ` in `f32`: `(token, rows)`.
    ///
    /// # Panics
    /// If `x` has another width than the matrix.
    pub fn matmul(&self, cpu: &Cpu, x: &Rows) -> Rows {
        /// Rows in one chunk of work.
        const CHUNK: usize = 64;
        assert_eq!(x.dim(), self.cols, "matrix and activations have the same input width");
        let (m, rows) = (x.len(), self.rows);
        let mut out = Rows::unwritten(m, rows);
        let base = SendPtr(out.data_mut().as_mut_ptr());
        cpu.pool.run(rows.div_ceil(CHUNK), |chunk| {
            let first = chunk * CHUNK;
            let count = CHUNK.min(rows - first);
            let mut acc = vec![0.0; m * count];
            cpu.isa.dense_dot(self.row, self.stored(first, count), self.cols, x.data(), &mut acc);
            for (t, acc) in acc.chunks_exact(count).enumerate() {
                // SAFETY: row t < m, and columns first .. first + count ≤ rows; no two chunks share a column.
                unsafe { std::slice::from_raw_parts_mut(base.get().add(t * rows + first), count) }.copy_from_slice(acc);
            }
        });
        out
    }

    /// The products of one token with the rows `ids`: the same bytes as from [`DenseMatrix::matmul`].
    ///
    /// # Panics
    /// If `x` has another width than the matrix, or an id is not a row.
    pub fn products(&self, cpu: &Cpu, x: &[f32], ids: &[u32]) -> Vec<f32> {
        /// Rows in one chunk of work.
        const CHUNK: usize = 16;
        assert_eq!(x.len(), self.cols, "matrix and activations have the same input width");
        let mut out = vec![0.0; ids.len()];
        cpu.pool.pieces(&mut out, CHUNK, |chunk, out| {
            // Rows are gathered, because a kernel multiplies several adjacent rows faster than single ones.
            let mut rows = Vec::with_capacity(out.len() * self.row_bytes());
            for &id in &ids[chunk * CHUNK..][..out.len()] {
                rows.extend_from_slice(self.stored(id as usize, 1));
            }
            cpu.isa.dense_dot(self.row, &rows, self.cols, x, out);
        });
        out
    }
}
