//! What a network can be asked for: to generate, to embed, to score.

use super::Request;

/// A piece of work for a [`Runner`](super::Runner) or an [`Engine`](super::Engine). All kinds share one plan and one budget.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Work {
    /// Draw tokens after a prompt: [`Event::Token`](super::Event::Token) for each.
    Generate(Request),
    /// One vector for a text: [`Event::Embedding`](super::Event::Embedding).
    Embed(Embed),
    /// Hidden states of a text: [`Event::Hidden`](super::Event::Hidden) for each part that was computed.
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

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The hidden state of the last token.
    #[default]
    Last,
    /// The mean over all tokens, added in their order.
    Mean,
}

/// A text whose vector is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Embed {
    /// Token ids; at least one.
    pub tokens: Vec<u32>,
    /// How hidden states become one vector.
    pub pooling: Pooling,
    /// Whether the vector is divided by its Euclidean length.
    pub normalized: bool,
}

impl Embed {
    /// The hidden state of the last token, as the network gives it.
    pub fn new(tokens: impl Into<Vec<u32>>) -> Self {
        Self { tokens: tokens.into(), pooling: Pooling::Last, normalized: false }
    }

    /// Sets how hidden states become one vector.
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Divides the vector by its Euclidean length.
    pub fn normalized(mut self) -> Self {
        self.normalized = true;
        self
    }
}

/// A text whose hidden states are asked for: what the head reads after each token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Score {
    /// Token ids; at least one.
    pub tokens: Vec<u32>,
    /// Index of the first token whose hidden state is wanted, below the number of tokens.
    pub from: usize,
}

impl Score {
    /// The hidden states of all tokens.
    pub fn new(tokens: impl Into<Vec<u32>>) -> Self {
        Self { tokens: tokens.into(), from: 0 }
    }

    /// Leaves out the hidden states before the token at `from`.
    pub fn from(mut self, from: usize) -> Self {
        self.from = from;
        self
    }
}
