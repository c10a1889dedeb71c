//! The recurrent states of sequences: a fixed number of values a layer, that every token changes.
//!
//! ```text
//!                  ┌──────── Restore::Empty, Snapshot(n), Draft(n): before the first row
//!                  ▼
//! one layer    states     [sequence 0] [sequence 1] …
//!              drafts     [state behind draft token 0] [… 1] …        a state that moved on cannot move back
//!              snapshots  [state behind a full page of some text] …   what others may start from
//! ```
//! A key of attention stays what it was when the next token comes; a recurrent state does not. So rows that may be
//! taken back (draft tokens) are computed on copies, and texts share a beginning only where a snapshot was taken.

use std::ops::Range;

use super::{Batch, Restore};

/// Recurrent states of all sequences of a network.
#[derive(Debug, Default)]
pub struct Recurrent {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Values of one state.
    size: usize,
    states: Vec<Vec<f32>>,
    drafts: Vec<Vec<f32>>,
    snapshots: Vec<Vec<f32>>,
}

impl Recurrent {
    /// States for layers of `sizes` values each; an empty sequence has zeros. Memory is taken as it is needed.
    pub fn new(sizes: &[usize]) -> Self {
        let layer = |&size: &usize| Layer { size, states: Vec::new(), drafts: Vec::new(), snapshots: Vec::new() };
        Self { layers: sizes.iter().map(layer).collect() }
    }

    /// Bytes of the state of one sequence, and of one snapshot, over all layers.
    pub fn sequence_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.size * size_of::<f32>()).sum()
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        let states =
            |layer: &Layer| [&layer.states, &layer.drafts, &layer.snapshots].map(Vec::len).iter().sum::<usize>();
        self.layers.iter().map(|layer| states(layer) * layer.size * size_of::<f32>()).sum()
    }

    /// Takes the states of one layer through a batch: `step(rows, state)` is called for the rows of each sequence in
    /// order, once for all that are settled and once for each draft token, and changes the state from that before the
    /// rows to that behind them. What it gives must not depend on how rows are cut.
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

/// State `number`, zeros if there was none.
fn slot(states: &mut Vec<Vec<f32>>, number: usize, size: usize) -> &mut Vec<f32> {
    if number >= states.len() {
        states.resize_with(number + 1, || vec![0.0; size]);
    }
    &mut states[number]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of two values that remembers every token of its sequence, in order.
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
        // None of the two was right.
        assert_eq!(run(&mut recurrent, &batch(2, &[5], &[6, 7], None)), [125.0, 1256.0, 12567.0]);
        // The first was.
        let accepted = Some(Restore::Draft(0));
        assert_eq!(run(&mut recurrent, &batch(4, &[8], &[9, 1], accepted)), [12568.0, 125689.0, 1_256_891.0]);
        // Both were.
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
