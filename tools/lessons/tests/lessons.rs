//! Lessons share nothing with the exam, and a seed gives the same text.

use std::collections::HashSet;

use sterna_lessons::conversations;
use sterna_lessons::score::questions;
use sterna_lessons::words::{four_grams, words};

#[test]
fn no_message_shares_four_words_in_a_row_with_a_question() {
    let asked: Vec<_> = questions().iter().map(|question| words(&question.ask)).collect();
    let runs: HashSet<_> = asked.iter().flat_map(|ask| four_grams(ask)).collect();
    let short: HashSet<_> = asked.iter().filter(|ask| ask.len() < 4).collect();
    assert!(runs.len() > 300);
    for conversation in conversations(11).take(20_000) {
        for message in &conversation.messages {
            let said = words(&message.content);
            assert!(!short.contains(&said), "{}", message.content);
            let shared = four_grams(&said).find(|run| runs.contains(run));
            assert_eq!(shared, None, "{}", message.content);
        }
    }
}

#[test]
fn conversations_alternate_and_a_seed_repeats_them() {
    let lessons: Vec<_> = conversations(7).take(2000).collect();
    assert_eq!(lessons, conversations(7).take(2000).collect::<Vec<_>>());
    assert_ne!(lessons[..50], conversations(8).take(50).collect::<Vec<_>>());
    for conversation in &lessons {
        assert!(!conversation.messages.is_empty() && conversation.messages.len() % 2 == 0);
        for (at, message) in conversation.messages.iter().enumerate() {
            assert_eq!(message.role, ["user", "assistant"][at % 2]);
            assert!(!message.content.is_empty() && !message.content.contains(['[', ']', '{', '}', '|']), "{message:?}");
        }
    }
}
