//! Opposites, in both directions.

use std::sync::LazyLock;

use super::Exchange;
use super::table::{Table, Turn, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("opposites.txt")));

/// The words in both directions, each with the opposite that is its answer. The words that people try first come first.
pub static PAIRS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for [a, b] in TABLE.get("opposite").rows() {
        for (word, opposite) in [(a, b), (b, a)] {
            if !pairs.iter().any(|pair| pair.0 == word) {
                pairs.push((word, opposite));
            }
        }
    }
    pairs
});

/// Draws a question about an opposite, and perhaps more of them.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let intent = TABLE.get("opposite");
    let mut turns = Vec::new();
    while turns.is_empty() || turns.len() < 4 && random.chance(22) {
        let most = if random.chance(50) { PAIRS.len() / 3 } else { PAIRS.len() };
        let (word, opposite) = PAIRS[random.below(most)];
        let slots = [("1", word), ("2", opposite)];
        let follows = !turns.is_empty() && random.chance(80);
        let (draw, asks) = if follows { (plain as Turn, &intent.next) } else { (exchange as _, &intent.asks) };
        turns.push(draw(random, asks, &intent.answers, &slots));
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_has_one_opposite_and_there_are_many() {
        let distinct: HashSet<_> = PAIRS.iter().map(|(a, b)| if a < b { (a, b) } else { (b, a) }).collect();
        assert!(distinct.len() >= 150, "{}", distinct.len());
        assert!(PAIRS.iter().all(|(word, opposite)| word != opposite));
        let of = |word| PAIRS.iter().find(|pair| pair.0 == word).map(|pair| pair.1);
        assert_eq!(
            ["light", "dark", "heavy", "cold"].map(of),
            [Some("dark"), Some("light"), Some("light"), Some("hot")]
        );
    }
}
