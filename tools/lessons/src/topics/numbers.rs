//! The order of numbers: counting, before and after, more and less.

use std::sync::LazyLock;

use super::arithmetic::in_words;
use super::table::{Exchange, Table, exchange};
use crate::filter::Filter;
use crate::random::Random;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("numbers.txt")));

/// Draws one or two questions about numbers.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let list = |numbers: &mut dyn Iterator<Item = usize>| {
        let numbers: Vec<String> = numbers.map(|n| n.to_string()).collect();
        numbers.join(", ")
    };
    let (mut n, mut m) = (random.between(1, 20), random.between(1, 20));
    let (heading, answer) = match random.below(9) {
        0 | 1 => ("after", format!("After {n} comes {}.", n + 1)),
        2 => ("before", format!("Before {n} comes {}.", n - 1)),
        3 | 4 => ("count", format!("{}.", list(&mut (1..=n)))),
        5 => {
            n = n.min(12);
            ("down", format!("{}.", list(&mut (1..=n).rev())))
        }
        6 if n != m => ("bigger", format!("{} is bigger than {}.", n.max(m), n.min(m))),
        7 => ("even", format!("{n} is an {} number.", if n % 2 == 0 { "even" } else { "odd" })),
        _ => {
            m = n + 2;
            ("between", format!("{} is between {n} and {m}.", n + 1))
        }
    };
    let words = random.chance(25);
    let [n, m] = [n, m].map(|n| if words { in_words(n) } else { n.to_string() });
    vec![exchange(random, &TABLE.get(heading).asks, &[&answer], &[("n", &n), ("m", &m)])]
}
