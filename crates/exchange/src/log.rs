//! Logs: where events go, and the one event that shows a whole auction.
//!
//! * Privacy: no event holds a full address; [`truncated`] is applied here.
//! * Safety: every text from outside is written as a JSON string, so no control character reaches a terminal.
//! * Order: written by a thread of its own; when that falls behind, events are dropped rather than auctions delayed.

use auction::{Fate, Record, truncated};
use std::fmt::{self, Write};
use std::str::FromStr;
use tracing::info;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
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
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let (threshold, level) = reload::Layer::new(level);
    let logs = tracing_subscriber::registry().with(threshold);
    let events = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    // A second subscriber is an error only in a process that started its logs twice.
    let _ = match format {
        Format::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            tracing::subscriber::set_global_default(logs.with(events.with_ansi(colours)))
        }
        Format::Json => tracing::subscriber::set_global_default(logs.with(events.json().flatten_event(true))),
    };
    Logs { _writer: guard, level }
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
