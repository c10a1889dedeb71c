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
    /// Index of the stop string in the list.
    index: usize,
    pattern: Vec<u8>,
    /// For every prefix length, the length of the longest proper prefix that is also its suffix.
    shorter: Vec<usize>,
    /// Length of the prefix that the text ends with.
    matched: usize,
}

impl StopFilter {
    /// Creates a filter for these strings. Empty strings are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let stops = stops.map(|(index, stop)| Matcher::new(index, stop)).collect();
        Self { stops, held: String::new() }
    }

    /// Adds text. Returns the text that may be shown, and the index of the stop string that is complete. The stop string
    /// that is completed first ends the text. If several end at the same byte, the longest one counts.
    pub fn push(&mut self, text: &str) -> (String, Option<usize>) {
        let before = self.held.len();
        self.held.push_str(text);
        for at in before..self.held.len() {
            let byte = self.held.as_bytes()[at];
            let complete = self.stops.iter_mut().filter_map(|stop| stop.push(byte)).max();
            if let Some((length, index)) = complete {
                self.held.truncate((at + 1).saturating_sub(length));
                return (std::mem::take(&mut self.held), Some(index));
            }
        }
        // A matched prefix begins at a character boundary, so the split is valid UTF-8.
        let keep = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len().saturating_sub(keep));
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Returns the text still held back.
    pub fn finish(self) -> String {
        self.held
    }
}

impl Matcher {
    fn new(index: usize, pattern: &str) -> Self {
        let mut this = Self { index, pattern: pattern.as_bytes().to_vec(), shorter: vec![0, 0], matched: 0 };
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

    /// Returns the pattern's length and index when this byte completes it.
    fn push(&mut self, byte: u8) -> Option<(usize, usize)> {
        self.advance(byte);
        (self.matched == self.pattern.len()).then_some((self.matched, self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>, String) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            shown += &text;
            if stopped.is_some() {
                return (shown, stopped, String::new());
            }
        }
        (shown, None, filter.finish())
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
                    (before.to_owned(), Some(0), String::new()),
                    "{stop} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn the_stop_that_is_complete_first_wins() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), ("xa".to_owned(), Some(1), String::new()));
        assert_eq!(run(&["b", "ab"], &["xa", "b"]), ("x".to_owned(), Some(1), String::new()));
        assert_eq!(
            run(&["", "x"], &["text"]),
            ("te".to_owned(), Some(1), String::new()),
            "an index counts empty texts"
        );
        assert_eq!(run(&["", "never"], &["text"]), ("text".to_owned(), None, String::new()));
    }

    #[test]
    fn a_possible_beginning_is_held_and_released() {
        assert_eq!(run(&["\n\nUser:"], &["a\n", "\n", "Us"]), ("a".to_owned(), None, "\n\nUs".to_owned()));
        assert_eq!(run(&["好吗"], &["你好", "的"]), ("你好的".to_owned(), None, String::new()));
    }
}
