//! Numbers of JSON answers have an end: by JSON, and by most schemas, they may have any number of digits.

/// The most digits of a number without a fraction, as of a 64-bit integer.
const INTEGER: usize = 19;
/// The most significant digits of a number with a fraction, as of a 64-bit float. Zeros after the point count.
const FRACTION: usize = 17;
/// The most digits of an exponent, as of a 64-bit float.
const EXPONENT: usize = 3;

/// The place in a JSON text, as far as digits are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    Text,
    /// After a backslash in a text.
    Escape,
    /// In a number, after this many digits.
    Integer(usize),
    /// After its point, with all digits so far.
    Fraction(usize),
    /// After its `e`.
    Exponent(usize),
}

/// Follows the bytes of a JSON text, and tells when a number becomes too long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digits(State);

impl Digits {
    /// Whether the text is within a number.
    pub fn in_number(self) -> bool {
        matches!(self.0, State::Integer(_) | State::Fraction(_) | State::Exponent(_))
    }

    /// The place after these bytes; `None` if a number in them has too many digits, or could only go on with too many.
    pub fn after(self, bytes: &[u8]) -> Option<Self> {
        bytes.iter().try_fold(self.0, |state, &byte| step(state, byte)).map(Self)
    }

    /// The place after bytes that were written although a number has too many digits.
    pub fn passed(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |state, &byte| step(state, byte).unwrap_or(state)))
    }
}

fn step(state: State, byte: u8) -> Option<State> {
    use State::{Escape, Exponent, Fraction, Integer, Outside, Text};
    let within = |state, digits, most| (digits <= most).then_some(state);
    match (state, byte) {
        (Text, b'\\') => Some(Escape),
        (Text, b'"') => Some(Outside),
        (Text | Escape, _) => Some(Text),
        (Integer(n), b'0'..=b'9') => within(Integer(n + 1), n + 1, INTEGER),
        (Fraction(n), b'0'..=b'9') => within(Fraction(n + 1), n + 1, FRACTION),
        (Exponent(n), b'0'..=b'9') => within(Exponent(n + 1), n + 1, EXPONENT),
        (Exponent(n), b'+' | b'-') => Some(Exponent(n)),
        // A digit must follow.
        (Integer(n), b'.') => within(Fraction(n), n + 1, FRACTION),
        (Integer(_) | Fraction(_), b'e' | b'E') => Some(Exponent(0)),
        (_, b'-') => Some(Integer(0)),
        (_, b'0'..=b'9') => Some(Integer(1)),
        (_, b'"') => Some(Text),
        _ => Some(Outside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> bool {
        Digits::default().after(text.as_bytes()).is_some()
    }

    #[test]
    fn numbers_have_at_most_so_many_digits() {
        let nines = |n| "9".repeat(n);
        for (text, fits) in [
            (format!("{{\"a\": -{}, \"b\": {}}}", nines(19), nines(19)), true),
            (format!("[{}", nines(20)), false),
            (format!("0.{}", nines(16)), true),
            (format!("0.{}", nines(17)), false),
            (format!("{}.5", nines(16)), true),
            (format!("{}.", nines(17)), false),
            (format!("-1e+{}, 2E-{}", nines(3), nines(3)), true),
            (format!("1.5e{}", nines(4)), false),
            (format!("\"{}\\\"{}\": 1", nines(40), nines(40)), true),
            (format!("\"\\\\\", {}", nines(20)), false),
            (format!("{}, {}", nines(19), nines(19)), true),
        ] {
            assert_eq!(allowed(&text), fits, "{text}");
            let halves = text.split_at(text.len() / 2);
            let place = Digits::default().after(halves.0.as_bytes()).and_then(|at| at.after(halves.1.as_bytes()));
            assert_eq!(place.is_some(), fits, "{text} in two pieces");
        }
        assert!(!Digits::default().passed(b"{\"a\": \"1").in_number());
        assert!(Digits::default().passed(nines(30).as_bytes()).in_number());
    }
}
