//! The definition of correct: every kernel in plain Rust, slices in and slices out.
//!
//! This is the lowest layer of the crate. Its functions use neither threads nor instruction sets nor matrices; their
//! argument types and the constants of the layouts are defined here, too. [`crate::set`] compiles the functions with
//! the features of each instruction set, so an `f32` sum has the same order and the same bytes everywhere:
//!
//! - A reduction keeps 16 partial sums: lane `i` takes elements `i`, `i + 16`, …, and zeros pad a short tail.
//! - It multiplies, then adds. There is no fused multiply-add.
//! - It folds the lanes 8, 4, 2, 1 ([`vector::fold`]).
//!
//! Float functions are `inline(always)`, so that they are compiled with the features of their callers. Where speed
//! matters, loops use no closures, because a closure passed to an iterator may be compiled without these features.
//! Instruction sets reimplement the integer dot products with their own instructions. These are exact, so their order
//! does not matter.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod bf16;
pub(crate) mod codes;
pub(crate) mod delta;
pub(crate) mod dense;
pub(crate) mod elementwise;
pub(crate) mod grouped;
pub(crate) mod hadamard;
pub(crate) mod loss;
pub(crate) mod low_rank;
pub mod math;
pub(crate) mod memory;
pub(crate) mod norm;
pub(crate) mod operand;
pub(crate) mod quantize;
pub(crate) mod scales;
pub(crate) mod softmax;
pub(crate) mod sparse;
pub(crate) mod ternary;
pub(crate) mod vector;
