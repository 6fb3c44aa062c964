//! Statistics that outlive the process: what was saved, and the auctions that the journal holds since.
//!
//! * Exact: each supply's counts are saved with the offset up to which they count, so no auction is missed or counted
//!   twice, whenever the process was killed.
//! * Two generations: `statistics` is replaced whole and the one before it is kept. Where the newer is damaged the older
//!   one serves, and where both are the journal from its beginning: it keeps what the older one needs.
//! * Time: a start reads only the auctions since the last save.

mod file;
#[cfg(test)]
mod tests;

use crate::{Auctions, Event, Statistics, Tally};
use anyhow::{Context, Result, ensure};
use file::Saved;
use journal::{Begin, Cursor, Offset};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tracing::{info, warn};

/// The name of the reader whose place in the journal this is.
pub const READER: &str = "statistics";

/// Statistics as they were when the process before ended.
#[derive(Debug)]
pub struct Restored {
    /// To go on with.
    pub statistics: Statistics,
    /// To save them with.
    pub saver: Saver,
    /// What was read on the way.
    pub found: Found,
}

/// What a reader of auctions came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Auctions counted.
    pub auctions: u64,
    /// Ranges that hold no whole record though some stood there.
    pub damaged: u64,
    /// Whole records that could not be read.
    pub unreadable: u64,
    /// Ranges that retention removed before they were read.
    pub gaps: u64,
}

/// Saves statistics.
#[derive(Debug)]
pub struct Saver {
    path: PathBuf,
    journal: PathBuf,
    instance: u64,
    /// None: it could not be registered yet.
    cursor: Option<Cursor>,
    /// Whether the newer file is worth keeping as the one before.
    is_whole: bool,
    /// By core, what the newest whole file holds.
    upto: Vec<u64>,
}

/// Brings the statistics back: those saved in `dir`, and the auctions of `journal` since. `instance` is the journal's,
/// `cores` how many will count.
pub fn restore(dir: &Path, journal: &Path, instance: u64, cores: usize) -> Result<Restored> {
    let begun = Instant::now();
    let written = journal::cores(journal).with_context(|| format!("cannot list {}", journal.display()))?;
    let path = dir.join("statistics");
    let (is_whole, saved) = newest(&path, instance)?;
    let mut saved = saved.unwrap_or_default().cores;
    let last = written.last().max(saved.keys().last());
    let cores = last.map_or(0, |last| *last as usize + 1).max(cores);
    let upto = (0..cores).map(|core| saved.get(&(core as u32)).map_or(0, |core| core.upto)).collect();
    let statistics = Statistics::new(cores);
    let found = std::thread::scope(|scope| {
        let count = |core: usize, saved: Option<file::SavedCore>| {
            let statistics = &statistics;
            scope.spawn(move || count_core(statistics, journal, core, saved))
        };
        let counting: Vec<_> = (0..cores).map(|core| count(core, saved.remove(&(core as u32)))).collect();
        counting.into_iter().try_fold(Found::default(), |sum, core| {
            let found =
                core.join().map_err(|_| anyhow::anyhow!("a core's journal could not be counted"))??;
            anyhow::Ok(sum.plus(found))
        })
    })?;
    let Found { auctions, damaged, unreadable, gaps } = found;
    let ms = begun.elapsed().as_millis() as u64;
    info!(auctions, damaged, unreadable, gaps, ms, "statistics restored");
    let mut saver = Saver { path, journal: journal.to_owned(), instance, cursor: None, is_whole, upto };
    // So that a process killed again and again never has more to read than since its own start.
    if let Err(error) = saver.replace(&statistics) {
        warn!(error = format!("{error:#}"), "statistics not saved, the journal has them");
    }
    Ok(Restored { statistics, saver, found })
}

/// Of the two saved files the newer one that can be read and is this journal's, and whether it is the newer of both.
fn newest(path: &Path, instance: u64) -> Result<(bool, Option<Saved>)> {
    Ok(match read(path, instance)? {
        Some(saved) => (true, Some(saved)),
        None => (false, read(&before(path), instance)?),
    })
}

