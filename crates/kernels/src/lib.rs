//! Ternary arithmetic on CPUs: the only crate of Sterna that contains `unsafe`.
//!
//! ```text
//! rows of trits and scales ──► Matrix::pack ──► a layout ┐
//! f32 rows ──► Activations::quantize ──► int8 rows ──────┴─► ternary::matmul ──► f32 rows
//!
//! f32 rows ──► Bf16Rows, Bf16Panels ──► bf16::product ──► f32 rows                   (training)
//! ```
//!
//! The crate is built in layers; a module uses only modules below its own.
//!
//! ```text
//! matrices     ternary < matrix < layout < sparse, finish < activations, sums
//!              dense, delta, screen, low_rank, attention, bf16, gradient
//! cpu          `Cpu`: an instruction set and threads; operations on rows
//! check        one small case of every kernel, compared with portable
//! sets         the ladder of instruction sets, best first
//! x86_64, portable      one set each: its own kernels, and the definitions compiled with its features
//! set          the table of kernels of an instruction set
//! format       the table of storage formats of weights
//! op           the definition of correct: slices in, slices out
//! limits, lines, memory, pool, rows, scales     shared by all of them
//! ```
//!
//! Every set ([`sets`]) must give the same bytes as the definitions in `op`: integer dot products are exact, and every
//! float reduction has one fixed order (16 lanes, one tree, multiply then add), compiled for each set from the same
//! source. Products for training ([`mod@bf16`]) are the only exception: AMX has its own order.

#[cfg(target_endian = "big")]
compile_error!("Sterna reads little-endian files in place and does not run on big-endian machines");

pub mod activations;
pub mod attention;
pub mod bandwidth;
pub mod bf16;
mod check;
mod cpu;
mod delta;
pub mod dense;
mod finish;
pub mod format;
pub mod gradient;
pub mod grouped;
pub mod layout;
pub mod limits;
mod lines;
mod low_rank;
mod matrix;
pub mod memory;
mod op;
pub mod pool;
mod portable;
pub mod random;
pub mod rows;
mod scales;
pub mod screen;
mod set;
pub mod sets;
pub mod sparse;
mod sums;
pub mod ternary;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::Activations;
pub use bf16::{Bf16Panels, Bf16Rows};
pub use cpu::Cpu;
pub use delta::{DeltaHeads, DeltaInputs};
pub use dense::DenseMatrix;
pub use finish::Finish;
pub use format::{Format, Trits};
pub use grouped::{GroupedActivations, GroupedMatrix};
pub use low_rank::LowRank;
pub use matrix::Matrix;
pub use memory::Bytes;
pub use op::math;
pub use pool::Pool;
pub use rows::Rows;
pub use scales::Scales;
pub use screen::Screen;
pub use set::{Cost, Isa};
pub use sums::Sums;
