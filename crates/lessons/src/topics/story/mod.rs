//! Stories about two nouns: one of many plots, with other words each time.

use std::sync::LazyLock;

use super::{Exchange, plain};
use crate::filter::Filter;
use crate::phrase::{expand, sentence_case};
use crate::random::Random;
use crate::score::{article, names};
use crate::typing::ask;
use crate::words::{four_grams, sentences, words};

mod asks;

/// A noun and what it is; `nouns.txt` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    /// The noun in the singular.
    pub word: &'static str,
    /// `animal`, `man`, `woman`, `thing`, `food`, `clothes`, `music`, `light`, `ride`, `place` or `sky`.
    pub kind: &'static str,
}

impl Noun {
    fn is_being(self) -> bool {
        matches!(self.kind, "animal" | "man" | "woman")
    }
}

/// All nouns.
pub static NOUNS: LazyLock<Vec<Noun>> = LazyLock::new(|| {
    let lines = include_str!("nouns.txt").lines().filter_map(|line| line.split_once(':'));
    lines.flat_map(|(kind, words)| words.split(',').map(move |word| Noun { word: word.trim(), kind })).collect()
});

/// A plot: what its second noun is, and its sentences.
#[derive(Debug)]
pub struct Plot {
    kind: &'static str,
    lines: Vec<&'static str>,
}

/// All plots.
pub static PLOTS: LazyLock<Vec<Plot>> = LazyLock::new(|| {
    let mut plots: Vec<Plot> = Vec::new();
    for line in include_str!("plots.txt").lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("= "), plots.last_mut()) {
            (Some(kind), _) => plots.push(Plot { kind, lines: Vec::new() }),
            (None, Some(plot)) => plot.lines.push(line),
            (None, None) => {}
        }
    }
    plots
});

/// Other people, with their pronouns.
const OTHERS: &[(&str, &str, &str, &str)] = &[
    ("old woman", "she", "her", "her"),
    ("old man", "he", "him", "his"),
    ("little girl", "she", "her", "her"),
    ("small boy", "he", "him", "his"),
    ("young shepherd", "he", "him", "his"),
    ("poor woman", "she", "her", "her"),
    ("blind man", "he", "him", "his"),
    ("stranger", "he", "him", "his"),
    ("young mother", "she", "her", "her"),
    ("traveller", "he", "him", "his"),
    ("grey old lady", "she", "her", "her"),
    ("tall man", "he", "him", "his"),
    ("barefoot child", "she", "her", "her"),
    ("tired soldier", "he", "him", "his"),
    ("kind nurse", "she", "her", "her"),
];
const HIS_NAMES: &[&str] = &[
    "Tom", "Ben", "Sam", "Jack", "Peter", "Hugo", "Max", "Leo", "Felix", "Otto", "Oscar", "Toby", "Finn", "Paul",
    "Martin", "Robin", "Henry", "Walter", "Jim", "Ned", "Will", "Simon", "Arthur", "Victor", "Frank", "Bruno", "Milo",
    "Jonas", "Dan", "Pip",
];
const HER_NAMES: &[&str] = &[
    "Anna", "Lucy", "Mary", "Rosa", "Emma", "Kate", "Nina", "Clara", "Ella", "Lily", "Molly", "Ruth", "Alice", "Nora",
    "Julia", "Sara", "Greta", "Ida", "Flora", "Grace", "Daisy", "Polly", "Betty", "Martha", "Jane", "Lena", "Mia",
    "Ada", "Olive", "Rose",
];

