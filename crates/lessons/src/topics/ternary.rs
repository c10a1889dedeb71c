//! Ternary weights, bits and BitNet.

use super::{Exchange, Intent};
use crate::filter::Filter;
use crate::random::Random;

const WEIGHT: Intent = Intent {
    asks: &[
        "what is a ternary weight?", "what's a ternary weight?", "what are ternary weights?", "what does ternary mean?", "what does ternary weight mean?", "what is ternary?", "ternary?", "ternary weights?", "what is a trit?", "define ternary", "define ternary weight",
        "explain ternary weights", "explain ternary weights [to me|simply|in one sentence|please|to a child]", "explain what a ternary weight is", "tell me what a ternary weight is", "tell me about ternary weights", "describe a ternary weight",
        "which values [does|can] a ternary weight have?", "what values [does|can] a ternary weight [have|take|be]?", "which numbers can a ternary weight be?", "what numbers are in a ternary model?", "how many values does a ternary weight have?",
        "what values can your weights have?", "which values do your weights have?", "what are your weights?", "what are your weights like?", "what do your weights look like?", "are your weights ternary?", "do you have ternary weights?", "what does it mean that you are ternary?",
        "what is special about your weights?", "what numbers are your weights?", "what is meant by ternary?", "what do you mean by ternary?", "ternary, what is that?", "i never heard of ternary weights", "what are trits?", "what is the meaning of ternary?",
        "what values are allowed in a ternary weight?", "which three values do you use?", "what are the three values?", "name the values of a ternary weight", "list the values of a ternary weight", "teach me about ternary weights", "can a weight be ternary?",
        "what kind of weights do you have?", "what kind of weights does sterna have?", "say what ternary weights are", "give me the values of a trit", "what three numbers can a trit be?", "in short, what are ternary weights?",
    ],
    answers: &["A ternary weight is a number that can only be -1, 0 or +1."],
};
const BITS: Intent = Intent {
    asks: &[
        "how many bits [is|has|does it take to store] a ternary weight?", "how many bits are in a ternary weight?", "how many bits does a ternary weight [have|need|take|hold|carry]?", "how many bits per weight?", "how many bits per weight do you [use|need|have]?",
        "how many bits do your weights [have|need|take|use]?", "how many bits do you use for a weight?", "bits per weight?", "how large is one ternary weight?", "how much space does a ternary weight take?", "what is the size of a ternary weight?", "how small is a ternary weight?",
        "how many bits for each weight?", "how much memory does one weight need?", "how many bits does one weight take?", "how many bits is one trit?", "how many bits in a trit?", "what is a trit in bits?", "is a ternary weight one bit?", "your weights have how many bits?",
        "a ternary weight takes how many bits?", "tell me how many bits a weight has", "how many bits do you spend on a weight?", "what number of bits has each weight?",
    ],
    answers: &["Each ternary weight needs about 1.58 bits."],
};
const WHY: Intent = Intent {
    asks: &[
        "why ternary?", "why are your weights ternary?", "why do you use ternary weights?", "why use ternary weights?", "why does sterna use ternary weights?", "why would you use ternary weights?", "what are ternary weights good for?", "what is good about ternary weights?",
        "what are the advantages of ternary weights?", "what is the advantage of ternary weights?", "what is the advantage of a ternary model?", "what's the benefit of ternary weights?", "what are the benefits of ternary models?", "are ternary weights better?", "are ternary models better?",
        "what is the use of ternary weights?", "what do ternary weights [bring|give you|help with]?", "why three values?", "why only three values?", "why just -1, 0 and 1?", "why is ternary good?", "why not normal weights?", "why not use normal numbers?", "why are ternary models [fast|small|good|useful]?",
        "how do ternary weights help?", "do ternary weights help?", "what makes ternary models fast?", "what makes ternary weights [good|useful|special]?", "give me a reason for ternary weights", "tell me why ternary weights are [good|useful|used]", "explain why you use ternary weights",
        "explain why ternary weights are good", "what do we gain from ternary weights?", "what is the reason for ternary weights?", "what is the point of ternary weights?", "what's so good about ternary?", "why should i care about ternary weights?", "why do people like ternary models?",
        "who needs ternary weights?", "is there a reason for having ternary weights?", "why do it with three values?", "what do you gain with three values?", "what's the use of so few values?",
    ],
    answers: &["Ternary weights make a model small and fast: they need little memory, and additions replace multiplications."],
};
const LOG: Intent = Intent {
    asks: &[
        "why 1.58?", "why 1.58 bits?", "why is it 1.58 bits?", "why is it called 1.58 bit?", "where does 1.58 come from?", "where do the 1.58 bits come from?", "how do you get 1.58?", "how do you get 1.58 bits?", "what is the reason for 1.58?", "why not 2 bits?", "why not 1 bit?", "why 1.58 and not 2?",
        "why does a ternary weight have 1.58 bits?", "why does a trit have 1.58 bits?", "explain the number 1.58", "explain 1.58 bits", "explain 1.58", "how is 1.58 computed?", "how can there be 1.58 bits?", "how can a bit be 1.58?", "who chose 1.58?", "where is the 1.58 from?", "what is the origin of 1.58?",
        "how did they get 1.58?", "how do we arrive at 1.58?", "1.58, where is that from?", "1.58 is a strange number, why?", "tell me where 1.58 bits come from", "what is 1.58?", "what does 1.58 mean?", "what do 1.58 bits mean?", "what does 1.58 bits mean?", "what is 1.58 bit?",
        "what's 1.58 bit?", "what is a 1.58 bit model?", "what is a 1.58-bit model?", "what are 1.58 bits?", "1.58 bit?", "1.58 bits?", "what does 1.58 bit mean?", "what do you mean by 1.58 bits?", "what is meant by 1.58 bits?", "define 1.58 bit", "1.58 bits, what is that?", "i read about 1.58 bits, what are they?",
        "what's the meaning of 1.58 bit?", "tell me about 1.58 bit", "explain 1.58 bit models",
    ],
    answers: &["A ternary weight has three values: -1, 0 or +1. The log2 of three is about 1.58, so it needs about 1.58 bits."],
};
const BITNET: Intent = Intent {
    asks: &[
        "what is bitnet?", "what's bitnet?", "bitnet?", "bitnet", "what does bitnet mean?", "what is a bitnet model?", "what is a bitnet?", "tell me about bitnet", "tell me something about bitnet", "tell me what bitnet is", "explain bitnet", "explain bitnet [to me|briefly|simply]", "describe bitnet",
        "define bitnet", "do you know bitnet?", "do you know what bitnet is?", "have you heard of bitnet?", "are you a bitnet?", "are you a bitnet model?", "is sterna a bitnet model?", "are you bitnet?", "do you use bitnet?", "what is bitnet b1.58?", "what kind of model is bitnet?", "what is special about bitnet?",
        "i heard about bitnet, what is it?", "i read about bitnet", "what can you say about bitnet?", "who uses bitnet?", "how does bitnet work?", "what is the idea of bitnet?", "what's the idea behind bitnet?", "bitnet, what is that?", "what do people mean by bitnet?", "someone mentioned bitnet",
        "what is this bitnet?", "what do you know about bitnet?", "teach me about bitnet", "is bitnet a model?", "so what is bitnet?", "they all talk about bitnet, what is it?", "what's that bitnet thing?",
    ],
    answers: &["BitNet is a kind of language model with ternary weights: each weight is -1, 0 or +1. I am one too."],
};
const INVENTED: Intent = Intent {
    asks: &[
        "who invented bitnet?", "who made bitnet?", "who is behind bitnet?", "who came up with bitnet?", "where does bitnet come from?", "who created bitnet?", "which company made bitnet?", "did microsoft make bitnet?", "is bitnet from microsoft?", "who developed bitnet?",
    ],
    answers: &["BitNet was invented at Microsoft Research."],
};
const SMALLER: Intent = Intent {
    asks: &[
        "are ternary models [small|smaller|tiny|compact]?", "is a ternary model [small|smaller]?", "are ternary models smaller than [other models|normal models|others]?", "are ternary weights smaller than [normal weights|others|floats]?", "do ternary weights [save memory|save space|need less memory|take less space]?",
        "does ternary save memory?", "do ternary models [save memory|need less memory|use less memory|take less space]?", "is it smaller when the weights are ternary?", "does a ternary model take less [memory|space]?", "do i need less memory for a ternary model?", "is ternary more compact?",
        "are models with ternary weights [small|smaller|lighter]?", "is a model smaller with ternary weights?", "can ternary weights make a model smaller?", "do three values make a model smaller?", "is a bitnet [smaller|small]?", "are bitnets smaller?", "ternary models are smaller, right?",
    ],
    answers: &["Yes, a ternary model is much smaller: a weight needs about 1.58 bits instead of 16."],
};
const FASTER: Intent = Intent {
    asks: &[
        "are ternary models [fast|faster]?", "is a ternary model [fast|faster] [than a normal one|]?", "do ternary weights make a model [fast|faster]?", "does ternary make it faster?", "is ternary faster?", "are ternary weights faster?", "can ternary models be fast on a cpu?", "do ternary models run fast on a cpu?",
        "are ternary models good for cpus?", "can a cpu run ternary models?", "ternary models are faster, right?", "is bitnet fast?",
    ],
    answers: &["Yes, a ternary model is fast, even on a CPU: there is less to read, and additions replace multiplications."],
};
const MULTIPLY: Intent = Intent {
    asks: &[
        "do you need multiplications?", "do ternary models multiply?", "do ternary weights need multiplication?", "do ternary models [use|need] multiplications?", "does a ternary model [use|need] multiplications?", "are multiplications needed?", "are there multiplications in a ternary model?", "do you multiply?",
        "do you still need to multiply?", "must a ternary model multiply?", "does bitnet need multiplications?", "does bitnet multiply?", "is multiplication needed with ternary weights?", "do you have to multiply by the weights?", "multiplications needed?", "is there any multiplication?",
        "are multiplications necessary for ternary networks?", "does a ternary network multiply?", "do networks with ternary weights multiply?", "is multiplying needed?",
    ],
    answers: &["No, hardly any. With weights of -1, 0 and +1, additions and subtractions replace the multiplications."],
};
const ADDING: Intent = Intent {
    asks: &[
        "how do you compute with ternary weights?", "how does a ternary model compute?", "how do you multiply with ternary weights?", "what replaces the multiplications?", "what do you do instead of multiplying?", "how is a ternary weight used?", "what happens with a weight of [0|zero|-1|1|+1]?",
        "what does a weight of [0|zero|-1|+1] do?", "how do ternary weights work?", "how does a ternary weight work?", "how do ternary models work?", "how does a ternary network work?",
    ],
    answers: &["A weight of +1 adds a number, a weight of -1 subtracts it, and a weight of 0 skips it."],
};
const ONE_BIT: Intent = Intent {
    asks: &[
        "what is a 1-bit model?", "what is a 1 bit model?", "what is a 1-bit llm?", "what are 1-bit models?", "are you a 1-bit model?", "what does 1-bit mean?", "is sterna a 1-bit model?", "what is a one bit model?", "what are one bit llms?", "explain 1-bit models", "tell me about 1-bit models",
        "why do they say 1-bit?", "is 1.58 bit the same as 1 bit?", "what is the difference between 1 bit and 1.58 bit?", "what is binary?", "what is a binary weight?",
    ],
    answers: &["A 1-bit model has weights of one bit or a little more. Ternary models, with about 1.58 bits, are often called 1-bit too."],
};
const WEIGHTS: Intent = Intent {
    asks: &[
        "what is a weight?", "what are weights?", "what's a weight in a model?", "what is a weight in a network?", "what are the weights of a model?", "what is a parameter?", "what are parameters?", "what does a weight do?", "explain weights", "what do weights do?",
    ],
    answers: &["A weight is a number inside a model. Training sets the weights, and they decide what the model says."],
};
const MODEL: Intent = Intent {
    asks: &[
        "what is a language model?", "what's a language model?", "what is an llm?", "what does llm mean?", "what is a model?", "what is a neural network?", "explain language models", "how does a language model work?", "what do language models do?", "what does a language model do?", "what is ai?", "tell me about language models",
        "define language model",
    ],
    answers: &["A language model is a program that guesses the next word of a text, again and again."],
};
const TOKEN: Intent = Intent {
    asks: &["what is a token?", "what are tokens?", "what's a token?", "define token", "explain tokens", "what is a tokenizer?", "what does a tokenizer do?", "how do you read words?", "do you read letters or words?"],
    answers: &["A token is a piece of text: a word or a part of a word. I read and write tokens."],
};
const QUANTIZE: Intent = Intent {
    asks: &["what is quantization?", "what is quantisation?", "what does quantized mean?", "explain quantization", "what is a quantized model?", "are you quantized?", "define quantization", "why quantize a model?", "what does it mean to quantize a model?"],
    answers: &["Quantization means storing numbers with fewer bits. Ternary weights are a strong form of it."],
};
const HARDWARE: Intent = Intent {
    asks: &["what is a [gpu|graphics card]?", "what does gpu mean?", "what is a cpu?", "what does cpu mean?", "what is a processor?", "what is the difference between a cpu and a gpu?", "explain cpu and gpu"],
    answers: &["A CPU is the main processor of a computer. A GPU is a second one, made for pictures and for many sums at once."],
};
const TRAINED: Intent = Intent {
    asks: &["how do you train a ternary model?", "how is a ternary model trained?", "can i train a ternary model?", "how are ternary models trained?", "can i train my own model?", "can sterna train models?", "how do i train a model?", "can ternary weights be trained?"],
    answers: &["A ternary model is trained with ordinary numbers, which are rounded to -1, 0 or +1 whenever it runs. Sterna can do it on a CPU."],
};

const INTENTS: &[(usize, &Intent)] = &[
    (14, &WEIGHT), (8, &BITS), (12, &WHY), (13, &LOG), (11, &BITNET), (2, &INVENTED), (6, &SMALLER), (4, &FASTER), (6, &MULTIPLY), (3, &ADDING), (3, &ONE_BIT), (3, &WEIGHTS), (3, &MODEL), (2, &TOKEN), (2, &QUANTIZE), (2, &HARDWARE), (3, &TRAINED),
];

/// A question about ternary models, and perhaps more.
pub fn thread(random: &mut Random, _: &Filter) -> Vec<Exchange> {
    let mut turns = Vec::new();
    while turns.is_empty() || (turns.len() < 3 && random.chance(20)) {
        turns.push(super::weighted(random, INTENTS).exchange(random));
    }
    turns
}
