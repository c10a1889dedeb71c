//! The head: hidden states in, logits out.

use sterna_kernels::{Cpu, DenseMatrix, Rows};

/// The output projection of a network.
pub struct Head {
    stored: DenseMatrix,
}

impl Head {
    /// A head over the rows of a checkpoint, `(vocab, hidden)`.
    pub fn new(stored: DenseMatrix) -> Self {
        Self { stored }
    }

    /// The logits of every token of the vocabulary: `(hidden state, vocab)`.
    pub fn logits(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        self.stored.matmul(cpu, hidden)
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        self.stored.bytes()
    }

    /// How the rows are stored ("bf16", "q6_k", …).
    pub fn stored_type(&self) -> &'static str {
        self.stored.kind().name()
    }
}
