//! The rows of a ternary matrix in the order of the network, decoded when they are needed.

use std::sync::{Mutex, PoisonError};

use sterna_kernels::format::{Decoder, Problem, Trits};
use sterna_kernels::{Pool, Scales};

use super::Tensor;

/// A ternary matrix whose scales are known.
pub(super) struct TernaryRows<'a> {
    decoder: Decoder<'a>,
    tensor: &'a Tensor,
}

impl<'a> TernaryRows<'a> {
    /// The rows of `trits`, which are stored in `tensor`.
    ///
    /// # Errors
    ///
    /// Those of [`Trits::decoder`].
    pub fn new(pool: &Pool, tensor: &'a Tensor, trits: &'a Trits) -> Result<Self, Problem> {
        Ok(Self { decoder: trits.decoder(pool)?, tensor })
    }

    /// Where the matrix is stored.
    pub fn tensor(&self) -> &'a Tensor {
        self.tensor
    }

    /// (rows, columns)
    pub fn shape(&self) -> (usize, usize) {
        (self.decoder.trits().rows(), self.decoder.trits().cols())
    }

    /// The scales of the rows.
    pub fn scales(&self) -> Scales {
        self.decoder.scales().reordered(self.shape().0, |row| self.tensor.stored_row(row))
    }

    /// Decodes row `r` to −1, 0, +1.
    ///
    /// # Errors
    ///
    /// Those of [`Decoder::row`].
    pub fn row(&self, r: usize, out: &mut [i8]) -> Result<(), Problem> {
        self.decoder.row(self.tensor.stored_row(r), out)
    }

    /// Decodes the rows `of(0)`, `of(1)`, … to `out`, whole rows side by side.
    ///
    /// # Errors
    ///
    /// The error of one of the rows.
    pub fn some(&self, pool: &Pool, of: impl Fn(usize) -> usize + Sync, out: &mut [i8]) -> Result<(), Problem> {
        let failed = Mutex::new(None);
        pool.pieces(out, self.shape().1, |i, out| {
            if let Err(problem) = self.row(of(i), out) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
