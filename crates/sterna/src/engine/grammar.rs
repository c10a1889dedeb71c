//! Answers constrained by a grammar.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use crate::{Error, Result};

/// A grammar that an answer must follow.
pub trait Grammar: fmt::Debug + Send + Sync {
    /// Creates a reader at the beginning of an answer.
    ///
    /// # Errors
    /// If the grammar cannot be used.
    fn start(&self) -> Result<Box<dyn Reader>>;
}

/// The state of a grammar after some tokens of an answer.
pub trait Reader: Send {
    /// The tokens that may come next, including the model's end tokens where the answer may end.
    ///
    /// # Errors
    /// If computing them exceeds the grammar's limits.
    fn allowed(&mut self) -> Result<TokenSet>;

    /// Advances by a token that was allowed.
    ///
    /// # Errors
    /// If the token was not allowed.
    fn accept(&mut self, token: u32) -> Result<()>;
}

/// A set of token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    /// One bit per token, lowest bit first.
    words: Vec<u32>,
}

impl TokenSet {
    /// A set from one bit per token; the lowest bit of the first word is token 0.
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether the set contains a token.
    pub fn contains(&self, id: u32) -> bool {
        self.words.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// Adds a token.
    pub fn insert(&mut self, id: u32) {
        let word = id as usize / 32;
        self.words.resize(self.words.len().max(word + 1), 0);
        self.words[word] |= 1 << (id % 32);
    }

    /// The number of tokens in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The greatest id in the set.
    pub fn greatest(&self) -> Option<u32> {
        let at = self.words.iter().rposition(|word| *word != 0)?;
        Some(32 * at as u32 + self.words[at].ilog2())
    }

    /// The tokens of the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.words)
            .flat_map(|(at, word)| (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 32 * at + bit))
    }
}

impl FromIterator<u32> for TokenSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// One step of a reader. It does not panic.
pub(super) type Task = Box<dyn FnOnce() + Send>;

/// Runs the tasks of grammars in order, immediately or in parallel with the next forward pass.
pub(super) type Executor = Arc<dyn Fn(Task) + Send + Sync>;

/// Runs tasks immediately, for targets without threads.
pub(super) fn inline() -> Executor {
    Arc::new(|task| task())
}

/// The grammar state of one answer.
pub(super) struct Guide {
    executor: Executor,
    vocab: usize,
    state: State,
}

enum State {
    Asked(Receiver<Result<(Box<dyn Reader>, TokenSet)>>),
    Known(Box<dyn Reader>, TokenSet),
    Gone,
}

impl Guide {
    /// Starts the grammar of an answer. `vocab` is the size of the model's vocabulary.
    pub fn new(grammar: Arc<dyn Grammar>, vocab: usize, executor: Executor) -> Self {
        let mut guide = Self { executor, vocab, state: State::Gone };
        guide.ask(move || grammar.start());
        guide
    }

    /// Computes the allowed tokens for the state of `reader`.
    fn ask(&mut self, reader: impl FnOnce() -> Result<Box<dyn Reader>> + Send + 'static) {
        let (answer, receiver) = channel();
        let task = move || {
            let found = reader().and_then(|mut reader| {
                let allowed = reader.allowed()?;
                Ok((reader, allowed))
            });
            // Sending fails if the request was cancelled; then nobody needs the result.
            let _ = answer.send(found);
        };
        // If the task panics, the channel closes and the guide reports an error.
        (self.executor)(Box::new(move || drop(catch_unwind(AssertUnwindSafe(task)))));
        self.state = State::Asked(receiver);
    }

    /// The allowed tokens. `None` if they are still being computed and `wait` is not set.
    ///
    /// # Errors
    /// If the grammar allows nothing, allows a token outside the vocabulary, or fails.
    pub fn allowed(&mut self, wait: bool) -> Result<Option<&TokenSet>> {
        if let State::Asked(receiver) = &self.state {
            let found =
                if wait { receiver.recv().map_err(|_| TryRecvError::Disconnected) } else { receiver.try_recv() };
            match found {
                Ok(Ok((_, allowed))) if allowed.is_empty() => {
                    return Err(broken("it allows no token after the text so far"));
                }
                Ok(Ok((_, allowed))) if allowed.greatest().is_some_and(|id| id as usize >= self.vocab) => {
                    return Err(broken("it allows a token that the model's vocabulary does not have"));
                }
                Ok(Ok((reader, allowed))) => self.state = State::Known(reader, allowed),
                Ok(Err(error)) => return Err(error),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(broken("it could not be followed any further")),
            }
        }
        match &self.state {
            State::Known(_, allowed) => Ok(Some(allowed)),
            _ => Err(broken("it has ended already")),
        }
    }

    /// Advances by the token that was drawn.
    pub fn accept(&mut self, token: u32) {
        if let State::Known(mut reader, _) = std::mem::replace(&mut self.state, State::Gone) {
            self.ask(move || reader.accept(token).map(|()| reader));
        }
    }
}

fn broken(problem: &str) -> Error {
    Error::request("grammar", format!("the grammar of the answer: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut set = TokenSet::default();
        assert!(set.is_empty() && !set.contains(0));
        [70, 0, 31, 32, 70].into_iter().for_each(|id| set.insert(id));
        assert_eq!((set.len(), set.iter().collect::<Vec<_>>()), (4, vec![0, 31, 32, 70]));
        assert!(set.contains(70) && !set.contains(71) && !set.contains(1000));
        assert_eq!((set.greatest(), TokenSet::default().greatest()), (Some(70), None));
        assert_eq!(TokenSet::from_words(vec![0x8000_0001, 1, 1 << 6]), set);
    }
}
