//! Prefetch, which is part of every x86-64.

use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// Asks for the cache line `ahead` bytes behind the start of `bytes`, which may lie beyond their end.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8], ahead: usize) {
    // SAFETY: the instruction is part of SSE, which every x86-64 has; it reads nothing, so it may point anywhere.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
}

/// As [`prefetch`], as far as the second-level cache: more such requests can be under way at a time, for data that lies
/// scattered.
#[inline(always)]
pub(super) fn prefetch_scattered(bytes: &[u8], ahead: usize) {
    // SAFETY: the instruction is part of SSE, which every x86-64 has; it reads nothing, so it may point anywhere.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(bytes.as_ptr().wrapping_add(ahead).cast()) }
}
