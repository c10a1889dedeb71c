//! Small sums: numbers up to 20 added and taken away, and up to 10 multiplied and divided. Every answer repeats the
//! numbers before the result, in digits.

use super::{Exchange, exchange, plain};
use crate::filter::Filter;
use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}
use Operation::{Minus, Over, Plus, Times};

#[derive(Debug, Clone, Copy)]
struct Sum {
    a: i32,
    operation: Operation,
    b: i32,
}

impl Sum {
    fn result(self) -> i32 {
        match self.operation {
            Plus => self.a + self.b,
            Minus => self.a - self.b,
            Times => self.a * self.b,
            Over => self.a / self.b,
        }
    }

    fn answer(self) -> String {
        let operation = match self.operation {
            Plus => "plus",
            Minus => "minus",
            Times => "times",
            Over => "divided by",
        };
        format!("{} {operation} {} is {}.", self.a, self.b, self.result())
    }
}

const ANY: &[&str] = &[
    "what is {s}?",
    "what's {s}?",
    "{s}",
    "{s}?",
    "{s} = ?",
    "{s} =",
    "{s} is?",
    "{s} equals?",
    "{s} equals what?",
    "{s} is what?",
    "{s} makes?",
    "how much is {s}?",
    "what does {s} [equal|make|give|come to]?",
    "calculate {s}",
    "compute {s}",
    "work out {s}",
    "solve {s}",
    "what do you get [for|from|with|when you do] {s}?",
    "what is the [answer|result] [of|to|for] {s}?",
    "tell me {s}",
    "tell me what {s} is",
    "give me the [answer|result] of {s}",
    "[math|maths|a sum|easy one|homework|my homework|test]: {s}",
    "how many is {s}?",
    "can you [do|solve|calculate|add up|tell me] {s}?",
    "i need to know {s}",
    "do you know {s}?",
    "help me with {s}",
    "the [answer|result] of {s} is?",
    "[find|figure out] {s}",
    "let's see, {s}?",
    "{s}, what is it?",
    "{s}, how much is that?",
    "{s} - do you know?",
    "if i do {s}, what do i get?",
    "i forgot what {s} is",
    "is it hard to say what {s} is?",
    "my teacher asks: {s}?",
    "what number is {s}?",
    "which number is {s}?",
    "what will {s} be?",
    "what would {s} be?",
    "i typed {s}",
    "next: {s}",
    "the sum is {s}",
    "let us do {s}",
    "here is a sum: {s}",
];

const PLUS: &[&str] = &[
    "{a} + {b}",
    "{a}+{b}",
    "{a} plus {b}",
    "{a} plus {b}",
    "{a} and {b}",
    "{a} added to {b}",
    "{a} and {b} together",
];
const MINUS: &[&str] =
    &["{a} - {b}", "{a}-{b}", "{a} minus {b}", "{a} minus {b}", "{a} less {b}", "{a} take away {b}", "{a} without {b}"];
const TIMES: &[&str] =
    &["{a} * {b}", "{a} x {b}", "{a}x{b}", "{a} times {b}", "{a} times {b}", "{a} multiplied by {b}"];
const OVER: &[&str] = &["{a} / {b}", "{a} divided by {b}", "{a} over {b}"];

