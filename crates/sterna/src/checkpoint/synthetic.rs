//! Random models of any shape, for measurements: the speed of a network does not depend on its weights.

use sterna_kernels::layout::LayoutKind;
use sterna_kernels::math::{f16_to_f32, f32_to_f16};
use sterna_kernels::{Bytes, Cpu, DenseType, Matrix, Scales};

use super::{Checkpoint, DAMAGED, Data, Tensor, TextFiles, malformed};
use crate::Result;
use crate::arch::{Config, Kind};

impl Checkpoint {
    /// A model with random trits, unit norms and small random embeddings stored as `head`, a fixed function of `seed`.
    /// It has no tokenizer.
    pub fn synthetic(config: Config, head: DenseType, seed: u64) -> Result<Self> {
        let path = std::path::PathBuf::from("synthetic model");
        config.check().map_err(|problem| malformed(&path, "configuration", problem, DAMAGED))?;
        let mut tensors = std::collections::BTreeMap::new();
        for (i, slot) in config.architecture.tensors(&config).into_iter().enumerate() {
            let seed = mix(seed.wrapping_add(i as u64));
            let (shape, data) = match slot.kind {
                Kind::Ternary { rows, cols, .. } => (vec![rows, cols], Data::Synthetic { seed }),
                Kind::Vector { len } => (vec![len], Data::Dense { kind: DenseType::F32, bytes: ones(len) }),
                Kind::Dense { rows, cols } => {
                    let bytes = head.row_bytes(cols).map(|row| numbers(head, rows * row, seed)).ok_or_else(|| {
                        let problem = format!("rows of {cols} are not whole blocks of {}", head.name());
                        malformed(&path, "head", problem, "use f16, or a hidden size that is a multiple of 256")
                    })?;
                    (vec![rows, cols], Data::Dense { kind: head, bytes })
                }
            };
            let tensor = Tensor { stored_name: slot.name.clone(), shape, data, interleaved_heads: None };
            tensors.insert(slot.name, tensor);
        }
        Ok(Self { path, format: "synthetic", config, text: TextFiles::None, tensors, adapter: None })
    }
}

/// The matrix of `Data::Synthetic`. Its scale keeps the size of its input: 1/√cols, rounded to a half so that every
/// format can store it.
pub(super) fn pack(cpu: &Cpu, seed: u64, (rows, cols): (usize, usize), layout: &LayoutKind) -> Matrix {
    let scale = f16_to_f32(f32_to_f16((cols as f32).sqrt().recip()));
    let packed = Matrix::pack(cpu.pool(), layout, (rows, cols), &Scales::One(scale), |row, out| {
        fill(mix(seed ^ row as u64), out);
        Ok::<_, std::convert::Infallible>(())
    });
    match packed {
        Ok(matrix) => matrix,
        Err(never) => match never {},
    }
}

/// Trits of one row: 108 of 256 bytes are 0, the others ±1 by their lowest bit.
fn fill(seed: u64, out: &mut [i8]) {
    for (i, out) in out.chunks_mut(8).enumerate() {
        for (out, byte) in out.iter_mut().zip(mix(seed.wrapping_add(i as u64)).to_le_bytes()) {
            *out = i8::from(byte >= 108) * (1 - 2 * (byte & 1) as i8);
        }
    }
}

/// SplitMix64's step and finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn ones(len: usize) -> Bytes {
    1f32.to_le_bytes().repeat(len).into()
}

/// `len` bytes of small numbers: random bits with the exponent of each plain number, or the scale of each block, fixed.
fn numbers(kind: DenseType, len: usize, seed: u64) -> Bytes {
    // (bits kept, bits set) in every 8 bytes: plain numbers become ±(1 … 2)/64.
    let (keep, set) = match kind {
        DenseType::F32 => (0x807f_ffff_807f_ffff, 0x3c80_0000_3c80_0000),
        DenseType::F16 => (0x83ff_83ff_83ff_83ff, 0x2400_2400_2400_2400),
        DenseType::Bf16 => (0x807f_807f_807f_807f, 0x3c80_3c80_3c80_3c80),
        _ => (u64::MAX, 0),
    };
    let mut bytes = vec![0; len];
    for (i, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = (mix(seed.wrapping_add(i as u64)) & keep | set).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    let (_, block) = kind.block();
    for block in bytes.chunks_exact_mut(block) {
        let mut half = |at: usize, value: f32| block[at..at + 2].copy_from_slice(&f32_to_f16(value).to_le_bytes());
        match kind {
            DenseType::F32 | DenseType::F16 | DenseType::Bf16 => break,
            DenseType::Q8_0 => half(0, 1.0 / 4096.0),
            DenseType::Q4_0 => half(0, 1.0 / 256.0),
            DenseType::Q4K => {
                half(0, 1.0 / 8192.0);
                half(2, 1.0 / 1024.0);
            }
            DenseType::Q6K => half(208, 1.0 / 65536.0),
        }
    }
    bytes.into()
}
