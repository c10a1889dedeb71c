//! ggml's tensor types: what Sterna reads, and the names of the others. Forks use some ids twice; sizes tell them apart.

use sterna_kernels::DenseType;

use crate::checkpoint::encoding::{Encoding, SEVERAL_SCALES, by_ggml_type};

/// What a type id means.
pub(super) enum Type {
    /// Trits.
    Ternary(&'static Encoding),
    /// Plain numbers: full-precision weights, norms, embeddings.
    Plain(DenseType, &'static Encoding),
    /// Blocks of quantised numbers: embeddings and heads.
    Blocks(DenseType),
    /// Not read: name and remedy.
    Refused(String, &'static str),
}

const RECONVERT: &str = "re-convert the model to I2_S or TQ2_0";
const PLAIN: &str =
    "re-convert the model: linear weights as I2_S or TQ2_0, embeddings as F16, BF16, Q8_0, Q6_K, Q4_K or Q4_0";

/// The type with the id `id` of a tensor with `weights` weights that has room for `span` bytes before the next one.
pub(super) fn of(id: u32, weights: usize, span: usize, alignment: usize) -> Type {
    let fits = |group: usize, bytes: usize| {
        let size = (weights / group).saturating_mul(bytes);
        weights.is_multiple_of(group) && size <= span && span - size < alignment
    };
    let refused = |name: &str, remedy| Type::Refused(name.into(), remedy);
    match id {
        // Until 2024 this id was IQ4_NL_4_4.
        36 if fits(32, 18) => refused("IQ4_NL_4_4", PLAIN),
        0 | 1 | 30 | 34 | 35 | 36 => match (DENSE.iter().find(|(dense, _)| *dense == id), by_ggml_type(id)) {
            (Some((_, dense)), Some(encoding)) => Type::Plain(*dense, encoding),
            (None, Some(encoding)) => Type::Ternary(encoding),
            _ => refused(&format!("type {id}"), PLAIN),
        },
        39 if fits(32, 17) => refused("MXFP4", PLAIN),
        42 if fits(64, 18) => refused("Q2_0 (groups of 64)", SEVERAL_SCALES),
        42 if fits(128, 34) => refused("Q2_0 (groups of 128, Prism before v7)", SEVERAL_SCALES),
        39 | 42 => refused("TL2", RECONVERT),
        38 => refused("TL1", RECONVERT),
        37 => refused("I8_S", RECONVERT),
        41 => refused("Q1_0", SEVERAL_SCALES),
        142 => refused("PQ2_0", SEVERAL_SCALES),
        143 => refused("PTQ1_0", SEVERAL_SCALES),
        134 => refused("IQ1_BN", RECONVERT),
        135 => refused("IQ2_BN", RECONVERT),
        335 => refused("IQ2_BN_R4", RECONVERT),
        _ => match DENSE.iter().find(|(dense, _)| *dense == id) {
            Some((_, dense)) => Type::Blocks(*dense),
            None => match OTHERS.iter().find(|(other, _)| *other == id) {
                Some((_, name)) => refused(name, PLAIN),
                None => refused(&format!("the unknown tensor type {id}"), PLAIN),
            },
        },
    }
}

/// Ids of what the dense kernels read.
pub(in crate::checkpoint) const DENSE: &[(u32, DenseType)] = &[
    (0, DenseType::F32),
    (1, DenseType::F16),
    (30, DenseType::Bf16),
    (2, DenseType::Q4_0),
    (8, DenseType::Q8_0),
    (12, DenseType::Q4K),
    (14, DenseType::Q6K),
];

const OTHERS: &[(u32, &str)] = &[
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (13, "Q5_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (40, "NVFP4"),
];
