//! Opening a model. This is not in `checkpoint/`, because it needs the table of all networks.

use std::path::Path;

use sterna_kernels::Bytes;

use super::known;
use crate::Result;
use crate::checkpoint::{Checkpoint, OpenOptions, Source};

impl Checkpoint {
    /// Opens a `.gguf` file or a Hugging Face directory: reads headers and configuration, and maps the tensors.
    ///
    /// A mapped file must not be written to while it is in use; [`Checkpoint::open_with`] can read it instead.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if a file cannot be read, [`Error::Malformed`](crate::Error::Malformed) if it is
    /// damaged, and [`Error::Unsupported`](crate::Error::Unsupported) if Sterna does not support its network or format.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a model as [`Checkpoint::open`] does, with options.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`], and [`Error::OutOfMemory`](crate::Error::OutOfMemory) if the files are read and do not
    /// fit into memory.
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::from_source(&Source::open(path, options)?, &known())
    }

    /// Opens files in memory, for example a model embedded in a program. They are named as in a Hugging Face directory,
    /// or are one GGUF file of any name.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`].
    pub fn from_files(name: &str, files: &[(&str, Bytes)]) -> Result<Self> {
        Self::from_source(&Source::Memory { path: name.into(), files }, &known())
    }
}
