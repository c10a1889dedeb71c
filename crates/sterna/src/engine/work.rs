//! Kinds of work: generate, embed and score.

use super::{Pooling, Request};

/// Work for a [`Runner`](super::Runner) or an [`Engine`](super::Engine). All kinds share one plan and one budget.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Work {
    /// Generates tokens after a prompt: an [`Event::Token`](super::Event::Token) for each.
    Generate(Request),
    /// Computes the embedding of a text: [`Event::Embedding`](super::Event::Embedding).
    Embed(Embed),
    /// Computes hidden states of a text: an [`Event::Hidden`](super::Event::Hidden) for each part.
    Score(Score),
}

impl From<Request> for Work {
    fn from(request: Request) -> Self {
        Self::Generate(request)
    }
}

impl From<Embed> for Work {
    fn from(embed: Embed) -> Self {
        Self::Embed(embed)
    }
}

impl From<Score> for Work {
    fn from(score: Score) -> Self {
        Self::Score(score)
    }
}

/// A request for the embedding of a text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Embed {
    /// Token ids; at least one.
    pub tokens: Vec<u32>,
    /// How the hidden states are combined; `None`: as the model was trained.
    pub pooling: Option<Pooling>,
    /// Whether the vector is divided by its Euclidean length.
    pub normalized: bool,
    /// Keeps this many numbers from the front, before the vector is divided by its length; `None` keeps all.
    pub dimensions: Option<usize>,
}

impl Embed {
    /// An embedding as the model was trained to combine hidden states, not normalized.
    pub fn new(tokens: impl Into<Vec<u32>>) -> Self {
        Self { tokens: tokens.into(), pooling: None, normalized: false, dimensions: None }
    }

    /// Sets how the hidden states are combined.
    pub fn pooling(mut self, pooling: impl Into<Option<Pooling>>) -> Self {
        self.pooling = pooling.into();
        self
    }

    /// Divides the vector by its Euclidean length.
    pub fn normalized(mut self) -> Self {
        self.normalized = true;
        self
    }

    /// Keeps this many numbers from the front, before the vector is divided by its length.
    pub fn dimensions(mut self, dimensions: impl Into<Option<usize>>) -> Self {
        self.dimensions = dimensions.into();
        self
    }
}

/// A request for the hidden states of a text, which are the input of the head.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Score {
    /// Token ids; at least one.
    pub tokens: Vec<u32>,
    /// Index of the first token whose hidden state is needed, below the number of tokens.
    pub from: usize,
}

impl Score {
    /// A request for the hidden states of all tokens.
    pub fn new(tokens: impl Into<Vec<u32>>) -> Self {
        Self { tokens: tokens.into(), from: 0 }
    }

    /// Leaves out the hidden states before the token at `from`.
    pub fn from(mut self, from: usize) -> Self {
        self.from = from;
        self
    }
}
