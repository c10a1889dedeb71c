//! The bytes of each token. One character may be spread over several tokens.

use tokenizers::DecoderWrapper;

use super::Tokenizer;

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

/// The byte that `c` stands for in GPT-2's alphabet: printable bytes stand for themselves, the others follow in order
/// from U+0100.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|&byte| !printable(byte)).nth(code.checked_sub(256)? as usize),
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
    fn every_byte_has_one_character() {
        let written: Vec<char> = (0..0x180).filter_map(char::from_u32).filter(|c| byte_of(*c).is_some()).collect();
        let mut bytes: Vec<u8> = written.iter().filter_map(|c| byte_of(*c)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(
            ['Ġ', 'Ċ', 'a', 'é', 'ģ'].map(byte_of),
            [Some(b' '), Some(b'\n'), Some(b'a'), Some(0xe9), Some(0x81)]
        );
        assert_eq!(['▁', ' ', 'ń'].map(byte_of), [None, None, None]);
    }

    #[test]
    fn bytes_are_spelled_with_two_digits() {
        assert_eq!(
            ["<0x0A>", "<0xff>", "<0x0AB>", "<0xzz>", "x"].map(spelled_byte),
            [Some(10), Some(255), None, None, None]
        );
    }
}
