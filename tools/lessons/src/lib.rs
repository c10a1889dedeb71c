//! What the model that the binary carries is taught, and how it is examined.
//!
//! The exam came first: 100 questions and 50 pairs of nouns for stories ([`score`]). The lessons are conversations that
//! this crate writes from tables of phrases ([`conversations`]). No message of a lesson shares a run of four words with
//! a question of the exam, and none asks for a story about one of the exam's pairs; [`filter`] sees to it.

pub mod exam;
pub mod filter;
pub mod lesson;
pub mod phrase;
pub mod random;
pub mod score;
pub mod topics;
pub mod typing;
pub mod words;

pub use lesson::{Conversation, Message, conversations};
