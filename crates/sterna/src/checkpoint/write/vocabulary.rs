//! A synthetic byte-level BPE vocabulary of any size, for models without one. The cost of loading and tokenizing
//! depends on the number of tokens and merges, not on the language.

use crate::byte_letters;
use crate::checkpoint::GgufVocabulary;
use crate::{Error, Result};

/// Special tokens of Llama 3, which BitNet b1.58 2B4T shares; all others are reserved.
const SPECIAL: &[(usize, &str)] = &[
    (0, "<|begin_of_text|>"),
    (1, "<|end_of_text|>"),
    (6, "<|start_header_id|>"),
    (7, "<|end_header_id|>"),
    (9, "<|eot_id|>"),
];

/// Letters in the order in which merged tokens use them; `Ġ` is the space.
const LETTERS: &str = "Ġetaoinsrhldcumfpgwybvkxjqz";

/// A vocabulary of `tokens` tokens and `merges` merges, laid out like Llama 3's: 256 bytes, merged tokens of two to
/// four letters, and special tokens at the end (256, or fewer in small vocabularies). Every merge joins two tokens into
/// a third.
///
/// # Errors
///
/// [`Error::Option`](crate::Error::Option) if there are fewer than 512 tokens, or if `merges` gives less than one or
/// more than about two ways to build each token.
pub fn synthetic(tokens: usize, merges: usize) -> Result<GgufVocabulary> {
    let specials = (tokens / 4).min(256);
    let refuse = |problem: String| Err(Error::option("tokens", problem));
    if tokens < 512 {
        return refuse(format!(
            "a vocabulary of {tokens} tokens cannot hold bytes and special tokens; use 512 or more"
        ));
    }
    let mut all: Vec<String> = byte_letters::all().map(String::from).collect();
    let merged = tokens - specials - all.len();
    let words = words(merged);
    let ways: usize = words.iter().map(|word| word.len() - 1).sum();
    if words.len() < merged || merges < merged || merges > ways {
        return refuse(format!("{merged} merged tokens need {merged} to {ways} merges, not {merges}"));
    }
    // First one way to build each token, then further ways until there are enough merges.
    let split = |word: &[char], at: usize| {
        let (left, right) = word.split_at(at);
        [left, &[' '], right].concat().into_iter().collect::<String>()
    };
    let mut list: Vec<String> = words.iter().map(|word| split(word, word.len() - 1)).collect();
    let further = words.iter().flat_map(|word| (1..word.len() - 1).map(move |at| split(word, at)));
    list.extend(further.take(merges - merged));
    all.extend(words.iter().map(|word| word.iter().collect::<String>()));
    let first = all.len();
    let mut reserved = 0;
    for i in 0..specials {
        all.push(match SPECIAL.iter().find(|(at, _)| *at == i) {
            Some((_, name)) => (*name).into(),
            None => {
                reserved += 1;
                format!("<|reserved_special_token_{}|>", reserved - 1)
            }
        });
    }
    Ok(GgufVocabulary {
        model: "gpt2".into(),
        pre: Some("llama-bpe".into()),
        types: (0..tokens).map(|id| if id < first { 1 } else { 3 }).collect(),
        tokens: all,
        merges: list,
        add_bos: Some(true),
        bos: u32::try_from(first).ok(),
        eos: u32::try_from(first + 1).ok(),
        ..GgufVocabulary::default()
    })
}

/// `count` words of two, three and four letters over the smallest alphabet with enough words. All parts of a word are
/// words or letters, too.
fn words(count: usize) -> Vec<Vec<char>> {
    let enough = |k: usize| k * k + k * k * k + k * k * k * k >= count;
    let size = (1..LETTERS.chars().count()).find(|k| enough(*k)).unwrap_or(LETTERS.chars().count());
    let letters: Vec<char> = LETTERS.chars().take(size).collect();
    let mut all: Vec<Vec<char>> = Vec::new();
    let mut shorter: Vec<Vec<char>> = letters.iter().map(|letter| vec![*letter]).collect();
    for _ in 2..=4 {
        let longer = shorter.iter().flat_map(|word| letters.iter().map(move |letter| [&word[..], &[*letter]].concat()));
        shorter = longer.take(count - all.len()).collect();
        all.extend(shorter.iter().cloned());
    }
    all
}
