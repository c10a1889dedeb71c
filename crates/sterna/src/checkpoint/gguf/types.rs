//! ggml's tensor types: the formats that Sterna reads, and the names of the others. Forks use some ids for two types;
//! the room that a tensor has in the file tells them apart.

use std::collections::{BTreeMap, BTreeSet};

use sterna_kernels::format::{self, Format};

use super::Info;

/// The meaning of a type id.
pub(super) enum Type {
    /// A format that Sterna reads.
    Known(&'static Format),
    /// An unsupported format: name and remedy.
    Refused(String, &'static str),
}

pub(super) const RECONVERT: &str = "re-convert the model to I2_S or TQ2_0";
const PLAIN: &str = "re-convert the model: linear weights as I2_S or TQ2_0, embeddings as F16, BF16, Q8_0 or Q6_K";

/// The types of ids that several formats share: all tensors of a file with such an id have one type.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(BTreeMap<u32, &'static Format>);

impl Shared {
    /// Settles the types of a file, of whose tensors `tensors` has the name, the description, the room before the next
    /// tensor, and the alignment. Small tensors may fit several formats; they have that of the majority.
    ///
    /// # Errors
    ///
    /// The problem if two tensors with one id have no common format.
    pub fn of<'a>(tensors: impl Iterator<Item = (&'a str, &'a Info, usize, usize)> + Clone) -> Result<Self, String> {
        let mut shared = BTreeMap::new();
        let ids: BTreeSet<u32> = tensors.clone().map(|(_, info, ..)| info.kind).collect();
        for id in ids.into_iter().filter(|id| format::by_ggml(*id).count() > 1) {
            let fitting = |format: &Format, (_, info, room, alignment): (&str, &Info, usize, usize)| {
                info.kind == id && fits(size(format, &info.shape), room, alignment)
            };
            let alone = |format: &'static Format| {
                let others = || format::by_ggml(id).filter(|other| *other != format);
                tensors.clone().filter(|t| fitting(format, *t) && !others().any(|other| fitting(other, *t))).count()
            };
            let all = |format: &'static Format| tensors.clone().filter(|t| fitting(format, *t)).count();
            // Of equals the first one counts.
            let best = format::by_ggml(id).rev().max_by_key(|format| (alone(format), all(format)));
            let Some(format) = best.filter(|format| all(format) > 0) else { continue };
            if let Some((name, ..)) = tensors.clone().find(|t| t.1.kind == id && !fitting(format, *t)) {
                let kind = format.name.to_uppercase();
                return Err(format!("those of the type {id} are {kind}, but `{name}` does not have its size"));
            }
            shared.insert(id, format);
        }
        Ok(Self(shared))
    }

    /// The type with id `id` of a tensor of this shape, which has `room` bytes before the next tensor.
    pub fn type_of(&self, id: u32, shape: &[usize], room: usize, alignment: usize) -> Type {
        match self.0.get(&id) {
            Some(format) => Type::Known(format),
            None => of(id, shape, room, alignment),
        }
    }
}

/// Bytes of a tensor of this shape.
fn size(format: &Format, shape: &[usize]) -> Option<usize> {
    let cols = shape.last().copied().unwrap_or(1).max(1);
    format.bytes(shape.iter().product::<usize>() / cols, cols)
}

/// Whether a tensor of `size` bytes and its padding fill the room.
fn fits(size: Option<usize>, room: usize, alignment: usize) -> bool {
    size.is_some_and(|size| size <= room && room - size < alignment)
}

fn of(id: u32, shape: &[usize], room: usize, alignment: usize) -> Type {
    let weights: usize = shape.iter().product();
    let fits = |size: Option<usize>| fits(size, room, alignment);
    let mut formats = format::by_ggml(id);
    if let Some(format) = format::by_ggml(id).find(|format| fits(size(format, shape))) {
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

#[cfg(test)]
mod tests {
    use sterna_kernels::format::{PQ2_0, Q2_0, STQ1_0};

    use super::*;

    fn info(kind: u32, shape: [usize; 2]) -> Info {
        Info { shape: shape.into(), weights: shape[0] * shape[1], kind, offset: 0 }
    }

    fn settled(tensors: &[(&str, Info, usize)]) -> Result<Option<&'static Format>, String> {
        let all = tensors.iter().map(|(name, info, room)| (*name, info, *room, 32));
        Shared::of(all).map(|shared| shared.0.get(&42).copied())
    }

    /// A tensor of 256 weights has room for three formats.
    #[test]
    fn small_tensors_have_the_type_of_the_majority() {
        let small = |room| ("small", info(42, [1, 256]), room);
        // 4 · 18, 2 · 34 and 42 bytes, with padding up to 32.
        let rows = |format: &Format| {
            let size = format.bytes(16, 256).expect("whole blocks");
            ("large", info(42, [16, 256]), size.next_multiple_of(32))
        };
        for format in [&Q2_0, &PQ2_0] {
            assert_eq!(settled(&[small(96), rows(format)]), Ok(Some(format)));
            assert_eq!(settled(&[rows(format), small(96), small(96)]), Ok(Some(format)));
        }
        assert_eq!(settled(&[small(64), rows(&STQ1_0)]), Ok(Some(&STQ1_0)));
        // Alone it has the first type that fits.
        assert_eq!(settled(&[small(96)]), Ok(Some(&Q2_0)));
        // Nothing fits: the types of other forks.
        assert_eq!(settled(&[small(320)]), Ok(None));
        let problem = settled(&[rows(&Q2_0), rows(&Q2_0), rows(&PQ2_0)]).expect_err("two types");
        assert!(problem.contains("the type 42 are Q2_0, but `large`"), "{problem}");
        assert!(settled(&[small(64), rows(&Q2_0)]).is_err(), "64 bytes are too few");
    }
}
