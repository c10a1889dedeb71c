//! Greetings, thanks, farewells, and "how are you".

use std::sync::LazyLock;

use super::{Exchange, Table};
use crate::filter::Filter;
use crate::random::Random;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("greeting.txt")));
const FIRST: &[&str] = &["hello", "morning", "afternoon", "evening", "how are you"];
const LAST: &[&str] = &["thanks", "bye", "night"];

/// Draws a greeting, thanks, a farewell, or "how are you".
pub fn thread(random: &mut Random, filter: &Filter) -> Vec<Exchange> {
    if random.chance(45) { ending(random, filter) } else { hello(random, filter) }
}

/// Draws the start of a conversation.
pub fn hello(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let first = TABLE.draw(random, FIRST).turn(random, &[]);
    let next = if first.assistant.ends_with("How are you?") && random.chance(60) {
        &["fine", "unwell"][..]
    } else if random.chance(20) {
        &["how are you", "unwell"]
    } else {
        return vec![first];
    };
    vec![first, TABLE.draw(random, next).turn(random, &[])]
}

/// Draws the end of a conversation.
pub fn ending(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    vec![TABLE.draw(random, LAST).turn(random, &[])]
}
