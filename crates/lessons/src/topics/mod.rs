//! What lessons are about: a file a topic, and how often each comes up.

use crate::filter::Filter;
use crate::phrase::{Slots, expand, sentence_case};
use crate::random::Random;
use crate::typing::{ask, chat};

pub mod arithmetic;
pub mod colours;
pub mod greeting;
pub mod identity;
pub mod jokes;
pub mod opposites;
pub mod riddles;
pub mod story;
pub mod ternary;

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the user says.
    pub user: String,
    /// What the model answers.
    pub assistant: String,
}

/// Draws exchanges that belong together: a question, and perhaps what follows from it.
pub type Thread = fn(&mut Random, &Filter) -> Vec<Exchange>;

/// A topic and how often it comes up.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How often it comes up among all topics. A story is some ten times as long as other answers.
    pub weight: usize,
    /// Draws a thread.
    pub thread: Thread,
}

/// The topics, by how often they come up in a thousand.
pub static MIX: &[Topic] = &[
    Topic { name: "story", weight: 180, thread: story::thread },
    Topic { name: "arithmetic", weight: 190, thread: arithmetic::thread },
    Topic { name: "identity", weight: 110, thread: identity::thread },
    Topic { name: "ternary", weight: 80, thread: ternary::thread },
    Topic { name: "greeting", weight: 60, thread: greeting::thread },
    Topic { name: "opposites", weight: 90, thread: opposites::thread },
    Topic { name: "colours", weight: 60, thread: colours::thread },
    Topic { name: "jokes", weight: 30, thread: jokes::thread },
    Topic { name: "riddles", weight: 50, thread: riddles::thread },
];

/// Something that users want, in many wordings, and the few wordings of the answer.
#[derive(Debug)]
pub struct Intent {
    /// Templates of what the user says.
    pub asks: &'static [&'static str],
    /// Templates of the answer.
    pub answers: &'static [&'static str],
}

impl Intent {
    /// An exchange with this intent.
    pub fn exchange(&self, random: &mut Random) -> Exchange {
        exchange(random, self.asks, self.answers, &[])
    }
}

/// One of `asks` with openers and tails, and one of `answers`.
pub fn exchange(random: &mut Random, asks: &[&str], answers: &[&str], slots: Slots) -> Exchange {
    let template = *random.pick(asks);
    let user = ask(random, template, slots);
    Exchange { user, assistant: answer(random, answers, slots) }
}

/// One of `asks` as it stands, and one of `answers`.
pub fn plain(random: &mut Random, asks: &[&str], answers: &[&str], slots: Slots) -> Exchange {
    let template = *random.pick(asks);
    let user = chat(random, template, slots);
    Exchange { user, assistant: answer(random, answers, slots) }
}

/// One of `answers`, with capitals.
pub fn answer(random: &mut Random, answers: &[&str], slots: Slots) -> String {
    let template = *random.pick(answers);
    sentence_case(&expand(random, template, slots))
}

/// One of `intents`, as often as its weight says.
pub fn weighted<'a>(random: &mut Random, intents: &[(usize, &'a Intent)]) -> &'a Intent {
    let mut at = random.below(intents.iter().map(|intent| intent.0).sum());
    for (weight, intent) in intents {
        if at < *weight {
            return intent;
        }
        at -= weight;
    }
    intents[0].1
}
