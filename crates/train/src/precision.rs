//! How the linear layers of a training step compute.

/// Number formats of the weights and activations of linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// int8 activations and ternary weights, as the engine computes.
    Ternary,
    /// bf16 activations and weights: for the first steps of a run, or for a model to compare with.
    Full,
    /// As [`Precision::Ternary`], plus low-rank updates, which read the activations before they are rounded to int8.
    Adapted,
}
