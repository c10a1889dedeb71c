//! Words and their letters: repeating, spelling, counting.

use std::sync::LazyLock;

use super::story::NOUNS;
use super::table::{Exchange, Table, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;
use crate::score::UNITS;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("words.txt")));

/// Draws a question about a word.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let word = loop {
        let word = random.pick(&NOUNS).word;
        if word.len() < 8 {
            break word;
        }
    };
    let letters: Vec<String> = word.chars().map(|letter| letter.to_uppercase().collect()).collect();
    let [first, .., last] = &letters[..] else { return TABLE.talk(random, TABLE.get("rhyme")) };
    let count = UNITS[letters.len()];
    let (heading, answer) = match random.below(16) {
        0..4 => return vec![plain(random, &TABLE.get("repeat").asks, &[word], &[("w", word)])],
        4..8 => ("spell", format!("The word {word} is spelled {}.", letters.join("-"))),
        8..10 => ("first", format!("The first letter of {word} is {first}.")),
        10..12 => ("last", format!("The last letter of {word} is {last}.")),
        12 => ("length", format!("The word {word} has {count} letters.")),
        13 if regular(word) => ("plural", format!("The plural of {word} is {word}s.")),
        _ => return TABLE.talk(random, TABLE.get("rhyme")),
    };
    vec![exchange(random, &TABLE.get(heading).asks, &[&answer], &[("w", word)])]
}

/// Whether the plural only adds an `s`.
fn regular(word: &str) -> bool {
    let irregular =
        ["mouse", "goose", "child", "man", "woman", "fisherman", "policeman", "fireman", "milkmaid", "leaf"];
    !word.ends_with(['s', 'x', 'z', 'y', 'h', 'f', 'o'])
        && !irregular.contains(&word)
        && !word.ends_with("fe")
        && !matches!(
            word,
            "sheep" | "fish" | "deer" | "moose" | "salmon" | "ox" | "postman" | "soap" | "paper" | "cheese"
        )
}
