//! Requests for stories.

use std::sync::LazyLock;

use super::About;
use crate::phrase::expand;
use crate::random::Random;
use crate::score::article;
use crate::topics::Table;
use crate::typing::ask;

/// Phrases that people use before and after a story.
pub static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("asks.txt")));

fn written(random: &mut Random, about: &About, table: &str) -> String {
    let with_article = |words: &str| format!("{} {words}", article(words));
    let (x, y) = (about.hero.word, about.other.word);
    let story = expand(random, "{story}", &TABLE.lists().collect::<Vec<_>>());
    let slots = [
        ("X", x),
        ("Y", y),
        ("aX", &with_article(x)),
        ("aY", &with_article(y)),
        ("aAX", &with_article(&format!("{} {x}", about.nature))),
        ("aBY", &with_article(&format!("{} {y}", about.look))),
        ("N", &about.name),
        ("his", if about.he { "his" } else { "her" }),
        ("S", &story),
        ("aS", &with_article(&story)),
    ];
    let pair = *random.pick(&TABLE.get("pair").asks);
    let pair = expand(random, pair, &slots);
    let slots: Vec<_> = slots.into_iter().chain([("p", &*pair)]).collect();
    let template = *random.pick(&TABLE.get(table).asks);
    ask(random, template, &slots)
}

/// Draws a request for a story, mostly with its two nouns.
pub fn request(random: &mut Random, about: &About) -> String {
    let table = match random.below(100) {
        0..8 => "none",
        8..20 if about.hero.is_being() => "one",
        _ => "both",
    };
    written(random, about, table)
}

/// Draws a request for another story.
pub fn another(random: &mut Random, about: &About) -> String {
    written(random, about, "another")
}
