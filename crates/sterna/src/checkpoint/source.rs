//! Sources of a checkpoint's files: the file system or memory.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sterna_kernels::Bytes;

use super::gguf::I2sLayout;
use super::stored::{StoredFile, open_file};
use super::{over_limit, placeholder};
use crate::{Error, Result};

/// Options for opening a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Maps tensor data: it is read on demand, can be evicted from memory, and is shared between processes. Otherwise
    /// it is read when the checkpoint is opened, and the files may change afterwards.
    pub mmap: bool,
    /// The layout of I2_S in GGUF files. `None` reads what the weights' statistics point to, in case of doubt x86.
    pub i2s_layout: Option<I2sLayout>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { mmap: true, i2s_layout: None }
    }
}

impl OpenOptions {
    /// Sets whether tensor data is mapped.
    #[must_use]
    pub fn mmap(self, mmap: bool) -> Self {
        Self { mmap, ..self }
    }

    /// Sets the layout of I2_S.
    #[must_use]
    pub fn i2s_layout(self, i2s_layout: impl Into<Option<I2sLayout>>) -> Self {
        Self { i2s_layout: i2s_layout.into(), ..self }
    }
}

/// A file, a directory, or files in memory.
pub(crate) enum Source<'a> {
    File(StoredFile),
    Directory { path: PathBuf, options: OpenOptions },
    Memory { path: PathBuf, files: &'a [(&'a str, Bytes)] },
}

impl Source<'_> {
    /// Opens a file, or stores the path of a directory.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let kind = std::fs::metadata(path).map_err(io)?;
        if kind.is_dir() {
            return Ok(Self::Directory { path: path.into(), options: *options });
        }
        if !kind.is_file() {
            return Err(io(io::Error::new(ErrorKind::InvalidInput, "is neither a file nor a directory")));
        }
        Ok(Self::File(StoredFile::open(path, options).map_err(io)?))
    }

    /// Path of the file or directory, for error messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Directory { path, .. } | Self::Memory { path, .. } => path,
        }
    }

    /// The file, if the source is a single file.
    pub fn single(&self) -> Option<StoredFile> {
        match self {
            Self::File(file) => Some(file.clone()),
            Self::Memory { path, files: [(_, bytes)] } => Some(StoredFile::in_memory(path, bytes.clone())),
            _ => None,
        }
    }

    /// The name of a GGUF file in the directory, for an error message.
    pub fn gguf_inside(&self) -> Option<std::ffi::OsString> {
        let Self::Directory { path, .. } = self else { return None };
        let mut names = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.find(|name| Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")))
    }

    /// Opens the file `name` of the directory, which holds tensors; `None` if it does not exist.
    pub fn tensors(&self, name: &str) -> Result<Option<StoredFile>> {
        let path = self.path().join(name);
        match self {
            Self::File(_) => Ok(None),
            Self::Memory { files, .. } => {
                let found = files.iter().find(|(other, _)| *other == name);
                Ok(found.map(|(_, bytes)| StoredFile::in_memory(&path, bytes.clone())))
            }
            Self::Directory { options, .. } => existing(&path, StoredFile::open(&path, options)),
        }
    }

    /// Reads the file `name` of the directory, JSON or text of at most `most` bytes, without a byte order mark; `None` if
    /// it does not exist.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>> {
        let path = self.path().join(name);
        let (bytes, len) = match self {
            Self::File(_) => return Ok(None),
            Self::Memory { files, .. } => match files.iter().find(|(other, _)| *other == name) {
                Some((_, bytes)) => (bytes[..bytes.len().min(most)].to_vec(), bytes.len() as u64),
                None => return Ok(None),
            },
            Self::Directory { .. } => match existing(&path, read(&path, most))? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if len > most as u64 {
            return Err(over_limit(&path, format!("a file of {len} bytes"), most));
        }
        placeholder::check(&path, &bytes[..bytes.len().min(placeholder::START)])?;
        Ok(Some(without_mark(bytes)))
    }
}

/// The text without the byte order mark that editors on Windows put before it.
fn without_mark(mut text: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    text
}

/// Reads at most `most` bytes of a file. Also returns its length.
fn read(path: &Path, most: usize) -> io::Result<(Vec<u8>, u64)> {
    let file = open_file(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok((bytes, len))
}

/// Turns "not found" into `None`, and other failures into errors.
fn existing<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
    }
}
