//! Prefetch instructions, which every x86-64 CPU has.

use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// Prefetches the cache line `ahead` bytes after the start of `bytes`; it may lie beyond their end.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8], ahead: usize) {
    // SAFETY: the instruction is part of SSE, which every x86-64 has; it reads nothing, so it may point anywhere.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
}

/// As [`prefetch`], but only into the second-level cache: more such requests can be in flight, which suits scattered
/// data.
#[inline(always)]
pub(super) fn prefetch_scattered(bytes: &[u8], ahead: usize) {
    // SAFETY: the instruction is part of SSE, which every x86-64 has; it reads nothing, so it may point anywhere.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(bytes.as_ptr().wrapping_add(ahead).cast()) }
}
