//! Sentence templates. `[a|b|]` stands for one of its parts, which may contain choices again. `{name}` stands for the
//! value of a slot, which may contain choices too.

use crate::random::Random;

/// Names and values of slots: what `{name}` stands for.
pub type Slots<'a> = &'a [(&'a str, &'a str)];

/// Draws one of the sentences of a template.
///
/// # Panics
/// If the template names an unknown slot or does not close a bracket. Both are errors in the tables of the topics.
pub fn expand(random: &mut Random, template: &str, slots: Slots) -> String {
    let mut text = String::new();
    write(random, template, slots, &mut text);
    tidy(&text)
}

fn write(random: &mut Random, template: &str, slots: Slots, text: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find(['[', '{']) {
        text.push_str(&rest[..at]);
        if rest[at..].starts_with('[') {
            let (options, after) = options(&rest[at + 1..]);
            let option = *random.pick(&options);
            write(random, option, slots, text);
            rest = after;
        } else {
            let (name, after) = rest[at + 1..].split_once('}').expect("a slot is closed");
            let slot = slots.iter().find(|slot| slot.0 == name);
            write(random, slot.unwrap_or_else(|| panic!("no slot {name}: {template}")).1, slots, text);
            rest = after;
        }
    }
    text.push_str(rest);
}

/// Splits after an open bracket: the parts of the choice, and the rest of the text.
fn options(text: &str) -> (Vec<&str>, &str) {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' if depth > 0 => depth -= 1,
            ']' => return (parts(&text[..at], '|'), &text[at + 1..]),
            _ => {}
        }
    }
    panic!("a choice is not closed: {text}");
}

/// Splits a text at `mark`s outside choices.
fn parts(text: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if c == mark && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits a text at `mark`s outside choices, trims the parts, and drops empty ones.
pub fn split(text: &str, mark: char) -> Vec<&str> {
    parts(text, mark).into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Normalises spaces: one between words, none before a punctuation mark.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    for c in text.chars() {
        if tidy.ends_with(' ') && matches!(c, ' ' | ',' | '.' | '?' | '!' | ';') {
            if c == ' ' {
                continue;
            }
            tidy.pop();
        }
        tidy.push(c);
    }
    tidy.trim().to_owned()
}

/// Capitalises the start of each sentence, except after a closing quote, where the template decides.
pub fn sentence_case(text: &str) -> String {
    let mut cased = String::with_capacity(text.len());
    let (mut start, mut ended) = (true, false);
    for c in text.chars() {
        if c.is_alphanumeric() && start {
            cased.extend(c.to_uppercase());
            start = false;
        } else {
            if c == ' ' && ended {
                start = true;
            } else if c.is_alphanumeric() {
                start = false;
            }
            cased.push(c);
        }
        ended = matches!(c, '.' | '!' | '?');
    }
    cased
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_template_gives_each_of_its_sentences() {
        let mut random = Random::new(1);
        let slots = [("x", "[fox|owl]")];
        let seen: HashSet<_> =
            (0..200).map(|_| expand(&mut random, "[the [big|] {x}|hi] , now [?|]", &slots)).collect();
        let all = ["the big fox, now?", "the big owl, now", "the fox, now", "hi, now?", "hi, now"];
        assert!(all.iter().all(|text| seen.contains(*text)), "{seen:?}");
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn capitals_start_sentences() {
        assert_eq!(sentence_case("a fox. \"go!\" it said. 3 owls? yes"), "A fox. \"Go!\" it said. 3 owls? Yes");
    }
}
