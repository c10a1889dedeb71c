//! Models that are split over several files, `NAME-00001-of-00003.gguf` and so on.
//!
//! The first part has all keys of the model. Each part has `split.no` (from 0), `split.count` and `split.tensors.count`,
//! and the data of its own tensors. Source: `llama-model-loader.cpp` of llama.cpp.

use std::collections::BTreeSet;

use super::Header;
use crate::checkpoint::{DAMAGED, StoredFile, malformed, over_limit};
use crate::{Error, Result};

/// Most parts of a model.
const MAX_PARTS: u64 = 1000;
const TOGETHER: &str = "keep all parts in one folder, with the names they were published with";

/// The headers of the parts of the model that `file` belongs to, in order; that of the file alone if it is whole.
pub(super) fn parts(file: &StoredFile) -> Result<Vec<Header>> {
    let header = Header::read(file)?;
    let Some(count) = header.uint("split.count")?.filter(|count| *count > 1) else { return Ok(vec![header]) };
    let path = file.path();
    if count > MAX_PARTS {
        return Err(over_limit(path, format!("a model in {count} parts"), MAX_PARTS as usize));
    }
    let end = |number: u64| format!("-{number:05}-of-{count:05}.gguf");
    let own = header.uint("split.no")?.unwrap_or(0).saturating_add(1);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = name.strip_suffix(&end(own)) else {
        let problem = format!("it is part {own} of {count}, but its name does not end with {}", end(own));
        return Err(malformed(path, "the file's name", problem, TOGETHER));
    };
    let mut parts = Vec::new();
    for number in 1..=count {
        let name = format!("{stem}{}", end(number));
        let part = if number == own { Some(file.clone()) } else { file.sibling(&name)? };
        let missing =
            || malformed(path, "the model", format!("part {number} of {count}, {name}, is missing"), TOGETHER);
        let part = Header::read(&part.ok_or_else(missing)?)?;
        for (key, expected) in [("split.no", number - 1), ("split.count", count)] {
            if part.uint(key)? != Some(expected) {
                return Err(part.bad(key, format!("is not {expected}, as the names of the parts say")));
            }
        }
        parts.push(part);
    }
    check_tensors(&parts)?;
    Ok(parts)
}

/// The name of a model without the number of a part, and that number, of the name of a file without its extension:
/// `NAME-00002-of-00003`. `None` if the file is no part.
pub fn part_of(stem: &str) -> Option<(&str, u64)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let five = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
    let (number, count) = (five(number)?, five(count)?);
    (!name.is_empty() && (1..=count).contains(&number)).then_some((name, number))
}

/// The name of a model in the name of a file without its extension: without the number of a part.
pub fn model_name(stem: &str) -> &str {
    part_of(stem).map_or(stem, |(name, _)| name)
}

/// Checks that no tensor is in two parts, and that none is missing.
fn check_tensors(parts: &[Header]) -> Result<()> {
    let mut names = BTreeSet::new();
    for part in parts {
        if let Some(name) = part.tensors.keys().find(|name| !names.insert(name.as_str())) {
            return Err(malformed(part.path(), format!("tensor `{name}`"), "an earlier part has it too", DAMAGED));
        }
    }
    let wrong = |expected| -> Error {
        parts[0].bad("split.tensors.count", format!("is {expected}, but the parts have {} tensors", names.len()))
    };
    match parts[0].uint("split.tensors.count")? {
        Some(expected) if expected != names.len() as u64 => Err(wrong(expected)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_numbers_of_five_digits() {
        assert_eq!(part_of("a-b-00002-of-00003"), Some(("a-b", 2)));
        for whole in
            ["model", "a-2-of-3", "a-00000-of-00003", "a-00004-of-00003", "-00001-of-00003", "a-0000x-of-00003"]
        {
            assert_eq!(part_of(whole), None, "{whole}");
        }
    }
}
