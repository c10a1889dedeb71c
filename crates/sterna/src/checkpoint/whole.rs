//! Atomic files: a file gets its name only when it is complete, so readers find the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The name of the unfinished file for `out`, in the same folder. It is removed if writing fails. A program that exits
/// in between must remove it itself.
pub fn partial(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    out.with_file_name(name)
}

/// Whether a file has the name of an unfinished file, possibly left behind by a killed program.
pub fn is_partial(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".part"));
    let process = name.and_then(|name| name.rsplit_once('.')).map(|(_, process)| process);
    process.is_some_and(|process| !process.is_empty() && process.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether this process writes the file, which has the name of an unfinished one.
pub fn is_partial_of_this_process(file: &Path) -> bool {
    is_partial(file) && file.to_string_lossy().ends_with(&format!(".{}.part", std::process::id()))
}

/// Writes `parts` one after another to the file `path`, which has that name only when it is complete.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be written. Then nothing is left behind, and an older file of that name is unchanged.
pub fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut target = WholeFile::create(path, parts.iter().map(|part| part.len() as u64).sum(), None)?;
    parts.iter().try_for_each(|part| target.write(part))?;
    target.finish()
}

/// A file being written; removed when dropped before [`WholeFile::finish`].
pub(super) struct WholeFile<'a> {
    path: PathBuf,
    /// None for devices and pipes, which are written directly.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
    written: u64,
    total: u64,
    progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

impl<'a> WholeFile<'a> {
    /// Begins a file of `total` bytes. `progress` gets the bytes written, and `total`.
    pub fn create(path: &Path, total: u64, progress: Option<&'a mut dyn FnMut(u64, u64)>) -> Result<Self> {
        let plain = fs::metadata(path).map_or(true, |kind| kind.is_file());
        let partial = plain.then(|| partial(path));
        let target = partial.as_deref().unwrap_or(path);
        let file = OpenOptions::new().write(true).create(plain).truncate(plain).open(target);
        let file = file.map_err(|source| Error::io(path, source))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path: path.into(), partial, file, written: 0, total, progress })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))?;
        self.written += bytes.len() as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.written, self.total);
        }
        Ok(())
    }

    /// Writes zeros until the length is a multiple of `N`.
    pub fn pad<const N: usize>(&mut self) -> Result<()> {
        let padding = self.written.next_multiple_of(N as u64) - self.written;
        self.write(&[0; N][..padding as usize])
    }

    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|error| self.failed(error))?;
        let Some(partial) = &self.partial else { return Ok(()) };
        self.file.get_ref().sync_all().map_err(|error| self.failed(error))?;
        fs::rename(partial, &self.path).map_err(|error| self.failed(error))?;
        self.partial = None;
        // The new name is durable once the directory is synced. Systems that cannot open directories do this by
        // themselves.
        match self.path.parent().map(File::open) {
            Some(Ok(directory)) => directory.sync_all().or(Ok(())),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        let source = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let problem = format!("the disk is full; the file needs {} MiB", self.total.div_ceil(1 << 20));
                io::Error::new(error.kind(), problem)
            }
            _ => error,
        };
        Error::io(&self.path, source)
    }
}

impl Drop for WholeFile<'_> {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = fs::remove_file(partial);
        }
    }
}
