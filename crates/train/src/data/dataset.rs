//! The pieces of a file, in memory.

use std::ops::Range;
use std::path::Path;

use sterna::kernels::Pool;

use super::pack::{Body, Packer};
use super::source::{Documents, Part};
use crate::batch::{Batch, NONE};
use crate::{Error, Result};

/// Parts of about this many bytes together are tokenised in parallel. It is a constant, so that the first error does
/// not depend on the number of threads.
const ROUND: usize = 16 << 20;

/// Progress of reading a file.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read so far.
    pub read: u64,
    /// Total bytes of the file.
    pub size: u64,
    /// Tokens so far.
    pub tokens: usize,
}

/// A tokenised file: pieces of documents. Each piece starts with BOS and is at most as long as the context.
///
/// Takes four bytes and one bit per token. The text itself is not kept.
#[derive(Debug)]
pub struct Dataset {
    tokens: Vec<u32>,
    learned: Bits,
    /// First token of each piece, and the end of the last.
    starts: Vec<usize>,
    left_out: usize,
    digest: u64,
}

#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, at: usize) {
        self.0.resize(self.0.len().max(at / 64 + 1), 0);
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }
}

impl Dataset {
    /// Reads and tokenises a file (`.txt`: one document, `.jsonl`: one document per line). The result does not depend
    /// on the number of threads.
    ///
    /// # Errors
    /// A file that cannot be read, is not text, has an invalid line, or has no targets.
    pub fn read(path: &Path, packer: &Packer<'_>, pool: &Pool, mut progress: impl FnMut(Progress)) -> Result<Self> {
        let mut documents = Documents::open(path)?;
        let mut data = Self { tokens: vec![], learned: Bits::default(), starts: vec![0], left_out: 0, digest: 0 };
        let mut document = Body::default();
        loop {
            let mut round = Vec::new();
            let mut bytes = 0;
            while bytes < ROUND
                && let Some(part) = documents.next()?
            {
                bytes += part.content.bytes();
                round.push((part, None));
            }
            if round.is_empty() {
                break;
            }
            pool.pieces(&mut round, 1, |_, slot: &mut [(Part, Option<Result<Body>>)]| {
                slot.iter_mut().for_each(|(part, body)| *body = Some(packer.encode(path, part)));
            });
            for (part, body) in round {
                document.append(body.transpose()?.unwrap_or_default());
                if part.last {
                    packer.end(&part, &mut document);
                    data.push(packer, &std::mem::take(&mut document));
                }
            }
            let (read, size) = documents.progress();
            progress(Progress { read, size, tokens: data.tokens.len() });
        }
        data.check(path)?;
        data.digest = data.compute_digest();
        Ok(data)
    }

    /// Appends the pieces of a document. Pieces without targets are left out.
    fn push(&mut self, packer: &Packer<'_>, document: &Body) {
        let bos = packer.bos();
        // A template may print BOS itself.
        let begun = document.tokens.iter().take_while(|&&token| Some(token) == bos).count();
        let (mut tokens, mut learned) = (&document.tokens[begun..], &document.learned[begun..]);
        self.left_out += usize::from(tokens.is_empty());
        for length in packer.lengths(tokens, learned) {
            let (piece, rest) = tokens.split_at(length);
            let (marks, other_marks) = learned.split_at(length);
            (tokens, learned) = (rest, other_marks);
            // Without BOS, the first token of a piece has no token before it and is no target.
            if !marks.iter().skip(usize::from(bos.is_none())).any(|mark| *mark) {
                self.left_out += 1;
                continue;
            }
            self.tokens.extend(bos);
            let first = self.tokens.len();
            self.tokens.extend_from_slice(piece);
            (first..).zip(marks).filter(|(_, mark)| **mark).for_each(|(at, _)| self.learned.set(at));
            self.starts.push(self.tokens.len());
        }
    }

    fn check(&self, path: &Path) -> Result<()> {
        if self.pieces() > 0 {
            return Ok(());
        }
        let (problem, remedy) = if self.left_out > 0 {
            ("no document has a token to learn", "give it documents with text, or conversations with answers")
        } else {
            ("the file is empty", "give it text to learn from")
        };
        Err(Error::Empty { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() })
    }

    /// A hash of the data (FNV-1a's steps over whole numbers), to notice changed data.
    fn compute_digest(&self) -> u64 {
        let tokens = self.tokens.iter().map(|token| u64::from(*token));
        let starts = self.starts.iter().map(|start| *start as u64);
        let numbers = tokens.chain(starts).chain(self.learned.0.iter().copied());
        numbers.fold(0xcbf2_9ce4_8422_2325, |hash, number| {
            let hash = (hash ^ number).wrapping_mul(0x0100_0000_01b3);
            hash ^ hash >> 29
        })
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Number of pieces, at least 1.
    pub fn pieces(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of tokens, BOS of every piece included.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Number of targets.
    pub fn learned(&self) -> usize {
        self.learned.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Number of documents without tokens, and of pieces without targets.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Tokens of a piece in `0..self.pieces()`.
    pub fn piece(&self, piece: usize) -> &[u32] {
        &self.tokens[self.range(piece)]
    }

    fn range(&self, piece: usize) -> Range<usize> {
        self.starts[piece]..self.starts[piece + 1]
    }

    /// Appends a piece to a batch.
    pub(super) fn push_to(&self, batch: &mut Batch, piece: usize) {
        let range = self.range(piece);
        batch.starts.push(batch.tokens.len());
        batch.tokens.extend_from_slice(&self.tokens[range.clone()]);
        let next = (range.start + 1..range.end).map(|at| if self.learned.get(at) { self.tokens[at] } else { NONE });
        batch.targets.extend(next.chain([NONE]));
    }

    /// Every `step`-th piece (0 counts as 1), in batches of at most `tokens` tokens. A longer piece is a batch of its
    /// own.
    pub fn batches(&self, tokens: usize, step: usize) -> impl Iterator<Item = Batch> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let mut batch = Batch::default();
            while next < self.pieces() && (batch.is_empty() || batch.len() + self.piece(next).len() <= tokens) {
                self.push_to(&mut batch, next);
                next += step.max(1);
            }
            Some(batch).filter(|batch| !batch.is_empty())
        })
    }
}
