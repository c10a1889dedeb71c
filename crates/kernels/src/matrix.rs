//! A packed ternary matrix: its shape, its scales, and a layout of its trits.

use std::sync::Mutex;

use crate::finish::Finish;
use crate::layout::{Layout, LayoutKind, Source};
use crate::pool::Pool;
use crate::scales::Scales;

/// A `(rows, cols)` matrix of −1, 0, +1 with its scales.
///
/// Matrices of different layouts and scales may share a product ([`crate::ternary::matmul`]).
pub struct Matrix {
    rows: usize,
    cols: usize,
    finish: Finish,
    layout: Box<dyn Layout>,
}

impl Matrix {
    /// Packs a matrix. `fill(r, trits)` writes row `r` as `cols` values −1, 0, +1 (of other values only the sign
    /// counts). Each row is filled once, in parallel.
    ///
    /// # Errors
    ///
    /// The error of the first piece of work that fails.
    ///
    /// # Panics
    ///
    /// If the matrix has more columns than the layout supports, or there is not one scale or one for each row.
    pub fn pack<E: Send>(
        pool: &Pool,
        layout: &LayoutKind,
        (rows, cols): (usize, usize),
        scales: &Scales,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        assert!(cols <= layout.max_cols, "a matrix packed as {} has at most {} columns", layout.name, layout.max_cols);
        let finish = Finish::new(scales, rows);
        let first = Mutex::new(None::<(usize, E)>);
        let fill = |piece: usize, row: usize, trits: &mut [i8]| {
            let Err(error) = fill(row, trits) else { return true };
            let mut first = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if first.as_ref().is_none_or(|(first, _)| piece < *first) {
                *first = Some((piece, error));
            }
            false
        };
        let packed = (layout.pack)(&Source { rows, cols, pool, fill: &fill });
        match first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(Self { rows, cols, finish, layout: packed }),
        }
    }

    /// (output features, input features)
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The scale, if the whole matrix has a single one.
    pub fn scale(&self) -> Option<f32> {
        self.finish.one()
    }

    /// The last step of a product.
    pub fn finish(&self) -> &Finish {
        &self.finish
    }

    pub(crate) fn layout(&self) -> &dyn Layout {
        &*self.layout
    }

    /// Bytes of the packed weights: trits and scales.
    pub fn bytes(&self) -> usize {
        self.layout.bytes() + self.finish.bytes()
    }

    /// Bytes of one row or column, if the layout can read single ones.
    pub fn part_bytes(&self) -> Option<usize> {
        self.layout.part_bytes()
    }

    /// Row `r` as −1, 0, +1.
    ///
    /// # Panics
    ///
    /// If there is no row `r`.
    pub fn trits(&self, r: usize) -> Vec<i8> {
        assert!(r < self.rows, "a row of the matrix");
        let mut out = vec![0; self.cols];
        self.layout.trits(r, &mut out);
        out
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {} trits", self.rows, self.cols)
    }
}
