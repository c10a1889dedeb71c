//! How people ask for a story.

use super::{About, ask};
use crate::phrase::expand;
use crate::random::Random;
use crate::score::article;

const STORY: &str = "[story|story|story|tale|short story|little story|bedtime story|fairy tale|small story|nice story|new story|good story|funny story|short tale|children's story]";

/// The two nouns, as they stand in a request.
const PAIR: &[&str] = &[
    "{aX} and {aY}", "{aX} and {aY}", "{aX} and {aY}", "{aX} and {aY}", "{aX} and {aY}", "{aX} and {aY}", "{aY} and {aX}", "{aY} and {aX}", "{X} and {Y}", "the {X} and the {Y}", "{aX} with {aY}", "{aX} plus {aY}", "{aX}, and also {aY}", "{aX} and some {Y}", "{aX} and {his} {Y}", "{aX} and its {Y}",
    "{aX} [that|who] [finds|has|sees|loves|loses|wants|meets|looks for|dreams of|discovers|hides|buys|makes] {aY}", "[some|one] {X} and [some|one] {Y}", "{aX} as well as {aY}", "{aX} together with {aY}", "both {aX} and {aY}", "a [nice|little|funny|strange] {X} and {aY}", "{aX} and a [nice|little|funny|strange] {Y}", "{aAX} and {aY}", "{aX} and {aBY}", "{aAX} and {aBY}",
    "{aX} named {N} and {aY}", "{aX} called {N} who finds {aY}",
];

