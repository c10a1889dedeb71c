//! Planning: which rows the next forward pass computes.

use sterna_kernels::Cost;

use crate::checkpoint::Config;

/// A prompt that got no row for this many steps comes first.
const PATIENCE: usize = 8;

/// The tokens that a sequence still has to compute.
#[derive(Clone, Copy)]
pub struct Pending {
    pub tokens: usize,
    /// Most tokens that the next step may compute.
    pub most: usize,
    /// The position of the first token.
    pub at: usize,
    /// Number of steps in which it got no row.
    pub waited: usize,
}

/// The position at which a row's attention takes as long as its matrix products.
pub fn depth(config: &Config, cost: Cost) -> usize {
    let query = config.heads * config.head_dim;
    (config.ternary_weights() / (config.attention_layers().max(1) * 2 * query * cost.attention_per_weight)).max(1)
}

/// Plans the rows of each sequence in the next step. `pending` are the sequences, oldest first.
///
/// Every decoding sequence (one pending token) gets its row. Prompts share the rest of the `chunk` rows. Prompts that
/// waited long come first, then the shortest, so that a short question does not wait for a long document. At least one
/// prompt row is planned, so that decoding cannot starve a prompt. A row at position `depth` counts twice as much as
/// one at position 0, so that steps take about the same time at any depth. A step that finishes a prompt starts no
/// other prompt, to bound its time to first token.
///
/// Some states need snapshots at certain positions, so a prompt gets at most `most` rows. With `whole`, each prompt is
/// computed in one step, regardless of its length.
pub fn plan(pending: &[Pending], chunk: usize, depth: usize, whole: bool) -> Vec<usize> {
    let mut rows: Vec<usize> = pending.iter().map(|sequence| usize::from(sequence.tokens == 1)).collect();
    let decoding = rows.iter().sum();
    let mut prompts: Vec<usize> = (0..pending.len()).filter(|&i| pending[i].tokens > 1).collect();
    prompts.sort_by_key(|&i| if pending[i].waited >= PATIENCE { 0 } else { pending[i].tokens });
    // In fractions of a row: a row at position 0 costs `depth` of them.
    let mut left = chunk.saturating_sub(decoding).max(1) * depth;
    let mut ends = false;
    for (nth, i) in prompts.into_iter().enumerate() {
        let Pending { tokens, most, at, .. } = pending[i];
        let least = if whole { tokens } else { 1 };
        let room = (left / (depth + at)).max(if nth == 0 { least } else { 0 });
        if (ends || whole) && tokens > room {
            break;
        }
        rows[i] = most.min(room);
        left = left.saturating_sub(rows[i] * (depth + at));
        ends |= rows[i] == tokens;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: usize = 1000;

    /// Plans the rows of prompts at position 0, given as (tokens, steps waited).
    fn waiting(pending: &[(usize, usize)], chunk: usize) -> Vec<usize> {
        let pending: Vec<_> =
            pending.iter().map(|&(tokens, waited)| Pending { tokens, most: tokens, at: 0, waited }).collect();
        plan(&pending, chunk, DEPTH, false)
    }

    fn rows(pending: &[usize], chunk: usize) -> Vec<usize> {
        waiting(&pending.iter().map(|&tokens| (tokens, 0)).collect::<Vec<_>>(), chunk)
    }

    #[test]
    fn decoding_rows_come_first_and_short_prompts_next() {
        assert_eq!(rows(&[300], 128), [128]);
        assert_eq!(rows(&[1, 300, 1], 128), [1, 126, 1]);
        assert_eq!(rows(&[300, 60, 40, 1], 128), [0, 60, 40, 1]);
        assert_eq!(rows(&[60, 60, 60], 128), [60, 60, 0]);
        assert_eq!(rows(&[128, 64, 0], 64), [0, 64, 0]);
        assert_eq!(rows(&[128, 90, 1], 64), [0, 63, 1]);
    }

    #[test]
    fn decoding_never_starves_a_prompt() {
        assert_eq!(rows(&[1, 1, 1, 9, 9], 2), [1, 1, 1, 1, 0]);
    }

    #[test]
    fn short_prompts_never_starve_a_long_one() {
        assert_eq!(waiting(&[(900, PATIENCE - 1), (64, 0), (70, 0)], 64), [0, 64, 0]);
        assert_eq!(waiting(&[(900, PATIENCE), (64, 0), (70, 0)], 64), [64, 0, 0]);
        assert_eq!(waiting(&[(900, PATIENCE), (800, PATIENCE), (70, 0), (1, 0)], 64), [63, 0, 0, 1]);
    }

    #[test]
    fn deep_rows_count_more() {
        let rows = |tokens, at, chunk| {
            let pending = [(tokens, at), (40, 0), (1, 9 * DEPTH)];
            plan(&pending.map(|(tokens, at)| Pending { tokens, most: tokens, at, waited: 0 }), chunk, DEPTH, false)
        };
        assert_eq!(rows(300, DEPTH, 33), [0, 32, 1]);
        assert_eq!(rows(30, DEPTH, 33), [16, 0, 1]);
        assert_eq!(rows(16, DEPTH, 33), [16, 0, 1]);
        assert_eq!(rows(16, DEPTH, 73), [16, 40, 1]);
        assert_eq!(rows(30, 3 * DEPTH, 33), [8, 0, 1]);
        assert_eq!(rows(30, 99 * DEPTH, 33), [1, 0, 1], "prompts always get on");
    }

    #[test]
    fn prompts_stop_where_they_must() {
        let pending = [(300, 40), (60, 60)].map(|(tokens, most)| Pending { tokens, most, at: 0, waited: 0 });
        assert_eq!(plan(&pending[..1], 128, DEPTH, false), [40]);
        assert_eq!(plan(&pending, 128, DEPTH, false), [0, 60], "a step that finishes a prompt starts no other");
    }

    #[test]
    fn whole_prompts_are_never_cut() {
        let pending = [300, 60, 60, 1].map(|tokens| Pending { tokens, most: tokens, at: 0, waited: 0 });
        assert_eq!(plan(&pending, 128, DEPTH, true), [0, 60, 60, 1]);
        assert_eq!(plan(&pending[..1], 128, DEPTH, true), [300]);
    }
}
