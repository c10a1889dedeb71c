//! The exam of the model that the binary carries: 100 questions and 50 pairs of nouns for stories, written before the
//! program that writes its chat data, and the rules by which answers are scored.

pub mod score;
pub mod words;
