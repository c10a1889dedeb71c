//! Accounts of the pages and recurrent states of each sequence. A network's [`State`](crate::model::State) only stores
//! them by number.

use super::pages::Pages;
use super::snapshots::Snapshots;
use crate::model::Restore;
use crate::model::kv::PAGE;

/// Handle of a sequence in the accounts. After its sequence is removed, a handle never refers to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SequenceId {
    number: usize,
    generation: u64,
}

impl SequenceId {
    /// Number of the sequence and of its recurrent state. It is reused after the sequence is removed.
    pub fn number(self) -> usize {
        self.number
    }
}

/// Pages, sequences and snapshots within their budgets.
pub(super) struct Accounts {
    pages: Pages,
    sequences: Vec<Slot>,
    /// Most sequences at the same time.
    most: usize,
    /// `None` for a network without recurrent layers.
    snapshots: Option<Snapshots>,
}

#[derive(Default)]
struct Slot {
    generation: u64,
    sequence: Option<Sequence>,
}

#[derive(Default)]
struct Sequence {
    /// Page numbers, in order of positions.
    pages: Vec<usize>,
    /// How many of the pages are published for sharing.
    published: usize,
}

/// The part of a sequence that comes from the prefix cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Number of positions whose keys and values are cached, from the first on.
    pub positions: usize,
    /// The value that the sequence's recurrent state must get. `None` if nothing was shared, or without recurrent
    /// layers.
    pub restore: Option<Restore>,
}

/// Budget of a network's recurrent states.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecurrentBudget {
    /// Sequences that can have a state at the same time.
    pub sequences: usize,
    /// Number of snapshots.
    pub snapshots: usize,
}

impl Accounts {
    /// Accounts for at most `pages` pages, and `recurrent` states if the network has recurrent layers.
    pub fn new(pages: usize, recurrent: Option<RecurrentBudget>) -> Self {
        Self {
            pages: Pages::new(pages),
            sequences: Vec::new(),
            most: recurrent.map_or(usize::MAX, |budget| budget.sequences),
            snapshots: recurrent.map(|budget| Snapshots::new(budget.snapshots)),
        }
    }

    /// Whether another sequence can be added; its pages are not considered.
    pub fn has_room(&self) -> bool {
        self.sequences.iter().filter(|slot| slot.sequence.is_some()).count() < self.most
    }

    /// Whether the network has recurrent states.
    pub fn recurrent(&self) -> bool {
        self.snapshots.is_some()
    }

    /// Adds an empty sequence.
    pub fn add(&mut self) -> SequenceId {
        let number = self.sequences.iter().position(|slot| slot.sequence.is_none()).unwrap_or_else(|| {
            self.sequences.push(Slot::default());
            self.sequences.len() - 1
        });
        let slot = &mut self.sequences[number];
        slot.generation += 1;
        slot.sequence = Some(Sequence::default());
        SequenceId { number, generation: slot.generation }
    }

    fn get(&self, id: SequenceId) -> Option<&Sequence> {
        let slot = self.sequences.get(id.number).filter(|slot| slot.generation == id.generation)?;
        slot.sequence.as_ref()
    }

    /// Removes a sequence. Its published pages stay cached until their room is needed; its other pages become free.
    pub fn remove(&mut self, id: SequenceId) {
        if self.get(id).is_some()
            && let Some(sequence) = self.sequences[id.number].sequence.take()
        {
            self.pages.release(&sequence.pages);
        }
    }

