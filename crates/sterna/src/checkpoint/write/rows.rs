//! Reads the matrices of a checkpoint some rows at a time, and passes them on in another format.

use sterna_kernels::format::{BF16, F32, Format, Scaling, Trits, Writer};
use sterna_kernels::{Cpu, Rows};

use crate::arch::{Kind, Slot};
use crate::checkpoint::ternary_rows::TernaryRows;
use crate::checkpoint::{Checkpoint, packed};
use crate::{Error, Result};

/// Rows converted at a time. A multiple of 128, so that I2_S blocks end with them for any row length.
const CHUNK: usize = 128;
/// The largest f16.
const MAX_F16: f32 = 65504.0;

/// Takes the next bytes of a file.
pub(super) type Put<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// The rows of a checkpoint's matrices.
pub(super) struct SourceRows<'a> {
    pub checkpoint: &'a Checkpoint,
    pub cpu: &'a Cpu,
}

impl SourceRows<'_> {
    /// The trits of a matrix; `None` for norms, and for embeddings and heads that are not ternary.
    pub fn trits(&self, slot: &Slot) -> Result<Option<Trits>> {
        Ok(match slot.kind {
            Kind::Ternary { .. } => Some(self.checkpoint.trits(&slot.name, slot.kind.shape())?.1.clone()),
            Kind::Dense { .. } => {
                packed::trits(self.cpu.pool(), self.checkpoint.tensor(&slot.name)?, slot.kind.shape())
            }
            Kind::Vector { .. } => None,
        })
    }

    /// The rows of the matrix in `slot`, whose trits are `trits`.
    pub fn decoded<'t>(&'t self, slot: &Slot, trits: &'t Trits) -> Result<TernaryRows<'t>> {
        let tensor = self.checkpoint.tensor(&slot.name)?;
        TernaryRows::new(self.cpu.pool(), tensor, trits).map_err(|problem| self.checkpoint.problem(tensor, problem))
    }

    /// Decodes all rows and passes them to `take`, some whole rows at a time with the index of the first one.
    pub fn each(&self, source: &TernaryRows<'_>, take: impl FnMut(usize, &[i8]) -> Result<()>) -> Result<()> {
        self.each_of(source, |row| row, take)
    }

    /// [`SourceRows::each`] in another order: row `of(0)` comes first.
    fn each_of(
        &self,
        source: &TernaryRows<'_>,
        of: impl Fn(usize) -> usize + Sync,
        mut take: impl FnMut(usize, &[i8]) -> Result<()>,
    ) -> Result<()> {
        let (rows, cols) = source.shape();
        let mut trits = vec![0; CHUNK * cols];
        for first in (0..rows).step_by(CHUNK) {
            let trits = &mut trits[..CHUNK.min(rows - first) * cols];
            let read = source.some(self.cpu.pool(), |r| of(first + r), trits);
            read.map_err(|problem| self.checkpoint.problem(source.tensor(), problem))?;
            take(first, trits)?;
        }
        Ok(())
    }

    /// Writes a matrix in a format of trits. With `heads`, the halves of each head's rows alternate, as in GGUF's `llama`.
    pub fn ternary(
        &self,
        slot: &Slot,
        heads: Option<usize>,
        (format, writer): (&'static Format, Writer),
        put: &mut Put<'_>,
    ) -> Result<()> {
        let refuse =
            |why: String| Error::option("to", format!("{} cannot hold `{}`: it {why}", format.name, slot.name));
        let Some(trits) = self.trits(slot)? else {
            let problem = format!("`{}` is not ternary, so it cannot be stored as {}; use f16", slot.name, format.name);
            return Err(Error::option("head", problem));
        };
        let source = self.decoded(slot, &trits)?;
        let (rows, cols) = source.shape();
        let of = |stored| interleaved(stored, rows, heads);
        let scales = writer.scales(&source.scales().reordered(rows, of), (rows, cols)).map_err(refuse)?;
        let mut bytes = Vec::new();
        self.each_of(&source, of, |first, trits| {
            if !writer.zeros && has_zeros(trits, writer.scaling) {
                return Err(refuse("has weights of 0, and the format has only −1 and +1".into()));
            }
            bytes.clear();
            (writer.rows)(trits, writer.of_rows(&scales, rows, first, trits.len() / cols), &mut bytes);
            put(&bytes)
        })?;
        trits.bytes().release();
        put(&(writer.tail)(writer.of_rows(&scales, rows, 0, 1)[0]))
    }

    /// Writes a matrix whose row r, r + rows/4, … share bytes: 2 bits each, the first one in the lowest bits.
    pub fn quarters(&self, source: &TernaryRows<'_>, put: &mut Put<'_>) -> Result<()> {
        let (rows, cols) = source.shape();
        // Four rows that share bytes come one after another.
        let of = |i: usize| i % 4 * (rows / 4) + i / 4;
        self.each_of(source, of, |_, trits| {
            let bytes = trits.chunks_exact(4 * cols).flat_map(|four| {
                (0..cols)
                    .map(|column| (0..4).fold(0, |byte, k| byte | ((four[k * cols + column] + 1) as u8) << (2 * k)))
            });
            put(&bytes.collect::<Vec<u8>>())
        })
    }

    /// Writes an embedding or a head in a number format.
    pub fn dense(&self, slot: &Slot, format: &'static Format, put: &mut Put<'_>) -> Result<()> {
        let matrix = self.checkpoint.table(self.cpu.pool(), &slot.name, slot.kind.shape())?;
        let row_bytes = format.row_bytes(matrix.cols()).unwrap_or(0);
        let mut bytes = vec![0; CHUNK * row_bytes];
        for first in (0..matrix.rows()).step_by(CHUNK) {
            let ids: Vec<u32> = (first..matrix.rows().min(first + CHUNK)).map(|id| id as u32).collect();
            let values: Rows = matrix.lookup(self.cpu, &ids);
            let fits = |x: &f32| x.abs() <= MAX_F16 || [&F32, &BF16].contains(&format);
            if let Some(other) = values.data().iter().find(|x| !fits(x)) {
                let problem = format!("the embedding holds {other}, which is out of range for {}", format.name);
                return Err(Error::option("head", problem));
            }
            let bytes = &mut bytes[..ids.len() * row_bytes];
            self.cpu.pool().pieces(bytes, row_bytes, |r, out| {
                format.encode(values.row(r), out);
            });
            put(bytes)?;
        }
        Ok(())
    }
}

/// Whether a group that is not all zero has a weight of 0.
fn has_zeros(trits: &[i8], scaling: Scaling) -> bool {
    let columns = if let Scaling::Groups(columns) = scaling { columns } else { 1 };
    trits.chunks(columns).any(|group| group.contains(&0) && group.iter().any(|trit| *trit != 0))
}

/// The row stored at index `stored` in GGUF's `llama` order, in which the halves of a head alternate.
fn interleaved(stored: usize, rows: usize, heads: Option<usize>) -> usize {
    let Some(heads) = heads else { return stored };
    let dim = rows / heads;
    let (head, within) = (stored / dim, stored % dim);
    head * dim + within % 2 * (dim / 2) + within / 2
}
