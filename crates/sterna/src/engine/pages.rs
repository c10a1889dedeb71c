//! Pages of the key/value cache: which sequence holds them, and which text they contain.
//!
//! ```text
//! free ──take──► held by a sequence ──publish: full and computed──► known by its text, held by any number
//!   ▲                                                                        │ ▲
//!   └──────────────── the one idle longest, when none is free ◄──── idle ◄───┘ │ hold
//!                                                                    └─────────┘
//! ```
//! The keys and values of a page depend only on the tokens up to its end, so sequences with the same prefix share
//! pages. A page is identified by the page before it and its own tokens, never by a hash alone. Pages at the end of a
//! text are evicted first: a sequence that holds or releases a page also holds or releases all pages before it, and
//! those count as used later.

use std::collections::{BTreeSet, HashMap};

use crate::model::kv::PAGE;

/// Identifies the text of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Text {
    /// The page before it; `None` for the first page of a text.
    before: Option<usize>,
    tokens: [u32; PAGE],
}

/// One page of the cache.
#[derive(Debug, Default)]
struct Entry {
    holders: usize,
    text: Option<Box<Text>>,
    /// When the page became idle.
    since: u64,
}

/// The state of all pages, by number.
#[derive(Debug)]
pub(super) struct Pages {
    /// Most pages that may exist.
    budget: usize,
    pages: Vec<Entry>,
    free: Vec<usize>,
    known: HashMap<Box<Text>, usize>,
    /// Published pages that no sequence holds, by the time they became idle.
    idle: BTreeSet<(u64, usize)>,
    clock: u64,
}

impl Pages {
    /// A budget of `budget` pages, none allocated yet.
    pub fn new(budget: usize) -> Self {
        Self { budget, pages: Vec::new(), free: Vec::new(), known: HashMap::new(), idle: BTreeSet::new(), clock: 0 }
    }

