//! Group-scaled matrices: weight-only models, whose weights are trits or signs times the scale of their group.
//!
//! ```text
//! rows of trits, scales ──► GroupedMatrix ──┐
//!                                           ├──► matmul, matmul_f32 ──► Rows
//! Rows ──► GroupedActivations ──────────────┘
//! ```
//!
//! `op/grouped.rs` has the formulas.

mod activations;
mod matrix;
mod product;

pub use activations::{GroupedActivations, Parts};
pub use matrix::GroupedMatrix;
pub use product::{matmul, matmul_f32};
