//! Streaming: token ids in, whole UTF-8 pieces out, stop strings never shown.

use std::ops::Deref;

use super::Tokenizer;
use super::stop::StopFilter;

/// Stands for bytes that are not valid UTF-8, and at the end of a text for an incomplete character.
const REPLACEMENT: char = '\u{FFFD}';
/// After this many tokens, bytes that still do not form a character are shown as U+FFFD: no UTF-8 character has more
/// bytes.
const PATIENCE: usize = 4;
/// After this many tokens the window moves, even if every token ended within a character.
const LONGEST_WINDOW: usize = 24;
/// Tokens kept before the text that is being decoded, because they decide about spaces.
const CONTEXT: usize = 8;

/// Decodes a generation token by token. The work per token does not grow with the length of the generation.
///
/// Special tokens have no text. The concatenation of all pieces and of [`TextStream::finish`] is what
/// [`Tokenizer::decode`] makes of all ids, less the decoding of the prompt.
pub struct TextStream<T> {
    tokenizer: T,
    /// The last ids. Those before `read` end with a complete character; they are context.
    window: Vec<u32>,
    read: usize,
    /// The part of the window's text that has been returned.
    shown: String,
    stop: StopFilter,
}

/// The result of adding a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is final; empty while a character or a possible stop string is incomplete.
    Text(String),
    /// A stop string is complete; push no further tokens.
    Stop {
        /// The last text before it.
        text: String,
        /// Its index in the list of stop strings.
        index: usize,
    },
}

impl<T: Deref<Target = Tokenizer>> TextStream<T> {
    /// A stream after `prompt` (for spacing only; it is not repeated), ending at any of `stop`.
    ///
    /// The stop string that is complete first ends the stream; of those that end together, the one that begins first.
    pub fn new(tokenizer: T, prompt: &[u32], stop: &[String]) -> Self {
        let visible = prompt.iter().rev().filter(|&&id| !tokenizer.is_silent(id));
        let mut window: Vec<u32> = visible.take(CONTEXT).copied().collect();
        window.reverse();
        let mut this =
            Self { tokenizer, read: window.len(), window, shown: String::new(), stop: StopFilter::new(stop) };
        this.shown = this.decode();
        this.shown.truncate(this.shown.trim_end_matches(REPLACEMENT).len());
        this
    }

    /// Adds a token.
    pub fn push(&mut self, id: u32) -> Piece {
        if self.tokenizer.is_silent(id) {
            return Piece::Text(String::new());
        }
        self.window.push(id);
        let text = self.decode_after_shown();
        let certain = text.trim_end_matches(REPLACEMENT).len();
        let waiting = self.window.len() - self.read;
        let end = match waiting > PATIENCE {
            // Only the last replacement character can still be the beginning of a character.
            true if certain < text.len() => text.len() - REPLACEMENT.len_utf8(),
            _ => certain,
        };
        let new = self.show(&text, end);
        if end == text.len() {
            self.slide(self.read, "");
        } else if self.window.len() >= LONGEST_WINDOW {
            self.slide(self.window.len() - CONTEXT, &text[end..]);
            self.read = CONTEXT - PATIENCE;
        }
        match self.stop.push(&new) {
            (text, Some(index)) => Piece::Stop { text, index },
            (text, None) => Piece::Text(text),
        }
    }

    /// Returns the text held back when the generation ends without a stop string.
    pub fn finish(mut self) -> String {
        let text = self.decode_after_shown();
        let new = self.show(&text, text.len());
        match self.stop.push(&new) {
            (text, Some(_)) => text,
            (text, None) => text + &self.stop.finish(),
        }
    }

    /// The window's text, which begins with the text already shown. Bytes after complete characters can change how
    /// those are decoded (SentencePiece decodes a run of byte tokens as a whole); then the new tokens are decoded
    /// alone.
    fn decode_after_shown(&mut self) -> String {
        let text = self.decode();
        if text.starts_with(&self.shown) {
            return text;
        }
        self.window.drain(..self.read);
        self.read = 0;
        self.shown.clear();
        self.decode()
    }

    fn decode(&self) -> String {
        // The accepted decoders cannot fail.
        self.tokenizer.decode_without_special(&self.window).unwrap_or_default()
    }

    /// Marks `text` up to `end` as shown, and returns the new part.
    fn show(&mut self, text: &str, end: usize) -> String {
        let new = text.get(self.shown.len()..end).unwrap_or_default().to_owned();
        self.shown += &new;
        new
    }

    /// Drops the first `forget` ids. `pending` is the end of the window's text that has not been shown.
    fn slide(&mut self, forget: usize, pending: &str) {
        self.window.drain(..forget);
        self.read = self.window.len();
        let text = self.decode();
        self.shown = text.strip_suffix(pending).unwrap_or(&text).to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::RopeScaling;
    use crate::checkpoint::{Config, GgufVocabulary, TextFiles};
    use crate::model::LLAMA;

    /// A byte-level vocabulary: one token a byte, then one word and an end token.
    fn byte_level() -> Tokenizer {
        let mut tokens: Vec<String> = (0..=255).map(byte_char).map(String::from).collect();
        tokens.extend(["Ġa".to_owned(), "<|end|>".to_owned()]);
        let mut types = vec![1; tokens.len()];
        types[257] = 3;
        let merges = vec!["Ġ a".to_owned()];
        build(GgufVocabulary { model: "gpt2".into(), tokens, types, merges, ..Default::default() })
    }

    /// The byte-level alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 onwards.
    fn byte_char(byte: u32) -> char {
        let printable = |b: &u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if printable(&byte) { byte } else { 256 + (0..byte).filter(|b| !printable(b)).count() as u32 };
        char::from_u32(code).expect("a character")
    }

    fn sentence_piece() -> Tokenizer {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned()];
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        tokens.extend(["▁", "▁a", "a", "你"].map(String::from));
        let types = [vec![2, 3], vec![6; 256], vec![1; 4]].concat();
        let scores = vec![-1.0; tokens.len()];
        build(GgufVocabulary { model: "llama".into(), tokens, types, scores, ..Default::default() })
    }

