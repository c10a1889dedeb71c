//! The number type of the input of ternary layers.

/// The number type of the input of ternary layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 with one scale per token, as BitNet models are trained.
    #[default]
    Int8,
    /// `f32`, for models with weight-only quantisation.
    Float32,
}

impl Precision {
    /// The name for `--activations` and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Float32 => "f32",
        }
    }
}
