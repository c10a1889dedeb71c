//! Tables of messages and answers, as text:
//!
//! ```text
//! = capital 30             a heading: a name, how often it comes up (0 if nothing is said), `plain` for no openers
//! : France ; Paris         rows: {1} and {2} below, with an article {a1} and {a2}; several on a line are parted by |
//! - The capital of {1} is {2}.        an answer
//! what is the capital of {1}? | {1}'s capital?        what users say, parted by |
//! + and of {1}?            what they say to go on with another row
//! > is {2} far? => I do not know.     what they say to go on with the same row, and the answer
//! = list colour            a heading of words that stand for {colour} in the whole table
//! ```

use crate::phrase::{Slots, expand, sentence_case, split};
use crate::random::Random;
use crate::score::article;
use crate::typing::{ask, chat};

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The user's message.
    pub user: String,
    /// The model's answer.
    pub assistant: String,
}

/// An intent: many wordings of a request, and a few wordings of the answer.
#[derive(Debug, Default)]
pub struct Intent {
    name: &'static str,
    weight: usize,
    plain: bool,
    rows: Vec<Row>,
    /// Templates of the user's messages.
    pub asks: Vec<&'static str>,
    /// Templates of the answers.
    pub answers: Vec<&'static str>,
    /// Templates of the user's follow-up messages about another row.
    pub next: Vec<&'static str>,
    same: Vec<(Vec<&'static str>, &'static str)>,
}

/// Values of {1}, {2} and so on, and of {a1}, {a2} with an article.
type Row = Vec<(&'static str, String)>;

/// A table of intents and lists of words.
#[derive(Debug)]
pub struct Table {
    intents: Vec<Intent>,
    lists: Vec<(&'static str, String)>,
}

impl Table {
    /// Reads a table.
    ///
    /// # Panics
    /// If a line comes before the first heading, or a weight is not a number. Both are errors in the table.
    pub fn read(text: &'static str) -> Self {
        let mut intents: Vec<Intent> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(heading) = line.strip_prefix("= ") {
                intents.push(Intent::heading(heading));
                continue;
            }
            let intent = intents.last_mut().expect("a table begins with a heading");
            match line.split_at(line.find(' ').map_or(0, |at| at + 1)) {
                ("- ", answer) => intent.answers.push(answer),
                (": ", rows) => {
                    intent.rows.extend(split(rows, '|').into_iter().map(row));
                }
                ("+ ", asks) => intent.next.extend(split(asks, '|')),
                ("> ", same) => {
                    let (asks, answer) = same.split_once("=>").expect("an answer follows");
                    intent.same.push((split(asks, '|'), answer.trim()));
                }
                _ => intent.asks.extend(split(line, '|')),
            }
        }
        let lists = intents.iter().filter_map(|intent| {
            let name = intent.name.strip_prefix("list ")?;
            Some((name, format!("[{}]", intent.asks.join("|"))))
        });
        Self { lists: lists.collect(), intents }
    }

    /// The intent with a name.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, name: &str) -> &Intent {
        self.intents.iter().find(|intent| intent.name == name).unwrap_or_else(|| panic!("the table has no {name}"))
    }

    /// The lists of the table, as slots.
    pub fn lists(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.lists.iter().map(|(name, words)| (*name, words.as_str()))
    }

    /// Draws an intent by weight, from those named or from all.
    pub fn draw(&self, random: &mut Random, names: &[&str]) -> &Intent {
        let fits = |intent: &&Intent| names.is_empty() || names.contains(&intent.name);
        let mut at = random.below(self.intents.iter().filter(fits).map(|intent| intent.weight).sum());
        for intent in self.intents.iter().filter(fits) {
            if at < intent.weight {
                return intent;
            }
            at -= intent.weight;
        }
        &self.intents[0]
    }

    /// Draws a thread about one intent: a question, and perhaps follow-up questions.
    pub fn talk(&self, random: &mut Random, intent: &Intent) -> Vec<Exchange> {
        let mut turns = Vec::new();
        let mut row = intent.row(random);
        turns.push(intent.exchange(random, &intent.asks, &self.slots(&row)));
        while turns.len() < 4 && random.chance(22) {
            if let Some((asks, answer)) = (!intent.same.is_empty()).then(|| random.pick(&intent.same)) {
                turns.push(plain(random, asks, &[answer], &self.slots(&row)));
            } else if !intent.next.is_empty() {
                row = intent.row(random);
                turns.push(plain(random, &intent.next, &intent.answers, &self.slots(&row)));
            }
        }
        turns
    }

    /// Draws a thread about one intent of the table, and perhaps another one.
    pub fn thread(&self, random: &mut Random) -> Vec<Exchange> {
        let mut turns = Vec::new();
        while turns.is_empty() || turns.len() < 3 && random.chance(15) {
            let intent = self.draw(random, &[]);
            turns.extend(self.talk(random, intent));
        }
        turns
    }

    fn slots<'a>(&'a self, row: &'a Row) -> Vec<(&'a str, &'a str)> {
        self.lists().chain(row.iter().map(|(name, text)| (*name, text.as_str()))).collect()
    }
}

