//! Snapshots of recurrent states, and the page that each belongs to.
//!
//! ```text
//! free ──take──► taken by a run of the next batch ──keep──► found by the page that it follows
//!   ▲                                                                    │
//!   └───────── least recently used, when none is free; page forgotten ◄──┘
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Snapshots by number, at most as many as the budget allows.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    uses: Vec<Use>,
    by_page: HashMap<usize, usize>,
    clock: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Taken,
    /// The state after a page, and when it was last restored or kept.
    Behind(usize, u64),
}

impl Snapshots {
    /// A budget of `budget` snapshots.
    pub fn new(budget: usize) -> Self {
        Self { uses: vec![Use::Free; budget], ..Self::default() }
    }

    /// Reserves a number for a new snapshot; `None` if all are reserved for this batch.
    pub fn take(&mut self) -> Option<usize> {
        let number = self.uses.iter().position(|state| *state == Use::Free).or_else(|| {
            let kept = self.uses.iter().enumerate().filter_map(|(number, state)| match state {
                Use::Behind(page, since) => Some((*since, number, *page)),
                _ => None,
            });
            let (_, number, page) = kept.min()?;
            self.by_page.remove(&page);
            Some(number)
        })?;
        self.uses[number] = Use::Taken;
        Some(number)
    }

    /// Records that the snapshot was taken after `page`. If the page already has a snapshot, this one becomes free.
    pub fn keep(&mut self, number: usize, page: usize) {
        self.clock += 1;
        self.uses[number] = match self.by_page.entry(page) {
            Entry::Occupied(_) => Use::Free,
            Entry::Vacant(entry) => {
                entry.insert(number);
                Use::Behind(page, self.clock)
            }
        };
    }

    /// Whether a page has a snapshot.
    pub fn has(&self, page: usize) -> bool {
        self.by_page.contains_key(&page)
    }

    /// The snapshot after a page; marks it as used now.
    pub fn restore(&mut self, page: usize) -> Option<usize> {
        let number = *self.by_page.get(&page)?;
        self.clock += 1;
        self.uses[number] = Use::Behind(page, self.clock);
        Some(number)
    }

    /// Frees the snapshot of a page that is reused for another text.
    pub fn forget(&mut self, page: usize) {
        if let Some(number) = self.by_page.remove(&page) {
            self.uses[number] = Use::Free;
        }
    }

    /// The number of snapshots in use.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        let used = self.uses.iter().filter(|state| **state != Use::Free).count();
        assert!(used >= self.by_page.len(), "every page's snapshot is in use");
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_snapshot_goes_first() {
        let mut snapshots = Snapshots::new(2);
        let (a, b) = (snapshots.take().unwrap(), snapshots.take().unwrap());
        assert_eq!(snapshots.take(), None, "both are taken");
        snapshots.keep(a, 10);
        snapshots.keep(b, 11);
        assert_eq!(snapshots.restore(10), Some(a));
        assert_eq!(snapshots.take(), Some(b));
        assert!(snapshots.has(10) && !snapshots.has(11));
        snapshots.keep(b, 10);
        assert_eq!((snapshots.restore(10), snapshots.take()), (Some(a), Some(b)), "one a page");
        snapshots.forget(10);
        assert_eq!((snapshots.restore(10), snapshots.take()), (None, Some(a)));
    }
}
