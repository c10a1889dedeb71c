//! The current date for the `strftime_now` function of chat templates.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Formats the current UTC time with a `strftime` format.
///
/// # Errors
/// Names the first directive that is not supported.
pub fn now(format: &str) -> Result<String, String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    at(seconds, format)
}

/// Formats the time `seconds` after 1970-01-01 00:00 UTC with a `strftime` format.
///
/// # Errors
/// Names the first directive that is not supported.
pub fn at(seconds: u64, format: &str) -> Result<String, String> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[(days as usize + 4) % 7];
    let (year, month, day, day_of_year) = civil(days);
    let month_name = MONTHS[month - 1];
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let directive = chars.next().unwrap_or_default();
        // "%-d" and the like: without leading zeros.
        let (directive, short) =
            if directive == '-' { (chars.next().unwrap_or_default(), true) } else { (directive, false) };
        let (number, width) = match directive {
            'Y' => (year, 4),
            'y' => (year % 100, 2),
            'm' => (month as u64, 2),
            'd' => (day, 2),
            'e' => (day, 0),
            'j' => (day_of_year, 3),
            'H' => (hour, 2),
            'I' => ((hour + 11) % 12 + 1, 2),
            'M' => (minute, 2),
            'S' => (second, 2),
            'A' | 'a' | 'B' | 'b' | 'p' | 'F' | 'T' | 'Z' | 'z' | '%' => {
                text += &match directive {
                    'A' => weekday.to_owned(),
                    'a' => weekday[..3].to_owned(),
                    'B' => month_name.to_owned(),
                    'b' => month_name[..3].to_owned(),
                    'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
                    'F' => format!("{year:04}-{month:02}-{day:02}"),
                    'T' => format!("{hour:02}:{minute:02}:{second:02}"),
                    'Z' => "UTC".to_owned(),
                    'z' => "+0000".to_owned(),
                    _ => "%".to_owned(),
                };
                continue;
            }
            other => return Err(format!("strftime_now: the directive %{other} is not supported")),
        };
        text += &if directive == 'e' && !short {
            format!("{number:2}")
        } else {
            format!("{number:0width$}", width = if short { 0 } else { width })
        };
    }
    Ok(text)
}

/// Year, month (from 1), day (from 1) and day of the year (from 1) of the day that is `days` after 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // The Gregorian calendar repeats every 400 years (146,097 days).
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let day_of_year = days + 1;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while month < 11 && days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1, day_of_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(at(0, "%A %d %B %Y %H:%M:%S").as_deref(), Ok("Thursday 01 January 1970 00:00:00"));
        assert_eq!(at(951_782_400, "%F %j %a").as_deref(), Ok("2000-02-29 060 Tue"));
        assert_eq!(at(1_735_689_599, "%d %b %y %I %p 100%%").as_deref(), Ok("31 Dec 24 11 PM 100%"));
        assert_eq!(at(1_767_225_600, "%-d.%-m. %e|%T").as_deref(), Ok("1.1.  1|00:00:00"));
        assert_eq!(at(16_725_225_600, "%F").as_deref(), Ok("2500-01-01"));
    }

    #[test]
    fn an_unknown_directive_is_named() {
        assert!(at(0, "%Q").is_err_and(|problem| problem.contains("%Q")));
        assert!(at(0, "%").is_err());
    }
}
