//! Random models of any shape, for measurements: the speed of a network does not depend on its weights.

use sterna_kernels::format::{F32, Format, Problem, SYNTHETIC, Trits, splitmix64};
use sterna_kernels::{Bytes, Pool, Scales};

use super::{Checkpoint, DAMAGED, Data, Files, Tensor, TextFiles, malformed, problem_at};
use crate::Result;
use crate::arch::{Config, Kind};

impl Checkpoint {
    /// A model with random trits, unit norms and small random embeddings stored as `head`, a fixed function of `seed`.
    /// It has no tokenizer.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`](crate::Error::Malformed) if the configuration is not possible, or if rows of the hidden size
    /// cannot be written as `head`.
    pub fn synthetic(config: Config, head: &'static Format, seed: u64) -> Result<Self> {
        Self::synthetic_with(config, &SYNTHETIC, head, seed)
    }

    /// A random model like [`Checkpoint::synthetic`] whose linears have the format `trits`, one of the synthetic ones. The
    /// head may be stored as trits too.
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::synthetic`].
    pub fn synthetic_with(config: Config, trits: &'static Format, head: &'static Format, seed: u64) -> Result<Self> {
        let path = std::path::PathBuf::from("synthetic model");
        config.check().map_err(|problem| malformed(&path, "configuration", problem, DAMAGED))?;
        let mut tensors = std::collections::BTreeMap::new();
        for (i, slot) in config.architecture.tensors(&config).into_iter().enumerate() {
            let seed = splitmix64(seed.wrapping_add(i as u64));
            let (shape, data) = match slot.kind {
                Kind::Ternary { rows, cols, .. } => {
                    let trits = random(trits, rows, cols, seed);
                    let trits = trits.map_err(|problem| problem_at(&path, &slot.name, problem))?;
                    (vec![rows, cols], Data::Ternary(trits))
                }
                Kind::Vector { len } => (vec![len], Data::Dense { format: &F32, bytes: ones(len) }),
                Kind::Dense { rows, cols } => {
                    let packed_rows = || packed(&random(trits, rows, cols, seed).ok()?, head);
                    let bytes = if head.stores_trits() { packed_rows() } else { numbers(head, rows, cols, seed) };
                    let bytes = bytes.ok_or_else(|| {
                        let problem = format!("rows of {cols} values cannot be written as {}", head.name);
                        malformed(&path, "head", problem, "use f16, or a hidden size that is a multiple of 256")
                    })?;
                    (vec![rows, cols], Data::Dense { format: head, bytes })
                }
            };
            let tensor = Tensor { stored_name: slot.name.clone(), shape, data, interleaved_heads: None };
            tensors.insert(slot.name, tensor);
        }
        Ok(Self {
            path,
            format: "synthetic",
            config,
            text: TextFiles::None,
            tensors,
            adapter: None,
            remarks: Vec::new(),
            files: Files::default(),
        })
    }
}

/// A matrix of random trits in one of the synthetic formats.
fn random(format: &'static Format, rows: usize, cols: usize, seed: u64) -> Result<Trits, Problem> {
    Trits::new(format, rows, cols, seed.to_le_bytes().to_vec().into())
}

fn ones(len: usize) -> Bytes {
    1f32.to_le_bytes().repeat(len).into()
}

/// Rows of random trits with one scale, stored as `head`.
fn packed(trits: &Trits, head: &'static Format) -> Option<Bytes> {
    let (rows, cols) = (trits.rows(), trits.cols());
    let writer = head.writer()?;
    let pool = Pool::new(1);
    let decoder = trits.decoder(&pool).ok()?;
    let (mut bytes, mut row) = (Vec::with_capacity(head.bytes(rows, cols)?), vec![0; cols]);
    let scales = writer.scales(&Scales::One(1.0 / 64.0), (rows, cols)).ok()?;
    for r in 0..rows {
        decoder.row(r, &mut row).ok()?;
        (writer.rows)(&row, writer.of_rows(&scales, rows, r, 1), &mut bytes);
    }
    Some(bytes.into())
}

/// Rows of random numbers with magnitudes from 1/64 to 1/32.
fn numbers(format: &'static Format, rows: usize, cols: usize, seed: u64) -> Option<Bytes> {
    if !format.encodes() {
        return None;
    }
    let row_bytes = format.row_bytes(cols)?;
    let (mut bytes, mut values) = (vec![0; format.bytes(rows, cols)?], vec![0f32; cols]);
    for (row, out) in bytes.chunks_exact_mut(row_bytes).enumerate() {
        let seed = splitmix64(seed ^ row as u64);
        for (i, values) in values.chunks_mut(2).enumerate() {
            let random = splitmix64(seed.wrapping_add(i as u64));
            for (value, bits) in values.iter_mut().zip([random as u32, (random >> 32) as u32]) {
                // Sign and fraction are random; the exponent is that of 1/64.
                *value = f32::from_bits(bits & 0x807f_ffff | 0x3c80_0000);
            }
        }
        format.encode(&values, out);
    }
    Some(bytes.into())
}
