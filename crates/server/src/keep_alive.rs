//! How long a model stays in memory after its last request.

use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::ApiError;

/// How long a model stays in memory after its last request. A shorter time is less than a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepAlive {
    /// This long.
    For(Duration),
    /// Until another model needs the memory.
    Forever,
}

impl KeepAlive {
    /// No time: the model leaves memory as soon as its requests have ended.
    pub const NONE: Self = Self::For(Duration::ZERO);
    const FORMS: &str = "a number of seconds, or a time like \"90s\", \"5m\" or \"1h30m\"; negative: without end";

    /// A number of seconds; negative: without end.
    fn seconds(seconds: f64) -> Option<Self> {
        if seconds < 0.0 {
            return Some(Self::Forever);
        }
        Duration::try_from_secs_f64(seconds).ok().map(Self::For)
    }

    /// Reads Ollama's field `keep_alive`.
    ///
    /// # Errors
    /// 400 for a value that is no time.
    pub fn of_field(value: Option<&Value>) -> Result<Option<Self>, ApiError> {
        let time = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64().and_then(Self::seconds),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        time.map(Some).ok_or_else(|| ApiError::field("keep_alive", format!("keep_alive must be {}", Self::FORMS)))
    }
}

impl FromStr for KeepAlive {
    type Err = String;

    /// Reads seconds, or a time as Go writes it: numbers, each with a unit.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} must be {}", Self::FORMS);
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::seconds(seconds).ok_or_else(wrong);
        }
        let negative = text.starts_with('-');
        let mut rest = text.trim_start_matches(['-', '+']);
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, after) = rest.split_at(number);
            let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit);
            let unit = match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
            seconds += unit * number.parse::<f64>().map_err(|_| wrong())?;
            rest = after;
        }
        if text.is_empty() {
            return Err(wrong());
        }
        if negative { Ok(Self::Forever) } else { Self::seconds(seconds).ok_or_else(wrong) }
    }
}

/// Seconds; -1 without end.
impl Serialize for KeepAlive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::For(time) => serializer.serialize_u64(time.as_secs()),
            Self::Forever => serializer.serialize_i64(-1),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_as_ollama_reads_them() {
        let seconds = |n| Ok(Some(KeepAlive::For(Duration::from_secs(n))));
        for (value, expected) in [
            (json!(null), Ok(None)),
            (json!(0), seconds(0)),
            (json!(300), seconds(300)),
            (json!(1.0), seconds(1)),
            (json!("0"), seconds(0)),
            (json!("5"), seconds(5)),
            (json!("5m"), seconds(300)),
            (json!("1h30m"), seconds(5400)),
            (json!("1.5h"), seconds(5400)),
            (json!("2000ms"), seconds(2)),
            (json!(-1), Ok(Some(KeepAlive::Forever))),
            (json!("-1"), Ok(Some(KeepAlive::Forever))),
            (json!("-1m"), Ok(Some(KeepAlive::Forever))),
        ] {
            assert_eq!(KeepAlive::of_field(Some(&value)), expected, "{value}");
        }
        for value in [json!(""), json!("m"), json!("5 m"), json!("5x"), json!("NaN"), json!(1e30), json!([])] {
            let error = KeepAlive::of_field(Some(&value)).expect_err("no time");
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("keep_alive")), "{value}");
        }
        assert!(KeepAlive::NONE < KeepAlive::For(Duration::from_secs(1)));
        assert!(KeepAlive::For(Duration::MAX) < KeepAlive::Forever);
    }
}
