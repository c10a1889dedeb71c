//! Pre-tokenization: splits text into words. Byte-pair merges never cross a word boundary.

use regex::Regex;
use serde_json::{Value, json};
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    Offsets, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Result as TokenizersResult, SplitDelimiterBehavior,
};

/// The end of most patterns below. A run of white space leaves its last character to the following word.
const WHITESPACE: &str = r"|\s+(?!\S)|\s+";

/// The word pattern of GPT-2 (source: `encoder.py` of openai/gpt-2).
pub const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The word pattern of Llama 3: numbers in groups of up to three digits (source: `tokenizer.json` of Llama 3).
pub const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The word pattern of Qwen 2 and 3: digits one by one (source: `tokenizer.json` of Qwen 2).
pub const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The word pattern of Qwen 3.5: combining marks belong to words (source: `tokenizer.json` of Qwen 3.5).
pub const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The word patterns of dense Hunyuan models, applied one after the other: numbers, Chinese and Japanese, everything else
/// (source: `llama-vocab.cpp` of llama.cpp).
pub const HUNYUAN: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

/// The pre-tokenizers of a vocabulary, applied in order.
#[derive(Default, PartialEq)]
pub struct PreTokens(Vec<Step>);

#[derive(PartialEq)]
enum Step {
    /// One of the known patterns, run in linear time.
    Known { pattern: Known, behavior: SplitDelimiterBehavior, invert: bool },
    /// SentencePiece: a new word begins at every "▁" that follows another character.
    Pieces,
    /// Any other pre-tokenizer, run by the tokenizers crate.
    Other(Box<PreTokenizerWrapper>),
}

impl PreTokens {
    /// Adds a pre-tokenizer read from `tokenizer.json`.
    pub fn push(&mut self, step: PreTokenizerWrapper) {
        match step {
            PreTokenizerWrapper::Sequence(steps) => steps.into_iter().for_each(|step| self.push(step)),
            PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex && !bytes.add_prefix_space => {
                self.push_pattern(GPT2);
                self.push(PreTokenizerWrapper::ByteLevel(bytes.use_regex(false)));
            }
            // `trim_offsets` changes only offsets, which are not used.
            PreTokenizerWrapper::ByteLevel(bytes) => {
                self.0.push(Step::Other(Box::new(bytes.trim_offsets(true).into())))
            }
            PreTokenizerWrapper::Split(split) => self.0.push(Step::split(split)),
            other => self.0.push(Step::Other(Box::new(other))),
        }
    }

    /// Adds one of the patterns of this module.
    pub fn push_pattern(&mut self, pattern: &str) {
        if let Some(pattern) = Known::new(pattern) {
            self.0.push(Step::Known { pattern, behavior: SplitDelimiterBehavior::Isolated, invert: false });
        }
    }

    /// Adds the translation of bytes to the alphabet of byte-level vocabularies.
    pub fn push_bytes(&mut self) {
        self.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
    }

    /// Adds the splitting of SentencePiece text into words. Correct only if no merge joins another character to a
    /// following "▁".
    pub fn push_pieces(&mut self) {
        self.0.push(Step::Pieces);
    }

    /// The value of `pre_tokenizer` in `tokenizer.json`; the splitting of SentencePiece text is found again by its reader.
    pub fn to_json(&self) -> Value {
        let step = |step: &Step| match step {
            Step::Known { pattern, behavior, invert } => Some(json!({
                "type": "Split",
                "pattern": { "Regex": pattern.source },
                "behavior": behavior,
                "invert": invert,
            })),
            Step::Pieces => None,
            Step::Other(other) => serde_json::to_value(other).ok(),
        };
        let steps: Vec<Value> = self.0.iter().filter_map(step).collect();
        if steps.is_empty() { Value::Null } else { json!({ "type": "Sequence", "pretokenizers": steps }) }
    }

    /// Whether there is no pre-tokenizer: the whole text is one word.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Step {
    fn split(split: Split) -> Self {
        let known = match &split.pattern {
            SplitPattern::Regex(pattern) => Known::new(pattern),
            SplitPattern::String(_) => None,
        };
        match known {
            Some(pattern) => Self::Known { pattern, behavior: split.behavior, invert: split.invert },
            None => Self::Other(Box::new(PreTokenizerWrapper::Split(split))),
        }
    }
}

impl PreTokenizer for PreTokens {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> TokenizersResult<()> {
        for step in &self.0 {
            match step {
                Step::Known { pattern, behavior, invert: false } => text.split(|_, s| s.split(pattern, *behavior))?,
                Step::Known { pattern, behavior, invert: true } => {
                    text.split(|_, s| s.split(Invert(pattern), *behavior))?;
                }
                Step::Pieces => text.split(|_, s| s.split(Pieces, SplitDelimiterBehavior::Isolated))?,
                Step::Other(other) => other.pre_tokenize(text)?,
            }
        }
        Ok(())
    }
}

