//! Compares a written model with its source.

use sterna_kernels::Cpu;

use super::rows::SourceRows;
use crate::arch::{Kind, Slot};
use crate::checkpoint::{Checkpoint, malformed};
use crate::{Error, Result};

/// What was compared, and how much it differs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verified {
    /// Linears whose trits are all equal.
    pub linears: usize,
    /// The largest difference of a scale, in parts of it.
    pub scales: f32,
    /// The largest difference of an embedding's or head's number, in parts of the largest one of its row.
    pub numbers: f32,
}

/// Compares all trits, scales and norms, embedding and head.
///
/// # Errors
///
/// [`Error::Malformed`] if a trit or a norm differs, and the errors of reading a model.
pub fn verify(source: &Checkpoint, written: &Checkpoint, cpu: &Cpu) -> Result<Verified> {
    let mut verified = Verified::default();
    let (a, b) = (SourceRows { checkpoint: source, cpu }, SourceRows { checkpoint: written, cpu });
    for slot in source.config.architecture.tensors(&source.config) {
        match slot.kind {
            Kind::Ternary { .. } => {
                verified.scales = verified.scales.max(linear(&a, &b, &slot)?);
                verified.linears += 1;
            }
            Kind::Dense { .. } => verified.numbers = verified.numbers.max(table(&a, &b, &slot)?),
            Kind::Vector { len } => {
                if source.values(&slot.name, len)? != written.values(&slot.name, len)? {
                    return Err(differs(written, &slot, "values differ from the source's"));
                }
            }
        }
    }
    Ok(verified)
}

fn differs(written: &Checkpoint, slot: &Slot, what: &str) -> Error {
    let remedy = "convert the model again; if it happens again, please report it";
    malformed(&written.path, format!("tensor `{}`", slot.name), what, remedy)
}

/// The largest difference of a scale of a linear, whose trits are equal.
fn linear(a: &SourceRows<'_>, b: &SourceRows<'_>, slot: &Slot) -> Result<f32> {
    let missing = || differs(b.checkpoint, slot, "is not ternary");
    let (ours, theirs) = (a.trits(slot)?.ok_or_else(missing)?, b.trits(slot)?.ok_or_else(missing)?);
    let (ours, theirs) = (a.decoded(slot, &ours)?, b.decoded(slot, &theirs)?);
    let (shape, scales, others) = (ours.shape(), ours.scales(), theirs.scales());
    let mut largest = 0f32;
    a.each(&ours, |first, trits| {
        let mut other = vec![0; trits.len()];
        let read = theirs.some(b.cpu.pool(), |r| first + r, &mut other);
        read.map_err(|problem| b.checkpoint.problem(theirs.tensor(), problem))?;
        for (i, (trit, other)) in trits.iter().zip(&other).enumerate() {
            let (row, column) = (first + i / shape.1, i % shape.1);
            let (scale, written) = (scales.of(shape, row, column), others.of(shape, row, column));
            // The scale 0 makes any trit 0.
            let sign = |trit: i8, scale: f32| if scale == 0.0 { 0 } else { trit };
            if sign(*trit, scale) != sign(*other, written) {
                return Err(differs(b.checkpoint, slot, &format!("the trit in row {row}, column {column} differs")));
            }
            if *trit != 0 && scale != written {
                largest = largest.max(((scale - written) / scale).abs());
            }
        }
        Ok(())
    })?;
    Ok(largest)
}

/// The largest difference of a number of an embedding or head.
fn table(a: &SourceRows<'_>, b: &SourceRows<'_>, slot: &Slot) -> Result<f32> {
    let read = |rows: &SourceRows<'_>| rows.checkpoint.table(rows.cpu.pool(), &slot.name, slot.kind.shape());
    let (ours, theirs) = (read(a)?, read(b)?);
    let mut largest = 0f32;
    for id in 0..ours.rows() as u32 {
        let (ours, theirs) = (ours.lookup(a.cpu, &[id]), theirs.lookup(b.cpu, &[id]));
        let most = ours.data().iter().fold(0f32, |most, x| most.max(x.abs()));
        let off = ours.data().iter().zip(theirs.data()).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        if off > 0.0 {
            largest = largest.max(off / most);
        }
    }
    Ok(largest)
}