const BOTH: &[&str] = &[
    "tell me {aS} about {p}", "tell me {aS} about {p}", "tell me {aS} about {p}", "tell me {aS} with {p}", "tell me {aS} with {p} in it", "tell me {aS} of {p}", "tell us {aS} about {p}", "tell {aS} about {p}", "tell me the {S} of {p}", "tell me the {S} about {p}", "tell my [son|daughter|child|children|kids|sister|brother] {aS} about {p}", "tell me about {p} in {aS}", "tell me {aS} in which there is {p}",
    "write {aS} about {p}", "write me {aS} about {p}", "write {aS} with {p}", "write {aS} with {p} in it", "write me {aS} with {p}", "write down {aS} about {p}", "write something about {p}", "write {aS} for [my son|my daughter|children|kids|me|my class] about {p}", "write {aS} that has {p} in it", "write {aS}. it should have {p} in it", "write {aS}. there should be {p} in it",
    "make up {aS} about {p}", "make up {aS} with {p}", "make {aS} about {p}", "make me {aS} about {p}", "make up something with {p}", "make {aS} out of {p}", "make {aS} from these words: {X}, {Y}", "invent {aS} about {p}", "invent {aS} with {p}", "invent something with {p}", "create {aS} about {p}", "create {aS} with {p}", "compose {aS} about {p}", "think up {aS} about {p}", "think of {aS} about {p}", "imagine {aS} with {p}", "dream up {aS} about {p}",
    "give me {aS} about {p}", "give me {aS} with {p}", "give us {aS} about {p}", "read me {aS} about {p}", "read us {aS} about {p}", "share {aS} about {p}", "begin {aS} about {p}", "start {aS} about {p}", "start {aS} with {p}", "spin me {aS} about {p}", "say {aS} about {p}", "improvise {aS} about {p}",
    "i want {aS} about {p}", "i want {aS} with {p}", "i want to hear {aS} about {p}", "i want to read {aS} about {p}", "i'd like {aS} about {p}", "i'd like {aS} with {p}", "i'd like to hear {aS} about {p}", "i'd love {aS} about {p}", "i'd love {aS} with {p}", "i would like {aS} about {p}", "i would like {aS} with {p} in it", "i would like to hear {aS} about {p}", "i would love {aS} about {p}", "i would love to hear about {p}", "i'd enjoy {aS} about {p}", "i'd enjoy hearing about {p}",
    "i need {aS} about {p}", "i need {aS} with {p}", "i need {aS} [for my son|for tonight|for school|for the kids] about {p}", "i wish for {aS} about {p}", "i feel like {aS} about {p}", "i am in the mood for {aS} about {p}", "we want {aS} about {p}", "we would like {aS} with {p}", "my [son|daughter|child|sister|brother|friend|class] wants {aS} about {p}", "my [son|daughter|child|sister|brother|friend] would like {aS} with {p}", "my [son|daughter|child|sister|brother] [loves|likes] stories about {p}", "my [daughter|sister|friend|kids|children] asked for {p}, as {aS}",
    "my kids want to hear about {p}", "my [daughter|sister|friend] wants to hear about {p}", "the children want {aS} about {p}", "the kids ask for {aS} with {p}", "can you tell me {aS} about {p}?", "can you tell {aS} about {p}?", "can you write {aS} about {p}?", "can you make up {aS} about {p}?", "can you do {aS} with {p}?", "can i have {aS} about {p}?", "can i hear {aS} about {p}?", "can we have {aS} about {p}?", "can there be {aS} with {p}?", "could i have {aS} with {p}?", "could i get {aS} about {p}?", "could there be {aS} about {p}?",
    "could you tell me {aS} about {p}?", "could you make {aS} of {p}?", "could you come up with {aS} about {p}?", "may i have {aS} about {p}?", "may i hear {aS} about {p}?", "would you tell me {aS} about {p}?", "would you write {aS} with {p}?", "will you tell me {aS} about {p}?", "do you know {aS} about {p}?", "do you know {aS} with {p}?", "do you have {aS} about {p}?", "do you have a story with {p}?", "is there {aS} about {p}?", "is there {aS} with {p} in it?", "have you got {aS} about {p}?", "know any {S} about {p}?",
    "{aS} about {p}", "{aS} about {p}, please", "{aS} with {p}", "{aS} with {p}, please", "{aS} with {p} in it", "{aS} please, about {p}", "{aS}, please, with {p}", "{aS} of {p}", "{S} about {p}", "{S} with {p}", "{S}: {p}", "{S}: {X}, {Y}", "{S}: {X} + {Y}", "{S}? {p}", "{S} time: {p}", "{S} time! {p}", "{p}: tell me {aS}", "{p}: {aS}, please", "{p}, make {aS}", "{p}. make {aS} of it", "{p}. now tell {aS}", "{p}. tell me {aS}", "{X}, {Y}: {S}", "{X} and {Y}, {aS} please", "{X}, {Y}. {aS}, please",
    "how about {aS} about {p}?", "how about {aS} with {p}?", "what about {aS} with {p}?", "why not tell {aS} about {p}?", "let's have {aS} about {p}", "let's hear {aS} about {p}", "let's hear about {p}", "let's make up {aS} about {p}", "let us hear the tale of {p}", "let me hear {aS} about {p}", "let me hear of {p}", "please, {aS} about {p}", "please tell me {aS} with {p}", "something about {p}, please", "now {aS} about {p}", "a [short|long|nice|funny|happy] one about {p}", "one story about {p}, please", "one {S} with {p}, please",
    "what happened to {p}?", "what happens when {aX} meets {aY}?", "what happens when {aX} finds {aY}?", "what is the story of {p}?", "what would happen to {p} in a story?", "tell me what happened to {p}", "tell me of {p}", "tell me all about the adventures of {p}", "tell me about the adventures of {p}", "the adventures of {p}", "tell the adventure of {p}", "the tale of {p}", "the story of {p}, please", "i never heard the tale of {p}", "once upon a time there was {aX} with {aY}. go on", "once there was {aX} who had {aY}. tell me more",
    "tell me {aS}. use the words {X} and {Y}", "tell me {aS}. put {p} in it", "tell me {aS}. it must have {p}", "tell me {aS}. i like {p}", "tell me {aS}. there must be {p} in it", "tell {aS} and use {p}", "tell {aS} in which {aX} finds {aY}", "tell {aS} where {aX} meets {aY}", "tell me {aS} where {aX} has {aY}", "tell me how {aX} found {aY}", "tell me how {aX} came to {aY}", "use {p} in {aS}", "put {p} into {aS}", "put {p} together in {aS}", "take {p} and tell {aS}", "take {aX} and {aY} and make {aS}", "two words: {X}, {Y}. make {aS}",
    "my words are {X} and {Y}. tell me {aS}", "here are two words, {X} and {Y}. write {aS}", "the words are {X} and {Y}. {aS}, please", "the hero is {aX}. there is {aY} too. tell {aS}", "the hero should be {aX}, and it finds {aY}", "it should be about {p}. tell me {aS}", "entertain me with {aS} about {p}", "surprise me with {aS} about {p}", "cheer me up with {aS} about {p}", "help me sleep with {aS} about {p}", "it's bedtime. {aS} about {p}, please", "bedtime! tell us about {p}", "i can't sleep. tell me about {p}", "i am bored, tell {aS} about {p}", "we are bored, tell {aS} with {p}",
    "{aS} where {aX} finds {aY}", "{aS} where {aX} and {aY} come up", "{aS} in which {aX} gets {aY}", "{aS} that has {p} in it", "{aS} that features {p}", "{aS} featuring {p}", "{aS} starring {p}", "{aS} involving {p}", "{aS} on {p}", "{aS} around {p}", "{aS} containing {p}", "{aS} including {p}", "do {aS} featuring {p}", "write {aS} featuring {p}", "tell me {aS} featuring {p}", "tell me {aS} involving {p}", "tell {aS} including {p}", "i want {aS} featuring {p}", "any {S} involving {p}?",
];
const ONE: &[&str] = &[
    "tell me {aS} about {aX}", "tell me {aS} about {aX}", "tell me {aS} with {aX}", "write {aS} about {aX}", "make up {aS} about {aX}", "{aS} about {aX}", "{aS} about {aX}, please", "i want {aS} about {aX}", "i'd like to hear {aS} about {aX}", "do you know {aS} about {aX}?", "can you tell {aS} about {aX}?", "my son likes {X} stories, tell one", "{S}: {X}", "give me {aS} with {aX}", "let's hear {aS} about {aX}",
    "tell me about {aAX}", "tell {aS} of {aAX}", "invent {aS} about {aAX}", "how about {aS} with {aX}?", "i would love {aS} about {aX}", "once there was {aX}. go on", "tell {aS} about {aX} called {N}", "tell me {aS} about {aX} named {N}",
];
const NONE: &[&str] = &[
    "tell me {aS}", "tell me {aS}", "tell us {aS}", "{aS}, please", "{aS}", "{S}", "i want {aS}", "i'd like {aS}", "i want to hear {aS}", "do you know {aS}?", "can you tell {aS}?", "can you tell me {aS}?", "do you know any stories?", "give me {aS}", "write {aS}", "make up {aS}", "write me {aS}", "let's hear {aS}", "how about {aS}?", "it's bedtime, tell me {aS}", "i can't sleep", "i am bored, tell me {aS}", "story time",
    "story time!", "can i have {aS}?", "may i hear {aS}?", "read me {aS}", "surprise me with {aS}", "any {S}", "tell me any story", "tell me something nice", "once upon a time", "i love stories", "tell me one of your stories",
];
const ANOTHER: &[&str] = &[
    "another one", "another one, please", "another story", "tell me another story", "one more", "one more, please", "now one about {p}", "and one about {p}?", "another story, with {p}", "tell me another one about {p}", "now {aS} with {p}", "next, {aS} about {p}", "more, please", "again, but with {p}", "the same with {p}", "and now {p}", "do another about {p}", "another, about {p}",
];

