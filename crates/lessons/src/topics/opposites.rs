//! Opposites, in both directions.

use super::{Exchange, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

/// Pairs of opposites. Where a word stands in several, the first is its answer.
const PAIRS: &str = "hot cold, big small, large little, huge tiny, fast slow, quick slow, loud quiet, noisy silent, happy sad, glad unhappy, full empty, strong weak, up down, \
    open closed, light dark, young old, new old, rich poor, begin end, start stop, start finish, early late, good bad, right wrong, left right, high low, tall short, long short, \
    wide narrow, thick thin, deep shallow, near far, close far, hard soft, easy difficult, simple hard, clean dirty, wet dry, heavy light, sweet sour, sharp blunt, smooth rough, bright dim, \
    warm cool, in out, inside outside, on off, over under, above below, before after, front back, top bottom, first last, day night, morning evening, summer winter, north south, east west, \
    black white, yes no, always never, often seldom, all none, everything nothing, everybody nobody, everyone nobody, more less, most least, many few, much little, come go, arrive leave, \
    push pull, give take, buy sell, win lose, love hate, like dislike, laugh cry, smile frown, live die, alive dead, sleep wake, asleep awake, sit stand, rise fall, lift drop, throw catch, \
    ask answer, question answer, speak listen, remember forget, find lose, build destroy, make break, fix break, add subtract, plus minus, multiply divide, enter leave, entrance exit, \
    appear vanish, accept refuse, allow forbid, attack defend, friend enemy, hero villain, king queen, man woman, boy girl, brother sister, father mother, son daughter, uncle aunt, \
    husband wife, prince princess, male female, parent child, teacher pupil, sun moon, heaven hell, peace war, truth lie, true false, joy sorrow, hope despair, success failure, \
    victory defeat, profit loss, beginning end, birth death, life death, past future, here there, now later, today tomorrow, forward backward, forwards backwards, toward away, with without, \
    brave afraid, bold shy, kind cruel, nice nasty, polite rude, gentle rough, wise foolish, clever stupid, smart dumb, busy idle, lazy hardworking, beautiful ugly, pretty ugly, \
    cheap expensive, healthy sick, well ill, safe dangerous, tight loose, fat thin, straight crooked, fresh stale, ripe raw, raw cooked, wild tame, public private, same different, \
    possible impossible, known unknown, lucky unlucky, fair unfair, visible invisible, complete incomplete, correct incorrect, honest dishonest, patient impatient, useful useless, \
    careful careless, hopeful hopeless, fearless fearful, painful painless, inner outer, upper lower, upstairs downstairs, maximum minimum, positive negative, solid liquid, shiny dull, \
    interesting boring, calm stormy, hungry full, thirsty full, awake asleep, ancient modern, common rare, rare common, guilty innocent, generous stingy, proud humble, cheerful gloomy, \
    city country, land sea, land water, earth sky, fire water, float sink, melt freeze, freeze melt, grow shrink, increase decrease, expand shrink, lead follow, teach learn, send receive, \
    borrow lend, spend save, save waste, show hide, cover uncover, lock unlock, tie untie, pack unpack, dress undress, wrap unwrap, load unload, agree disagree, obey disobey, connect disconnect, \
    include exclude, import export, attach detach, join separate, mix separate, together apart, whisper shout, praise blame, reward punish, work play, work rest, walk run, land take-off, \
    early late, soon late, sunny cloudy, rainy dry, bitter sweet, giant dwarf, crowded empty, messy tidy, neat messy, guest host, master servant, buyer seller, winner loser, doctor patient, \
    ceiling floor, roof cellar, head tail, heads tails, day night, dawn dusk, sunrise sunset, spring autumn, freedom slavery, free bound, whole half, single double, odd even, major minor, \
    senior junior, internal external, active passive, absent present, vertical horizontal, plenty lack, strength weakness, darkness light, noise silence, pleasure pain, comfort discomfort, \
    gain loss, arrival departure, attraction repulsion, ascent descent, optimist pessimist, advantage disadvantage, question reply, nephew niece, bride groom, actor actress, sour sweet, go come";

const ASKS: &[&str] = &[
    "what is the opposite of {w}?",
    "what's the opposite of {w}?",
    "what is the opposite of [\"{w}\"|'{w}'|the word {w}|the word \"{w}\"]?",
    "the opposite of {w}?",
    "the opposite of {w} is?",
    "the opposite of {w} is what?",
    "the opposite of {w}, what is it?",
    "opposite {w}",
    "opposite: {w}",
    "{w}: opposite?",
    "{w}, opposite?",
    "{w} - what is the opposite?",
    "{w}. what is the opposite?",
    "tell me the opposite of {w}",
    "give me the opposite of {w}",
    "say the opposite of {w}",
    "name the opposite of {w}",
    "find the opposite of {w}",
    "do you know the opposite of {w}?",
    "i need the opposite of {w}",
    "i want the opposite of {w}",
    "i am looking for the opposite of {w}",
    "i'm looking for the opposite of {w}",
    "help me find the opposite of {w}",
    "can you tell me the opposite of {w}?",
    "can you name the opposite of {w}?",
    "which word is the opposite of {w}?",
    "what word is the opposite of {w}?",
    "which word means the opposite of {w}?",
    "what word means the opposite of {w}?",
    "give me a word that means the opposite of {w}",
    "give me a word that is the opposite of {w}",
    "find a word that means the opposite of {w}",
    "{w} is the opposite of what?",
    "{w} is the opposite of",
    "{w} is the opposite of which one?",
    "of what is {w} the opposite?",
    "what is {w} the opposite of?",
    "what's {w} the opposite of?",
    "what is the antonym of {w}?",
    "what's the antonym of {w}?",
    "the antonym of {w}?",
    "antonym of {w}",
    "antonym for {w}",
    "antonym: {w}",
    "give me [an|the] antonym [of|for] {w}",
    "name [an|the] antonym [of|for] {w}",
    "an antonym of {w}, please",
    "what would be the opposite of {w}?",
    "what would the opposite of {w} be?",
    "what is the contrary of {w}?",
    "the contrary of {w}?",
    "what is the contrary to {w}?",
    "which word is contrary to {w}?",
    "what word is contrary to {w}?",
    "a word contrary to {w}",
    "name the contrary of {w}",
    "what is the reverse of {w}?",
    "the reverse of {w}?",
    "the reverse of {w} is?",
    "which word is the reverse of {w}?",
    "give me the reverse of {w}",
    "if it is not {w}, what is it?",
    "if it's not {w}, what is it?",
    "if it's not {w} it is",
    "if it is not {w} then it is what?",
    "if a thing is not {w}, what is it?",
    "if a thing isn't {w}, it is",
    "when a thing is not {w}, it is what?",
    "something that is not {w} is what?",
    "something not {w} is",
    "a thing that isn't {w} is?",
    "not {w} but what?",
    "not {w}, but?",
    "it is not {w}, it is the opposite. what is it?",
    "if someone is not {w}, they are what?",
    "what do you call it when it is not {w}?",
    "what do we say when it isn't {w}?",
    "what is not {w}?",
    "what goes against {w}?",
    "which word stands against {w}?",
    "what stands against {w}?",
    "which word goes with {w} as its opposite?",
    "what is the word that goes against {w}?",
    "turn {w} into its opposite",
    "turn the word {w} around",
    "change {w} into its opposite",
    "change the word {w} to its opposite",
    "flip {w}",
    "flip the word {w}",
    "flip the meaning of {w}",
    "reverse {w}",
    "reverse the meaning of {w}",
    "swap {w} for its opposite",
    "make the opposite of {w}",
    "{w} and its opposite?",
    "{w} and what are opposites?",
    "{w} versus what?",
    "what is opposite to {w}?",
    "what is opposite from {w}?",
    "which word is opposite to {w}?",
    "opposite word of {w}",
    "opposite word for {w}",
    "the opposite word to {w}",
    "what is the opposite word of {w}?",
    "what is the other end of {w}?",
    "i say {w}, you say the opposite",
    "i say {w}, you say?",
    "i say {w} and you say the opposite",
    "my word is {w}. say the opposite",
    "the word is {w}. what is its opposite?",
    "take the word {w} and give its opposite",
    "take {w} and say the opposite",
    "what's the word for the opposite of {w}?",
    "what do you call the opposite of {w}?",
    "how do you say the opposite of {w}?",
    "how do you call the opposite of {w}?",
    "let's play opposites: {w}",
    "opposites game: {w}",
    "what is the opposite of being {w}?",
    "is there an opposite of {w}?",
    "does {w} have an opposite?",
    "what has the opposite meaning of {w}?",
    "which word has the opposite meaning to {w}?",
    "what means the opposite of {w}?",
    "i forgot the opposite of {w}",
    "guess the opposite of {w}",
    "the exact opposite of {w}",
    "what is the exact opposite of {w}?",
    "complete: the opposite of {w} is",
    "fill in: {w} is the opposite of",
];
const NEXT: &[&str] = &[
    "and of {w}?",
    "and {w}?",
    "and the opposite of {w}?",
    "what about {w}?",
    "how about {w}?",
    "now {w}",
    "now the opposite of {w}",
    "ok, {w}?",
    "{w}?",
    "and what about {w}?",
    "next: {w}",
    "then {w}?",
    "and for {w}?",
    "try {w}",
    "what of {w}?",
    "next word: {w}",
    "good. {w}?",
    "{w}",
];

/// The words in both directions, each with the opposite that is its answer.
pub fn pairs() -> Vec<(&'static str, &'static str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let listed = || PAIRS.split(',').filter_map(|pair| pair.trim().split_once(' '));
    for (word, opposite) in listed().flat_map(|(a, b)| [(a, b), (b, a)]) {
        if !pairs.iter().any(|pair| pair.0 == word) {
            pairs.push((word, opposite));
        }
    }
    pairs
}

/// An opposite, and perhaps more of them.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let pairs = pairs();
    let mut turns = Vec::new();
    while turns.is_empty() || (turns.len() < 4 && random.chance(22)) {
        // The first third are the words that people try first.
        let most = if random.chance(50) { pairs.len() / 3 } else { pairs.len() };
        let (word, opposite) = pairs[random.below(most)];
        let slots = [("w", word), ("o", opposite)];
        let answers = &["the opposite of {w} is {o}."];
        let follows = !turns.is_empty() && random.chance(80);
        turns.push(if follows {
            plain(random, NEXT, answers, &slots)
        } else {
            exchange(random, ASKS, answers, &slots)
        });
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_has_one_opposite_and_there_are_many() {
        let pairs = pairs();
        let distinct: HashSet<_> = pairs.iter().map(|(a, b)| if a < b { (a, b) } else { (b, a) }).collect();
        assert!(distinct.len() >= 150, "{}", distinct.len());
        assert!(pairs.iter().all(|(word, opposite)| word != opposite));
        let of = |word| pairs.iter().find(|pair| pair.0 == word).map(|pair| pair.1);
        assert_eq!(
            (of("light"), of("dark"), of("heavy"), of("cold")),
            (Some("dark"), Some("light"), Some("light"), Some("hot"))
        );
    }
}
