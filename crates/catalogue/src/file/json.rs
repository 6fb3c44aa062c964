//! JSON that knows its places: values stay the text they were, so that each problem can be pointed at and no number
//! passes through a float.
//!
//! Values are taken apart one level at a time, and only where that level's type is what it should be: no depth of
//! nesting is ever followed.

use super::problems::Found;
use auction::{AuctionType, Country, Cpm, Id, decimal};
use hashbrown::HashSet;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Reads values out of one text and collects what is wrong with them.
pub(super) struct Reader<'a> {
    text: &'a str,
    found: Found,
}

/// A member of an object.
pub(super) struct Member<'a> {
    pub(super) key: Cow<'a, str>,
    /// Where its key stands.
    pub(super) at: usize,
    pub(super) value: &'a RawValue,
}

/// What a value is, with its article.
pub(crate) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: Found::default() }
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }

    pub(super) fn count(&self) -> usize {
        self.found.count()
    }

    pub(super) fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.found.add(at, message.into());
    }

    /// Where `raw`, a part of the text, stands in it.
    pub(super) fn at(&self, raw: &RawValue) -> usize {
        raw.get().as_ptr().addr() - self.text.as_ptr().addr()
    }

    /// A problem that the JSON parser found in `part`, which starts at `start`.
    pub(super) fn json_error(&mut self, start: usize, part: &str, error: &serde_json::Error) {
        let line_start = match error.line() {
            0 | 1 => 0,
            line => part.match_indices('\n').nth(line - 2).map_or(0, |(newline, _)| newline + 1),
        };
        let at = start + (line_start + error.column().saturating_sub(1)).min(part.len());
        let message = error.to_string();
        // Its own place is of the part, not of the file.
        let message = message.split(" at line ").next().unwrap_or_default();
        self.problem(at, format!("is not JSON: {message}"));
    }

    fn expect(&mut self, what: &str, raw: &RawValue, expected: &str) -> bool {
        let is = kind(raw);
        if is != expected {
            self.problem(self.at(raw), format!("{what} must be {expected}, not {is}"));
        }
        is == expected
    }

    /// The members of an object; a key that is there twice is a problem.
    pub(super) fn members(&mut self, what: &str, raw: &'a RawValue) -> Vec<Member<'a>> {
        if !self.expect(what, raw, "an object") {
            return Vec::new();
        }
        let start = self.at(raw);
        let entries = match serde_json::from_str::<Entries<'a>>(raw.get()) {
            Ok(Entries(entries)) => entries,
            Err(error) => {
                self.json_error(start, raw.get(), &error);
                return Vec::new();
            }
        };
        let (mut members, mut seen) = (Vec::with_capacity(entries.len()), HashSet::new());
        // Between a value and the next key stand only spaces and a comma.
        let mut end = start + 1;
        for (key, value) in entries {
            let at = end + self.text[end..].find('"').unwrap_or(0);
            end = self.at(value) + value.get().len();
            if seen.insert(key.clone()) {
                members.push(Member { key, at, value });
            } else {
                self.problem(at, format!("{key:?} is there twice"));
            }
        }
        members
    }

    pub(super) fn unknown_member(&mut self, member: &Member<'_>, known: &str) {
        self.problem(member.at, format!("unknown member {:?}: {known}", member.key));
    }

    /// The items of an array.
    pub(super) fn items(&mut self, what: &str, raw: &'a RawValue) -> Vec<&'a RawValue> {
        if !self.expect(what, raw, "an array") {
            return Vec::new();
        }
        let items = serde_json::from_str(raw.get());
        items.map_err(|error| self.json_error(self.at(raw), raw.get(), &error)).unwrap_or_default()
    }

    pub(super) fn string(&mut self, what: &str, raw: &'a RawValue) -> Option<Cow<'a, str>> {
        if !self.expect(what, raw, "a string") {
            return None;
        }
        let Key(text) = serde_json::from_str(raw.get())
            .map_err(|error| self.json_error(self.at(raw), raw.get(), &error))
            .ok()?;
        Some(text)
    }

    pub(super) fn id(&mut self, what: &str, text: &str, at: usize) -> Option<Id> {
        Id::new(text).map_err(|error| self.problem(at, format!("{what} {error}"))).ok()
    }

    pub(super) fn country(&mut self, raw: &'a RawValue) -> Option<Country> {
        let code = self.string("country", raw)?;
        let country = Country::from_code(&code);
        if country.is_none() {
            let hint = if code.eq_ignore_ascii_case("uk") { "; the United Kingdom is GB" } else { "" };
            self.problem(self.at(raw), format!("country {code:?} is no ISO 3166-1 code{hint}"));
        }
        country
    }

    pub(super) fn auction(&mut self, raw: &'a RawValue) -> Option<AuctionType> {
        let name = self.string("auction", raw)?;
        name.parse().map_err(|error| self.problem(self.at(raw), format!("auction {name:?} {error}"))).ok()
    }

    /// A number times 10^`places`, exactly, and at most `max`.
    pub(super) fn number(&mut self, what: &str, raw: &RawValue, places: u32, max: u64) -> Option<u64> {
        if !self.expect(what, raw, "a number") {
            return None;
        }
        let message = match decimal::scaled(raw.get(), places) {
            Ok(value) if value <= max => return Some(value),
            Ok(_) => format!("{what} is over {}", max / 10u64.pow(places)),
            Err(error) => format!("{what} {error}"),
        };
        self.problem(self.at(raw), message);
        None
    }

    pub(super) fn price(&mut self, what: &str, raw: &RawValue) -> Option<Cpm> {
        self.number(what, raw, 6, Cpm::MAX.micros()).map(Cpm::from_micros)
    }
}

/// An object's entries in their order, values unread.
pub(crate) struct Entries<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}
