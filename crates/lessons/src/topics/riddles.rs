//! Riddles, both ways: the model asks one and tells the answer, or answers one.

use super::{Exchange, exchange, plain};
use crate::filter::Filter;
use crate::phrase::expand;
use crate::random::Random;

/// A riddle: its answer, as the model asks it, and the clues by which users ask it. A clue goes on after "it" or "what".
struct Riddle(&'static str, &'static str, &'static [&'static str]);

const RIDDLES: &[Riddle] = &[
    Riddle(
        "a piano",
        "What has many keys but cannot open a single lock?",
        &[
            "has [many|lots of|88|black and white|] keys but [cannot open a lock|opens no lock|cannot open a door|no locks|can open nothing|cannot open any door]",
            "is full of keys [and|but] [unlocks nothing|fits no lock]",
            "has keys and no [locks|doors]",
        ],
    ),
    Riddle(
        "a clock",
        "What has a face and two hands but no arms?",
        &[
            "has [a face and two hands|two hands and a face|hands and a face] but [no arms|no legs|no eyes|no body]",
            "has [two hands|hands] but cannot [clap|hold a thing|wave|scratch itself]",
            "has a face but no [eyes|mouth]",
            "[always runs|runs all day] but never [leaves its place|walks]",
            "has two hands [and|but] never [claps|holds a thing]",
        ],
    ),
    Riddle(
        "a towel",
        "What gets wetter and wetter while it dries?",
        &[
            "gets [wet|wetter|wetter and wetter] [while|when|as] it dries",
            "[becomes|gets] wet while drying [you|others|things]",
            "dries you and gets wet",
            "is wetter the more it dries",
            "gets wetter the more it dries",
            "[becomes|gets] wetter when it dries [you|others|something]",
        ],
    ),
    Riddle(
        "a sponge",
        "What is full of holes but can still hold water?",
        &[
            "is full of holes [but|and|yet] [still|] [holds|keeps|can hold] water",
            "has [many|a lot of|so many] holes but [holds|keeps] water",
            "is all holes and [still|] holds water",
            "has holes all over [but|and] keeps water",
            "holds water though it is full of holes",
            "is made of holes and carries water",
        ],
    ),
    Riddle(
        "an egg",
        "What must be broken before you can use it?",
        &[
            "must be broken before you can [use|eat] it",
            "you have to break before you [use|eat] it",
            "has no doors, but there is gold inside",
            "is white outside and yellow inside",
            "must break before use",
        ],
    ),
    Riddle(
        "a candle",
        "What is tall when it is young and short when it is old?",
        &[
            "is tall when [it is|] young and short when [it is|] old",
            "gets shorter as it gets older",
            "starts tall and ends short",
            "cries wax and gets smaller",
            "grows shorter while it burns",
        ],
    ),
    Riddle(
        "a hole",
        "What gets bigger the more you take away?",
        &[
            "gets [bigger|larger] the more you take [away|from it]",
            "grows when you take away from it",
            "[becomes|gets] bigger when you remove more",
            "is empty but can be dug",
        ],
    ),
    Riddle(
        "your shadow",
        "What follows you all day but is gone at night?",
        &[
            "follows you [everywhere|all day|in the sun] but [leaves you|is gone|goes away] [at night|in the dark]",
            "walks with you in the sun and leaves you in the dark",
            "copies you but never speaks",
            "is always with you in the sun but has no weight",
        ],
    ),
    Riddle(
        "a river",
        "What has a mouth but never speaks, and a bed but never sleeps?",
        &[
            "has a bed but never sleeps",
            "has a mouth but [never speaks|cannot speak|never eats]",
            "runs but [never walks|has no legs]",
            "always runs and has a bed but never sleeps",
        ],
    ),
    Riddle(
        "a needle",
        "What has an eye but cannot see?",
        &[
            "has [one|an] eye but [cannot see|is blind|sees nothing]",
            "has an eye and no sight",
            "is thin and sharp with one eye",
        ],
    ),
    Riddle(
        "a bottle",
        "What has a neck but no head?",
        &["has a neck but no head", "has a neck and no [head|face]", "has a neck but wears no scarf"],
    ),
    Riddle(
        "a table",
        "What has four legs but cannot walk?",
        &[
            "has four legs but [cannot walk|never walks|cannot run]",
            "has legs but stands still",
            "stands on four legs and never walks",
        ],
    ),
    Riddle(
        "a stamp",
        "What travels around the world but stays in one corner?",
        &[
            "travels [around|round] the world [but|and] stays in [one|a|its] corner",
            "sees the world from a corner",
            "sits in a corner and travels far",
        ],
    ),
    Riddle(
        "an echo",
        "What speaks without a mouth and hears without ears?",
        &[
            "speaks without a mouth [and hears without ears|]",
            "answers you but has no mouth",
            "repeats what you say but has no tongue",
        ],
    ),
    Riddle(
        "a glove",
        "What has fingers but no bones?",
        &[
            "has [five|] fingers but [no bones|is not alive|no flesh]",
            "has a thumb but is not alive",
            "has four fingers and a thumb but is no hand",
        ],
    ),
    Riddle(
        "a book",
        "What has many leaves but is not a tree?",
        &[
            "has [many|] leaves but is [not a|no] tree",
            "has a spine but no bones",
            "has pages and [a back|a spine] but no bones",
            "tells stories without a mouth",
        ],
    ),
    Riddle(
        "a coin",
        "What has a head and a tail but no body?",
        &["has a head and a tail but no body", "has heads and tails but no legs", "has a head, a tail and no body"],
    ),
    Riddle(
        "a map",
        "What has cities but no houses, and rivers but no water?",
        &[
            "has [cities|towns] but no houses",
            "has rivers but no water",
            "shows [forests|woods] without trees",
            "has rivers without water and towns without people",
        ],
    ),
    Riddle(
        "a comb",
        "What has teeth but cannot bite?",
        &["has [many|] teeth but [cannot bite|never bites|cannot eat|does not bite]", "has teeth but no mouth"],
    ),
    Riddle(
        "a corn field",
        "What has many ears but cannot hear?",
        &["has [many|] ears but [cannot hear|hears nothing]", "is full of ears but deaf"],
    ),
    Riddle(
        "the rain",
        "What comes down but never goes up?",
        &[
            "comes down but never goes up",
            "falls but never gets hurt",
            "falls all day and breaks nothing",
            "falls from the sky and makes you wet",
        ],
    ),
    Riddle(
        "your age",
        "What goes up but never comes down?",
        &["goes up but never comes down", "grows every year but has no weight", "always goes up and never down"],
    ),
    Riddle(
        "a secret",
        "What can you keep only if you do not share it?",
        &["is gone when you share it", "you can keep only if you tell nobody", "breaks when you tell it"],
    ),
    Riddle(
        "silence",
        "What is so weak that you break it by saying its name?",
        &["is broken when you say its name", "breaks when you speak", "you break by saying its name"],
    ),
    Riddle(
        "the letter m",
        "What comes once in a minute, twice in a moment, but never in an hour?",
        &["comes once in a minute and twice in a moment", "is in every minute but in no hour"],
    ),
    Riddle(
        "fire",
        "What eats everything and dies when it drinks?",
        &[
            "eats [all|everything] but dies when it drinks",
            "dies when you give it water",
            "is always hungry and hates water",
            "is hot and bright and fears water",
        ],
    ),
    Riddle(
        "an umbrella",
        "What goes up when the rain comes down?",
        &["goes up when the rain comes down", "opens when it rains", "keeps you dry but gets wet itself"],
    ),
    Riddle(
        "a chair",
        "What has a back and legs but cannot walk?",
        &["has [a back|legs and a back|a back and legs] but cannot walk", "has a back and four legs but no head"],
    ),
    Riddle(
        "the wind",
        "What can you feel but never see?",
        &[
            "you can feel but never see",
            "blows but has no mouth",
            "has no hands but shakes the trees",
            "sings without a voice and moves the leaves",
        ],
    ),
    Riddle(
        "a mirror",
        "What shows your face but has no eyes?",
        &["shows your face but has no eyes", "shows you yourself", "looks at you when you look at it"],
    ),
    Riddle(
        "a road",
        "What goes through towns and over hills but never moves?",
        &[
            "goes [from town to town|through towns and hills|over hills] but never moves",
            "goes far but stays where it is",
        ],
    ),
    Riddle(
        "a snail",
        "What carries its house on its back?",
        &["carries its house on its back", "takes its house everywhere", "is slow and lives in its own house"],
    ),
    Riddle(
        "a mushroom",
        "What wears a hat but has no head?",
        &["wears a hat but has no head", "stands on one leg in the woods and wears a hat"],
    ),
    Riddle(
        "a spider",
        "What makes its own net but is no fisher?",
        &["makes a net but catches no fish", "has eight legs and makes webs", "spins all day but makes no coat"],
    ),
    Riddle(
        "the moon",
        "What is round one week and thin the next?",
        &[
            "is round one week and thin the next",
            "shines at night but is not a lamp",
            "lights the night but is no star",
        ],
    ),
    Riddle(
        "a tree",
        "What wears a coat in summer and is bare in winter?",
        &["is dressed in summer and bare in winter", "has a trunk but is no elephant", "has bark but never bites"],
    ),
    Riddle(
        "a bed",
        "What has four legs and lies under you all night?",
        &["has four legs and a sheet but never walks", "is where you spend the night"],
    ),
    Riddle(
        "tomorrow",
        "What is always coming but never comes?",
        &["is always coming but never [comes|arrives]", "never comes today"],
    ),
    Riddle(
        "your name",
        "What is yours but used more by others?",
        &["is yours but others use it more", "belongs to you but others say it more"],
    ),
    Riddle(
        "a broom",
        "What stands in the corner and dances over the floor?",
        &["stands in a corner and sweeps the floor", "dances over the floor and leaves it clean"],
    ),
];

