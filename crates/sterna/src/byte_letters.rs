//! The letters that GPT-2's vocabularies write bytes with: printable bytes of Latin-1 are themselves, the others follow
//! in order from U+0100.
//!
//! Source: `bytes_to_unicode` in OpenAI's encoder.py.

fn printable(byte: &u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// All 256 letters: those of printable bytes first.
pub(crate) fn all() -> impl Iterator<Item = char> {
    let others = (0..=u8::MAX).filter(|byte| !printable(byte)).count();
    (0..=u8::MAX).filter(printable).map(char::from).chain(('\u{100}'..).take(others))
}

/// The byte that `letter` stands for.
pub(crate) fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match u8::try_from(code) {
        Ok(byte) => printable(&byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !printable(byte)).nth(code.checked_sub(256)? as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_letter() {
        let mut bytes: Vec<u8> = all().map(|letter| byte_of(letter).expect("a letter")).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((0..0x180).filter_map(char::from_u32).filter(|c| byte_of(*c).is_some()).count(), 256);
        assert_eq!(
            ['Ġ', 'Ċ', 'a', 'é', 'ģ'].map(byte_of),
            [Some(b' '), Some(b'\n'), Some(b'a'), Some(0xe9), Some(0x81)]
        );
        assert_eq!(['▁', ' ', 'ń'].map(byte_of), [None, None, None]);
    }
}