/// A known pattern without its look-ahead, so that it runs in linear time and constant memory. The backtracking engine
/// gives up silently after about a million white-space characters, and the rest of the text would become one word.
struct Known {
    /// The whole pattern.
    source: &'static str,
    words: Regex,
    /// Whether white space that ends in a line break is a word of its own.
    lines: bool,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        (self.words.as_str(), self.lines) == (other.words.as_str(), other.lines)
    }
}

impl Known {
    fn new(pattern: &str) -> Option<Self> {
        let source = [GPT2, LLAMA3, QWEN2, QWEN35].into_iter().chain(HUNYUAN).find(|known| *known == pattern)?;
        let words = match pattern.strip_suffix(WHITESPACE) {
            Some(words) => Regex::new(&format!(r"{words}|\s+")),
            None => Regex::new(pattern),
        };
        Some(Self { source, words: words.ok()?, lines: pattern != GPT2 })
    }

    /// Where a match ends according to the look-ahead `\s+(?!\S)`: white space before a word leaves its last character
    /// to that word.
    fn end(&self, text: &str, range: std::ops::Range<usize>) -> usize {
        let Some(last) = text[range.clone()].chars().next_back() else { return range.end };
        let whole = !last.is_whitespace() || range.end == text.len() || (self.lines && matches!(last, '\r' | '\n'));
        let shorter = range.end - last.len_utf8();
        if whole || shorter == range.start { range.end } else { shorter }
    }
}

impl Pattern for &Known {
    fn find_matches(&self, text: &str) -> TokenizersResult<Vec<(Offsets, bool)>> {
        let mut found = Vec::new();
        let mut start = 0;
        while let Some(word) = self.words.find_at(text, start) {
            if word.start() > start {
                found.push(((start, word.start()), false));
            }
            let end = self.end(text, word.range());
            found.push(((word.start(), end), true));
            start = end;
        }
        if start < text.len() || found.is_empty() {
            found.push(((start, text.len()), false));
        }
        Ok(found)
    }
}

struct Pieces;

impl Pattern for Pieces {
    fn find_matches(&self, text: &str) -> TokenizersResult<Vec<(Offsets, bool)>> {
        let mut found = Vec::new();
        let (mut start, mut previous) = (0, '▁');
        for (at, c) in text.char_indices() {
            if c == '▁' && previous != '▁' {
                found.push(((start, at), true));
                start = at;
            }
            previous = c;
        }
        found.push(((start, text.len()), true));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(known: &Known, text: &str) -> Vec<String> {
        let found = known.find_matches(text).expect("splits");
        found.into_iter().map(|((start, end), _)| text[start..end].to_owned()).collect()
    }

    /// The words that the backtracking engine of the tokenizers crate finds.
    fn published(split: &Split, text: &str) -> Vec<String> {
        let mut whole = PreTokenizedString::from(text);
        split.pre_tokenize(&mut whole).expect("splits");
        let splits = whole.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        splits.into_iter().map(|(word, _, _)| word.to_owned()).collect()
    }

    #[test]
    fn linear_patterns_split_as_published() {
        let alphabet =
            ['a', 'É', '你', ' ', ' ', '\n', '\r', '\t', '\u{a0}', '7', '!', '\'', 's', 'ſ', '\u{85}', '\u{301}'];
        for pattern in [GPT2, LLAMA3, QWEN2, QWEN35].into_iter().chain(HUNYUAN) {
            let known = Known::new(pattern).expect("known");
            let whole = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(whole, SplitDelimiterBehavior::Isolated, false).expect("compiles");
            let mut state = 1_u64;
            for _ in 0..3000 {
                let random = |_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                };
                let text: String = (0..12).map(random).collect();
                assert_eq!(words(&known, &text), published(&split, &text), "{text:?} by {pattern}");
            }
        }
    }

    #[test]
    fn dense_hunyuan_models_split_three_times() {
        let mut steps = PreTokens::default();
        HUNYUAN.iter().for_each(|pattern| steps.push_pattern(pattern));
        let mut text = PreTokenizedString::from("(abc 1234 中文x");
        steps.pre_tokenize(&mut text).expect("splits");
        let splits = text.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        let words: Vec<&str> = splits.into_iter().map(|(word, _, _)| word).collect();
        assert_eq!(words, ["(abc", " ", "123", "4", " ", "中文", "x"]);
    }

    #[test]
    fn a_million_spaces_are_one_word_and_a_space() {
        let text = " ".repeat(1_500_000) + "x";
        for pattern in [GPT2, LLAMA3, QWEN2, QWEN35] {
            let known = Known::new(pattern).expect("known");
            let lengths: Vec<usize> = words(&known, &text).iter().map(String::len).collect();
            assert_eq!(lengths, [1_499_999, 2]);
        }
    }
}
