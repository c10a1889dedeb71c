//! Reads the matrices of a checkpoint some rows at a time, and passes them on in another format.

use sterna_kernels::format::{BF16, F32, Format, Scaling, Writer};
use sterna_kernels::{Cpu, Rows};

use crate::arch::Slot;
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
    /// Writes a linear. With `heads`, the halves of each head's rows alternate, as in GGUF's `llama`.
    pub fn ternary(
        &self,
        slot: &Slot,
        heads: Option<usize>,
        to: (&'static Format, Writer),
        put: &mut Put<'_>,
    ) -> Result<()> {
        let (tensor, trits) = self.checkpoint.trits(&slot.name, slot.kind.shape())?;
        let rows = TernaryRows::new(self.cpu.pool(), tensor, trits);
        let written =
            self.rows(&rows.map_err(|problem| self.checkpoint.problem(tensor, problem))?, slot, heads, to, put);
        trits.bytes().release();
        written
    }

    /// Writes an embedding or a head in a format of trits.
    pub fn packed(&self, slot: &Slot, to: (&'static Format, Writer), put: &mut Put<'_>) -> Result<()> {
        let tensor = self.checkpoint.tensor(&slot.name)?;
        let Some(trits) = packed::trits(self.cpu.pool(), tensor, slot.kind.shape()) else {
            let problem = format!("`{}` is not ternary, so it cannot be stored as {}; use f16", slot.name, to.0.name);
            return Err(Error::option("head", problem));
        };
        let rows = TernaryRows::new(self.cpu.pool(), tensor, &trits);
        self.rows(&rows.map_err(|problem| self.checkpoint.problem(tensor, problem))?, slot, None, to, put)
    }

    fn rows(
        &self,
        source: &TernaryRows<'_>,
        slot: &Slot,
        heads: Option<usize>,
        (format, writer): (&'static Format, Writer),
        put: &mut Put<'_>,
    ) -> Result<()> {
        let refuse =
            |why: String| Error::option("to", format!("{} cannot hold `{}`: it {why}", format.name, slot.name));
        let (rows, cols) = source.shape();
        let of = |stored| interleaved(stored, rows, heads);
        let scales = writer.scales(&source.scales().reordered(rows, of), (rows, cols)).map_err(refuse)?;
        let (mut trits, mut bytes) = (vec![0; CHUNK * cols], Vec::new());
        for first in (0..rows).step_by(CHUNK) {
            let count = CHUNK.min(rows - first);
            let trits = &mut trits[..count * cols];
            let read = source.some(self.cpu.pool(), |r| of(first + r), trits);
            read.map_err(|problem| self.checkpoint.problem(source.tensor(), problem))?;
            if !writer.zeros && has_zeros(trits, writer.scaling) {
                return Err(refuse("has weights of 0, and the format has only −1 and +1".into()));
            }
            bytes.clear();
            (writer.rows)(trits, writer.of_rows(&scales, rows, first, count), &mut bytes);
            put(&bytes)?;
        }
        put(&(writer.tail)(writer.of_rows(&scales, rows, 0, 1)[0]))
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
