//! Where a checkpoint's files come from: the file system or the program's memory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sterna_kernels::Bytes;

use crate::{Error, Result};

/// A file, a directory, or files in memory.
pub(crate) enum Source<'a> {
    File { path: PathBuf, bytes: Bytes },
    Directory { path: PathBuf },
    Memory { path: PathBuf, files: &'a [(&'a str, Bytes)] },
}

impl Source<'_> {
    /// Maps the file, or keeps the directory's path.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let kind = std::fs::metadata(path).map_err(io)?;
        if kind.is_dir() {
            return Ok(Self::Directory { path: path.into() });
        }
        if !kind.is_file() {
            return Err(io(std::io::Error::new(ErrorKind::InvalidInput, "is neither a file nor a directory")));
        }
        Ok(Self::File { path: path.into(), bytes: Bytes::map(path).map_err(io)? })
    }

    /// The file or directory, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Directory { path } | Self::Memory { path, .. } => path,
        }
    }

    /// The one file that this is, if it is one.
    pub fn single(&self) -> Option<&Bytes> {
        match self {
            Self::File { bytes, .. } => Some(bytes),
            Self::Memory { files: [(_, bytes)], .. } => Some(bytes),
            _ => None,
        }
    }

    /// Some GGUF file of the directory, for a message.
    pub fn gguf_inside(&self) -> Option<std::ffi::OsString> {
        let Self::Directory { path } = self else { return None };
        let mut names = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.find(|name| Path::new(name).extension().is_some_and(|extension| extension == "gguf"))
    }

    /// The file `name` of the directory, if it exists.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        match self {
            Self::File { .. } => Ok(None),
            Self::Memory { files, .. } => {
                Ok(files.iter().find(|(other, _)| *other == name).map(|(_, bytes)| bytes.clone()))
            }
            Self::Directory { path } => {
                let path = path.join(name);
                match std::fs::metadata(&path).and_then(|kind| match kind.is_file() {
                    true => Bytes::map(&path),
                    false => Err(std::io::Error::new(ErrorKind::InvalidInput, "is not a file")),
                }) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::io(path, source)),
                }
            }
        }
    }
}