    fn build(vocabulary: GgufVocabulary) -> Tokenizer {
        let config = Config {
            architecture: &LLAMA,
            hidden: 64,
            intermediate: 64,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 64,
            vocab: 300,
            context: 64,
            rms_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::None,
            pooling: None,
            windows: None,
            scalings: None,
            tied: true,
            eos: vec![],
            hybrid: None,
        };
        Tokenizer::new("tiny.gguf".as_ref(), &TextFiles::Gguf(vocabulary), &config).expect("builds")
    }

    fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<String>, String) {
        let mut stream = TextStream::new(tokenizer, &[], &[]);
        let pieces = ids.iter().map(|&id| match stream.push(id) {
            Piece::Text(text) | Piece::Stop { text, .. } => text,
        });
        (pieces.collect(), stream.finish())
    }

    #[test]
    fn characters_appear_when_their_last_byte_does() {
        let tokenizer = byte_level();
        let ids: Vec<u32> = "é你😀".bytes().map(u32::from).collect();
        let (pieces, rest) = stream(&tokenizer, &ids);
        assert_eq!(pieces, ["", "é", "", "", "你", "", "", "", "😀"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn invalid_bytes_are_shown_and_do_not_swallow_what_follows() {
        let tokenizer = byte_level();
        let mut ids = vec![0xff; 6];
        ids.extend("😀".bytes().map(u32::from));
        ids.extend([0xf0, 0x9f]);
        let (pieces, rest) = stream(&tokenizer, &ids);
        assert_eq!(pieces.concat() + &rest, tokenizer.decode_without_special(&ids).expect("decodes"));
        assert_eq!(pieces[4], "\u{FFFD}".repeat(4), "at most {PATIENCE} tokens are held");
        assert_eq!(rest, "\u{FFFD}");
    }

    #[test]
    fn tokens_that_always_end_within_a_character_are_shown_as_they_come() {
        let mut tokens: Vec<String> = (0..=255).map(byte_char).map(String::from).collect();
        // The last two bytes of 你 and the first of the next one.
        let ids = [0xbd_u32, 0xa0, 0xe4];
        tokens.push(ids.iter().map(|&byte| byte_char(byte)).collect());
        let merges = vec![format!("{} {}", byte_char(0x61), byte_char(0x62))];
        tokens.push("ab".into());
        let tokenizer = build(GgufVocabulary { model: "gpt2".into(), tokens, merges, ..Default::default() });
        let ids: Vec<u32> = std::iter::once(0xe4).chain(std::iter::repeat_n(256, 100)).collect();
        let (pieces, rest) = stream(&tokenizer, &ids);
        assert_eq!(pieces.iter().filter(|piece| *piece == "你").count(), 100);
        assert_eq!(rest, "\u{FFFD}");
    }

    #[test]
    fn special_tokens_have_no_text_and_do_not_disturb_spaces() {
        let tokenizer = sentence_piece();
        let a = tokenizer.id("▁a").expect("▁a");
        let (pieces, rest) = stream(&tokenizer, &[1, a, 1, a, 1, 9999, a]);
        assert_eq!(pieces, ["", "a", "", " a", "", "", " a"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn the_prompt_decides_about_the_first_space() {
        let tokenizer = sentence_piece();
        let a = tokenizer.id("▁a").expect("▁a");
        assert_eq!(TextStream::new(&tokenizer, &[1], &[]).push(a), Piece::Text("a".into()));
        assert_eq!(TextStream::new(&tokenizer, &[1, a], &[]).push(a), Piece::Text(" a".into()));
    }

    #[test]
    fn byte_fallback_shows_whole_characters_and_survives_invalid_bytes() {
        let tokenizer = sentence_piece();
        let byte = |b: u8| u32::from(b) + 2;
        let mut ids: Vec<u32> = "👩‍👧".bytes().map(byte).collect();
        assert_eq!(stream(&tokenizer, &ids).0.concat(), "👩‍👧");
        ids.extend([byte(0xff), tokenizer.id("▁a").expect("▁a")]);
        assert_eq!(stream(&tokenizer, &ids).0.concat(), "👩‍👧\u{FFFD} a");
    }

    #[test]
    fn stop_strings_are_found_across_tokens() {
        let tokenizer = byte_level();
        let stops = ["你好".to_owned(), "xyz".to_owned()];
        let mut stream = TextStream::new(&tokenizer, &[], &stops);
        let mut shown = String::new();
        let stopped = "ab xy 你你好 never".bytes().any(|byte| match stream.push(u32::from(byte)) {
            Piece::Text(text) => {
                shown += &text;
                false
            }
            Piece::Stop { text, .. } => {
                shown += &text;
                true
            }
        });
        assert!(stopped);
        assert_eq!(shown, "ab xy 你");
    }
}
