//! Where a checkpoint's files come from: the file system or the program's memory.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sterna_kernels::Bytes;

use super::stored::{StoredFile, open_file};
use super::{DAMAGED, malformed};
use crate::{Error, Result};

/// How the files of a checkpoint are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Tensor data is mapped: it is read when it is needed, may leave memory again, and is shared between programs.
    /// Otherwise it is read when the checkpoint is opened, and the files may change afterwards.
    pub mmap: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { mmap: true }
    }
}

impl OpenOptions {
    /// Whether tensor data is mapped.
    #[must_use]
    pub fn mmap(self, mmap: bool) -> Self {
        Self { mmap }
    }
}

/// A file, a directory, or files in memory.
pub(crate) enum Source<'a> {
    File(StoredFile),
    Directory { path: PathBuf, options: OpenOptions },
    Memory { path: PathBuf, files: &'a [(&'a str, Bytes)] },
}

impl Source<'_> {
    /// Opens the file, or keeps the directory's path.
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

    /// The file or directory, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Directory { path, .. } | Self::Memory { path, .. } => path,
        }
    }

    /// The one file that this is, if it is one.
    pub fn single(&self) -> Option<StoredFile> {
        match self {
            Self::File(file) => Some(file.clone()),
            Self::Memory { path, files: [(_, bytes)] } => Some(StoredFile::in_memory(path, bytes.clone())),
            _ => None,
        }
    }

    /// Some GGUF file of the directory, for a message.
    pub fn gguf_inside(&self) -> Option<std::ffi::OsString> {
        let Self::Directory { path, .. } = self else { return None };
        let mut names = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.find(|name| Path::new(name).extension().is_some_and(|extension| extension == "gguf"))
    }

    /// The file `name` of the directory, if it exists: one that holds tensors.
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

    /// The content of the file `name` of the directory, if it exists: JSON or text of `most` bytes at most.
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
            let problem = format!("{len} bytes long, more than the {most} that are allowed");
            return Err(malformed(&path, "the file", problem, DAMAGED));
        }
        Ok(Some(bytes))
    }
}

/// At most `most` bytes of a file, and how many it has.
fn read(path: &Path, most: usize) -> io::Result<(Vec<u8>, u64)> {
    let file = open_file(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok((bytes, len))
}

/// What was found, `None` if there is no such file.
fn existing<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
    }
}
