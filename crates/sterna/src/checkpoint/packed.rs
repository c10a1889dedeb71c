//! Embeddings and heads whose weights are trits, but are not stored in blocks: MLX's, and numbers that already are −1, 0
//! and +1 times a scale.
//!
//! ```text
//! embedding ──► blocks of trits with an f16 scale; a lookup decodes one row
//! head ───────► a packed matrix, as that of a layer
//! ```

use std::sync::Mutex;

use sterna_kernels::format::{PQ2_0, Problem, Q2_0, Trits};
use sterna_kernels::{DenseMatrix, Pool, Scales};

use super::{Data, Tensor};

/// The trits of an embedding or a head, `(rows, cols)`. `None` for numbers that are not ternary, other formats, and bytes
/// that do not fit the shape.
pub(super) fn trits(pool: &Pool, tensor: &Tensor, (rows, cols): (usize, usize)) -> Option<Trits> {
    /// Rows that tell ordinary numbers from ternary ones, before all are read.
    const FIRST: usize = 64;
    match &tensor.data {
        Data::Ternary(trits) => (trits.rows() == rows && trits.cols() == cols).then(|| trits.clone()),
        Data::Dense { format, bytes } if format.is_ternary() => {
            let of = |rows| Trits::new(format, rows, cols, bytes.slice(0..format.bytes(rows, cols)?)?).ok();
            let plausible = format.stores_trits() || of(rows.min(FIRST))?.decoder(pool).is_ok();
            of(rows).filter(|_| plausible)
        }
        Data::Dense { .. } => None,
    }
}

/// The same matrix as blocks.
///
/// # Errors
///
/// [`Problem`] if the matrix has codes that are no trits, and for groups or scales that no format of blocks has.
pub(super) fn blocks(pool: &Pool, trits: &Trits) -> Result<DenseMatrix, Problem> {
    let decoder = trits.decoder(pool)?;
    let columns = if let Scales::Groups { columns, .. } = decoder.scales() { *columns } else { trits.cols() };
    let fits = |weights: usize| columns.is_multiple_of(weights) && trits.cols().is_multiple_of(weights);
    let format = if fits(128) { &PQ2_0 } else { &Q2_0 };
    let refused = |what: &str| {
        let remedy = "use a file with groups of 64 or 128 columns whose scales are halves";
        Problem::Unsupported(format!("an embedding or a head with {what}"), remedy)
    };
    let (Some(row_bytes), Some(writer), true) =
        (format.row_bytes(trits.cols()), format.writer(), fits(format.block().map_or(1, |(weights, _)| weights)))
    else {
        return Err(refused(&format!("groups of {columns} columns")));
    };
    if let Scales::One(scale) = decoder.scales()
        && (writer.rounded)(*scale) != *scale
    {
        return Err(refused(&format!("the scale {scale}, which f16 does not represent")));
    }
    let shape = (trits.rows(), trits.cols());
    let scales = writer
        .scales(decoder.scales(), shape)
        .map_err(|problem| refused(&format!("scales that blocks do not hold: it {problem}")))?;
    let mut bytes = vec![0; row_bytes * trits.rows()];
    let failed = Mutex::new(None);
    pool.pieces(&mut bytes, row_bytes, |r, out| {
        let (mut row, mut blocks) = (vec![0; trits.cols()], Vec::with_capacity(out.len()));
        match decoder.row(r, &mut row) {
            Ok(()) => {
                (writer.rows)(&row, writer.of_rows(&scales, trits.rows(), r, 1), &mut blocks);
                out.copy_from_slice(&blocks);
            }
            Err(problem) => drop(failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(problem)),
        }
    });
    trits.bytes().release();
    match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(problem) => Err(problem),
        None => DenseMatrix::new(format, trits.rows(), trits.cols(), bytes.into()).ok_or_else(|| refused("no columns")),
    }
}