const ADD: &[&str] = &[
    "add {a} and {b}",
    "add {b} to {a}",
    "add {a} to {b}",
    "add {a} with {b}",
    "add up {a} and {b}",
    "sum {a} and {b}",
    "sum of {a} and {b}",
    "what is the [sum|total] of {a} and {b}?",
    "what's the [sum|total] of {a} and {b}?",
    "find the [sum|total] of {a} and {b}",
    "the sum of {a} and {b}",
    "the total of {a} and {b}?",
    "put {a} and {b} together",
    "what do {a} and {b} [make|give|add up to|come to]?",
    "what do i get if i add {a} and {b}?",
    "what do you get when you add {a} and {b}?",
    "if i add {b} to {a}, what do i get?",
    "{a} and {b} [makes|make|is|gives|equals] what?",
    "{a} and {b} more [is|makes] [what|how many]?",
    "{b} more than {a} is?",
    "what is {b} more than {a}?",
    "which number is {b} more than {a}?",
    "how much is {a} and {b} [together|in total|in all|altogether]?",
    "{a} [increased|raised] by {b}",
    "count {b} on from {a}",
    "start at {a} and go up {b}",
    "tell me the sum of {a} and {b}",
    "i have {a} and {b}, what is the total?",
    "when {a} and {b} are added, what comes out?",
    "what comes out if you add {a} and {b}?",
    "give me the sum of {a} and {b}",
    "can you add {a} and {b}?",
    "can you add {b} to {a}?",
    "please add {a} and {b}",
    "adding {a} and {b} gives?",
    "adding {b} to {a} makes?",
    "the numbers {a} and {b} add up to?",
    "how many are {a} and {b}?",
];
const SUBTRACT: &[&str] = &[
    "subtract {b} from {a}",
    "take {b} away from {a}",
    "take {b} from {a}",
    "take {b} off {a}",
    "what is {b} less than {a}?",
    "{b} less than {a} is?",
    "which number is {b} less than {a}?",
    "what is the difference [between|of] {a} and {b}?",
    "difference between {a} and {b}?",
    "what is left if you take {b} from {a}?",
    "what is left when {b} is taken from {a}?",
    "how much is left if i take {b} from {a}?",
    "remove {b} from {a}",
    "if i take {b} away from {a}, what do i get?",
    "{a} [reduced|lowered] by {b}",
    "{a} with {b} taken away",
    "count {b} back from {a}",
    "start at {a} and go down {b}",
    "what do i get if i subtract {b} from {a}?",
    "what remains if you remove {b} from {a}?",
    "i had {a} and lost {b}, what is left?",
    "from {a} take {b}",
    "taking {b} from {a} leaves?",
    "subtracting {b} from {a} gives?",
    "can you subtract {b} from {a}?",
    "can you take {b} away from {a}?",
    "how far is it from {b} to {a}?",
    "how much more is {a} than {b}?",
    "when you subtract {b} from {a}, what comes out?",
];
const MULTIPLY: &[&str] = &[
    "multiply {a} by {b}",
    "multiply {a} and {b}",
    "multiply {a} with {b}",
    "what is the product of {a} and {b}?",
    "product of {a} and {b}?",
    "find the product of {a} and {b}",
    "what do you get when you multiply {a} by {b}?",
    "what do i get if i multiply {a} and {b}?",
    "if i multiply {a} by {b}, what do i get?",
    "how much is {a} times {b}?",
    "{a} groups of {b}",
    "{a} groups of {b} make [what|how many]?",
    "{a} lots of {b}",
    "{a} lots of {b} is?",
    "{a} sets of {b} make?",
    "how many are {a} lots of {b}?",
    "the product of {a} and {b} is?",
    "{a} rows of {b} [are|make] how many?",
    "can you multiply {a} by {b}?",
    "multiplying {a} by {b} gives?",
    "how many are {a} groups of {b}?",
];
const DIVIDE: &[&str] = &[
    "divide {a} by {b}",
    "split {a} into {b} equal parts",
    "share {a} among {b}",
    "how many times does {b} go into {a}?",
    "can you divide {a} by {b}?",
    "what do i get if i divide {a} by {b}?",
    "how much is {a} divided by {b}?",
    "{a} shared by {b} is?",
];

