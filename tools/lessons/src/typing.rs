//! How people type: with or without openers, politeness, capitals and marks at the end.

use crate::phrase::{Slots, expand, sentence_case};
use crate::random::Random;

const QUESTION: [&str; 39] = [
    "what", "what's", "who", "who's", "which", "how", "why", "where", "when", "whose", "is", "are", "do", "does",
    "did", "can", "could", "will", "would", "should", "have", "has", "may", "must", "am", "was", "were", "how's",
    "where's", "isn't", "aren't", "don't", "can't", "if", "in", "of", "that", "name", "shall",
];
const COMMAND: [&str; 24] = [
    "tell",
    "give",
    "say",
    "name",
    "add",
    "subtract",
    "multiply",
    "take",
    "write",
    "make",
    "count",
    "spell",
    "repeat",
    "explain",
    "describe",
    "calculate",
    "compute",
    "list",
    "mix",
    "sing",
    "ask",
    "share",
    "invent",
    "work",
];
const INDIRECT: [&str; 6] = ["what", "who", "which", "how", "why", "where"];

const BEFORE_ANY: &[&str] = &[
    "hey, ",
    "hey ",
    "so, ",
    "so ",
    "um, ",
    "ok, ",
    "okay, ",
    "hi, ",
    "hello, ",
    "well, ",
    "sterna, ",
    "hey sterna, ",
    "hi sterna, ",
    "ok sterna, ",
    "now, ",
    "and ",
    "alright, ",
    "oh, ",
    "hmm, ",
    "yo, ",
    "right, ",
];
const BEFORE_QUESTION: &[&str] = &[
    "quick question: ",
    "question: ",
    "one question: ",
    "tell me, ",
    "i wonder, ",
    "i have a question: ",
    "please, ",
    "just curious, ",
    "say, ",
    "i want to know, ",
    "another question: ",
    "help me: ",
    "may i ask, ",
    "i was wondering, ",
    "any idea, ",
    "here is a question: ",
    "a question for you: ",
    "let me ask, ",
    "out of interest, ",
];
const BEFORE_INDIRECT: &[&str] = &[
    "can you tell me ",
    "could you tell me ",
    "do you know ",
    "tell me ",
    "please tell me ",
    "i want to know ",
    "i wonder ",
    "would you know ",
    "any idea ",
    "i'd like to know ",
    "can you say ",
    "let me know ",
    "explain ",
    "do you happen to know ",
    "i am curious, ",
];
const BEFORE_COMMAND: &[&str] = &[
    "please ",
    "can you ",
    "could you ",
    "would you ",
    "will you ",
    "can you please ",
    "could you please ",
    "i want you to ",
    "i'd like you to ",
    "please can you ",
    "just ",
    "kindly ",
    "now ",
    "go on, ",
    "would you please ",
    "i need you to ",
    "are you able to ",
    "why don't you ",
    "you should ",
    "how about you ",
];
const AFTER: &[&str] = &[
    " please",
    ", please",
    ", thanks",
    " thanks",
    ", sterna",
    " sterna",
    " then",
    " for me",
    ", thank you",
    ", friend",
    " if you can",
];

/// Fills a template and varies it as people type: with an opener, a tail, other capitals and other marks. Templates
/// start with a small letter, except for names.
pub fn ask(random: &mut Random, template: &str, slots: Slots) -> String {
    let text = expand(random, template, slots);
    let first = text.split([' ', ',', ':']).next().unwrap_or_default();
    let mut text = text.clone();
    if random.chance(38) {
        let question = QUESTION.contains(&first);
        let openers = match random.below(3) {
            0 if COMMAND.contains(&first) => BEFORE_COMMAND,
            1 if COMMAND.contains(&first) => BEFORE_COMMAND,
            0 if INDIRECT.contains(&first) => BEFORE_INDIRECT,
            1 if question => BEFORE_QUESTION,
            _ => BEFORE_ANY,
        };
        let opener = *random.pick(openers);
        text.insert_str(0, opener);
    }
    if random.chance(12) {
        let at = text.trim_end_matches(['?', '.', '!']).len();
        let tail = *random.pick(AFTER);
        text.insert_str(at, tail);
    }
    marks(random, &text)
}

/// Like [`ask`], but without openers and tails, for messages that are already polite.
pub fn chat(random: &mut Random, template: &str, slots: Slots) -> String {
    let text = expand(random, template, slots);
    marks(random, &text)
}

fn marks(random: &mut Random, text: &str) -> String {
    let bare = text.trim_end_matches(['?', '.', '!']);
    match random.below(20) {
        0..8 => sentence_case(text),
        8..11 => text.to_owned(),
        11..15 => bare.to_lowercase(),
        15 => sentence_case(bare),
        16 => format!("{}!", sentence_case(bare)),
        17 => bare.to_lowercase().replace('\'', ""),
        18 => format!("{}{}", bare.to_lowercase(), if text.ends_with('?') { "??" } else { ".." }),
        _ => text.to_lowercase(),
    }
}
