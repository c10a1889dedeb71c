//! The exam of the built-in model. It gives the same answers on every machine, so its score is known exactly.

use sterna::engine::Engine;
use sterna_lessons::exam::{Mark, ask_late_questions, ask_questions, ask_stories};

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/cli/embedded/sterna.gguf");

fn right(ask: impl Fn(&Engine) -> sterna::Result<Vec<Mark>>) -> (usize, usize) {
    let marks = ask(&Engine::builder().open(EMBEDDED).unwrap()).unwrap();
    for mark in &marks {
        if let Some(fault) = &mark.fault {
            println!("{}: {}\n  {}\n  → {fault}", mark.topic, mark.ask, mark.answer.trim());
        }
    }
    (marks.iter().filter(|mark| mark.fault.is_none()).count(), marks.len())
}

#[test]
fn questions() {
    assert_eq!(right(ask_questions), (96, 100));
}

#[test]
fn questions_after_a_long_conversation() {
    assert_eq!(right(ask_late_questions), (69, 100));
}

#[test]
fn stories() {
    assert_eq!(right(ask_stories), (45, 50));
}
