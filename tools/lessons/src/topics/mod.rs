//! The topics of the lessons and their frequencies. The phrases of a topic are in a text file of its name.

use std::sync::LazyLock;

use crate::filter::Filter;
use crate::random::Random;

pub mod arithmetic;
pub mod greeting;
pub mod jokes;
pub mod numbers;
pub mod opposites;
pub mod riddles;
pub mod story;
pub mod table;
pub mod words;

pub use table::{Exchange, Table};

/// Draws exchanges that belong together: a question, and perhaps follow-up questions.
pub type Thread = fn(&mut Random, &Filter) -> Vec<Exchange>;

/// A topic and its frequency.
#[derive(Debug)]
pub struct Topic {
    /// Name.
    pub name: &'static str,
    /// Frequency, per thousand. (A story is some twenty times as long as other answers.)
    pub weight: usize,
    /// Draws a thread of exchanges.
    pub thread: Thread,
}

/// The topics, with frequencies per thousand.
pub static MIX: &[Topic] = &[
    Topic { name: "story", weight: 150, thread: story::thread },
    Topic { name: "arithmetic", weight: 160, thread: arithmetic::thread },
    Topic { name: "identity", weight: 100, thread: |random, _| IDENTITY.thread(random) },
    Topic { name: "ternary", weight: 70, thread: |random, _| TERNARY.thread(random) },
    Topic { name: "greeting", weight: 60, thread: greeting::thread },
    Topic { name: "opposites", weight: 90, thread: opposites::thread },
    Topic { name: "colours", weight: 70, thread: |random, _| COLOURS.thread(random) },
    Topic { name: "jokes", weight: 25, thread: jokes::thread },
    Topic { name: "riddles", weight: 50, thread: riddles::thread },
    Topic { name: "small talk", weight: 50, thread: |random, _| SMALL_TALK.thread(random) },
    Topic { name: "unknown", weight: 45, thread: |random, _| UNKNOWN.thread(random) },
    Topic { name: "animals", weight: 40, thread: |random, _| ANIMALS.thread(random) },
    Topic { name: "world", weight: 40, thread: |random, _| WORLD.thread(random) },
    Topic { name: "words", weight: 25, thread: words::thread },
    Topic { name: "numbers", weight: 25, thread: numbers::thread },
];

static IDENTITY: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("identity.txt")));
static TERNARY: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("ternary.txt")));
static COLOURS: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("colours.txt")));
static SMALL_TALK: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("small_talk.txt")));
static UNKNOWN: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("unknown.txt")));
static ANIMALS: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("animals.txt")));
static WORLD: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("world.txt")));