    /// Number of pages that [`take`](Self::take) can return.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len() + (self.budget - self.pages.len())
    }

    /// Takes a page for one sequence. A new number is one more than the greatest so far.
    pub fn take(&mut self) -> Option<usize> {
        let page = match self.free.pop() {
            Some(page) => page,
            None if self.pages.len() < self.budget => {
                self.pages.push(Entry::default());
                self.pages.len() - 1
            }
            None => {
                let (_, page) = self.idle.pop_first()?;
                let text = self.pages[page].text.take();
                self.known.remove(&text.expect("idle pages are known"));
                page
            }
        };
        self.pages[page].holders = 1;
        Some(page)
    }

    /// Removes one holder from the pages of a sequence, given in order.
    pub fn release(&mut self, pages: &[usize]) {
        for &page in pages.iter().rev() {
            self.clock += 1;
            let entry = &mut self.pages[page];
            entry.holders -= 1;
            if entry.holders == 0 {
                if entry.text.is_some() {
                    entry.since = self.clock;
                    self.idle.insert((self.clock, page));
                } else {
                    self.free.push(page);
                }
            }
        }
    }

    /// The published pages of `tokens` after `pages`, which hold their beginning.
    pub fn find(&self, pages: &[usize], tokens: &[u32]) -> Vec<usize> {
        let mut found = Vec::new();
        for tokens in tokens.as_chunks::<PAGE>().0.iter().skip(pages.len()) {
            let text = Text { before: found.last().or(pages.last()).copied(), tokens: *tokens };
            let Some(&page) = self.known.get(&text) else { break };
            found.push(page);
        }
        found
    }

    /// How many of these pages no sequence holds.
    pub fn idle_of(&self, pages: &[usize]) -> usize {
        pages.iter().filter(|page| self.pages[**page].holders == 0).count()
    }

    /// Adds a holder to published pages.
    pub fn hold(&mut self, pages: &[usize]) {
        for &page in pages {
            let entry = &mut self.pages[page];
            if entry.holders == 0 {
                self.idle.remove(&(entry.since, page));
            }
            entry.holders += 1;
        }
    }

    /// Publishes a full page that one sequence holds. If another page has the same text already, the sequence holds
    /// that one instead, and it is returned.
    pub fn publish(&mut self, before: Option<usize>, tokens: [u32; PAGE], page: usize) -> usize {
        let text = Box::new(Text { before, tokens });
        if let Some(&known) = self.known.get(&text) {
            self.hold(&[known]);
            self.release(&[page]);
            return known;
        }
        self.pages[page].text = Some(text.clone());
        self.known.insert(text, page);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pages: usize, seed: u32) -> Vec<u32> {
        (0..(pages * PAGE) as u32).map(|i| i.wrapping_mul(seed) % 251).collect()
    }

    /// Takes pages for a text and publishes all of them.
    fn write(pages: &mut Pages, tokens: &[u32]) -> Vec<usize> {
        let mut held: Vec<usize> = pages.find(&[], tokens);
        pages.hold(&held);
        for tokens in &tokens.as_chunks::<PAGE>().0[held.len()..] {
            let page = pages.take().expect("there is one");
            held.push(pages.publish(held.last().copied(), *tokens, page));
        }
        held
    }

    #[test]
    fn equal_beginnings_are_shared() {
        let mut pages = Pages::new(10);
        let (a, mut b) = (text(4, 7), text(4, 7));
        b[2 * PAGE] += 1;
        let (first, second) = (write(&mut pages, &a), write(&mut pages, &b));
        assert_eq!((&first[..2], first[2] != second[2]), (&second[..2], true));
        assert_eq!(pages.available(), 10 - 6);
        pages.release(&first);
        assert_eq!((pages.available(), pages.idle_of(&first)), (10 - 4, 2));
        assert_eq!((pages.find(&[], &a), pages.find(&first[..1], &a)), (first.clone(), first[1..].to_vec()));
        // A page that is not full is not published.
        assert_eq!(pages.find(&[], &a[..3 * PAGE - 1]), first[..2]);
        assert!(pages.find(&[], &a[1..]).is_empty());
    }

    #[test]
    fn twins_become_one_page() {
        let mut pages = Pages::new(3);
        let tokens = text(1, 3);
        let (a, b) = (pages.take().unwrap(), pages.take().unwrap());
        let tokens: [u32; PAGE] = tokens.try_into().unwrap();
        assert_eq!((pages.publish(None, tokens, a), pages.publish(None, tokens, b)), (a, a));
        assert_eq!(pages.available(), 2);
        pages.release(&[a]);
        assert_eq!((pages.available(), pages.idle_of(&[a])), (2, 0));
        pages.release(&[a]);
        assert_eq!((pages.available(), pages.idle_of(&[a])), (3, 1));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_ends_before_beginnings() {
        let mut pages = Pages::new(6);
        let (old, new) = (text(3, 5), text(3, 9));
        let (a, b) = (write(&mut pages, &old), write(&mut pages, &new));
        pages.release(&a);
        pages.release(&b);
        let gone: Vec<usize> = (0..4).map(|_| pages.take().unwrap()).collect();
        assert_eq!(gone, [a[2], a[1], a[0], b[2]]);
        assert_eq!((pages.find(&[], &old), pages.find(&[], &new)), (vec![], b[..2].to_vec()));
        pages.hold(&b[..2]);
        assert_eq!((pages.available(), pages.take()), (0, None));
        pages.release(&gone);
        assert_eq!(pages.available(), 4);
    }

    /// Random holders of random prefixes: counts always add up, and no page is written by two sequences.
    #[test]
    fn accounts_balance() {
        let mut random = 1u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let texts: Vec<_> = (1..5).map(|seed| text(6, seed)).collect();
        let (mut pages, mut sequences) = (Pages::new(20), Vec::<Vec<usize>>::new());
        for _ in 0..5000 {
            if next(2) == 0 && !sequences.is_empty() {
                pages.release(&sequences.swap_remove(next(sequences.len())));
                continue;
            }
            let tokens = &texts[next(4)][..(next(6) + 1) * PAGE];
            let known = pages.find(&[], tokens);
            let missing = tokens.len() / PAGE - known.len();
            if missing + pages.idle_of(&known) <= pages.available() {
                sequences.push(write(&mut pages, tokens));
            }
            let mut held = sequences.concat();
            let holders = held.len();
            held.sort_unstable();
            held.dedup();
            assert_eq!(pages.available(), 20 - held.len());
            assert_eq!(pages.pages.iter().map(|page| page.holders).sum::<usize>(), holders);
        }
    }
}
