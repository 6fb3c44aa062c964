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
