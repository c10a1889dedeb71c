//! Ternary arithmetic on CPUs: the only crate of Sterna that contains `unsafe`.
//!
//! ```text
//! rows of trits ──► TernaryMatrix::pack ──► packed tiles ┐
//! f32 rows ──► Activations::quantize ──► int8 rows ──────┴─► ternary::matmul ──► f32 rows
//!
//! f32 rows ──► Bf16Rows, Bf16Panels ──► bf16::product ──► f32 rows                   (training)
//! ```
//!
//! [`portable`] is the definition of correct. Every other instruction set ([`set::ALL`]) must give the same
//! bytes: integer dots are exact, and every float reduction has one written order (16 lanes, one tree,
//! multiply then add), which each set compiles from the same source. Products for training ([`mod@bf16`]) are the one
//! exception: AMX has an order of its own.

#[cfg(target_endian = "big")]
compile_error!("Sterna reads little-endian files in place and does not run on big-endian machines");

pub mod activations;
pub mod attention;
pub mod bandwidth;
pub mod bf16;
mod codes;
pub mod column_matrix;
pub mod dense;
pub mod gradient;
mod lines;
mod low_rank;
pub mod math;
pub mod memory;
pub mod pool;
pub mod portable;
pub mod row_matrix;
pub mod rows;
pub mod screen;
pub mod set;
pub mod sparse;
pub mod ternary;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::Activations;
pub use bf16::{Bf16Panels, Bf16Rows};
pub use column_matrix::ColumnMatrix;
pub use dense::{DenseMatrix, DenseType};
pub use low_rank::LowRank;
pub use memory::Bytes;
pub use pool::Pool;
pub use row_matrix::RowMatrix;
pub use rows::Rows;
pub use screen::Screen;
pub use set::{Cpu, KernelSet};
pub use ternary::{Packed, TernaryMatrix};