const NATURE: &str = "[small|little|young|old|brave|quiet|kind|clever|shy|merry|lazy|curious|gentle|lonely|busy|cheerful|proud|tiny|hungry|grey|white|fat|thin|happy|poor|honest|careful|friendly|sleepy|wise]";
const LOOK: &str = "[red|blue|green|yellow|white|golden|silver|little|beautiful|wonderful|shining|fine|strange|old|lovely|pretty|splendid|bright|curious|rare]";
const HOME: &str = "[in a [small|quiet|far|green|little] [village|valley|forest|land]|by the sea|near a [wide|slow|clear] river|at the edge of [a forest|the woods|the town]|on a [green|windy|lonely] hill|in an old [mill|house|barn|tower]|under [an old oak|a great tree]|behind the mountains|not far from [the lake|the market|the bridge]|in a [little|white|wooden] house|at the end of a long road|in the middle of [a garden|a meadow|the woods]|on a small island|deep in the forest]";
const OPEN: &[&str] = &[
    "[once upon a time|once|long ago|many years ago|in the old days|a long time ago], there was {aAX} who lived {P}. {name}",
    "[once upon a time|once|long ago|in a time long gone], {aAX} lived {P}. {name}",
    "there [once|] was {aAX} who lived {P}. {name}",
    "{aAX} lived {P}. {name}",
    "{P} there lived {aAX}. {name}",
    "{P}, {aAX} had {his} home. {name}",
    "this is the story of {aAX} who lived {P}. {name}",
    "do you know the tale of the {A} {X}? {He} lived {P}. {name}",
    "far away, {P}, there was {aAX}. {name}",
    "{N} was {aAX} who lived {P}.",
    "{N} was {aAX}. {He} lived {P}.",
    "the {X} in this story was {A} and lived {P}. {name}",
    "let me tell you about {aAX}. {He} lived {P}. {name}",
];
const OPEN_TWO: &[&str] = &[
    "{N} was a [little|small|young|clever|quiet|shy|merry|curious] {child} who lived {P}.",
    "[once upon a time|once|long ago|many years ago], there was a [little|small|young|clever|quiet|shy|merry|curious] {child} called {N}, who lived {P}.",
    "{P} there lived a {child} named {N}.",
    "this is the story of {N}, a [little|small|young|clever|quiet] {child} who lived {P}.",
];
const NAME: &str = "[|{His} name was {N}.|Everyone called {him} {N}.|{His} friends called {him} {N}.|]";
const WEATHER: &str = "[it was [cold and dark|warm and bright|a windy day|very hot|a grey and rainy day|a clear night|a soft spring day|so quiet that one could hear the leaves fall]|the sun was [shining|going down|hot]|the rain [fell softly|would not stop|ran down the windows]|[a cold|a soft|a warm|the north] wind was blowing|snow [lay on the ground|was falling|covered the roofs]|the sky was [blue|grey|full of clouds|red in the west]|the leaves were [falling|turning yellow]|birds were singing in the trees|the air smelled of [rain|flowers|hay|snow]|a thick fog lay over the fields|the first stars came out|far away a dog was barking|the clouds looked like [sheep|ships|mountains]].";
const DAY: &str = "[day|morning|evening|summer day|spring morning|winter day|cold morning|autumn day|sunny morning|rainy day|quiet evening|fine morning|windy day|afternoon|night]";
const WHERE: &str = "[under a tree|by the road|in the tall grass|on the path|near the river|behind the barn|at the side of the road|beside a stone|in a ditch|on the steps of the church|between two rocks|in the wood|by the old wall|in a heap of leaves|at the foot of a hill|next to the well]";
const WHERE2: &str = "[under a tree|on a stone|by the window|in the garden|on the steps|near the fire|under the old oak|on a log|behind the house|by the pond|at the gate|in a corner of the barn|on the grass|beside the stream|on the hill]";
const VILLAGE: &str = "[in the village|in the town|in the land|in the valley|for miles around|there]";
const END: &str = "[from that day on, the {X} always kept the {Y} close|that night the {X} dreamed of the {Y} and [smiled|laughed] in {his} sleep|and if you pass that way, you may still see the {X} and the {Y}|the {X} never forgot that day, and the {Y} never let {him}|and the {X} and the {Y} had many more adventures|so the {X} learned that even {aY} can bring good luck|and so it was {aY} that made the {X} [happy|glad] at last|since then, no one has ever seen the {X} without the {Y}|and that is how the {X} came to love the {Y}|in the evening, the {X} put the {Y} by the bed and fell asleep|and whenever the {X} looked at the {Y}, {he} thought of that day|to this day, the {X} tells the story of the {Y} to everyone who will listen].";
const LAST: &str = "[|||they all lived happily for many years.|it had been a very good day.|all was well again.|and that is the end of the story.|and they all slept well that night.|nothing could be better than that.|it was the best day of the year.|that was a day to remember.|and everyone was glad.|so it ended well.|then the stars came out, one by one.|and there the story ends.]";