const TELL: &[&str] = &[
    "tell me a riddle",
    "tell me a [good|hard|easy|short|nice|new|classic] riddle",
    "ask me a riddle",
    "ask me a [good|hard|easy|short|nice|new] riddle",
    "give me a riddle",
    "give me a [good|hard|easy|short|nice|little] riddle",
    "give me something to guess",
    "give me a puzzle",
    "give me a riddle to [solve|guess|crack]",
    "give me one of your riddles",
    "a riddle, please",
    "a riddle",
    "riddle",
    "riddle?",
    "riddle please",
    "riddle me",
    "riddles?",
    "do you know [a riddle|any riddles|riddles|a good riddle|some riddles]?",
    "do you have [a riddle|any riddles|riddles|a riddle for me]?",
    "have you got a riddle?",
    "got [a riddle|any riddles|any riddles for me]?",
    "any [riddles|riddle|good riddles]?",
    "can you [ask|tell|give] me a riddle?",
    "can you ask riddles?",
    "can i [get|hear] a riddle?",
    "can i have a riddle?",
    "could i have a riddle?",
    "may i have a riddle?",
    "i want [a riddle|to solve a riddle|to guess a riddle|to hear a riddle]",
    "i'd like [a riddle|to guess something|to solve a riddle]",
    "i would like [a riddle|to hear a riddle]",
    "i need a riddle",
    "i like riddles",
    "i love riddles",
    "i love riddles, ask me one",
    "let's play riddles",
    "let me guess a riddle",
    "let me solve a riddle",
    "let's do a riddle",
    "how about a riddle?",
    "time for a riddle",
    "puzzle me",
    "puzzle me [please|with a riddle|with something]",
    "test me with a riddle",
    "quiz me",
    "make me think",
    "make me think with a riddle",
    "another riddle",
    "what is a good riddle?",
    "what's your best riddle?",
    "what riddles do you know?",
    "which riddles do you know?",
    "share a riddle",
    "share a riddle with me",
    "challenge me with a riddle",
    "say a riddle",
    "a riddle for me, please",
    "something to think about, please",
    "a [hard|good|little|short] riddle, please",
    "i feel like solving a riddle",
    "my turn to guess, ask me something",
    "i want to guess something",
    "one riddle, please",
    "one of your riddles, please",
    "let me hear one of your riddles",
    "ask me one of your riddles",
];
const GIVE_UP: &[&str] = &[
    "i give up",
    "i don't know",
    "i do not know",
    "no idea",
    "what is it?",
    "tell me",
    "tell me the answer",
    "what is the answer?",
    "what's the answer?",
    "the answer?",
    "answer please",
    "i can't guess",
    "i have no idea",
    "you tell me",
    "hmm, i don't know",
    "i don't get it",
    "too hard",
    "that's hard, what is it?",
    "not sure",
    "say it",
    "solve it for me",
    "dunno",
    "please tell me",
    "what?",
    "give me the answer",
    "and the answer is?",
    "so what is it?",
];
const GUESS: &[&str] = &[
    "{g}",
    "{g}?",
    "{g}!",
    "is it {g}?",
    "it is {g}",
    "it's {g}",
    "i think it is {g}",
    "i think it's {g}",
    "maybe {g}?",
    "i guess {g}",
    "is the answer {g}?",
    "{g}, i think",
    "it must be {g}",
    "could it be {g}?",
    "hmm, {g}?",
    "that is {g}",
    "easy, {g}",
    "the answer is {g}",
];

