//! What is wrong with a file, for the person who wrote it.

use std::fmt;

/// How many problems are listed; of the others only the number is told.
const LISTED_MAX: usize = 50;

/// Everything that is wrong with a file, a line each: `data.json:3:15: bidder "b" is listed twice`.
#[derive(Debug)]
pub struct Problems {
    lines: Vec<String>,
    more: usize,
}

impl Problems {
    pub(crate) fn one(name: &str, text: &str, at: usize, message: &str) -> Self {
        let mut found = Found::default();
        found.add(at, message.into());
        found.into_problems(name, text)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The first ones, in the order of the file.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Problems by their byte's place in the text.
#[derive(Debug, Default)]
pub(super) struct Found {
    listed: Vec<(usize, String)>,
    more: usize,
}

impl Found {
    pub(super) fn add(&mut self, at: usize, message: String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push((at, message));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.listed.len() + self.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub(super) fn into_problems(mut self, name: &str, text: &str) -> Problems {
        self.listed.sort();
        let line = |(at, message): &(usize, String)| {
            let (line, column) = line_and_column(text, *at);
            format!("{name}:{line}:{column}: {message}")
        };
        Problems { lines: self.listed.iter().map(line).collect(), more: self.more }
    }

    /// Without a file: the messages alone, for a text that has one line.
    pub(super) fn into_message(self) -> String {
        self.listed.into_iter().map(|(_, message)| message).collect::<Vec<_>>().join("; ")
    }
}

/// Both from 1; columns count characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.bytes().filter(|&b| b == b'\n').count() + 1, before[line_start..].chars().count() + 1)
}
