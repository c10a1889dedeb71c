//! A tensor of a network: its names and shape.

/// A tensor that a network needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Canonical name, as in Microsoft's Hugging Face checkpoint: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Kind and shape.
    pub kind: Kind,
    /// Name in GGUF files: `blk.0.attn_q.weight`.
    pub gguf: String,
    /// Other names in Hugging Face checkpoints.
    pub aliases: Vec<String>,
}

/// The kind of a tensor, and its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix of `(rows, cols)` numbers with one row per token: an embedding or a head. Files may hold more rows.
    Dense {
        /// Tokens of the vocabulary.
        rows: usize,
        /// Features of a token.
        cols: usize,
    },
    /// A matrix of `(rows, cols)` trits.
    Ternary {
        /// Output features.
        rows: usize,
        /// Input features.
        cols: usize,
        /// For query and key matrices: the number of heads, whose rows are rotated.
        rotated: Option<usize>,
    },
    /// The weights of a norm.
    Vector {
        /// Number of values.
        len: usize,
    },
}

impl Kind {
    /// `(rows, cols)`; a vector counts as one row.
    pub fn shape(self) -> (usize, usize) {
        match self {
            Self::Dense { rows, cols } | Self::Ternary { rows, cols, .. } => (rows, cols),
            Self::Vector { len } => (1, len),
        }
    }

    /// The number of weights.
    pub fn weights(self) -> usize {
        let (rows, cols) = self.shape();
        rows * cols
    }
}
