//! Times of the calendar, as operators read and write them; inside they are microseconds since 1970 (UTC).

use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment that an operator names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// By the calendar, in microseconds since 1970 (UTC).
    At(u64),
    /// So many microseconds before now.
    Ago(u64),
}

impl When {
    /// In microseconds since 1970 (UTC).
    pub fn at_us(self, now_us: u64) -> u64 {
        match self {
            Self::At(at_us) => at_us,
            Self::Ago(us) => now_us.saturating_sub(us),
        }
    }
}

/// Why a text names no moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenError {
    /// It has none of the forms that there are.
    NoForm,
    /// It looks like a date or a time, but the calendar has no such one.
    NotInCalendar(String),
    /// It is before 1970.
    TooEarly,
    /// It is longer ago than can be said.
    TooLongAgo,
}

impl fmt::Display for WhenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoForm => f.write_str("it is no time"),
            Self::NotInCalendar(why) => write!(f, "there is no such time: {why}"),
            Self::TooEarly => f.write_str("it is before 1970"),
            Self::TooLongAgo => f.write_str("it is too long ago"),
        }?;
        f.write_str("; write 2026-06-07T12:30:00Z, a date, or how long ago: 90s, 15m, 2h, 7d")
    }
}

impl std::error::Error for WhenError {}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(ago) = ago(text) {
            return ago;
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) || !text.contains('-') {
            return Err(WhenError::NoForm);
        }
        // A date is its first moment.
        let whole =
            if text.len() <= "2026-06-07".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let at = OffsetDateTime::parse(&whole, &Rfc3339)
            .map_err(|error| WhenError::NotInCalendar(error.to_string()))?;
        let us = at.unix_timestamp_nanos().div_euclid(1_000);
        u64::try_from(us).map(Self::At).map_err(|_| WhenError::TooEarly)
    }
}

/// None: it does not say how long ago.
fn ago(text: &str) -> Option<Result<When, WhenError>> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let us = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_s * 1_000_000));
    Some(us.map(When::Ago).ok_or(WhenError::TooLongAgo))
}

/// A moment as RFC 3339 writes it, in UTC and to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToMillis(pub u64);

impl fmt::Display for ToMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years have four digits: the last second of 9999 stands for all after it.
        const LAST_S: u64 = 253_402_300_799;
        let s = (self.0 / 1_000_000).min(LAST_S) as i64;
        let at = OffsetDateTime::from_unix_timestamp(s).map_err(|_| fmt::Error)?;
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second) = at.to_hms();
        let millis = self.0 / 1_000 % 1_000;
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", u8::from(month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_date_or_how_long_ago_names_a_moment() {
        const NOON: u64 = 1_780_833_600_000_000;
        for (text, expected) in [
            ("2026-06-07T12:00:00Z", When::At(NOON)),
            ("2026-06-07t12:00:00.5z", When::At(NOON + 500_000)),
            ("2026-06-07T14:00:00+02:00", When::At(NOON)),
            ("2026-06-07", When::At(NOON - 12 * 3_600_000_000)),
            ("1970-01-01T00:00:00Z", When::At(0)),
            ("90s", When::Ago(90_000_000)),
            ("15m", When::Ago(900_000_000)),
            ("2h", When::Ago(7_200_000_000)),
            ("7d", When::Ago(604_800_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!((When::At(5).at_us(9), When::Ago(5).at_us(9), When::Ago(9).at_us(5)), (5, 4, 0));
    }

    #[test]
    fn what_names_no_moment_says_why() {
        for (text, expected) in [
            ("", "it is no time"),
            ("yesterday", "it is no time"),
            ("15", "it is no time"),
            ("m", "it is no time"),
            ("15é", "it is no time"),
            ("1.5h", "it is no time"),
            ("2026-13-07", "there is no such time: month"),
            ("2026-02-30", "there is no such time: "),
            ("2026-06-07T25:00:00Z", "there is no such time: hour"),
            ("2026-06-07T12:00:00", "there is no such time: "),
            ("1969-12-31", "it is before 1970"),
            ("99999999999999999999d", "it is too long ago"),
        ] {
            let error = text.parse::<When>().unwrap_err().to_string();
            assert!(error.starts_with(expected) && error.contains("15m, 2h, 7d"), "{text}: {error}");
        }
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_780_833_600_123_456, "2026-06-07T12:00:00.123Z"),
            (u64::MAX, "9999-12-31T23:59:59.551Z"),
        ] {
            assert_eq!(ToMillis(us).to_string(), text);
        }
    }
}
