//! The portable set: the definitions of `op`, compiled for any CPU.

use crate::op::vector::Lanes;
use crate::set::{KernelSet, compiled};

compiled! { Lanes }

/// The set that defines correct results, for any CPU.
pub(crate) static SET: KernelSet = KernelSet { name: "portable", supported: || true, ..compiled::TABLE };
