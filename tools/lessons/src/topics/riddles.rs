//! Riddles in both directions: the model asks one and gives the answer, or answers one.

use std::sync::LazyLock;

use super::table::{Exchange, Table, exchange, plain};
use crate::filter::Filter;
use crate::phrase::expand;
use crate::random::Random;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("riddles.txt")));

/// Draws a riddle asked by either side, and the turns that follow.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    // A row holds the answer, the riddle as the model asks it, and the clues in users' questions.
    let riddles = TABLE.get("riddle").rows();
    let [answer, question, clues] = *random.pick(&riddles);
    if random.chance(50) {
        let clue = expand(random, clues, &[]);
        return vec![TABLE.get("answer").turn(random, &[("r", &clue), ("a", answer)])];
    }
    let mut turns = vec![exchange(random, &TABLE.get("tell").asks, &[question], &[])];
    let other = random.pick(&riddles)[0];
    let guess = &TABLE.get("guess").asks;
    match random.below(10) {
        0..3 => turns.push(plain(random, &TABLE.get("give up").asks, &["It is {a}."], &[("a", answer)])),
        3..5 => turns.push(plain(random, guess, &["Yes, that is right! It is {g}."], &[("g", answer)])),
        5..7 if other != answer => {
            turns.push(plain(random, guess, &["No, it is {a}."], &[("g", other), ("a", answer)]))
        }
        _ => {}
    }
    turns
}
