//! The names of supplies and bidders.

use std::borrow::Borrow;
use std::fmt;

/// The id of a supply or a bidder: 1 to 128 characters, none of them a control character. Colons, quotes, spaces and
/// any script are welcome; it is never a path, a key's part or markup without being escaped there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Box<str>);

/// Why a text is not an [`Id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// No character at all.
    Empty,
    /// More than [`Id::CHARS_MAX`] characters.
    TooLong,
    /// A control character (U+0000 to U+001F, U+007F to U+009F).
    ControlCharacter,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 128 characters",
            Self::ControlCharacter => "holds a control character",
        })
    }
}

impl std::error::Error for IdError {}

impl Id {
    /// The longest id, in characters.
    pub const CHARS_MAX: usize = 128;

    /// `text` as an id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        Self::check(text).map(|()| Self(text.into()))
    }

    /// Whether `text` could be an id, without making one.
    pub fn check(text: &str) -> Result<(), IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        // A character has at most four bytes: only a text over 128 bytes needs its characters counted.
        if text.len() > Self::CHARS_MAX && text.chars().count() > Self::CHARS_MAX {
            return Err(IdError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::ControlCharacter);
        }
        Ok(())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_128_characters_and_no_control_character() {
        for (text, expected) in [
            ("supply1".to_owned(), None),
            ("a:b \"c\" 日本".to_owned(), None),
            ("é".repeat(128), None),
            ("é".repeat(129), Some(IdError::TooLong)),
            ("a".repeat(129), Some(IdError::TooLong)),
            (String::new(), Some(IdError::Empty)),
            ("a\0b".to_owned(), Some(IdError::ControlCharacter)),
            ("a\u{85}".to_owned(), Some(IdError::ControlCharacter)),
            ("\n".to_owned(), Some(IdError::ControlCharacter)),
        ] {
            assert_eq!(Id::new(&text).err(), expected, "{text:?}");
        }
    }
}
