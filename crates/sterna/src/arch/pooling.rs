//! How the hidden states of a text become one vector.

use super::{Arch, Facts, Refusal};

/// How the hidden states of a text are combined into one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The hidden state of the last token.
    #[default]
    Last,
    /// The mean over all tokens, added in order.
    Mean,
}

impl Pooling {
    /// The pooling that a file states (GGUF's `pooling_type`; source: `llama.h` of llama.cpp).
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the value is not a number.
    fn stated(facts: &Facts<'_>) -> Result<Option<Self>, Refusal> {
        Ok(match facts.number("pooling_type")? {
            Some(1.0) => Some(Self::Mean),
            Some(3.0) => Some(Self::Last),
            _ => None,
        })
    }

    /// The number of `pooling_type` in GGUF files.
    pub(crate) fn gguf(self) -> u32 {
        match self {
            Self::Mean => 1,
            Self::Last => 3,
        }
    }

    /// How a network of this architecture was trained to combine hidden states, and a remark if the file states
    /// something else. BitNet's embedding models use the last token; the converter writes that it is the mean if it does
    /// not find `modules.json`.
    pub(crate) fn of(arch: &Arch, facts: &Facts<'_>) -> Result<(Option<Self>, Option<&'static str>), Refusal> {
        let stated = Self::stated(facts)?;
        if !arch.projection_norms {
            return Ok((stated, None));
        }
        let remark = "the file asks for the mean of all tokens (pooling_type = 1), but this kind of model is trained \
                      with the last token's hidden state, which is used";
        Ok((Some(Self::Last), (stated == Some(Self::Mean)).then_some(remark)))
    }
}
