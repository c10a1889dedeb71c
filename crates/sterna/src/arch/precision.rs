//! How ternary layers see their input.

/// How ternary layers see their input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 with one scale a token: as BitNet models are trained.
    #[default]
    Int8,
    /// `f32`: weight-only models.
    Float32,
}

impl Precision {
    /// Name as `--activations` and reports use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Float32 => "f32",
        }
    }
}
