//! x86-64 kernels.

// Registers are indexed: an iterator's closures may be compiled without the instruction set's features.
#![allow(clippy::needless_range_loop)]

pub(crate) mod avx2;
pub(crate) mod avx512;
