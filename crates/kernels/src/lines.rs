//! Memory for packed weights and for keys and values: 64-byte lines, in huge pages where the system has them.
//!
//! Decode reads every weight once per token. With 4 KiB pages that needs a page-table entry for every 64 lines, and
//! loading takes a page fault for each page. Most matrices are smaller than a huge page, so they share blocks:
//!
//! ```text
//! block, 32 MiB or one larger matrix:   | matrix | matrix | matrix | …untouched, not resident |
//! ```
//!
//! A block is freed when its last matrix is dropped.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes in a line, which is one cache line.
pub const LINE: usize = 64;

/// One cache line of plain bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(pub [u8; LINE]);

/// Exclusively owned lines, initially zero.
pub struct Lines {
    block: Arc<Block>,
    first: usize,
    len: usize,
}

/// Memory from the operating system, all zeros, not yet resident.
struct Block {
    base: *mut Line,
    /// Keeps the memory at `base` allocated.
    _owner: Owner,
}

enum Owner {
    Mapped {
        _map: memmap2::MmapMut,
    },
    /// For targets without anonymous mappings (WebAssembly).
    Heap {
        _lines: Vec<Line>,
    },
}

// SAFETY: `base` points into memory that `_owner` keeps; each `Lines` reads and writes only its own range of it.
unsafe impl Send for Block {}
// SAFETY: a shared `Block` gives no access to its memory; each `Lines` does, to a range that no other `Lines` has.
unsafe impl Sync for Block {}

/// Lines in a shared block.
const BLOCK: usize = (32 << 20) / LINE;

/// The block that new matrices are placed in, and how many of its lines are taken.
static CURRENT: Mutex<(Weak<Block>, usize)> = Mutex::new((Weak::new(), 0));

impl Block {
    fn new(lines: usize) -> Self {
        match memmap2::MmapMut::map_anon(lines * LINE) {
            Ok(mut map) => {
                // Fails on systems without huge pages; ordinary pages work as well.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Self { base: map.as_mut_ptr().cast(), _owner: Owner::Mapped { _map: map } }
            }
            Err(_) => {
                let mut lines = vec![Line([0; LINE]); lines];
                Self { base: lines.as_mut_ptr(), _owner: Owner::Heap { _lines: lines } }
            }
        }
    }
}

impl Lines {
    /// Allocates `len` lines of zeros. Pages that are never written do not become resident.
    pub fn zeroed(len: usize) -> Self {
        if len > BLOCK / 2 {
            return Self { block: Arc::new(Block::new(len)), first: 0, len };
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, taken) = match current.0.upgrade() {
            Some(block) if current.1 + len <= BLOCK => (block, current.1),
            _ => (Arc::new(Block::new(BLOCK)), 0),
        };
        *current = (Arc::downgrade(&block), taken + len);
        Self { block, first: taken, len }
    }

    /// The lines as plain bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Line` is 64 plain bytes without padding, so the slice's bytes are all initialised.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * LINE) }
    }

    /// The lines as plain bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `Line` is 64 plain bytes without padding, so the bytes are all initialised, and any bytes make one;
        // `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * LINE) }
    }
}

/// `len` lines of `scratch` as plain bytes, with arbitrary contents.
pub(crate) fn written(scratch: &mut Vec<Line>, len: usize) -> &mut [u8] {
    if scratch.len() < len {
        scratch.resize(len, Line([0; LINE]));
    }
    // SAFETY: there are `len` lines; `Line` is 64 plain bytes without padding, and any bytes make one.
    unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), len * LINE) }
}

impl Deref for Lines {
    type Target = [Line];
    fn deref(&self) -> &[Line] {
        // SAFETY: first .. first + len lies inside the block, is initialised (zeros at least), and belongs to this
        // value alone: `zeroed` hands out every line of a block once.
        unsafe { std::slice::from_raw_parts(self.block.base.add(self.first), self.len) }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: first .. first + len lies inside the block, is initialised, and belongs to this value alone (`zeroed`
        // hands out every line of a block once); `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.block.base.add(self.first), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_in_one_block_do_not_touch_each_other() {
        let sizes = [3, BLOCK / 2, 0, 1, BLOCK / 2 - 1, BLOCK, 7];
        let mut all: Vec<Lines> = sizes.iter().map(|&len| Lines::zeroed(len)).collect();
        assert!(all.iter().flat_map(|lines| lines.iter()).all(|line| line.0 == [0; LINE]));
        for (i, lines) in all.iter_mut().enumerate() {
            lines.fill(Line([i as u8 + 1; LINE]));
        }
        for (i, lines) in all.iter().enumerate() {
            assert_eq!(lines.len(), sizes[i]);
            assert!(lines.bytes().iter().all(|&byte| byte == i as u8 + 1), "matrix {i}");
            assert!(lines.as_ptr().cast::<u8>().addr().is_multiple_of(LINE));
        }
    }

    #[test]
    fn lines_of_a_dropped_block_are_zeros_again() {
        for _ in 0..4 {
            let mut lines = Lines::zeroed(BLOCK / 3);
            assert!(lines.iter().all(|line| line.0 == [0; LINE]));
            lines.fill(Line([255; LINE]));
        }
    }
}