const MORE_STORY: &[&str] = &[
    "[I|i] have {a} {t} and [get|find|buy|am given|pick] {b} more. [how many {t} do I have?|how many do I have now?|how many now?|how many is that?]",
    "{n} has {a} {t} and [gets|finds|buys|wins|is given] {b} more. how many {t} does {he} have [now|in all|altogether|]?",
    "{n} had {a} {t}. {m} gave {him} {b} more. how many {t} does {n} have now?",
    "there are {a} {t} [on the table|in the box|in the garden|in a bag|on the shelf] and {b} more come. how many {t} are there?",
    "there are {a} {t} here and {b} {t} there. how many {t} [are there|are there in all|together]?",
    "{n} has {a} {t} and {m} has {b} {t}. how many [do they have together|{t} do they have|in all|in total]?",
    "i ate {a} {t} [in the morning|yesterday] and {b} {t} [at night|today]. how many did i eat?",
    "if you have {a} {t} and i give you {b} more, how many do you have?",
    "i put {a} {t} in a box, then {b} more. how many {t} are in the box?",
    "one bag has {a} {t}, the other has {b}. how many {t} in all?",
    "{n} saw {a} {t} and then {b} more. how many did {he} see?",
    "{n} found {a} {t} and {m} found {b}. what is the total?",
];
const LESS_STORY: &[&str] = &[
    "[I|i] have {a} {t} and [lose|eat|give away|sell|break] {b}. how many {t} [do I have|do I have left|do I still have|remain]?",
    "{n} has {a} {t} and [loses|eats|gives away|sells|breaks] {b} of them. how many [are left now|does {he} have now|{t} are left|remain]?",
    "{n} had {a} {t}. {he} gave {b} to {m}. how many {t} does {n} have [now|left|still]?",
    "there are {a} {t} [on the table|in the box|in the garden|in a bag] and {b} go away. how many {t} [are left|stay|remain]?",
    "there were {a} {t}, but {b} [are gone|were taken|fell down]. how many are there now?",
    "i had {a} {t} but {n} took {b}. how many {t} do i have now?",
    "from {a} {t} we took {b}. how many {t} are left over?",
    "if you have {a} {t} and i take {b}, how many {t} do you have left?",
    "{n} baked {a} {t} and ate {b}. how many {t} are left?",
    "a box holds {a} {t}. i take out {b}. what is left in the box?",
];
const TIMES_STORY: &[&str] = &[
    "there are {a} boxes with {b} {t} each. how many {t} [are there|in all|]?",
    "{n} has {a} bags of {b} {t}. how many {t} does {he} have?",
    "{a} children have {b} {t} each. how many {t} [is that|are there|in total]?",
    "if {a} friends bring {b} {t} each, how many {t} are there?",
    "i buy {b} {t} on each of {a} days. how many {t} do i have?",
    "{a} plates with {b} {t} on each. how many {t}?",
];
const THINGS: &[&str] = &[
    "apples", "plums", "pears", "eggs", "books", "balls", "coins", "cakes", "birds", "cats", "dogs", "fish", "flowers",
    "stones", "shells", "toys", "pencils", "cups", "hats", "stars", "nuts", "sweets", "cookies", "cars", "boats",
    "kites", "stamps", "buttons", "chairs", "oranges", "bananas", "ducks", "sheep", "marbles", "leaves", "cards",
    "spoons", "keys", "lemons", "carrots",
];
const PEOPLE: &[(&str, &str, &str)] = &[
    ("Anna", "she", "her"),
    ("Ben", "he", "him"),
    ("Tom", "he", "him"),
    ("Mary", "she", "her"),
    ("Sam", "he", "him"),
    ("Lucy", "she", "her"),
    ("Jack", "he", "him"),
    ("Rosa", "she", "her"),
    ("Peter", "he", "him"),
    ("Kate", "she", "her"),
    ("Leo", "he", "him"),
    ("Emma", "she", "her"),
    ("my brother", "he", "him"),
    ("my sister", "she", "her"),
    ("a boy", "he", "him"),
    ("a girl", "she", "her"),
    ("my friend", "he", "him"),
];

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number up to 100 in words.
pub fn in_words(n: usize) -> String {
    match (n / 10, n % 10) {
        (0 | 1, _) => UNITS[n].to_owned(),
        (10, _) => "a hundred".to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, units) => format!("{}-{}", TENS[tens], UNITS[units]),
    }
}

fn draw(random: &mut Random) -> Sum {
    let mut below = |n: usize| random.below(n + 1) as i32;
    let operation =
        [Plus, Plus, Plus, Plus, Plus, Minus, Minus, Minus, Minus, Times, Times, Times, Over][below(12) as usize];
    let (a, b) = match operation {
        Plus => (below(20), below(20)),
        Minus => {
            let (a, b) = (below(20), below(20));
            if below(9) == 0 { (a, b) } else { (a.max(b), a.min(b)) }
        }
        Times if below(9) < 7 => (below(5), below(5)),
        Times => (below(10), below(10)),
        Over => {
            let b = below(4) + 1;
            (b * below(5), b)
        }
    };
    Sum { a, operation, b }
}

fn ask(random: &mut Random, sum: Sum) -> Exchange {
    let number = |words: bool, n: i32| if words { in_words(n as usize) } else { n.to_string() };
    let words = random.chance(30);
    let (a, b) = (number(words, sum.a), number(words && random.chance(90), sum.b));
    let thing = *random.pick(THINGS);
    let (n, m) = (random.pick(PEOPLE), random.pick(&PEOPLE[..12]));
    let slots = [("a", &*a), ("b", &*b), ("t", thing), ("n", n.0), ("he", n.1), ("him", n.2), ("m", m.0)];
    let (short, long, story) = match sum.operation {
        Plus => (PLUS, ADD, MORE_STORY),
        Minus => (MINUS, SUBTRACT, LESS_STORY),
        Times => (TIMES, MULTIPLY, TIMES_STORY),
        Over => (OVER, DIVIDE, DIVIDE),
    };
    let answer = sum.answer();
    match random.below(10) {
        0..2 if n.0 != m.0 && sum.a > 1 && sum.b > 0 && (sum.operation != Minus || sum.a >= sum.b) => {
            plain(random, story, &[&answer], &slots)
        }
        0..5 => exchange(random, long, &[&answer], &slots),
        _ => {
            let short = random.pick(short).replace("{a}", &a).replace("{b}", &b);
            exchange(random, ANY, &[answer.as_str()], &[("s", &*short)])
        }
    }
}

