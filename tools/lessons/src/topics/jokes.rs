//! Jokes: a question and its punch line.

use std::sync::LazyLock;

use super::table::{Exchange, Table, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("jokes.txt")));

/// Draws a joke, and perhaps another one.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let jokes = TABLE.get("joke");
    let first = *random.pick(&jokes.answers);
    let mut told = vec![first];
    let mut turns = vec![exchange(random, &jokes.asks, &[first], &[])];
    while turns.len() < 4 && random.chance(35) {
        let next = *random.pick(&jokes.answers);
        match random.below(10) {
            0..6 if !told.contains(&next) => {
                turns.push(plain(random, &jokes.next, &[next], &[]));
                told.push(next);
            }
            6..9 => turns.push(TABLE.get("laugh").turn(random, &[])),
            _ => turns.push(TABLE.get("not funny").turn(random, &[])),
        }
    }
    turns
}