fn read(path: &Path, instance: u64) -> Result<Option<Saved>> {
    let shown = path.display();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                warn!(path = %shown, %error, "statistics cannot be read");
            }
            return Ok(None);
        }
    };
    // Replaced by this one, what only they still know would be lost.
    ensure!(
        !file::is_newer(&bytes),
        "{shown}: a later version of bourse has written these statistics; start that one, or move the file away: then only \
         what the journal holds is counted"
    );
    match Saved::decode(&bytes) {
        Some(saved) if saved.instance == instance => return Ok(Some(saved)),
        Some(_) => warn!(path = %shown, "statistics are another journal's, not used"),
        None => warn!(path = %shown, "statistics are damaged, the ones before or the journal serve"),
    }
    Ok(None)
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("before")
}

fn cursor(journal: &Path) -> Result<Cursor> {
    Cursor::open(journal, READER).or_else(|error| {
        // It only says what may be removed, and where it is set next.
        let begun = Cursor::begin(journal, READER)?;
        warn!(error = format!("{error:#}"), "reader begins anew");
        Ok(begun)
    })
}

/// Counts what one core's journal holds beyond what was saved.
fn count_core(
    statistics: &Statistics,
    journal: &Path,
    core: usize,
    saved: Option<file::SavedCore>,
) -> Result<Found> {
    let tally = statistics.tally(core);
    let saved = saved.unwrap_or_default();
    // From here on nothing that was counted already can come.
    let newest = saved.counted.iter().map(|counted| counted.upto).max().unwrap_or(0);
    saved.counted.into_iter().for_each(|counted| tally.start_from(counted));
    tally.passed(saved.upto);
    // One that nobody saved begins where the journal does: what was removed before is nobody's gap.
    let begin = if saved.upto == 0 { Begin::Oldest } else { Begin::Offset(Offset::new(saved.upto)) };
    let mut auctions = Auctions::open(journal, core as u32, begin)?;
    let mut found = Found::default();
    while auctions.next(|event| count(&tally, newest, &event, &mut found))?.is_some() {}
    tally.passed(auctions.offset().get().max(saved.upto));
    Ok(found)
}

fn count(tally: &Tally, newest: u64, event: &Event<'_>, found: &mut Found) {
    match *event {
        Event::Auction { offset, end, supply, record, .. } => {
            if offset.get() >= newest || offset.get() >= tally.upto(&supply.id) {
                tally.count(tally.seat(&supply.id), supply, record, end.get());
                found.auctions += 1;
            }
        }
        Event::Damaged { from, to } => {
            found.damaged += 1;
            warn!(from = from.get(), to = to.get(), "journal is damaged, its records there are lost");
        }
        Event::Unreadable { offset, fault } => {
            found.unreadable += 1;
            warn!(offset = offset.get(), %fault, "journal record cannot be counted");
        }
        Event::Gap { from, to } => {
            found.gaps += 1;
            warn!(from = from.get(), to = to.get(), "journal was removed before it was counted");
        }
    }
}

impl Found {
    fn plus(self, other: Self) -> Self {
        Self {
            auctions: self.auctions + other.auctions,
            damaged: self.damaged + other.damaged,
            unreadable: self.unreadable + other.unreadable,
            gaps: self.gaps + other.gaps,
        }
    }
}

impl Saver {
    /// Saves what was counted since the last time, if anything was.
    pub fn save(&mut self, statistics: &Statistics) -> Result<()> {
        if (0..statistics.cores()).all(|core| statistics.upto(core) == self.upto[core]) {
            return Ok(());
        }
        self.replace(statistics)
    }

    fn replace(&mut self, statistics: &Statistics) -> Result<()> {
        let upto = file::upto(statistics);
        self.write(upto, statistics)
    }

    /// Writes what is counted now, complete up to these offsets.
    fn write(&mut self, upto: Vec<u64>, statistics: &Statistics) -> Result<()> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            None => self.cursor.insert(cursor(&self.journal)?),
        };
        let failed = || format!("cannot write {}: check its disk's space and mode", self.path.display());
        if self.is_whole {
            match fs::rename(&self.path, before(&self.path)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(failed);
                }
                // Not there until the next one is.
                _ => self.is_whole = false,
            }
        }
        journal::replace(&self.path, &file::encode(self.instance, &upto, statistics)).with_context(failed)?;
        self.is_whole = true;
        // What the file before this one needs is kept.
        for (core, upto) in (0..).zip(&self.upto) {
            cursor.set(core, Offset::new(*upto));
        }
        self.upto = upto;
        cursor.save()
    }
}