const ANSWER: &[&str] = &[
    "what {r}?",
    "what {r}, do you know?",
    "what {r}? tell me",
    "what is it that {r}?",
    "which thing {r}?",
    "what thing {r}?",
    "it {r}. what is it?",
    "it {r}. what is this?",
    "it {r}, what is it?",
    "it {r}. can you guess?",
    "it {r}. guess what it is",
    "it {r}. do you know what it is?",
    "it {r}. what might it be?",
    "it {r}. what can it be?",
    "riddle: what {r}?",
    "a riddle: what {r}?",
    "a riddle for you: what {r}?",
    "here is a riddle: what {r}?",
    "answer my riddle: what {r}?",
    "solve this: what {r}?",
    "guess what {r}",
    "guess: it {r}",
    "do you know what {r}?",
    "can you guess what {r}?",
    "can you tell me what {r}?",
    "i have a riddle. what {r}?",
    "i ask you a riddle: what {r}?",
    "tell me what {r}",
    "name a thing that {r}",
    "name something that {r}",
    "what do you call a thing that {r}?",
    "a thing that {r}, what is it?",
    "something {r}. what is it?",
    "i think of something. it {r}",
    "i am thinking of a thing that {r}",
    "my riddle: it {r}",
    "try this one: what {r}?",
    "my riddle for you is this: what {r}?",
    "let me ask you a riddle. what {r}?",
    "there is a thing that {r}. what is it?",
    "which object {r}?",
    "there is something that {r}. what do you think it is?",
    "try to guess: it {r}",
    "think: what {r}?",
];

/// A riddle asked by one side, and how it goes on.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let Riddle(answer, question, clues) = random.pick(RIDDLES);
    if random.chance(50) {
        let clue = *random.pick(clues);
        let clue = expand(random, clue, &[]);
        return vec![exchange(random, ANSWER, &["it is {a}."], &[("r", &clue), ("a", answer)])];
    }
    let mut turns = vec![exchange(random, TELL, &[question], &[])];
    let other = random.pick(RIDDLES).0;
    let right = format!("Yes, that is right! It is {answer}.");
    let wrong = format!("No, it is {answer}.");
    let told = format!("It is {answer}.");
    match random.below(10) {
        0..3 => turns.push(plain(random, GIVE_UP, &[&told], &[])),
        3..5 => turns.push(plain(random, GUESS, &[&right], &[("g", answer)])),
        5..7 if other != *answer => turns.push(plain(random, GUESS, &[&wrong], &[("g", other)])),
        _ => {}
    }
    turns
}
