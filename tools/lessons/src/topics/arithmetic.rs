//! Small sums: numbers up to 20 added and taken away, and up to 10 multiplied and divided. Every answer repeats the
//! numbers before the result, in digits.

use std::sync::LazyLock;

use Operation::{Minus, Over, Plus, Times};

use super::table::{Exchange, Table, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;
use crate::score::{TENS, UNITS};

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("arithmetic.txt")));

/// The lines of the table under a heading.
fn asks(name: &str) -> &'static [&'static str] {
    &TABLE.get(name).asks
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    a: i32,
    operation: Operation,
    b: i32,
}

impl Sum {
    fn draw(random: &mut Random) -> Self {
        let mut up_to = |n: usize| random.below(n + 1) as i32;
        let operation = match up_to(12) {
            0..5 => Plus,
            5..9 => Minus,
            9..12 => Times,
            _ => Over,
        };
        let (a, b) = match operation {
            Plus => (up_to(20), up_to(20)),
            Minus => {
                let (a, b) = (up_to(20), up_to(20));
                if up_to(9) == 0 { (a, b) } else { (a.max(b), a.min(b)) }
            }
            Times if up_to(9) < 7 => (up_to(5), up_to(5)),
            Times => (up_to(10), up_to(10)),
            Over => {
                let b = up_to(4) + 1;
                (b * up_to(5), b)
            }
        };
        Self { a, operation, b }
    }

    fn result(self) -> i32 {
        match self.operation {
            Plus => self.a + self.b,
            Minus => self.a - self.b,
            Times => self.a * self.b,
            Over => self.a / self.b,
        }
    }

    fn answer(self) -> String {
        let operation = match self.operation {
            Plus => "plus",
            Minus => "minus",
            Times => "times",
            Over => "divided by",
        };
        format!("{} {operation} {} is {}.", self.a, self.b, self.result())
    }

    /// The headings of the table for this operation: `3 + 4`, "add 3 and 4", and a story about things.
    fn headings(self) -> [&'static str; 3] {
        match self.operation {
            Plus => ["plus", "add", "more story"],
            Minus => ["minus", "subtract", "less story"],
            Times => ["times", "multiply", "times story"],
            Over => ["over", "divide", "divide"],
        }
    }

    /// The sum with its sign or a word for it; `a` and `b` are the numbers as written.
    fn short(self, random: &mut Random, a: &str, b: &str) -> String {
        let forms = asks(self.headings()[0]);
        let digits = a.starts_with(|c: char| c.is_ascii_digit());
        let spaced = |form: &&&str| digits || form.contains(' ');
        let forms: Vec<_> = forms.iter().filter(spaced).collect();
        random.pick(&forms).replace("{a}", a).replace("{b}", b)
    }

    fn ask(self, random: &mut Random) -> Exchange {
        let words = random.chance(30);
        let number = |words, n: i32| if words { in_words(n as usize) } else { n.to_string() };
        let (a, b) = (number(words, self.a), number(words && random.chance(90), self.b));
        let thing = *random.pick(asks("things"));
        let (name, other) = (random.pick(PEOPLE), random.pick(&PEOPLE[..12]));
        let (he, him) = if name.1 { ("he", "him") } else { ("she", "her") };
        let slots = [("a", &*a), ("b", &*b), ("t", thing), ("n", name.0), ("he", he), ("him", him), ("m", other.0)];
        let [_, long, story] = self.headings().map(asks);
        let answer = self.answer();
        let tells = name.0 != other.0 && self.a > 1 && self.b > 0 && self.result() >= 0;
        match random.below(10) {
            0..2 if tells => plain(random, story, &[&answer], &slots),
            0..5 => exchange(random, long, &[&answer], &slots),
            _ => {
                let short = self.short(random, &a, &b);
                exchange(random, asks("any"), &[&answer], &[("s", &short)])
            }
        }
    }

