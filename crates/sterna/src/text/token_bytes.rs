//! The bytes of each token. One character may be spread over several tokens.

use tokenizers::DecoderWrapper;

use super::Tokenizer;
use crate::byte_letters::byte_of;

/// How a vocabulary spells bytes.
enum Alphabet {
    /// One character for every byte, as in GPT-2.
    Characters,
    /// Text with "▁" for a space, and `<0x0A>` for a byte without a token of its own.
    Pieces,
}

fn alphabet(decoder: Option<&DecoderWrapper>) -> Alphabet {
    match decoder {
        Some(DecoderWrapper::ByteLevel(_)) => Alphabet::Characters,
        Some(DecoderWrapper::Sequence(steps))
            if steps.get_decoders().iter().any(|step| matches!(step, DecoderWrapper::ByteLevel(_))) =>
        {
            Alphabet::Characters
        }
        _ => Alphabet::Pieces,
    }
}

/// The value of a byte token such as `<0x0A>`.
fn spelled_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Tokenizer {
    /// The bytes of a token in the middle of a text. `None` for special tokens and for ids without a token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if self.is_silent(id) {
            return None;
        }
        let token = self.token(id)?;
        Some(match alphabet(self.decoder()) {
            // Added tokens are stored as plain text.
            Alphabet::Characters => token.chars().map(byte_of).collect::<Option<_>>().unwrap_or(token.into_bytes()),
            Alphabet::Pieces => {
                spelled_byte(&token).map_or_else(|| token.replace('▁', " ").into_bytes(), |byte| vec![byte])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_with_two_digits() {
        assert_eq!(
            ["<0x0A>", "<0xff>", "<0x0AB>", "<0xzz>", "x"].map(spelled_byte),
            [Some(10), Some(255), None, None, None]
        );
    }
}