fn row(text: &'static str) -> Row {
    const NAMES: [(&str, &str); 4] = [("1", "a1"), ("2", "a2"), ("3", "a3"), ("4", "a4")];
    let places = NAMES.into_iter().zip(split(text, ';'));
    places.flat_map(|((name, a), text)| [(name, text.to_owned()), (a, format!("{} {text}", article(text)))]).collect()
}

impl Intent {
    fn heading(heading: &'static str) -> Self {
        let (heading, plain) = heading.strip_suffix(" plain").map_or((heading, false), |heading| (heading, true));
        let (name, weight) = match heading.rsplit_once(' ') {
            Some((name, weight)) if weight.starts_with(|c: char| c.is_ascii_digit()) => (name, weight),
            _ => (heading, "0"),
        };
        Self { name, weight: weight.parse().expect("a weight is a number"), plain, ..Self::default() }
    }

    fn row(&self, random: &mut Random) -> Row {
        if self.rows.is_empty() { Row::new() } else { random.pick(&self.rows).clone() }
    }

    /// Values of `{1}`, `{2}` and so on in each row.
    pub fn rows<const N: usize>(&self) -> Vec<[&str; N]> {
        self.rows.iter().map(|row| std::array::from_fn(|at| row[2 * at].1.as_str())).collect()
    }

    fn exchange(&self, random: &mut Random, asks: &[&str], slots: Slots) -> Exchange {
        let draw: Turn = if self.plain { plain } else { exchange };
        draw(random, asks, &self.answers, slots)
    }

    /// Draws a user's message, as people type it, and an answer of the table.
    pub fn turn(&self, random: &mut Random, slots: Slots) -> Exchange {
        self.exchange(random, &self.asks, slots)
    }
}

/// Makes an exchange from one of the messages and one of the answers.
pub type Turn = fn(&mut Random, &[&str], &[&str], Slots) -> Exchange;

/// Draws one of `asks`, with openers and tails, and one of `answers`.
pub fn exchange(random: &mut Random, asks: &[&str], answers: &[&str], slots: Slots) -> Exchange {
    let template = *random.pick(asks);
    let user = ask(random, template, slots);
    Exchange { user, assistant: answer(random, answers, slots) }
}

/// Draws one of `asks`, unchanged, and one of `answers`.
pub fn plain(random: &mut Random, asks: &[&str], answers: &[&str], slots: Slots) -> Exchange {
    let template = *random.pick(asks);
    let user = chat(random, template, slots);
    Exchange { user, assistant: answer(random, answers, slots) }
}

fn answer(random: &mut Random, answers: &[&str], slots: Slots) -> String {
    let template = *random.pick(answers);
    sentence_case(&expand(random, template, slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_as_it_is_written() {
        let table = Table::read(
            "# rows\n= capital city 30 plain\n: France ; Paris | [old|new] Spain ; Madrid\n- {1}: {2}.\n\
             what of {1}? | {1}\n+ and {1}?\n> why [a|b]? | how? => {odd}.\n\n= list odd\nso | it is\n",
        );
        let capital = table.get("capital city");
        assert_eq!((capital.weight, capital.plain, capital.rows.len(), capital.asks.len()), (30, true, 2, 2));
        assert_eq!(capital.same, [(vec!["why [a|b]?", "how?"], "{odd}.")]);
        let mut random = Random::new(1);
        let turns: Vec<_> = (0..100).flat_map(|_| table.thread(&mut random)).collect();
        let said = |text: &str| turns.iter().any(|turn| turn.assistant == text);
        assert!(said("France: Paris.") && said("New Spain: Madrid.") && said("It is."));
    }
}