/// What a story is about.
#[derive(Debug, Clone)]
struct About {
    hero: Noun,
    other: Noun,
    nature: String,
    look: String,
    name: &'static str,
    he: bool,
}

impl About {
    fn draw(random: &mut Random, filter: &Filter) -> Self {
        let (hero, other) = loop {
            let (a, b) = (*random.pick(&NOUNS), *random.pick(&NOUNS));
            // Most people ask for somebody and something.
            let dull = !a.is_being() && random.chance(75) || b.is_being() && random.chance(50);
            if !dull && filter.allows_pair(a.word, b.word) {
                break if b.is_being() && !a.is_being() { (b, a) } else { (a, b) };
            }
        };
        let he = match hero.kind {
            "man" => true,
            "woman" => false,
            _ => random.chance(55),
        };
        let name = random.pick(if he { HIS_NAMES } else { HER_NAMES });
        let (nature, look) = (expand(random, NATURE, &[]), expand(random, LOOK, &[]));
        Self { hero, other, nature, look, name, he }
    }

    fn plot(&self, random: &mut Random) -> &'static Plot {
        let kind = match self.other.kind {
            _ if !self.hero.is_being() => "two",
            "animal" | "man" | "woman" => "being",
            kind @ ("food" | "clothes" | "music" | "light" | "ride") if random.chance(45) => kind,
            "ride" if random.chance(60) => "ride",
            kind @ ("place" | "sky") => kind,
            _ => "thing",
        };
        let fitting: Vec<_> = PLOTS.iter().filter(|plot| plot.kind == kind).collect();
        *random.pick(&fitting)
    }

    /// A story that keeps the rules of the exam with a sentence to spare.
    fn story(&self, random: &mut Random) -> String {
        loop {
            let plot = self.plot(random);
            let story = self.write(random, plot);
            if keeps_the_rules(&story, self) {
                return story;
            }
        }
    }

    fn write(&self, random: &mut Random, plot: &Plot) -> String {
        let friend = loop {
            let friend = random.pick(&NOUNS);
            if friend.kind == "animal" && *friend != self.hero && *friend != self.other {
                break friend.word;
            }
        };
        let with_article = |words: &str| format!("{} {words}", article(words));
        let (x, y) = (self.hero.word, self.other.word);
        let ruler = *random.pick(&["king", "queen", "mayor", "duke"]);
        let (he, him, his) = if self.he { ("he", "him", "his") } else { ("she", "her", "her") };
        let (o, oshe, ohim, oher) = *random.pick(OTHERS);
        let (home, village) = (expand(random, HOME, &[]), expand(random, VILLAGE, &[]));
        let slots = [
            ("X", x),
            ("Y", y),
            ("aX", &with_article(x)),
            ("aY", &with_article(y)),
            ("N", self.name),
            ("A", &self.nature),
            ("B", &self.look),
            ("aAX", &with_article(&format!("{} {x}", self.nature))),
            ("aBY", &with_article(&format!("{} {y}", self.look))),
            ("he", he),
            ("him", him),
            ("his", his),
            ("He", &sentence_case(he)),
            ("His", &sentence_case(his)),
            ("F", friend),
            ("aF", &with_article(friend)),
            ("O", o),
            ("aO", &with_article(o)),
            ("oshe", oshe),
            ("ohim", ohim),
            ("oher", oher),
            ("P", &home),
            ("P2", &village),
            ("P4", "[of that land|of the town]"),
            ("where", WHERE),
            ("where2", WHERE2),
            ("day", DAY),
            ("day2", "[morning|evening|day|Sunday|afternoon|Monday|spring]"),
            ("weather", WEATHER),
            ("end", END),
            ("name", NAME),
            ("ruler", ruler),
            ("child", if self.he { "boy" } else { "girl" }),
            ("one", "[one|the first]"),
        ];
        let open = random.pick(if plot.kind == "two" { OPEN_TWO } else { OPEN });
        let mut story = Vec::from([*open]);
        story.extend(plot.lines.iter().filter_map(|line| match line.strip_prefix('?') {
            Some(line) => random.chance(60).then_some(line),
            None => Some(*line),
        }));
        story.push(LAST);
        let mut text = String::new();
        let mut met = false;
        for line in story {
            // A friend is brought in when first named.
            let known = met || line.contains("{aF}") || line.contains("friend the {F}");
            let line = if known { line.to_owned() } else { line.replacen("the {F}", "{his} friend the {F}", 1) };
            met |= line.contains("{F}") || line.contains("{aF}");
            let line = sentence_case(&expand(random, &line, &slots));
            if !line.is_empty() {
                text.push_str(&line);
                text.push(' ');
            }
        }
        text.trim().to_owned()
    }
}

