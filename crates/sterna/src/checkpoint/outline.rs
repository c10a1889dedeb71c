//! What a file says about its model, whether or not Sterna runs it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Source, gguf, huggingface};
use crate::Result;
use crate::checkpoint::OpenOptions;

/// What a file says about its model, whether or not Sterna runs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    /// The format and its version, as [`Checkpoint::format`](super::Checkpoint::format) names it.
    pub format: &'static str,
    /// The architecture, by the file's own name.
    pub architecture: Option<String>,
    /// The sizes that the file states: names ("layers", "hidden", …) and numbers.
    pub sizes: Vec<(&'static str, u64)>,
    /// Types of tensors by name: numbers of tensors and of stored values.
    pub types: BTreeMap<String, (usize, u64)>,
}

impl Outline {
    /// Reads the headers of the file or directory `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) and [`Error::Malformed`](crate::Error::Malformed) if the headers cannot be read, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) for other kinds of files.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::open(path, &OpenOptions::default())?;
        match source.single() {
            Some(file) => gguf::outline(&file),
            None => huggingface::outline(&source),
        }
    }

    /// Counts a tensor of `values` values.
    pub(super) fn count(&mut self, kind: String, values: u64) {
        let (tensors, all) = self.types.entry(kind).or_default();
        *tensors += 1;
        *all = all.saturating_add(values);
    }
}
