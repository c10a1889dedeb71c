//! The recurrent states of sequences: a fixed number of values per layer, which every token changes.
//!
//! ```text
//!                  ┌──────── Restore::Empty, Snapshot(n), Draft(n): before the first row
//!                  ▼
//! one layer    states     [sequence 0] [sequence 1] …
//!              drafts     [state after draft token 0] [… 1] …         a state cannot be rewound
//!              snapshots  [state after a full page of a text] …       start of other sequences
//! ```
//! Keys of earlier positions never change, but a recurrent state changes with every token. So draft tokens, which may
//! be rejected, are computed on copies, and prefixes are shared only up to a snapshot.

use std::ops::Range;

use super::{Batch, Restore};

/// The recurrent states of all sequences of a network.
#[derive(Debug, Default)]
pub struct Recurrent {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Number of values in one state.
    size: usize,
    states: Vec<Vec<f32>>,
    drafts: Vec<Vec<f32>>,
    snapshots: Vec<Vec<f32>>,
}

impl Recurrent {
    /// States for layers of `sizes` values each. The state of an empty sequence is zero. Memory is allocated on demand.
    pub fn new(sizes: &[usize]) -> Self {
        let layer = |&size: &usize| Layer { size, states: Vec::new(), drafts: Vec::new(), snapshots: Vec::new() };
        Self { layers: sizes.iter().map(layer).collect() }
    }

    /// Bytes of one sequence's state over all layers; a snapshot takes as many.
    pub fn sequence_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.size * size_of::<f32>()).sum()
    }

    /// Bytes of allocated memory.
    pub fn bytes(&self) -> usize {
        let states =
            |layer: &Layer| [&layer.states, &layer.drafts, &layer.snapshots].map(Vec::len).iter().sum::<usize>();
        self.layers.iter().map(|layer| states(layer) * layer.size * size_of::<f32>()).sum()
    }

    /// Updates the states of one layer for a batch. `step(rows, state)` changes the state from before the rows to after
    /// them. It is called for the rows of each sequence in order: once for all rows that are not drafts, and once for
    /// each draft token. Its result must not depend on how the rows are split.
    ///
    /// # Panics
    /// If the network has no such recurrent layer.
    pub fn update(&mut self, layer: usize, batch: &Batch, mut step: impl FnMut(Range<usize>, &mut [f32])) {
        let layer = &mut self.layers[layer];
        for &(sequence, restore) in &batch.restores {
            layer.restore(sequence, restore);
        }
        for run in batch.runs() {
            let settled = run.settled();
            let state = slot(&mut layer.states, run.sequence, layer.size);
            step(settled.clone(), state);
            if let Some(number) = run.snapshot {
                slot(&mut layer.snapshots, number, layer.size).copy_from_slice(state);
            }
            for (i, row) in (settled.end..run.rows.end).enumerate() {
                let number = run.first_draft + i;
                slot(&mut layer.drafts, number, layer.size);
                let (before, drafts) = layer.drafts.split_at_mut(number);
                drafts[0].copy_from_slice(if i == 0 { state } else { &before[number - 1] });
                step(row..row + 1, &mut drafts[0]);
            }
        }
    }
}

impl Layer {
    fn restore(&mut self, sequence: usize, restore: Restore) {
        let size = self.size;
        let state = slot(&mut self.states, sequence, size);
        match restore {
            Restore::Empty => state.fill(0.0),
            Restore::Snapshot(number) => state.copy_from_slice(slot(&mut self.snapshots, number, size)),
            Restore::Draft(number) => std::mem::swap(state, slot(&mut self.drafts, number, size)),
        }
    }
}

/// State `number`; zeros if it did not exist.
fn slot(states: &mut Vec<Vec<f32>>, number: usize, size: usize) -> &mut Vec<f32> {
    if number >= states.len() {
        states.resize_with(number + 1, || vec![0.0; size]);
    }
    &mut states[number]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of two values that records every token of its sequence, in order.
    fn run(recurrent: &mut Recurrent, batch: &Batch) -> Vec<f32> {
        let mut seen = vec![0.0; batch.tokens.len()];
        recurrent.update(0, batch, |rows, state| {
            for row in rows {
                state[0] = state[0] * 10.0 + batch.tokens[row] as f32;
                seen[row] = state[0];
            }
        });
        seen
    }

    fn batch(position: usize, tokens: &[u32], drafts: &[u32], restore: Option<Restore>) -> Batch {
        let mut batch = Batch::default();
        batch.push(1, &[0], position, tokens);
        batch.draft(drafts);
        batch.restores.extend(restore.map(|restore| (1, restore)));
        batch
    }

    #[test]
    fn drafts_count_once_they_are_accepted() {
        let mut recurrent = Recurrent::new(&[2]);
        assert_eq!(run(&mut recurrent, &batch(0, &[1, 2], &[3, 4], Some(Restore::Empty))), [1.0, 12.0, 123.0, 1234.0]);
        // Neither draft token was accepted.
        assert_eq!(run(&mut recurrent, &batch(2, &[5], &[6, 7], None)), [125.0, 1256.0, 12567.0]);
        // The first draft token was accepted.
        let accepted = Some(Restore::Draft(0));
        assert_eq!(run(&mut recurrent, &batch(4, &[8], &[9, 1], accepted)), [12568.0, 125689.0, 1_256_891.0]);
        // Both draft tokens were accepted.
        assert_eq!(run(&mut recurrent, &batch(7, &[2], &[], Some(Restore::Draft(1)))), [12_568_912.0]);
    }

    #[test]
    fn snapshots_keep_the_state_behind_the_settled_rows() {
        let mut recurrent = Recurrent::new(&[2]);
        let mut first = batch(0, &[1, 2], &[3], Some(Restore::Empty));
        first.snapshot(4);
        run(&mut recurrent, &first);
        run(&mut recurrent, &batch(2, &[7], &[], Some(Restore::Empty)));
        assert_eq!(run(&mut recurrent, &batch(2, &[9], &[], Some(Restore::Snapshot(4)))), [129.0]);
        assert_eq!(recurrent.sequence_bytes(), 8);
        assert_eq!(recurrent.bytes(), 8 * (2 + 1 + 5), "two states, one draft, five snapshots");
    }
}