fn keeps_the_rules(story: &str, about: &About) -> bool {
    let parts = sentences(story);
    let both = parts.iter().filter(|part| names(part, about.hero.word) && names(part, about.other.word)).count();
    both >= 4 && (8..=22).contains(&parts.len()) && story.ends_with('.') && !repeats(story)
}

fn repeats(story: &str) -> bool {
    let said = words(story);
    let runs: Vec<_> = four_grams(&said).collect();
    runs.iter().any(|run| runs.iter().filter(|other| *other == run).count() > 2)
}

/// A story, and perhaps a word about it or another one.
pub fn thread(random: &mut Random, filter: &Filter) -> Vec<Exchange> {
    let about = About::draw(random, filter);
    let (x, y) = (about.hero.word, about.other.word);
    let user = asks::request(random, &about);
    let mut turns = vec![Exchange { user, assistant: about.story(random) }];
    match random.below(100) {
        0..5 => {
            let next = About::draw(random, filter);
            let user = asks::another(random, &next);
            turns.push(Exchange { user, assistant: next.story(random) });
        }
        5..9 => {
            let asks = &[
                "[who|what] was [it|the story|that story] about?",
                "what was in the story?",
                "what were the two things in the story?",
                "what is the story about?",
            ];
            let slots = [("x", x), ("y", y)];
            turns.push(plain(
                random,
                asks,
                &[&format!("It was about {} {x} and {} {y}.", article(x), article(y))],
                &slots,
            ));
        }
        9..18 => {
            let asks = &[
                "thanks",
                "thank you",
                "nice story",
                "i like it",
                "[that was|what] a [nice|good|great|lovely|beautiful] story",
                "i liked that",
                "good story",
                "lovely, thank you",
                "great",
                "wonderful",
                "cool story",
                "the end?",
                "that's sweet",
            ];
            turns.push(plain(
                random,
                asks,
                &["I am glad you like it! Would you like another story?", "Thank you! I can tell you another one."],
                &[],
            ));
        }
        _ => {}
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::judge_story;
    use std::collections::HashSet;

    #[test]
    fn stories_keep_the_rules_and_differ() {
        let (mut random, filter) = (Random::new(4), Filter::default());
        let mut told = HashSet::new();
        for _ in 0..1000 {
            let about = About::draw(&mut random, &filter);
            let (hero, other) = (about.hero.word, about.other.word);
            assert!(filter.allows_pair(hero, other));
            let story = about.story(&mut random);
            let known = words(&story).into_iter().collect();
            assert_eq!(judge_story([hero, other], &story, &known), Ok(()), "{story}");
            assert!(told.insert(story));
        }
    }

    #[test]
    fn there_are_many_nouns_and_plots_and_every_plot_can_be_told() {
        assert!(NOUNS.len() >= 300, "{}", NOUNS.len());
        assert!(PLOTS.len() >= 25, "{}", PLOTS.len());
        let (mut random, filter) = (Random::new(3), Filter::default());
        for plot in PLOTS.iter() {
            let kept = (0..400).filter(|_| {
                let about = loop {
                    let about = About::draw(&mut random, &filter);
                    if about.hero.is_being() != (plot.kind == "two") {
                        break about;
                    }
                };
                keeps_the_rules(&about.write(&mut random, plot), &about)
            });
            let kept = kept.count();
            assert!(kept > 200, "{kept} of 400: {:?}", plot.lines[0]);
        }
    }
}
