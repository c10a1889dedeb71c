//! One file of a checkpoint: headers are copied to the heap, tensor data is mapped or read.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sterna_kernels::{Bytes, memory};

use super::{OpenOptions, malformed};
use crate::{Error, Result};

/// One opened file.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    path: PathBuf,
    content: Content,
    options: OpenOptions,
}

#[derive(Clone, Debug)]
enum Content {
    Memory(Bytes),
    /// `map` is absent if the file is not mapped.
    Disk {
        file: Arc<File>,
        opened: Stamp,
        map: Option<Bytes>,
    },
}

impl StoredFile {
    /// Opens a file on disk.
    pub fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        let map = options.mmap.then(|| Bytes::map(&file)).transpose()?;
        let content = Content::Disk { file: Arc::new(file), opened: Stamp::of(&metadata), map };
        Ok(Self { path: path.into(), content, options: *options })
    }

    /// A file in memory; `path` is for error messages.
    pub fn in_memory(path: &Path, bytes: Bytes) -> Self {
        Self { path: path.into(), content: Content::Memory(bytes), options: OpenOptions::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The options with which it was opened.
    pub fn options(&self) -> &OpenOptions {
        &self.options
    }

    /// Opens the file `name` beside this one with the same options; `None` if there is none, or if this one is in memory.
    pub fn sibling(&self, name: &str) -> Result<Option<Self>> {
        let Content::Disk { .. } = &self.content else { return Ok(None) };
        let path = self.path.with_file_name(name);
        match Self::open(&path, &self.options) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(&path, source)),
        }
    }

    /// Length in bytes when the file was opened.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Disk { opened, .. } => usize::try_from(opened.len).unwrap_or(usize::MAX),
        }
    }

    /// Copies a range, so that parsed data cannot change even if the file does.
    pub fn copy(&self, range: Range<usize>) -> Result<Vec<u8>> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.get(range).unwrap_or_default().to_vec()),
            Content::Disk { file, .. } => self.read(file, range),
        }
    }

    /// Tensor data: a range of the mapping, or read if the file is not mapped. `None` if `range` lies outside the file.
    pub fn data(&self, range: Range<usize>) -> Result<Option<Bytes>> {
        if range.start > range.end || range.end > self.len() {
            return Ok(None);
        }
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.slice(range)),
            Content::Disk { map: Some(map), .. } => Ok(map.slice(range)),
            Content::Disk { file, map: None, .. } => {
                let need = range.len() as u64;
                if let Some(available) = memory::available().filter(|available| *available < need) {
                    return Err(Error::OutOfMemory {
                        path: self.path.clone(),
                        need_mib: need >> 20,
                        available_mib: available >> 20,
                        remedy: "leave out --no-mmap, close other programs, or use a smaller model".into(),
                    });
                }
                self.read(file, range).map(|bytes| Some(bytes.into()))
            }
        }
    }

    fn read(&self, mut file: &File, range: Range<usize>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = bytes.try_reserve_exact(range.len()).map_err(io::Error::other);
        let read = read.and_then(|()| file.seek(SeekFrom::Start(range.start as u64)));
        let read = read.and_then(|_| file.take(range.len() as u64).read_to_end(&mut bytes));
        match read {
            Ok(len) if len == range.len() => Ok(bytes),
            Ok(_) => Err(changed(&self.path, "was truncated while it was read")),
            Err(source) => Err(Error::io(&self.path, source)),
        }
    }

    /// The file's identity, to detect changes later; `None` if it is in memory.
    pub fn watched(&self) -> Option<WatchedFile> {
        match &self.content {
            Content::Memory(_) => None,
            Content::Disk { file, opened, map } => Some(WatchedFile {
                path: self.path.clone(),
                opened: *opened,
                file: map.is_some().then(|| file.clone()),
            }),
        }
    }
}

/// Opens a regular file. Others, such as pipes, are refused, because reading them may block for ever.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    File::open(path)
}

fn changed(path: &Path, what: &str) -> Error {
    let remedy = "load the model again; to replace a file in use, write a new file and rename it to the old name";
    malformed(path, "the file", what, remedy)
}

/// Metadata that identifies the state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and inode, on systems that have them.
    identity: Option<(u64, u64)>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let identity = None;
        Self { len: metadata.len(), modified: metadata.modified().ok(), identity }
    }
}

/// A file of a checkpoint and its state when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    opened: Stamp,
    /// Kept open if the file is mapped.
    file: Option<Arc<File>>,
}

/// The files that a model was read from, to detect changes.
///
/// A change is detected by size, modification time and identity. A change that keeps all three is not detected (a write
/// within the clock's resolution, or a modification time that was set back).
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: Vec<WatchedFile>,
}

impl Files {
    pub(crate) fn new(files: impl IntoIterator<Item = WatchedFile>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// Checks that the paths still lead to the opened files, unchanged. Call it after a model has been read.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] names the first file that was replaced, changed or removed.
    pub fn check_read(&self) -> Result<()> {
        let same = |file: &&WatchedFile| std::fs::metadata(&file.path).is_ok_and(|now| Stamp::of(&now) == file.opened);
        match self.files.iter().find(|file| !same(file)) {
            Some(file) => Err(changed(&file.path, "was replaced or changed while it was read")),
            None => Ok(()),
        }
    }

    /// Checks that the mapped files are unchanged, even if renamed. Cheap enough for every request.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] names the first file that was written to or truncated. A file that was replaced by another
    /// one of the same name does not count, because the mapping still shows the old one.
    pub fn check_mapped(&self) -> Result<()> {
        let same = |file: &&WatchedFile| match &file.file {
            Some(handle) => handle.metadata().is_ok_and(|now| Stamp::of(&now) == file.opened),
            None => true,
        };
        match self.files.iter().find(|file| !same(file)) {
            Some(file) => Err(changed(&file.path, "was changed while the model was in use")),
            None => Ok(()),
        }
    }
}
