//! The definitions of `op` as they are, for any CPU.

use crate::op::vector::Lanes;
use crate::set::{KernelSet, compiled};

compiled! { Lanes }

/// The definition of correct, for any CPU.
pub(crate) static SET: KernelSet = KernelSet { name: "portable", supported: || true, ..compiled::TABLE };
