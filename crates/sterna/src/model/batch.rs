//! The rows of one forward pass, and the changes of each sequence's state.
//!
//! ```text
//! rows      | sequence 3: part of a prompt | sequence 0: a token, two drafts | …
//! runs      |──────────── Run ─────────────|────────────── Run ──────────────|
//! tables     pages of sequence 3, in order  pages of sequence 0, in order
//! writes     page 7 ◄ rows 0..20, page 9 ◄ rows 20..24, …          (by page)
//! ```

use std::ops::Range;

use super::kv::PAGE;

/// Rows of one forward pass: parts of prompts and decoded tokens of any sequences, mixed ("ragged").
///
/// A batch contains everything about its sequences that the pass needs, resolved once: the pages of their keys and
/// values, and the changes of their recurrent states. The caller keeps the accounts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids, each below the vocabulary's size.
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence.
    pub positions: Vec<usize>,
    /// Rows whose hidden states are needed, in ascending order.
    pub outputs: Vec<usize>,
    /// Changes of recurrent states before the first row, in order: `(sequence, new value)`.
    pub restores: Vec<(usize, Restore)>,
    runs: Vec<Run>,
    /// Page numbers of all runs, run after run.
    tables: Vec<usize>,
    /// Sorted by page.
    writes: Vec<PageWrite>,
    drafts: usize,
}

/// The value that a sequence's recurrent state gets before a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The state of an empty sequence.
    Empty,
    /// A copy of the snapshot with this number.
    Snapshot(usize),
    /// The state after the draft token with this number in the previous batch. This token and those before it were
    /// accepted.
    Draft(usize),
}

/// Adjacent rows of one sequence, at consecutive positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the sequence, which selects its recurrent state.
    pub sequence: usize,
    /// Its rows in the batch, draft tokens included.
    pub rows: Range<usize>,
    /// How many of the last rows are draft tokens, which may be rejected.
    pub drafts: usize,
    /// Number of the first draft token among the draft tokens of the batch.
    pub first_draft: usize,
    /// The snapshot that stores the recurrent state after the last row that is not a draft token.
    pub snapshot: Option<usize>,
    /// The range of its page numbers in the tables.
    pages: Range<usize>,
}

impl Run {
    /// The rows that are not draft tokens.
    pub fn settled(&self) -> Range<usize> {
        self.rows.start..self.rows.end - self.drafts
    }
}

/// Rows whose keys and values are written to one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageWrite {
    pub page: usize,
    pub rows: Range<usize>,
}

impl Batch {
    /// A batch of one sequence from its first token on, with pages numbered from 0.
    pub fn of(tokens: &[u32]) -> Self {
        let mut batch = Self::default();
        let pages: Vec<usize> = (0..tokens.len().div_ceil(PAGE)).collect();
        batch.push(0, &pages, 0, tokens);
        batch
    }

    /// Appends tokens of a sequence from `position` on. `pages` are the numbers of its pages, in order. Earlier batches
    /// computed the positions before `position`.
    ///
    /// # Panics
    /// If the pages do not reach the last position.
    pub fn push(&mut self, sequence: usize, pages: &[usize], position: usize, tokens: &[u32]) {
        if tokens.is_empty() {
            return;
        }
        let (rows, table) = (self.tokens.len(), self.tables.len());
        self.tables.extend_from_slice(pages);
        self.runs.push(Run {
            sequence,
            rows: rows..rows,
            drafts: 0,
            first_draft: self.drafts,
            snapshot: None,
            pages: table..self.tables.len(),
        });
        self.extend(position, tokens);
    }

    /// Appends draft tokens after the last row, for the same sequence.
    ///
    /// # Panics
    /// If there is no row yet, or if the pages of its sequence do not reach the last position.
    pub fn draft(&mut self, tokens: &[u32]) {
        if tokens.is_empty() {
            return;
        }
        let position = self.positions.last().expect("draft tokens follow a row") + 1;
        self.extend(position, tokens);
        self.drafts += tokens.len();
        self.runs.last_mut().expect("a row has a run").drafts += tokens.len();
    }

    /// Appends rows to the last run.
    fn extend(&mut self, position: usize, tokens: &[u32]) {
        let run = self.runs.last_mut().expect("there is a run");
        let pages = &self.tables[run.pages.clone()];
        let end = position + tokens.len();
        assert!(end <= pages.len() * PAGE, "every position has a page");
        let mut row = run.rows.end;
        run.rows.end += tokens.len();
        let written = position / PAGE..end.div_ceil(PAGE);
        for (at, &page) in written.clone().zip(&pages[written]) {
            let len = end.min((at + 1) * PAGE) - position.max(at * PAGE);
            let place = self.writes.partition_point(|write| write.page < page);
            match self.writes.get_mut(place) {
                Some(write) if write.page == page => write.rows.end = row + len,
                _ => self.writes.insert(place, PageWrite { page, rows: row..row + len }),
            }
            row += len;
        }
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(position..end);
    }

    /// Requests the hidden state of the last row.
    ///
    /// # Panics
    /// If there is no row yet.
    pub fn want_last(&mut self) {
        self.outputs.push(self.tokens.len().checked_sub(1).expect("there is a row"));
    }

    /// Stores the recurrent state of the last run in the snapshot with this number.
    ///
    /// # Panics
    /// If there is no run yet.
    pub fn snapshot(&mut self, number: usize) {
        self.runs.last_mut().expect("there is a run").snapshot = Some(number);
    }

    /// The runs of the batch, one for each sequence.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Numbers of the pages of a run's sequence, in order of positions.
    pub fn pages(&self, run: &Run) -> &[usize] {
        &self.tables[run.pages.clone()]
    }

    /// The pages that this batch writes, ordered by number.
    pub(super) fn writes(&self) -> &[PageWrite] {
        &self.writes
    }

    /// Number of draft tokens.
    pub fn drafts(&self) -> usize {
        self.drafts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_gets_the_rows_of_its_positions() {
        let mut batch = Batch::default();
        batch.push(4, &[9, 2, 5], 20, &[1; 50]);
        batch.push(1, &[7], 3, &[8]);
        batch.draft(&[6, 6]);
        batch.push(0, &[1], 0, &[]);
        let writes: Vec<_> = batch.writes().iter().map(|write| (write.page, write.rows.clone())).collect();
        assert_eq!(writes, [(2, 12..44), (5, 44..50), (7, 50..53), (9, 0..12)]);
        let [first, second] = batch.runs() else { panic!("two runs") };
        assert_eq!((first.sequence, first.rows.clone(), first.settled(), first.first_draft), (4, 0..50, 0..50, 0));
        assert_eq!((second.sequence, second.rows.clone(), second.settled(), second.drafts), (1, 50..53, 50..51, 2));
        assert_eq!((batch.pages(first), batch.pages(second)), (&[9, 2, 5][..], &[7][..]));
        assert_eq!(batch.positions[48..], [68, 69, 3, 4, 5]);
    }

    #[test]
    fn drafts_are_numbered_through_the_batch() {
        let mut batch = Batch::default();
        batch.push(0, &[0], 1, &[1]);
        batch.draft(&[2, 3]);
        batch.push(1, &[1], 5, &[1]);
        batch.draft(&[4]);
        let numbers: Vec<_> = batch.runs().iter().map(|run| (run.first_draft, run.drafts)).collect();
        assert_eq!((numbers, batch.drafts()), (vec![(0, 2), (2, 1)], 3));
    }

    #[test]
    #[should_panic(expected = "every position has a page")]
    fn rows_without_a_page_are_refused() {
        Batch::default().push(0, &[0], 30, &[1, 2, 3]);
    }
}
