//! Embeddings of many texts, several at a time.

use std::collections::VecDeque;

use super::{Embed, Engine, Event, Generation};
use crate::{Error, Result};

/// Texts that are submitted before the first of them is read. A step computes those that fit.
const AHEAD: usize = 64;

/// The embeddings of texts, in their order ([`Engine::embed_all`]). Texts are read as they are needed. Dropping it cancels
/// the work.
pub struct Embeddings<'a, I> {
    engine: &'a Engine,
    texts: I,
    running: VecDeque<Result<Generation>>,
}

impl<'a, I: Iterator<Item = Embed>> Embeddings<'a, I> {
    pub(super) fn new(engine: &'a Engine, texts: I) -> Self {
        Self { engine, texts, running: VecDeque::new() }
    }
}

impl<I: Iterator<Item = Embed>> Iterator for Embeddings<'_, I> {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.running.len() < AHEAD
            && let Some(text) = self.texts.next()
        {
            self.running.push_back(self.engine.events(text.into()));
        }
        Some(self.running.pop_front()?.and_then(vector))
    }
}

/// Waits for the embedding of one text.
pub(super) fn vector(events: Generation) -> Result<Vec<f32>> {
    for event in events {
        if let Event::Embedding(values) = event? {
            return Ok(values);
        }
    }
    Err(Error::EngineStopped)
}

/// A query with the instruction of its search, in the form that embedding models of this kind are trained with. Texts that
/// are searched have no instruction.
///
/// Source: the model card of Qwen3-Embedding.
pub fn instructed(instruction: &str, query: &str) -> String {
    format!("Instruct: {instruction}\nQuery:{query}")
}
