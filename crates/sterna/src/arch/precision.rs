//! The number type of the input of ternary layers.

/// The number type of the input of ternary layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 as BitNet models are trained, with one scale per token; for weight-only models one scale per group of
    /// columns.
    #[default]
    Int8,
    /// 14-bit integers with one scale per group of columns, for weight-only models.
    Int14,
    /// `f32`, which defines the result of weight-only models.
    Float32,
}

impl Precision {
    /// The name for `--activations` and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int14 => "int14",
            Self::Float32 => "f32",
        }
    }
}
