//! The commands that read the journal: the operator's eyes on what was recorded.
//!
//! * They write nothing, need no server and disturb none: what is answered before they start is in, what is answered
//!   meanwhile may be.
//! * What is damaged, missing or unreadable is told on standard error, a line each, and stops nothing.
//! * Whoever reads standard output may have enough at any time: a closed pipe is no error.
//!
//! | module | what it does |
//! |---|---|
//! | `list` | `ls`: segments and readers |
//! | `cat` | merges the cores, filters, follows |
//! | `verify`, `stat` | what is damaged; what is counted |
//! | `walk` | reads all cores at once, with progress |

mod cat;
mod list;
mod stat;
mod verify;
mod walk;

use crate::calendar::ToMillis;
use crate::cli;
use crate::config::{Config, JOURNAL_DIR};
use crate::hold::unix_us;
use anyhow::{Context, Result, bail, ensure};
use journal::{Begin, Offset};
use reporting::Event;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::SystemTime;

/// `bourse journal …`.
pub fn run(config: &Config, command: &cli::Journal) -> Result<()> {
    let dir = dir(config)?;
    let now_us = unix_us(SystemTime::now());
    match command {
        cli::Journal::Ls { json } => list::run(&dir, *json),
        cli::Journal::Cat(cat) => cat::run(&dir, cat, now_us),
        cli::Journal::Verify => verify::run(&dir),
        cli::Journal::Stat(span) => stat::run(&dir, between(span, now_us)?),
    }
}

/// Where the journal is, if there is one.
pub(crate) fn dir(config: &Config) -> Result<PathBuf> {
    let dir = config.data_dir.join(JOURNAL_DIR);
    let shown = dir.display();
    let cores = journal::cores(&dir).with_context(|| format!("{shown} cannot be read: check its mode"))?;
    if cores.is_empty() {
        bail!(
            "there is no journal in {shown}: name the data directory of a server, or a copy, with --data-dir"
        );
    }
    Ok(dir)
}

/// The times of a span, in microseconds since 1970; None: it has no end.
pub(crate) type Times = (u64, Option<u64>);

pub(crate) fn between(span: &cli::Span, now_us: u64) -> Result<Times> {
    let (from, to) = (span.from.map(|from| from.at_us(now_us)), span.to.map(|to| to.at_us(now_us)));
    if let (Some(from), Some(to)) = (from, to) {
        ensure!(from < to, "--from ({}) is not before --to ({})", ToMillis(from), ToMillis(to));
    }
    Ok((from.unwrap_or(0), to))
}

/// Where a reader begins that wants to see these times.
pub(crate) fn begin(from_us: u64) -> Begin {
    if from_us == 0 { Begin::Oldest } else { Begin::Time(from_us) }
}

/// Hands standard output to `print`.
pub(crate) fn print(print: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let printed = print(&mut out).and_then(|()| Ok(out.flush()?));
    let closed = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    match printed {
        Err(error) if error.downcast_ref().is_some_and(closed) => Ok(()),
        Err(error) if error.is::<io::Error>() => Err(error.context("standard output cannot be written")),
        printed => printed,
    }
}

/// What is told when a reader comes to something else than an auction.
pub(crate) fn trouble(core: u32, event: &Event<'_>) -> Option<String> {
    match event {
        Event::Auction { .. } => None,
        Event::Damaged { from, to } => {
            Some(format!("core {core}: {} are damaged, what stood there is lost", offsets(*from, *to)))
        }
        Event::Gap { from, to } => Some(gap(core, *from, *to)),
        Event::Unreadable { offset, fault } => {
            Some(format!("core {core}: the record at offset {offset} cannot be read: {fault}"))
        }
    }
}

/// Tells it. Nobody may be listening, and that stops nothing.
pub(crate) fn tell(trouble: &str) {
    let _ = writeln!(io::stderr(), "bourse: {trouble}");
}

fn gap(core: u32, from: Offset, to: Offset) -> String {
    format!("core {core}: there is no segment with {} any more", offsets(from, to))
}

fn offsets(from: Offset, to: Offset) -> String {
    format!("offsets {from} to {to}")
}
