//! Batches from several sources, in proportion to their weights.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::source::check_weight;
use crate::batch::Batch;
use crate::random::Random;
use crate::{Error, Result};

/// A data file with its weight.
#[derive(Debug)]
pub struct Weighted {
    /// The pieces of the file.
    pub data: Dataset,
    /// Its share of all tokens, relative to the weights of the other sources.
    pub weight: f64,
}

/// An endless stream of batches. Every source is reshuffled for each epoch, and the next piece comes from the source
/// that is furthest behind its share. So the batches are a function of data, weights and seed.
#[derive(Debug)]
pub struct Sampler {
    sources: Vec<Source>,
    seed: u64,
}

#[derive(Debug)]
struct Source {
    data: Dataset,
    weight: f64,
    /// The pieces in this epoch's order.
    order: Vec<usize>,
    place: SourcePosition,
}

/// The position of a [`Sampler`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    seed: u64,
    sources: Vec<SourcePosition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourcePosition {
    /// [`Dataset::digest`] of the source's pieces.
    digest: u64,
    /// Tokens drawn so far.
    given: u64,
    epoch: u64,
    /// Index of the next piece in the order of the epoch.
    next: usize,
}

impl Sampler {
    /// A sampler at the start of its stream.
    ///
    /// # Errors
    /// [`Error::Recipe`] if there is no source, or a weight is not a positive number.
    pub fn new(sources: Vec<Weighted>, seed: u64) -> Result<Self> {
        if sources.is_empty() {
            return Err(Error::Recipe("there is no data to train on".into()));
        }
        sources.iter().try_for_each(|source| check_weight(source.weight))?;
        let source = |(i, Weighted { data, weight })| {
            let place = SourcePosition { digest: data.digest(), given: 0, epoch: 0, next: 0 };
            let mut source = Source { data, weight, order: vec![], place };
            source.shuffle(seed, i);
            source
        };
        Ok(Self { sources: sources.into_iter().enumerate().map(source).collect(), seed })
    }

    /// The next batch: the next pieces that fit into `tokens` tokens together. The first piece that does not fit starts
    /// the next batch. A piece longer than a batch is a batch of its own.
    pub fn next(&mut self, tokens: usize) -> Batch {
        let mut batch = Batch::default();
        while let Some((i, source)) = neediest(&mut self.sources) {
            let piece = source.order[source.place.next];
            let len = source.data.piece(piece).len();
            if !batch.is_empty() && batch.len() + len > tokens {
                break;
            }
            source.data.push_to(&mut batch, piece);
            source.place.given += len as u64;
            source.place.next += 1;
            if source.place.next == source.order.len() {
                source.place.epoch += 1;
                source.place.next = 0;
                source.shuffle(self.seed, i);
            }
        }
        batch
    }

    /// The current position.
    pub fn cursor(&self) -> Cursor {
        Cursor { seed: self.seed, sources: self.sources.iter().map(|source| source.place.clone()).collect() }
    }

    /// Moves to the position of a sampler of the same data and weights.
    ///
    /// # Errors
    /// [`Error::Changed`] if the data differ; the sampler then does not move.
    pub fn restore(&mut self, cursor: &Cursor) -> Result<()> {
        if cursor.sources.len() != self.sources.len() {
            let (before, now) = (cursor.sources.len(), self.sources.len());
            return Err(Error::Changed(format!("there were {before} data files, now there are {now}")));
        }
        for (i, (source, place)) in self.sources.iter().zip(&cursor.sources).enumerate() {
            if place.digest != source.place.digest || place.next >= source.order.len() {
                return Err(Error::Changed(format!("data file {} has other tokens", i + 1)));
            }
        }
        self.seed = cursor.seed;
        for (i, (source, place)) in self.sources.iter_mut().zip(&cursor.sources).enumerate() {
            source.place = place.clone();
            source.shuffle(self.seed, i);
        }
        Ok(())
    }
}

impl Source {
    /// Shuffles the pieces for the epoch. `i` is the source's number.
    fn shuffle(&mut self, seed: u64, i: usize) {
        self.order = Random::new(&[seed, i as u64, self.place.epoch]).permutation(self.data.pieces());
    }

    /// Tokens drawn so far, divided by the weight.
    fn used(&self) -> f64 {
        self.place.given as f64 / self.weight
    }
}

/// The source furthest behind its share; the first of these, if there are several.
fn neediest(sources: &mut [Source]) -> Option<(usize, &mut Source)> {
    sources.iter_mut().enumerate().min_by(|(_, a), (_, b)| a.used().total_cmp(&b.used()))
}
