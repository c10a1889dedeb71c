//! Definitions of a word, a sentence and a run of words, shared by the exam and the generator.

/// The words of a text: maximal runs of letters, digits and apostrophes, in lower case. `’` counts as `'`.
///
/// ```
/// assert_eq!(sterna_lessons::words::words("It’s 1.58 bits!"), ["it's", "1", "58", "bits"]);
/// ```
pub fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace('’', "'")
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\''))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The runs of four words of one message.
pub fn four_grams(words: &[String]) -> impl Iterator<Item = &[String]> {
    words.windows(4)
}

/// The sentences of a text: cut after each run of `.`, `!`, `?` and closing quotes that a space or the end follows.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut ended) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '.' | '!' | '?' => ended = true,
            '"' | '”' | '\'' | '’' | ')' => {}
            c if c.is_whitespace() && ended => {
                sentences.push(text[start..at].trim());
                (start, ended) = (at, false);
            }
            _ => ended = false,
        }
    }
    sentences.push(text[start..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_after_closing_quotes_and_not_inside_numbers() {
        let text = "\"Stop!\" said the fox. It has 1.58 bits... Why?";
        assert_eq!(sentences(text), ["\"Stop!\"", "said the fox.", "It has 1.58 bits...", "Why?"]);
        assert!(sentences("  ").is_empty());
    }

    #[test]
    fn words_keep_inner_apostrophes_only() {
        assert_eq!(words("'Don't,' she said"), ["don't", "she", "said"]);
    }
}