fn written(random: &mut Random, about: &About, table: &[&str]) -> String {
    let with_article = |words: &str| format!("{} {words}", article(words));
    let (x, y) = (about.hero.word, about.other.word);
    let story = expand(random, STORY, &[]);
    let slots = [
        ("X", x), ("Y", y), ("aX", &*with_article(x)), ("aY", &with_article(y)), ("N", about.name), ("his", if about.he { "his" } else { "her" }),
        ("aAX", &with_article(&format!("{} {x}", about.nature))), ("aBY", &with_article(&format!("{} {y}", about.look))), ("S", &story), ("aS", &with_article(&story)),
    ];
    let pair = *random.pick(PAIR);
    let pair = expand(random, pair, &slots);
    let slots: Vec<_> = slots.into_iter().chain([("p", &*pair)]).collect();
    let template = *random.pick(table);
    ask(random, template, &slots)
}

/// A request for a story, mostly by its two nouns.
pub fn request(random: &mut Random, about: &About) -> String {
    let table = match random.below(100) {
        0..8 => NONE,
        8..20 if about.hero.is_being() => ONE,
        _ => BOTH,
    };
    written(random, about, table)
}

/// A request for one more.
pub fn another(random: &mut Random, about: &About) -> String {
    written(random, about, ANOTHER)
}
