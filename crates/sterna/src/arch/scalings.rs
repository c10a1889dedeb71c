//! Factors between the parts of a network.

/// Factors by which a network scales what passes between its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalings {
    /// Factor of a token's embedding.
    pub embedding: f32,
    /// Factor of the outputs of attention and of the feed-forward block, before they are added to the hidden state.
    pub branch: f32,
    /// Divisor of the head's input.
    pub head: f32,
}

impl Scalings {
    /// The number that is not possible, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        let factors = [("embedding", self.embedding), ("layers' outputs", self.branch), ("head's input", self.head)];
        let (what, factor) = factors.into_iter().find(|(_, factor)| !(*factor > 0.0 && *factor < 1e6))?;
        Some(format!("the scaling of the {what} is {factor}, not a number between 0 and 1e6"))
    }
}