    /// A sum that continues with this one's result, or an unrelated one.
    fn next(self, random: &mut Random) -> (Self, Exchange) {
        let a = self.result();
        if (2..=20).contains(&a) && random.chance(40) {
            let b = random.between(1, a.min(10) as usize) as i32;
            let (operation, table) = if random.chance(50) { (Plus, "plus that") } else { (Minus, "minus that") };
            let sum = Self { a, operation, b };
            return (sum, plain(random, asks(table), &[&sum.answer()], &[("b", &b.to_string())]));
        }
        let sum = Self::draw(random);
        let short = sum.short(random, &sum.a.to_string(), &sum.b.to_string());
        (sum, plain(random, asks("next"), &[&sum.answer()], &[("s", &short)]))
    }
}

/// Names, and whether the pronoun is "he".
const PEOPLE: &[(&str, bool)] = &[
    ("Anna", false),
    ("Ben", true),
    ("Tom", true),
    ("Mary", false),
    ("Sam", true),
    ("Lucy", false),
    ("Jack", true),
    ("Rosa", false),
    ("Peter", true),
    ("Kate", false),
    ("Leo", true),
    ("Emma", false),
    ("my brother", true),
    ("my sister", false),
    ("a boy", true),
    ("a girl", false),
    ("my friend", true),
];

/// A number up to 100 in words.
pub fn in_words(n: usize) -> String {
    match (n / 10, n % 10) {
        (0 | 1, _) => UNITS[n].to_owned(),
        (10, _) => "a hundred".to_owned(),
        (tens, 0) => TENS[tens - 2].to_owned(),
        (tens, units) => format!("{}-{}", TENS[tens - 2], UNITS[units]),
    }
}

/// Draws a sum of numbers that are too large, which the answer declines.
fn large(random: &mut Random) -> Exchange {
    let number = |random: &mut Random| {
        let (low, high) = *random.pick(&[(30, 99), (100, 999), (101, 9999), (1000, 99_999)]);
        random.between(low, high).to_string()
    };
    let (a, b) = (number(random), number(random));
    let table = *random.pick(&["plus", "minus", "times", "over"]);
    let short = random.pick(asks(table)).replace("{a}", &a).replace("{b}", &b);
    let answer = "Those numbers are too big for me. I can only do small sums, with numbers up to 20.";
    exchange(random, asks("any"), &[answer], &[("s", &short)])
}

fn double_or_half(random: &mut Random) -> Exchange {
    let n = random.between(1, 10);
    let (table, shown, answer) = match random.below(5) {
        0 | 1 => ("half", 2 * n, format!("Half of {} is {n}.", 2 * n)),
        2 => ("squared", n, format!("{n} times {n} is {}.", n * n)),
        _ => ("double", n, format!("2 times {n} is {}.", 2 * n)),
    };
    let shown = if random.chance(40) { in_words(shown) } else { shown.to_string() };
    exchange(random, asks(table), &[&answer], &[("n", &shown)])
}

/// Draws a sum, and perhaps more of them.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    match random.below(100) {
        0..4 => return vec![large(random)],
        4..9 => return vec![double_or_half(random)],
        _ => {}
    }
    let mut sum = Sum::draw(random);
    let mut turns = vec![sum.ask(random)];
    while turns.len() < 4 && random.chance(20) {
        if random.chance(15) {
            turns.push(plain(random, asks("sure"), &[&format!("Yes, {}", sum.answer())], &[]));
        } else {
            let (next, turn) = sum.next(random);
            sum = next;
            turns.push(turn);
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_correct() {
        let mut random = Random::new(5);
        for _ in 0..3000 {
            let sum = Sum::draw(&mut random);
            let answer = sum.answer();
            let words: Vec<_> = answer.trim_end_matches('.').split(' ').collect();
            let number = |at: usize| words[at].parse::<i32>().unwrap();
            let (a, last) = (number(0), number(words.len() - 1));
            let expected = match words[1] {
                "plus" => a + number(2),
                "minus" => a - number(2),
                "times" => a * number(2),
                _ => a / number(3),
            };
            assert_eq!(last, expected, "{words:?}");
        }
        assert_eq!([0, 20, 37, 100].map(in_words), ["zero", "twenty", "thirty-seven", "a hundred"]);
    }
}