/// A sum after another.
fn next(random: &mut Random, last: Sum) -> (Sum, Exchange) {
    let result = last.result();
    if (2..=20).contains(&result) && random.chance(40) {
        let b = random.between(1, result.min(10) as usize) as i32;
        let (operation, asks): (_, &[&str]) = if random.chance(50) {
            (
                Plus,
                &[
                    "now add {b}",
                    "add {b} to that",
                    "and {b} more?",
                    "plus {b}?",
                    "and if i add {b}?",
                    "then add {b}",
                    "what if you add {b} more?",
                ],
            )
        } else {
            (
                Minus,
                &[
                    "now take away {b}",
                    "take {b} from that",
                    "minus {b}?",
                    "now subtract {b}",
                    "and if i take {b} away?",
                    "and {b} less?",
                ],
            )
        };
        let sum = Sum { a: result, operation, b };
        return (sum, plain(random, asks, &[&sum.answer()], &[("b", &b.to_string())]));
    }
    let sum = draw(random);
    let table = match sum.operation {
        Plus => PLUS,
        Minus => MINUS,
        Times => TIMES,
        Over => OVER,
    };
    let short = random.pick(table).replace("{a}", &sum.a.to_string()).replace("{b}", &sum.b.to_string());
    let asks = [
        "and {s}?",
        "what about {s}?",
        "how about {s}?",
        "now {s}",
        "and what is {s}?",
        "then {s}?",
        "ok, {s}?",
        "good, and {s}?",
        "next, {s}",
        "nice. {s}?",
        "now do {s}",
        "{s}?",
        "and now {s}?",
        "one more: {s}",
        "try {s}",
        "right. what is {s}?",
        "also {s}",
    ];
    (sum, plain(random, &asks, &[&sum.answer()], &[("s", &short)]))
}

/// A number that is too large, written out.
fn large(random: &mut Random) -> Exchange {
    let number = |random: &mut Random| match random.below(4) {
        0 => random.between(30, 99),
        1 => random.between(100, 999),
        _ => random.between(101, 99_999),
    };
    let (a, b) = (number(random).to_string(), number(random).to_string());
    let table = *random.pick(&[PLUS, MINUS, TIMES, OVER]);
    let short = random.pick(table).replace("{a}", &a).replace("{b}", &b);
    let answers = &["Those numbers are too big for me. I can only do small sums, with numbers up to 20."];
    exchange(random, ANY, answers, &[("s", &short)])
}

fn double_or_half(random: &mut Random) -> Exchange {
    let half = random.chance(40);
    let n = random.between(1, 10) * if half { 2 } else { 1 };
    let shown = if random.chance(40) { in_words(n) } else { n.to_string() };
    let slots = [("n", &*shown)];
    if half {
        let asks = &[
            "what is half of {n}?",
            "half of {n}?",
            "what's one half of {n}?",
            "{n} cut in half is?",
            "halve {n}",
            "can you halve {n}?",
        ];
        return exchange(random, asks, &[&format!("Half of {n} is {}.", n / 2)], &slots);
    }
    let asks = &[
        "double {n}",
        "what is double {n}?",
        "what is twice {n}?",
        "two times {n}",
        "what is {n} doubled?",
        "twice {n} is?",
        "can you double {n}?",
        "what do you get if you double {n}?",
        "{n} twice",
    ];
    exchange(random, asks, &[&Sum { a: 2, operation: Times, b: n as i32 }.answer()], &slots)
}

/// A sum, and perhaps more of them.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    match random.below(100) {
        0..4 => return vec![large(random)],
        4..8 => return vec![double_or_half(random)],
        _ => {}
    }
    let mut sum = draw(random);
    let mut turns = vec![ask(random, sum)];
    while turns.len() < 4 && random.chance(20) {
        if random.chance(15) {
            let asks = &[
                "are you sure?",
                "really?",
                "is that right?",
                "sure?",
                "is that correct?",
                "you are sure about that?",
            ];
            turns.push(plain(random, asks, &[&format!("Yes, {}", sum.answer())], &[]));
        } else {
            let (next_sum, turn) = next(random, sum);
            sum = next_sum;
            turns.push(turn);
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_correct() {
        let mut random = Random::new(5);
        for _ in 0..3000 {
            let sum = draw(&mut random);
            let words: Vec<_> = sum.answer().trim_end_matches('.').split(' ').map(str::to_owned).collect();
            let number = |at: usize| words[at].parse::<i32>().unwrap();
            let (a, last) = (number(0), number(words.len() - 1));
            let expected = match &*words[1] {
                "plus" => a + number(2),
                "minus" => a - number(2),
                "times" => a * number(2),
                _ => a / number(3),
            };
            assert_eq!(last, expected, "{words:?}");
        }
        assert_eq!(in_words(20), "twenty");
        assert_eq!(in_words(37), "thirty-seven");
    }
}
