//! Shared bytes of a file or of the program, and the memory that the machine has left.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

enum Owner {
    Mapped(memmap2::Mmap),
    Heap(Vec<u8>),
    Static(&'static [u8]),
}

/// A range of a memory-mapped file, of a heap buffer or of the program's static data. Clones share the bytes.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<Owner>,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file, read-only.
    ///
    /// This is the only promise that the crate cannot check: nobody may write to or truncate the file while the mapping
    /// is in use. Rust assumes that the bytes behind a reference are constant, and no operating system guarantees that
    /// for a mapping. A write may appear in the bytes at any time, and reading beyond the end of a truncated file ends
    /// the process (SIGBUS on Unix). *Replacing* the file by another one of the same name is safe, because the mapping
    /// keeps the old file. Callers that cannot guarantee this must read the file instead. Only tensor data is mapped.
    /// Texts, sizes and counts are copied before they are parsed, because errors in them could cause more than a wrong
    /// number.
    ///
    /// # Errors
    ///
    /// The operating system's error if it cannot map the file.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is read-only, so this process cannot write through it. The caller guarantees that no
        // other process changes the file, as described above. All later reads treat the bytes as plain integers, so a
        // broken promise gives wrong numbers or ends the process.
        let map = unsafe { memmap2::Mmap::map(file)? };
        let range = 0..map.len();
        Ok(Self { owner: Arc::new(Owner::Mapped(map)), range })
    }

    /// Whether the bytes are part of a mapped file, so that reading them may make pages resident.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.owner, Owner::Mapped(_))
    }

    /// A part of the same bytes. `None` if `range` lies outside.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start;
        Some(Self { owner: self.owner.clone(), range: start + range.start..start + range.end })
    }

    /// Tells the operating system that a mapped file's pages in this range are not needed soon. They leave resident
    /// memory, and are read from the file again at the next access.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Owner::Mapped(map) = &*self.owner {
            const PAGE: usize = 4096;
            let start = self.range.start.next_multiple_of(PAGE);
            let end = self.range.end / PAGE * PAGE;
            if start < end {
                // SAFETY: the mapping is read-only and backed by the file, so dropped pages are read again from it.
                let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
            }
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &*self.owner {
            Owner::Mapped(map) => map,
            Owner::Heap(bytes) => bytes,
            Owner::Static(bytes) => bytes,
        };
        &all[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), owner: Arc::new(Owner::Heap(bytes)) }
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self { range: 0..bytes.len(), owner: Arc::new(Owner::Static(bytes)) }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// Memory that is available without swapping, in bytes, within the cgroup's limit. `None` where it cannot be read.
pub fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = field(&read("/proc/meminfo")?, "MemAvailable:")?;
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current")).map(|(max, used)| {
        // Cached file pages count as used, but the kernel frees them on demand.
        let stat = read("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
        max.saturating_sub(used.saturating_sub(cached.unwrap_or(0)))
    });
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// Peak resident memory of this process in bytes, including file pages. `None` where it cannot be read.
pub fn peak_resident() -> Option<u64> {
    of_process("VmHWM:")
}

/// Resident memory of this process in bytes, including file pages. `None` where it cannot be read.
pub fn resident() -> Option<u64> {
    of_process("VmRSS:")
}

/// A figure in bytes that Linux keeps of this process.
pub(crate) fn of_process(name: &str) -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

/// A figure in bytes of a text that has one a line, as "MemAvailable: 1024 kB".
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