    /// Reserves pages for the first `positions` positions of a sequence. `false` if the budget does not allow it, or if
    /// the sequence was removed.
    #[must_use]
    pub fn reserve(&mut self, id: SequenceId, positions: usize) -> bool {
        let Some(sequence) = self.get(id) else { return false };
        let missing = positions.div_ceil(PAGE).saturating_sub(sequence.pages.len());
        if missing > self.pages.available() {
            return false;
        }
        for _ in 0..missing {
            let Some(page) = self.pages.take() else { return false };
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.forget(page);
            }
            self.sequences[id.number].sequence.get_or_insert_default().pages.push(page);
        }
        true
    }

    /// Number of pages that can still be reserved.
    pub fn free_pages(&self) -> usize {
        self.pages.available()
    }

    /// Numbers of a sequence's pages, in order; empty if the sequence was removed.
    pub fn pages(&self, id: SequenceId) -> &[usize] {
        self.get(id).map_or(&[], |sequence| &sequence.pages)
    }

    /// How many pages a new sequence with these tokens would share, and how many of them no sequence holds now.
    pub fn shareable(&self, tokens: &[u32]) -> (usize, usize) {
        let pages = self.known(&[], tokens);
        (pages.len(), self.pages.idle_of(&pages))
    }

    /// The cached pages of `tokens` after `pages` that can be shared. With recurrent layers these end at the last page
    /// with a snapshot.
    fn known(&self, pages: &[usize], tokens: &[u32]) -> Vec<usize> {
        let mut known = self.pages.find(pages, tokens);
        if let Some(snapshots) = &self.snapshots {
            known.truncate(known.iter().rposition(|page| snapshots.has(*page)).map_or(0, |last| last + 1));
        }
        known
    }

    /// Gives the sequence with these `tokens` the published pages that continue its own, if its own are full.
    pub fn share(&mut self, id: SequenceId, tokens: &[u32]) -> Shared {
        let Some(sequence) = self.get(id) else { return Shared::default() };
        let mut restore = None;
        if sequence.pages.len() == sequence.published {
            let pages = self.known(&sequence.pages, tokens);
            self.pages.hold(&pages);
            if let (Some(snapshots), Some(last)) = (&mut self.snapshots, pages.last()) {
                restore = snapshots.restore(*last).map(Restore::Snapshot);
            }
            let sequence = self.sequences[id.number].sequence.get_or_insert_default();
            sequence.pages.extend(pages);
            sequence.published = sequence.pages.len();
        }
        Shared { positions: self.get(id).map_or(0, |sequence| sequence.published) * PAGE, restore }
    }

    /// Publishes the full pages of a sequence for sharing. `tokens` are its computed tokens, from the first on.
    pub fn publish(&mut self, id: SequenceId, tokens: &[u32]) {
        if self.get(id).is_none() {
            return;
        }
        let Some(sequence) = &mut self.sequences[id.number].sequence else { return };
        for tokens in tokens.as_chunks::<PAGE>().0.iter().skip(sequence.published) {
            let at = sequence.published;
            let before = at.checked_sub(1).map(|before| sequence.pages[before]);
            sequence.pages[at] = self.pages.publish(before, *tokens, sequence.pages[at]);
            sequence.published += 1;
        }
    }

    /// Reserves a snapshot for the next batch; `None` if the budget does not allow one.
    pub fn take_snapshot(&mut self) -> Option<usize> {
        self.snapshots.as_mut()?.take()
    }

    /// Records that snapshot `number` holds the state after the first `positions` positions of a sequence, which are
    /// published.
    pub fn keep_snapshot(&mut self, id: SequenceId, number: usize, positions: usize) {
        let page = (positions / PAGE).checked_sub(1).and_then(|last| self.pages(id).get(last).copied());
        if let (Some(snapshots), Some(page)) = (&mut self.snapshots, page) {
            snapshots.keep(number, page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_refers_to_no_sequence() {
        let mut accounts = Accounts::new(4, None);
        let old = accounts.add();
        assert!(accounts.reserve(old, 2 * PAGE));
        accounts.remove(old);
        let new = accounts.add();
        assert_eq!((old.number(), old == new), (new.number(), false), "the number is used again");
        assert!(accounts.reserve(new, PAGE) && !accounts.reserve(old, PAGE));
        accounts.publish(old, &[1; PAGE]);
        assert_eq!(accounts.share(old, &[1; PAGE]), Shared::default());
        assert!(accounts.pages(old).is_empty());
        accounts.remove(old);
        assert_eq!((accounts.pages(new).len(), accounts.free_pages()), (1, 3));
    }

    fn recurrent(pages: usize, snapshots: usize) -> Accounts {
        Accounts::new(pages, Some(RecurrentBudget { sequences: 4, snapshots }))
    }

    /// Computes `tokens` in a new sequence and takes a snapshot after its page number `at`.
    fn compute(accounts: &mut Accounts, tokens: &[u32], at: usize) -> SequenceId {
        let id = accounts.add();
        assert!(accounts.reserve(id, tokens.len()));
        accounts.publish(id, tokens);
        let number = accounts.take_snapshot().unwrap();
        accounts.keep_snapshot(id, number, (at + 1) * PAGE);
        id
    }

    #[test]
    fn recurrent_texts_are_shared_up_to_a_snapshot() {
        let mut accounts = recurrent(20, 2);
        let tokens: Vec<u32> = (0..5 * PAGE as u32).collect();
        let first = compute(&mut accounts, &tokens, 2);
        assert_eq!(accounts.shareable(&tokens), (3, 0));
        assert_eq!(accounts.shareable(&tokens[..2 * PAGE]), (0, 0), "there is no snapshot so early");
        let second = accounts.add();
        let shared = accounts.share(second, &tokens);
        assert_eq!((shared.positions, shared.restore), (3 * PAGE, Some(Restore::Snapshot(0))));
        assert_eq!(accounts.share(second, &tokens).restore, None, "nothing new");
        accounts.remove(first);
        accounts.remove(second);
        assert_eq!((accounts.free_pages(), accounts.shareable(&tokens)), (20, (3, 3)));
        // A sequence that needs all pages evicts these and their snapshot.
        let all = accounts.add();
        assert!(accounts.reserve(all, 20 * PAGE));
        assert_eq!((accounts.shareable(&tokens), accounts.snapshots.as_ref().unwrap().used()), ((0, 0), 0));
    }

    #[test]
    fn sequences_with_a_recurrent_state_are_counted() {
        let mut accounts = recurrent(20, 2);
        let ids: Vec<_> = (0..4).map(|_| accounts.add()).collect();
        assert!(!accounts.has_room());
        accounts.remove(ids[2]);
        assert!(accounts.has_room());
        assert_eq!(accounts.add().number(), ids[2].number());
    }

    /// Random sequences of random texts with random snapshots: pages and snapshots always add up.
    #[test]
    fn accounts_balance() {
        let mut random = 1u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let texts: Vec<Vec<u32>> =
            (1..5).map(|seed| (0..6 * PAGE as u32).map(|i| i.wrapping_mul(seed) % 251).collect()).collect();
        let mut accounts = recurrent(20, 3);
        let (mut live, mut restored) = (Vec::<SequenceId>::new(), 0);
        for _ in 0..5000 {
            if !live.is_empty() && (next(2) == 0 || !accounts.has_room()) {
                accounts.remove(live.swap_remove(next(live.len())));
                continue;
            }
            let tokens = &texts[next(4)][..(next(6) + 1) * PAGE];
            let (shared, idle) = accounts.shareable(tokens);
            if tokens.len() / PAGE - shared + idle > accounts.free_pages() {
                continue;
            }
            let id = accounts.add();
            let taken = accounts.share(id, tokens);
            assert_eq!((taken.positions, taken.restore.is_some()), (shared * PAGE, shared > 0));
            restored += usize::from(shared > 0);
            assert!(accounts.reserve(id, tokens.len()), "the promised pages are free");
            accounts.publish(id, tokens);
            if let Some(number) = accounts.take_snapshot() {
                accounts.keep_snapshot(id, number, (next(tokens.len() / PAGE) + 1) * PAGE);
            }
            live.push(id);
            let mut held: Vec<usize> = live.iter().flat_map(|id| accounts.pages(*id)).copied().collect();
            held.sort_unstable();
            held.dedup();
            assert_eq!(accounts.free_pages(), 20 - held.len());
            assert!(accounts.snapshots.as_ref().unwrap().used() <= 3);
        }
        assert!(restored > 100, "snapshots were used: {restored}");
    }
}
