//! The state of a network's sequences.

use super::{KvCache, Recurrent};

/// The state of all sequences, created by the network ([`Network::state`](super::Network::state)): paged keys and
/// values of its attention layers, and recurrent states of its other layers. Either kind may have no layers.
///
/// The state keeps no accounts: each [`Batch`](super::Batch) contains the pages and the recurrent state of its
/// sequences.
pub struct State {
    /// Keys and values, by the number of the attention layer.
    pub kv: KvCache,
    /// Recurrent states, by the number of the recurrent layer.
    pub recurrent: Recurrent,
}

impl State {
    /// A state of keys and values only.
    pub fn paged(kv: KvCache) -> Self {
        Self { kv, recurrent: Recurrent::default() }
    }

    /// Bytes per position.
    pub fn position_bytes(&self) -> usize {
        self.kv.position_bytes()
    }

    /// Bytes per sequence independent of its length, and per snapshot; 0 for a network without recurrent layers.
    pub fn sequence_bytes(&self) -> usize {
        self.recurrent.sequence_bytes()
    }
}
