//! JSON of what has no type there: exact decimals, and whatever is written by its `Display`.

use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// A number, digit by digit as its `Display` writes it: no float is in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exact<T>(pub T);

impl<T: fmt::Display> Serialize for Exact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// A text, as its `Display` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Nanoseconds, shown in milliseconds: exact, with three places or as many as it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, ns) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if ns.is_multiple_of(1_000) { write!(f, "{ms}.{:03}", ns / 1_000) } else { write!(f, "{ms}.{ns:06}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_places_or_as_many_as_they_need() {
        for (ns, text) in [
            (0, "0.000"),
            (1_000, "0.001"),
            (150_000_000, "150.000"),
            (12_345_678, "12.345678"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(serde_json::to_string(&Exact(Millis(ns))).unwrap(), text);
        }
    }
}
