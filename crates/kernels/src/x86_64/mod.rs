//! x86-64 kernels.

// Registers are indexed, because the closures of iterators may be compiled without the set's features.
#![allow(clippy::needless_range_loop)]

pub(crate) mod amx;
mod amx_bf16;
pub(crate) mod avx2;
mod avx2_sparse;
mod avx2_vector;
pub(crate) mod avx512;
mod avx512_bf16;
mod avx512_sparse;
mod avx512_vector;
pub(crate) mod avxvnni;
mod grouped256;
mod grouped512;
mod prefetch;
mod singles;
mod sums;
mod tiles;

use std::sync::LazyLock;

/// Row tiles that a product with one token reads side by side.
///
/// Intel's cores read memory up to 1.5 times as fast in several streams with software prefetch. AMD's cores are fastest
/// with one stream and no software prefetch. Decode is memory-bound, so this decides the time per token. Every number
/// of streams gives the same sums.
static STREAMS: LazyLock<usize> = LazyLock::new(|| {
    let vendor = std::arch::x86_64::__cpuid(0);
    if (vendor.ebx, vendor.edx, vendor.ecx) == (word(b"Genu"), word(b"ineI"), word(b"ntel")) { 4 } else { 1 }
});

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}
