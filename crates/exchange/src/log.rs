//! Logs: where events go, and the one event that shows a whole auction.
//!
//! * Privacy: no event holds a full address; [`truncated`] is applied here.
//! * Safety: an event is one line, whatever is in it: what a terminal or a reader of lines could take for more than a
//!   letter is written as `\u001b`, also in texts that other servers and libraries bring.
//! * Order: written by a thread of its own; when that falls behind, events are dropped rather than auctions delayed.

use auction::{Fate, Record, truncated};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::info;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// How many events were dropped because standard error takes them too slowly.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Events that were dropped so far.
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// One auction in how many is logged, as the setting says it: `none` is 0, `all` is 1.
pub fn one_in(text: &str) -> Option<u32> {
    match text {
        "none" => Some(0),
        "all" => Some(1),
        _ => text.parse().ok().filter(|&n| n > 0),
    }
}

/// Where events go. Those that wait to be written are, when this is dropped.
#[derive(Debug)]
pub struct Logs {
    _writer: WorkerGuard,
    level: Threshold,
}

/// Nothing below it is logged; it can be moved while the program runs.
pub type Threshold = reload::Handle<LevelFilter, Registry>;

impl Logs {
    /// The level, to be moved.
    pub fn level(&self) -> Threshold {
        self.level.clone()
    }
}

/// Sends events of `level` and above to standard error.
pub fn start(level: LevelFilter, format: Format) -> Logs {
    let colours = format == Format::Text && io::stderr().is_terminal();
    let (writer, guard) = tracing_appender::non_blocking(Lines { to: io::stderr(), colours });
    let _ = DROPPED.set(writer.error_counter());
    let (threshold, level) = reload::Layer::new(level);
    let logs = tracing_subscriber::registry().with(threshold);
    let events = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    // A second subscriber is an error only in a process that started its logs twice.
    let _ = match format {
        Format::Text => tracing::subscriber::set_global_default(logs.with(events.with_ansi(colours))),
        Format::Json => tracing::subscriber::set_global_default(logs.with(events.json().flatten_event(true))),
    };
    Logs { _writer: guard, level }
}

/// Writes events, each of which comes as a whole, as a line each.
struct Lines<W> {
    to: W,
    /// Whether escape characters are colours: then those of values are already escaped.
    colours: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = String::with_capacity(text.len() + 1);
        for letter in text.chars() {
            if is_letter(letter) || (self.colours && letter == '\u{1b}') {
                line.push(letter);
            } else {
                // As JSON writes it, which needs no more than four digits here.
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
        }
        line.push('\n');
        self.to.write_all(line.as_bytes()).map(|()| event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether it is shown as itself: no control character, no end of a line, no change of the direction of writing.
fn is_letter(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One auction with its bids, in one event.
pub fn auction(record: &Record<'_>) {
    let opportunity = record.opportunity;
    info!(
        auction = %record.id,
        supply = %Quoted(record.supply.id.as_str()),
        country = %opportunity.country,
        ip = %truncated(opportunity.ip),
        tmax_ms = opportunity.tmax_ms,
        rule = %record.supply.auction,
        outcome = %Outcome(record),
        bids = %Bids(record),
        "auction held"
    );
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// `sold to "bidder2" at 0.83`, or why not.
struct Outcome<'a>(&'a Record<'a>);

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, sale) in self.0.clearing.sales.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match sale {
                Ok(sale) => {
                    let winner = &self.0.supply.bidders()[sale.slot as usize].id;
                    write!(f, "sold to {} at {}", Quoted(winner.as_str()), sale.price)?;
                }
                Err(reason) => f.write_str(reason.name())?,
            }
        }
        Ok(())
    }
}

/// Every bidder of the supply: what it bid, how it passed, or why it was not asked.
struct Bids<'a>(&'a Record<'a>);

impl fmt::Display for Bids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        let id = |slot: u32| Quoted(record.supply.bidders()[slot as usize].id.as_str());
        f.write_char('[')?;
        for (i, reply) in record.answers.replies.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            let (ms, us) = (reply.latency_ns / 1_000_000, reply.latency_ns / 1_000 % 1_000);
            write!(f, "{separator}{} {} after {ms}.{us:03} ms", id(reply.slot), reply.answer.name())?;
            let bids = record.answers.bids.iter().zip(&record.clearing.fates);
            for (bid, fate) in bids.filter(|(bid, _)| bid.slot == reply.slot) {
                match fate {
                    Fate::Won(price) => write!(f, " {} won at {price}", bid.price)?,
                    Fate::Lost(reason) => write!(f, " {} lost {}", bid.price, *reason as u16)?,
                }
            }
        }
        for (i, (slot, _, reason)) in record.invitations.not_invited().enumerate() {
            let separator = if i == 0 && record.answers.replies.is_empty() { "" } else { ", " };
            write!(f, "{separator}{} not invited: {}", id(slot), reason.name())?;
        }
        f.write_char(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, colours, expected) in [
            ("plain é 日本\n", false, "plain é 日本\n"),
            ("no end", false, "no end\n"),
            ("two\nlines\r\n", false, "two\\u000alines\\u000d\n"),
            ("\u{1b}[31mred\u{9b}\u{7f}\0\t\n", false, "\\u001b[31mred\\u009b\\u007f\\u0000\\u0009\n"),
            ("a\u{2028}\u{202e}b\u{2066}\n", false, "a\\u2028\\u202eb\\u2066\n"),
            ("\u{1b}[31mred\nnot\n", true, "\u{1b}[31mred\\u000anot\n"),
        ] {
            let mut lines = Lines { to: Vec::new(), colours };
            assert_eq!(lines.write(event.as_bytes()).unwrap(), event.len(), "{event:?}");
            assert_eq!(String::from_utf8(lines.to).unwrap(), expected, "{event:?}");
        }
        let mut lines = Lines { to: Vec::new(), colours: false };
        lines.write_all(b"\xff\n").unwrap();
        assert_eq!(lines.to, "\u{fffd}\n".as_bytes());
    }
}
