//! ggml's tensor types: the formats that Sterna reads, and the names of the others. Forks use some ids for two types;
//! the room that a tensor has in the file tells them apart.

use sterna_kernels::format::{self, Format};

/// The meaning of a type id.
pub(super) enum Type {
    /// A format that Sterna reads.
    Known(&'static Format),
    /// An unsupported format: name and remedy.
    Refused(String, &'static str),
}

pub(super) const RECONVERT: &str = "re-convert the model to I2_S or TQ2_0";
const PLAIN: &str = "re-convert the model: linear weights as I2_S or TQ2_0, embeddings as F16, BF16, Q8_0 or Q6_K";

/// The type with id `id` of a tensor of this shape, which has `room` bytes before the next tensor.
pub(super) fn of(id: u32, shape: &[usize], room: usize, alignment: usize) -> Type {
    let weights: usize = shape.iter().product();
    let cols = shape.last().copied().unwrap_or(1).max(1);
    let fits = |size: Option<usize>| size.is_some_and(|size| size <= room && room - size < alignment);
    let mut formats = format::by_ggml(id);
    if let Some(format) = format::by_ggml(id).find(|format| fits(format.bytes(weights / cols, cols))) {
        return Type::Known(format);
    }
    let blocks = |weights_of_block: usize, bytes: usize| {
        fits(weights.is_multiple_of(weights_of_block).then(|| (weights / weights_of_block).saturating_mul(bytes)))
    };
    let refused = |name: &str, remedy| Type::Refused(name.into(), remedy);
    match id {
        // Until 2024 this id meant IQ4_NL_4_4.
        36 if blocks(32, 18) => refused("IQ4_NL_4_4", PLAIN),
        39 if blocks(32, 17) => refused("MXFP4", PLAIN),
        39 | 42 => refused("TL2", RECONVERT),
        38 => refused("TL1", RECONVERT),
        37 => refused("I8_S", RECONVERT),
        142 => refused("IQ2_TN, or another type with the id of PQ2_0", RECONVERT),
        143 => refused("IQ1_TN or G8_0, types with the id of PTQ1_0", RECONVERT),
        // A known format whose size does not fit; a later check reports the size.
        _ => match (formats.next(), OTHERS.iter().find(|(other, _)| *other == id)) {
            (Some(format), _) => Type::Known(format),
            (None, Some((_, name))) => refused(name, PLAIN),
            (None, None) => refused(&format!("the unknown tensor type {id}"), PLAIN),
        },
    }
}

/// Types of llama.cpp that are not supported.
const OTHERS: &[(u32, &str)] = &[
    (3, "Q4_1"),
    (7, "Q5_1"),
    (9, "Q8_1"),
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
