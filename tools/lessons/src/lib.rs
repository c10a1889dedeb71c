//! Chat data for the built-in model, and its exam.
//!
//! The exam was written first: 100 questions and 50 pairs of nouns for stories ([`score`]). The lessons are
//! conversations that this crate writes from tables of phrases ([`conversations`]). No message of a lesson shares a run
//! of four words with a question of the exam, and none asks for a story about one of the exam's pairs. [`filter`]
//! checks both.

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
