//! What a network remembers of the sequences it computes.

use super::{KvCache, Recurrent};

/// The state of all sequences, made by the network ([`Network::state`](super::Network::state)): paged keys and values
/// of its attention layers, and the recurrent states of its other layers. Either may have no layers at all.
///
/// The state keeps no accounts: each [`Batch`](super::Batch) says where a sequence's pages and its recurrent state lie.
pub struct State {
    /// Keys and values, by the number of the attention layer.
    pub kv: KvCache,
    /// Recurrent states, by the number of the recurrent layer.
    pub recurrent: Recurrent,
}

impl State {
    /// Keys and values only.
    pub fn paged(kv: KvCache) -> Self {
        Self { kv, recurrent: Recurrent::default() }
    }

    /// Bytes that one position takes.
    pub fn position_bytes(&self) -> usize {
        self.kv.position_bytes()
    }

    /// Bytes that a sequence takes whatever its length, and a snapshot too; 0 for a network without recurrent layers.
    pub fn sequence_bytes(&self) -> usize {
        self.recurrent.sequence_bytes()
    }
}
