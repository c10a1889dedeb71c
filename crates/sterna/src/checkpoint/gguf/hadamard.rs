//! The keys `prism.hadamard.*` of GGUF files.

use super::Header;
use crate::Result;
use crate::arch::{HADAMARD_PREFIX, HadamardKeys};

/// Most signs, and most names, in a list.
const MOST: usize = 1 << 20;

/// The keys; `None` if the file has none.
///
/// # Errors
///
/// [`Error::Malformed`](crate::Error::Malformed) if a value has another type, or a list is too long.
pub(super) fn read(header: &Header) -> Result<Option<HadamardKeys>> {
    /// Types of lists: u32 and i32.
    const WORDS: [u32; 2] = [4, 5];
    if !header.keys.keys().any(|key| key.starts_with(HADAMARD_PREFIX)) {
        return Ok(None);
    }
    let key = |name: &str| format!("{HADAMARD_PREFIX}{name}");
    let text = |name: &str| Ok::<_, crate::Error>(header.text(&key(name))?.map(str::to_owned));
    let numbers = |name: &str| {
        let words = header.words(&key(name), &WORDS, MOST)?.unwrap_or_default();
        Ok::<_, crate::Error>(words.into_iter().map(|word| i64::from(word.cast_signed())).collect())
    };
    let texts = |name: &str| Ok::<_, crate::Error>(header.texts(&key(name), MOST)?.unwrap_or_default());
    let flag = |name: &str| Ok::<_, crate::Error>(header.flag(&key(name))?.unwrap_or(false));
    Ok(Some(HadamardKeys {
        version: header.uint(&key("version"))?,
        block_size: header.uint(&key("block_size"))?,
        transform: text("transform")?,
        axis: text("axis")?,
        sign_mode: text("sign_mode")?,
        sign_widths: numbers("sign_widths")?,
        sign_values: numbers("sign_values")?,
        weight_names: texts("weight_names")?,
        inverse_weight_names: texts("inverse_weight_names")?,
        grouped_values: flag("gdn_v_grouped")?,
        tied_output: flag("tied_output")?,
    }))
}
