//! Special tokens come from chat templates only: what messages say stays text.
//!
//! A template prints one string, in which its own text and that of the messages are mixed. So characters of messages
//! that could begin or end a special token are replaced with marks before the template runs. A mark is a code point of a
//! private area that the conversation does not use. It stands for one character: lengths, `trim` and `tojson` are as
//! without marks. The tokenizer finds special tokens while the marks stand, and then puts the characters back.
//!
//! ```text
//! messages ──mark──► template ──► text with marks ──find special tokens──► unmark ──► normalize, split, merge ──► ids
//! ```
//! A mark only ever means text. So a message gains nothing from writing one.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

/// The first code point that may be a mark: the second private plane of Unicode.
const PRIVATE: u32 = 0x10_0000;
/// One more than the last.
const PRIVATE_END: u32 = 0x10_FFFE;

/// The special tokens of a vocabulary.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    spellings: HashSet<String>,
    ids: HashSet<u32>,
    /// Lengths of the spellings in bytes.
    lengths: BTreeSet<usize>,
    /// Characters that begin or end a spelling.
    ends: Vec<char>,
}

impl SpecialTokens {
    pub fn new(tokens: impl IntoIterator<Item = (String, u32)>) -> Self {
        let (spellings, ids): (HashSet<String>, _) =
            tokens.into_iter().filter(|(spelling, _)| !spelling.is_empty()).unzip();
        let ends = spellings.iter().flat_map(|token| token.chars().next().into_iter().chain(token.chars().next_back()));
        let ends: BTreeSet<char> = ends.collect();
        Self { lengths: spellings.iter().map(String::len).collect(), ends: ends.into_iter().collect(), spellings, ids }
    }

    /// Whether a special token has this id.
    pub fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Whether strings of `value` have a character that begins or ends a special token. Without one, they cannot become
    /// a special token, whatever a template does with them.
    pub fn may_be_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.may_be_in_text(text),
            Value::Array(values) => values.iter().any(|value| self.may_be_in(value)),
            Value::Object(fields) => {
                fields.iter().any(|(name, value)| self.may_be_in_text(name) || self.may_be_in(value))
            }
            _ => false,
        }
    }

    fn may_be_in_text(&self, text: &str) -> bool {
        text.contains(|c| self.ends.binary_search(&c).is_ok())
    }

    /// The special tokens spelled in a text, in order.
    pub fn spelled_in<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            while let Some(first) = rest.chars().next() {
                if let Some(length) = self.length_at(rest) {
                    let (token, after) = rest.split_at(length);
                    rest = after;
                    return Some(token);
                }
                rest = &rest[first.len_utf8()..];
            }
            None
        })
    }

    /// Length of the longest special token that `text` begins with.
    fn length_at(&self, text: &str) -> Option<usize> {
        let first = text.chars().next()?;
        self.ends.binary_search(&first).ok()?;
        let spelled = |length: &usize| text.get(..*length).is_some_and(|start| self.spellings.contains(start));
        self.lengths.iter().rev().copied().find(spelled)
    }

    /// Marks that occur neither in `text` nor in `values`. If the private area is used up, some occur: these characters
    /// are then read as those that the marks stand for, as text.
    pub fn marks<'v>(&self, text: &str, values: impl IntoIterator<Item = &'v Value>) -> Marks<'_> {
        let mut used = private(text).collect();
        values.into_iter().for_each(|value| find_private(value, &mut used));
        let size = self.ends.len().max(1) as u32;
        let free = |base: &u32| used.range(*base..base + size).next().is_none();
        let base = (PRIVATE..PRIVATE_END - size).step_by(size as usize).find(free);
        Marks { special: self, base: base.unwrap_or(PRIVATE) }
    }
}

fn private(text: &str) -> impl Iterator<Item = u32> {
    text.chars().map(u32::from).filter(|code| *code >= PRIVATE)
}

fn find_private(value: &Value, found: &mut BTreeSet<u32>) {
    match value {
        Value::String(text) => found.extend(private(text)),
        Value::Array(values) => values.iter().for_each(|value| find_private(value, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.extend(private(name));
            find_private(value, found);
        }),
        _ => {}
    }
}

/// Code points that stand for the characters that begin or end a special token.
pub(super) struct Marks<'a> {
    special: &'a SpecialTokens,
    /// The mark of the first of these characters.
    base: u32,
}

impl Marks<'_> {
    /// The text with a mark for the first character of every special token in it.
    pub fn mark_tokens(&self, text: &str) -> String {
        let mark = |(at, c): (usize, char)| match self.special.length_at(&text[at..]) {
            Some(_) => self.mark(c),
            None => c,
        };
        text.char_indices().map(mark).collect()
    }

    /// The text with a mark for every character that begins or ends a special token.
    pub fn mark_ends(&self, text: &str) -> String {
        text.chars().map(|c| self.mark(c)).collect()
    }

    /// The mark of a character, or the character if it has none.
    fn mark(&self, c: char) -> char {
        let mark = self.special.ends.binary_search(&c).ok().and_then(|at| char::from_u32(self.base + at as u32));
        mark.unwrap_or(c)
    }

    /// The character that a mark stands for; other characters stand for themselves.
    pub fn unmark(&self, c: char) -> char {
        let at = u32::from(c).checked_sub(self.base).map(|at| at as usize);
        at.and_then(|at| self.special.ends.get(at).copied()).unwrap_or(c)
    }
}

/// A copy of `value` with `change` made to each of its strings, names of fields included.
pub(super) fn with_strings(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(values) => values.iter().map(|value| with_strings(value, change)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (change(name), with_strings(value, change))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn special() -> SpecialTokens {
        SpecialTokens::new([("<|end|>", 1), ("<|end|>>", 2), ("|e", 3)].map(|(token, id)| (token.to_owned(), id)))
    }

    #[test]
    fn marked_text_spells_no_special_token_and_comes_back() {
        let special = special();
        let values = [json!({ "a\u{100000}": ["\u{100003}", 7] })];
        let marks = special.marks("{{ x }}\u{100006}", &values);
        for text in ["<|end|>", "a<|end|>>b|e<|end", "<|<|end|>end|>", "no token", "", "你<|end|>好"] {
            for marked in [marks.mark_tokens(text), marks.mark_ends(text)] {
                assert_eq!(special.spelled_in(&marked).count(), 0, "{text:?}");
                assert_eq!(marked.chars().count(), text.chars().count());
                assert_eq!(marked.chars().map(|c| marks.unmark(c)).collect::<String>(), text);
            }
        }
        assert_eq!(marks.unmark('\u{100000}'), '\u{100000}', "a mark does not occur in the conversation");
        assert_eq!(special.spelled_in("x<|end|>>|e<|end|>").collect::<Vec<_>>(), ["<|end|>>", "|e", "<|end|>"]);
    }

    #[test]
    fn a_conversation_that_uses_the_whole_private_area_has_marks_too() {
        let special = special();
        let all: String = (PRIVATE..PRIVATE_END).filter_map(char::from_u32).collect();
        let marks = special.marks("", &[json!(all)]);
        assert_eq!(special.spelled_in(&marks.mark_tokens("<|end|>")).count(), 0);
    }
}
