//! Jokes: a question and its point.

use super::{Exchange, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

const JOKES: &[&str] = &[
    "Why do bees hum? Because they forgot the words!",
    "What do you call a bear without teeth? A gummy bear!",
    "Why did the bicycle fall over? It was two tired!",
    "What do you call a sleeping bull? A bulldozer!",
    "Why did the egg hide? It was a little chicken!",
    "What do you get when you cross a snowman and a dog? Frostbite!",
    "Why is six afraid of seven? Because seven eight nine!",
    "What did one wall say to the other wall? I will meet you at the corner!",
    "Why did the scarecrow win a prize? He was outstanding in his field!",
    "What do you call a fish without an eye? A fsh!",
    "Why can a leopard never hide? It is always spotted!",
    "What is a cat's favourite colour? Purr-ple!",
    "Why did the cookie go to the doctor? It felt crummy!",
    "What do you call cheese that is not yours? Nacho cheese!",
    "How does the moon cut its hair? Eclipse it!",
    "Why did the tomato turn red? It saw the salad dressing!",
    "What did the sea say to the sand? Nothing, it just waved!",
    "Why are fish so clever? They live in schools!",
    "What kind of tree fits in your hand? A palm tree!",
    "Why did the clock go to school? It wanted to learn how to tell the time!",
    "What do you call a dinosaur that is asleep? A dino-snore!",
    "Why did the banana go to the doctor? It was not peeling well!",
    "What do cows read in the morning? The moos-paper!",
    "Why was the math book sad? It had too many problems!",
    "What has four wheels and flies? A garbage truck!",
    "Why did the duck cross the road? The chicken had a day off!",
    "What do you call a train that sneezes? Achoo-choo train!",
    "What did the big flower say to the small flower? Hello, bud!",
    "Why do birds fly south? It is too far to walk!",
    "What do you give a sick lemon? Lemon aid!",
    "How do you make an octopus laugh? With ten tickles!",
    "Why did the spider buy a computer? To make a website!",
    "What animal needs to wear a wig? A bald eagle!",
    "What do you call a pig that knows karate? A pork chop!",
    "Why was the broom late? It over-swept!",
    "Where do sheep get their hair cut? At the baa-baa shop!",
    "What is a ternary model's favourite song? One, zero, minus one, and repeat!",
    "Why did the weight stay at home? It was a zero and had nothing to add!",
    "Why do elephants never use computers? They are afraid of the mouse!",
    "What did the hat say to the scarf? You hang around, and I will go on ahead!",
];

const ASKS: &[&str] = &[
    "tell me a joke", "tell me a [good|funny|short|quick|silly|new|nice|clean|bad|great] joke", "tell us a joke", "tell a joke", "tell me a joke about [animals|anything|something|cats|bees|birds|a fish|you|computers]", "tell me something funny", "say something funny", "say something [silly|to cheer me up|that is funny]", "make a joke",
    "make me [laugh|smile|giggle]", "please make me [laugh|smile]", "can you make me [laugh|smile]?", "could you make me [laugh|smile|giggle]?", "give me a joke", "give me [your best joke|a good joke|a laugh|something funny|one of your jokes]", "a joke", "a joke, please", "joke", "joke please", "joke?", "jokes?", "one joke", "a [short|good|funny|quick|little] joke", "a [short|good|funny|quick|little] joke, please",
    "do you know [a joke|any jokes|jokes|a good joke|a funny joke|some jokes]?", "do you have [a joke|any jokes|jokes|a good joke]?", "have you got [a joke|any jokes|a good one]?", "got [a joke|any jokes|jokes]?", "any [jokes|good jokes|joke]?", "any jokes for me?", "can you [tell a joke|tell jokes|be funny|joke|tell me a joke]?", "are you funny?", "know any [jokes|good jokes|funny jokes]?", "i want [a joke|to laugh|to hear a joke]",
    "i want to hear [a joke|something funny]", "i'd like [a joke|to laugh|to hear a joke]", "i would like [a joke|to hear a joke]", "i need [a joke|a laugh|to laugh|something funny]", "i could use [a laugh|a smile|something funny]", "i'm bored, tell me a joke", "i'm sad, tell me a joke", "i am bored, say something funny", "cheer me up", "cheer me up [please|a bit|with a joke]", "let me hear a joke", "let's hear a joke", "let's have a joke",
    "what is a good joke?", "what's a good joke?", "what is the best joke you know?", "what's your best joke?", "what is your favourite joke?", "share a joke", "share a joke with me", "entertain me", "amuse me", "be funny", "be funny for once", "time for a joke", "it's joke time", "now a joke", "how about a joke?", "why not a joke?", "may i have a joke?", "may i hear a joke?", "could i hear a joke?", "can i have a joke?", "can i hear a joke?",
    "will you tell me a joke?", "joke of the day?", "something funny, please", "do you make jokes?", "show me your humour", "do you have humour?", "do you have a sense of humour?", "what makes people laugh?", "i love jokes, tell me one", "my friend wants a joke", "my [son|daughter|mother|friend] wants to hear a joke", "help me laugh", "i have not laughed today", "a joke would be nice", "a joke would be good now", "i feel like hearing a joke", "something to laugh about, please",
];
const MORE: &[&str] = &["another one", "another", "one more", "another joke", "another joke, please", "tell me another [one|joke]", "more", "more jokes", "more please", "again", "next", "do you know another one?", "haha, another one", "[ha ha|haha|lol|hehe], one more", "good one, more", "and another?", "one more joke", "do you have more?", "give me another", "next one", "ok, another one", "can i have another?"];
const LAUGH: &[&str] = &["haha", "ha ha", "lol", "hahaha", "hehe", "that's funny", "that was funny", "very funny", "good one", "nice one", "that is a good one", "so funny", "i like it", "i laughed", "that was good", "great joke", "good joke", "nice joke"];
const NOT_FUNNY: &[&str] = &["that's not funny", "not funny", "that was not funny", "bad joke", "i don't get it", "i do not understand", "that is a bad joke", "boring", "that was bad", "i don't understand the joke", "i know that one", "i know it already", "old joke"];

/// A joke, and perhaps another.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let joke = |random: &mut Random| random.below(JOKES.len());
    let mut told = vec![joke(random)];
    let mut turns = vec![exchange(random, ASKS, &[JOKES[told[0]]], &[])];
    while turns.len() < 4 && random.chance(35) {
        let next = joke(random);
        match random.below(10) {
            0..6 if !told.contains(&next) => {
                turns.push(plain(random, MORE, &[JOKES[next]], &[]));
                told.push(next);
            }
            6..9 => turns.push(plain(random, LAUGH, &["I am glad you like it! Would you like another one?", "Thank you! I like that one too."], &[])),
            _ => turns.push(plain(random, NOT_FUNNY, &["I am sorry. I am a small model and know only a few jokes."], &[])),
        }
    }
    turns
}
