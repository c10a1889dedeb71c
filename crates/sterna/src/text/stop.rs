//! Finding stop strings in text that arrives in pieces.

/// Holds text back while it may be the beginning of a stop string.
pub struct StopFilter {
    stops: Vec<Matcher>,
    /// Text that has not been returned yet.
    held: String,
}

/// Knuth–Morris–Pratt matching: tracks the longest prefix of the stop string that the text ends with, in amortised
/// constant time per byte.
struct Matcher {
    pattern: Vec<u8>,
    /// For every prefix length, the length of the longest proper prefix that is also its suffix.
    shorter: Vec<usize>,
    /// Length of the prefix that the text ends with.
    matched: usize,
}

impl StopFilter {
    /// Creates a filter for these strings. Empty strings are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(|stop| Matcher::new(stop)).collect();
        Self { stops, held: String::new() }
    }

    /// Adds text. Returns the text that may be shown, and whether a stop string is complete. The stop string that is
    /// completed first ends the text. If several end at the same byte, the longest one counts.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        let before = self.held.len();
        self.held.push_str(text);
        for at in before..self.held.len() {
            let byte = self.held.as_bytes()[at];
            let complete = self.stops.iter_mut().filter_map(|stop| stop.push(byte)).max();
            if let Some(length) = complete {
                self.held.truncate((at + 1).saturating_sub(length));
                return (std::mem::take(&mut self.held), true);
            }
        }
        // A matched prefix begins at a character boundary, so the split is valid UTF-8.
        let keep = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len().saturating_sub(keep));
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Returns the text still held back.
    pub fn finish(self) -> String {
        self.held
    }
}

impl Matcher {
    fn new(pattern: &str) -> Self {
        let mut this = Self { pattern: pattern.as_bytes().to_vec(), shorter: vec![0, 0], matched: 0 };
        for at in 1..this.pattern.len() {
            this.advance(this.pattern[at]);
            this.shorter.push(this.matched);
        }
        this.matched = 0;
        this
    }

    fn advance(&mut self, byte: u8) {
        while self.matched > 0 && self.pattern.get(self.matched) != Some(&byte) {
            self.matched = self.shorter[self.matched];
        }
        if self.pattern.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
    }

    /// Returns the pattern's length when this byte completes it.
    fn push(&mut self, byte: u8) -> Option<usize> {
        self.advance(byte);
        (self.matched == self.pattern.len()).then_some(self.matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool, String) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            shown += &text;
            if stopped {
                return (shown, true, String::new());
            }
        }
        (shown, false, filter.finish())
    }

    #[test]
    fn stops_are_found_whatever_the_pieces() {
        let text = "say aab, aaab 你好吗 end";
        for (stop, before) in [("aaab", "say aab, "), ("你好吗", "say aab, aaab "), ("b 你", "say aab, aaa"), ("s", "")]
        {
            let chars: Vec<String> = text.chars().map(String::from).collect();
            for size in 1..=chars.len() {
                let pieces: Vec<String> = chars.chunks(size).map(<[String]>::concat).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                assert_eq!(
                    run(&[stop], &pieces),
                    (before.to_owned(), true, String::new()),
                    "{stop} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn the_stop_that_is_complete_first_wins() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]).0, "xa");
        assert_eq!(run(&["b", "ab"], &["xa", "b"]).0, "x");
        assert_eq!(run(&["", "never"], &["text"]), ("text".to_owned(), false, String::new()));
    }

    #[test]
    fn a_possible_beginning_is_held_and_released() {
        assert_eq!(run(&["\n\nUser:"], &["a\n", "\n", "Us"]), ("a".to_owned(), false, "\n\nUs".to_owned()));
        assert_eq!(run(&["好吗"], &["你好", "的"]), ("你好的".to_owned(), false, String::new()));
    }
}
