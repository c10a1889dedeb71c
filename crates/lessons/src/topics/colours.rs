//! The colours of things, and of mixed paint.

use super::{Exchange, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

/// Things by colour. One that takes no article stands with a `the` or alone.
const THINGS: &[(&str, &[&str])] = &[
    (
        "blue",
        &[
            "the sky",
            "the sea",
            "a blueberry",
            "the ocean",
            "a sapphire",
            "a clear sky",
            "a blue whale",
            "the sky at noon",
        ],
    ),
    (
        "green",
        &[
            "grass",
            "a leaf",
            "a frog",
            "a cucumber",
            "the grass",
            "a pea",
            "spinach",
            "a lime",
            "lettuce",
            "moss",
            "an emerald",
            "a cactus",
            "broccoli",
            "a crocodile",
            "clover",
            "a grasshopper",
            "a pickle",
            "a meadow",
            "a forest",
            "parsley",
            "a lawn",
        ],
    ),
    (
        "yellow",
        &[
            "a banana",
            "the sun",
            "a lemon",
            "butter",
            "a duckling",
            "a sunflower",
            "corn",
            "a dandelion",
            "a chick",
            "a canary",
            "an egg yolk",
            "straw",
            "mustard",
            "honey",
            "a ripe banana",
            "cheese",
        ],
    ),
    (
        "red",
        &[
            "a tomato",
            "blood",
            "a strawberry",
            "a cherry",
            "a fire engine",
            "a rose",
            "a ruby",
            "a ladybird",
            "a stop sign",
            "ketchup",
            "a raspberry",
            "a ripe tomato",
            "a poppy",
            "a ripe strawberry",
            "a ripe cherry",
            "the planet Mars",
        ],
    ),
    (
        "orange",
        &["a carrot", "an orange", "a pumpkin", "a goldfish", "a tangerine", "an apricot", "a tiger's fur", "a fox"],
    ),
    (
        "white",
        &[
            "snow",
            "milk",
            "a swan",
            "salt",
            "a snowman",
            "a polar bear",
            "the snow",
            "cotton",
            "rice",
            "flour",
            "chalk",
            "a snowflake",
            "an egg shell",
            "a tooth",
            "cream",
            "paper",
            "a cloud",
            "a ghost",
            "sugar",
            "wool",
            "a daisy",
        ],
    ),
    (
        "black",
        &[
            "coal",
            "the night sky",
            "a crow",
            "a raven",
            "tar",
            "ink",
            "a lump of coal",
            "soot",
            "a panther",
            "a tyre",
            "night",
            "pepper",
            "a blackbird",
            "a top hat",
            "a spider",
        ],
    ),
    (
        "brown",
        &[
            "chocolate",
            "a bear",
            "wood",
            "mud",
            "coffee",
            "a potato",
            "a chestnut",
            "a tree trunk",
            "soil",
            "a nut",
            "earth",
            "a sparrow",
            "toast",
            "a monkey",
            "tea",
            "bread crust",
            "cocoa",
            "a deer",
            "bark",
            "the ground",
        ],
    ),
    (
        "grey",
        &[
            "an elephant",
            "a mouse",
            "ash",
            "a rain cloud",
            "a dolphin",
            "a stone",
            "a donkey",
            "smoke",
            "fog",
            "lead",
            "a rhino",
            "steel",
            "a wolf",
            "concrete",
        ],
    ),
    ("pink", &["a pig", "a flamingo", "bubble gum", "a piglet", "salmon", "a tongue"]),
    ("purple", &["a plum", "an aubergine", "lavender", "a violet", "a grape", "an eggplant", "beetroot"]),
    ("gold", &["a gold coin", "a gold ring", "a crown"]),
    ("silver", &["a silver coin", "a new spoon", "the moon"]),
];
const MIXES: &[(&str, &str, &str)] = &[
    ("blue", "yellow", "green"),
    ("red", "yellow", "orange"),
    ("red", "blue", "purple"),
    ("black", "white", "grey"),
    ("red", "white", "pink"),
    ("red", "green", "brown"),
    ("blue", "white", "light blue"),
    ("blue", "orange", "brown"),
    ("green", "white", "light green"),
    ("blue", "green", "turquoise"),
    ("purple", "yellow", "brown"),
    ("black", "blue", "dark blue"),
    ("black", "red", "dark red"),
    ("black", "green", "dark green"),
];

const ASKS: &[&str] = &[
    "what {c} is {t}?",
    "which {c} is {t}?",
    "what {c} has {t}?",
    "which {c} has {t}?",
    "what is the {c} of {t}?",
    "what's the {c} of {t}?",
    "which {c} does {t} have?",
    "what {c} does {t} [usually|] have?",
    "{t} is what {c}?",
    "{t} has what {c}?",
    "{t} has which {c}?",
    "{t} is which {c}?",
    "{t}: what {c}?",
    "{t}, what {c}?",
    "{t}, which {c} is it?",
    "{t}: which {c} is it?",
    "{c} of {t}",
    "{c} of {t}?",
    "the {c} of {t}?",
    "the {c} of {t} is?",
    "tell me the {c} of {t}",
    "tell me what {c} {t} is",
    "tell me which {c} {t} has",
    "give me the {c} of {t}",
    "name the {c} of {t}",
    "say the {c} of {t}",
    "do you know what {c} {t} is?",
    "do you know the {c} of {t}?",
    "can you tell me the {c} of {t}?",
    "what {c} would you give {t}?",
    "in what {c} should i paint {t}?",
    "what {c} should i paint {t}?",
    "i want to paint {t}. which {c}?",
    "i want to draw {t}, what {c} do i need?",
    "i am painting {t}, which {c} do i take?",
    "what is {t}'s {c}?",
    "{t} looks what {c}?",
    "what {c} does {t} look?",
    "of what {c} is {t}?",
    "of which {c} is {t}?",
    "is there a {c} for {t}?",
    "how is {t} coloured?",
    "describe the {c} of {t}",
    "i forgot what {c} {t} is",
    "which {c} would {t} be?",
    "what {c} would {t} be?",
    "what {c} do you think {t} is?",
    "which {c} do you think {t} has?",
    "what {c} do people say {t} is?",
    "think of {t}. what {c} is it?",
    "look at {t}, which {c} do you see?",
    "what {c} do you see on {t}?",
    "guess the {c} of {t}",
    "{t}. {c}?",
    "{t} {c}?",
    "what {c} comes to mind with {t}?",
    "a child asks what {c} {t} is",
    "normally, what {c} is {t}?",
    "most of the time, what {c} is {t}?",
    "the usual {c} of {t}?",
    "what is the usual {c} of {t}?",
    "what {c} can {t} be?",
    "if you see {t}, which {c} is it?",
    "what {c} do you call {t}?",
    "which {c} do we see when we look at {t}?",
    "{t} comes in what {c}?",
];
const TRUE: &[&str] = &[
    "is {t} {o}?",
    "is it true that {t} is {o}?",
    "{t} is {o}, right?",
    "i think {t} is {o}, is it?",
    "would you say {t} is {o}?",
];
const MIX: &[&str] = &[
    "what do you get when you mix {a} and {b}?",
    "what {c} do you get when you mix {a} and {b}?",
    "what {c} do {a} and {b} make?",
    "what do {a} and {b} make?",
    "{a} and {b} make what?",
    "{a} and {b} makes?",
    "{a} plus {b} makes what {c}?",
    "{a} + {b} = what {c}?",
    "mix {a} and {b}",
    "mix {a} with {b}",
    "what happens if i mix {a} and {b}?",
    "what happens when {a} meets {b}?",
    "if i mix {a} and {b}, what do i get?",
    "if i mix {a} with {b}, what {c} do i get?",
    "if you mix {a} and {b}, which {c} comes out?",
    "which {c} comes from {a} and {b}?",
    "what comes out when i mix {a} and {b} paint?",
    "i mix {a} and {b} paint, what {c} is it?",
    "i mixed {a} with {b}, what do i have now?",
    "{a} mixed with {b} is?",
    "{a} mixed with {b} gives?",
    "{a} mixed with {b} makes what?",
    "mixing {a} and {b} gives?",
    "mixing {a} with {b} makes?",
    "mixing {a} and {b} makes which {c}?",
    "the mix of {a} and {b} is?",
    "what is the mix of {a} and {b}?",
    "what is {a} mixed with {b}?",
    "what is {a} and {b} mixed together?",
    "{a} paint and {b} paint give?",
    "{a} paint with {b} paint?",
    "{a} paint and {b} paint make which {c}?",
    "put {a} and {b} paint together, what {c} is it?",
    "add {a} to {b} paint, what do you get?",
    "when i put {a} into {b}, which {c} is it?",
    "when i stir {a} into {b}, what comes out?",
    "i stir {a} and {b} together, what {c} do i see?",
    "if i pour {a} paint into {b} paint, which {c} comes out?",
    "can you mix {a} and {b}?",
    "what becomes of {a} and {b}?",
    "{a} and {b} become?",
    "{a} with {b} becomes?",
    "{a} and {b} together give what?",
    "combine {a} and {b}",
    "what do you get from {a} and {b}?",
    "what {c} can i make from {a} and {b}?",
    "the colours {a} and {b} make?",
    "in painting, {a} and {b} give which {c}?",
];
const MAKE: &[&str] = &[
    "how do i make {o}?",
    "how do you make {o} paint?",
    "which colours make {o}?",
    "what colours do i mix to get {o}?",
    "how can i mix {o}?",
    "i need {o} paint, what do i mix?",
    "how is {o} made?",
    "what makes {o}?",
    "which two colours give {o}?",
    "what do i need to make {o}?",
];
const LISTS: &[(&[&str], &str)] = &[
    (
        &[
            "what are the colours of the rainbow?",
            "which colours are in a rainbow?",
            "name the colors of the rainbow",
            "what colors does a rainbow have?",
            "list the rainbow colours",
            "rainbow colours?",
            "tell me the colours of a rainbow",
        ],
        "The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.",
    ),
    (
        &[
            "what are the primary colours?",
            "name the primary colors",
            "which colours are primary?",
            "what are the three basic colours?",
            "primary colours?",
        ],
        "The primary colours of paint are red, yellow and blue.",
    ),
    (
        &[
            "what colours has a zebra?",
            "what colour is a zebra?",
            "what color is a panda?",
            "which colours does a panda have?",
            "zebra colours?",
        ],
        "It is black and white.",
    ),
    (
        &[
            "what is your favourite colour?",
            "what's your favorite color?",
            "which colour do you like?",
            "do you have a favourite colour?",
            "which color do you like best?",
            "favourite colour?",
            "what colour do you love?",
        ],
        "I am a program, but I like blue, the colour of the sea.",
    ),
    (
        &[
            "what colours does a traffic light have?",
            "what are the colors of a traffic light?",
            "traffic light colours?",
            "which colours are on a traffic light?",
        ],
        "A traffic light has red, yellow and green.",
    ),
    (
        &[
            "name a colour",
            "name some colours",
            "tell me some colours",
            "what colours do you know?",
            "which colors do you know?",
            "list some colors",
            "do you know any colours?",
            "say a few colours",
        ],
        "I know red, orange, yellow, green, blue, purple, pink, brown, black, white and grey.",
    ),
];

const ANSWERS: &[&str] = &["{T} is {o}."];

/// The colour of a thing or of a mix, and perhaps more of them.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let c = if random.chance(50) { "colour" } else { "color" };
    match random.below(20) {
        0 => {
            let (asks, answer) = *random.pick(LISTS);
            return vec![exchange(random, asks, &[answer], &[])];
        }
        1 => {
            let (a, b, o) = random.pick(&MIXES[..6]);
            return vec![exchange(random, MAKE, &["mix {a} and {b} to make {o}."], &[("a", a), ("b", b), ("o", o)])];
        }
        2..8 => {
            let first = random.chance(70);
            let mix = random.pick(if first { &MIXES[..5] } else { MIXES });
            let (a, b) = if random.chance(50) { (mix.0, mix.1) } else { (mix.1, mix.0) };
            return vec![exchange(
                random,
                MIX,
                &["{a} and {b} make {o}."],
                &[("a", a), ("b", b), ("o", mix.2), ("c", c)],
            )];
        }
        8 => return vec![check(random)],
        _ => {}
    }
    let mut turns: Vec<Exchange> = Vec::new();
    while turns.is_empty() || (turns.len() < 3 && random.chance(20)) {
        let (o, things) = random.pick(THINGS);
        let thing = *random.pick(things);
        let bare = thing
            .split_once(' ')
            .map_or(thing, |(first, rest)| if matches!(first, "a" | "an" | "the") { rest } else { thing });
        let spoken = if random.chance(20) { bare } else { thing };
        let slots = [("t", spoken), ("T", thing), ("o", o), ("c", c)];
        let next = &["and {t}?", "what about {t}?", "how about {t}?", "and the {c} of {t}?", "now {t}", "{t}?"];
        turns.push(if turns.is_empty() {
            exchange(random, ASKS, ANSWERS, &slots)
        } else {
            plain(random, next, ANSWERS, &slots)
        });
    }
    turns
}

fn check(random: &mut Random) -> Exchange {
    let (colour, things) = random.pick(THINGS);
    let (other, _) = random.pick(THINGS);
    let thing = *random.pick(things);
    let answer = if colour == other { "yes, {t} is {c}." } else { "no, {t} is {c}." };
    exchange(random, TRUE, &[answer], &[("t", thing), ("o", other), ("c", colour)])
}
