//! Reads one core's journal, also while this or another process writes it.
//!
//! * Every whole record comes once, in order; [`Reader::next`] returns None when there is nothing more yet.
//! * What is damaged and what retention removed come as items of their own, with the offsets, and reading
//!   goes on.
//! * [`Reader::offset`] is where to go on later, in another process too; a [`Cursor`](crate::Cursor) keeps
//!   it.

use crate::files::{self, Entry, core_dir};
use crate::format::{END_BYTES, SPAN_MAX};
use crate::scan::{FIRST, Scan, Seen};
use crate::{Offset, TIME_SLACK_US};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest record there is.
    Oldest,
    /// At the first record at or after this offset.
    Offset(Offset),
    /// At a record before which none is as young as this many microseconds since 1970; older ones may still
    /// follow.
    Time(u64),
}

/// What a reader comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'r> {
    /// A record, as it was appended.
    Record {
        /// Where it stands.
        offset: Offset,
        /// The first offset of its segment.
        segment: Offset,
        /// The time that it was appended with.
        time_us: u64,
        /// What was appended.
        payload: &'r [u8],
    },
    /// Bytes that hold no whole record, though some stood there.
    Damaged {
        /// The first of them.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// Segments that were removed before this reader came to them.
    Gap {
        /// Where it wanted to go on.
        from: Offset,
        /// Where it does.
        to: Offset,
    },
}

/// Reads one core's journal.
#[derive(Debug)]
pub struct Reader {
    core_dir: PathBuf,
    core: u32,
    /// Whose the records of a segment with a damaged header are.
    instance: u64,
    /// Where to go on.
    offset: u64,
    segment: Option<Scan>,
}

/// What one step came to; positions, so that the borrow of the payload is taken last.
enum Step {
    Record {
        offset: u64,
        time_us: u64,
        payload: std::ops::Range<usize>,
    },
    Damaged(u64),
    Gap(u64),
    /// Nothing more yet.
    Wait,
    /// Look again.
    Again,
}

impl Reader {
    /// Reads the journal of `core` in the data directory `dir`.
    pub fn open(dir: &Path, core: u32, begin: Begin) -> Result<Self> {
        let instance = files::read_instance(dir)?.unwrap_or(0);
        let mut reader = Self { core_dir: core_dir(dir, core), core, instance, offset: 0, segment: None };
        match begin {
            // Records stand at multiples of eight.
            Begin::Offset(offset) => reader.offset = offset.get().next_multiple_of(8),
            Begin::Oldest => reader.offset = reader.entries()?.first().map_or(0, |first| first.base),
            Begin::Time(time_us) => reader.seek(time_us.saturating_sub(TIME_SLACK_US))?,
        }
        Ok(reader)
    }

    /// Everything before this offset was read.
    pub fn offset(&self) -> Offset {
        Offset::new(self.offset)
    }

    /// Every record that there is now stands before this: it is where the last file ends.
    pub fn prepared(&self) -> Result<Offset> {
        let last = self.entries()?.pop();
        // One that was removed meanwhile had nothing beyond its base.
        let end = last.map(|last| last.base + fs::metadata(&last.path).map_or(0, |file| file.len()));
        Ok(Offset::new(end.unwrap_or(0)))
    }

    /// The first offset of the segment at hand.
    pub fn segment(&self) -> Option<Offset> {
        self.segment.as_ref().map(|segment| Offset::new(segment.base))
    }

    /// The next item, or None if there is nothing more yet.
    #[expect(
        clippy::should_implement_trait,
        reason = "an item borrows from the reader, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'_>>> {
        let (from, step) = loop {
            let from = Offset::new(self.offset);
            match self.step()? {
                Step::Again => {}
                step => break (from, step),
            }
        };
        Ok(match step {
            Step::Wait | Step::Again => None,
            Step::Damaged(to) => Some(Item::Damaged { from, to: Offset::new(to) }),
            Step::Gap(to) => Some(Item::Gap { from, to: Offset::new(to) }),
            Step::Record { offset, time_us, payload } => {
                let Some(segment) = &self.segment else { return Ok(None) };
                let (base, payload) = (Offset::new(segment.base), segment.payload(payload));
                Some(Item::Record { offset: Offset::new(offset), segment: base, time_us, payload })
            }
        })
    }

    /// The record at `offset`, or if that is damaged the next whole one of its segment, copied; the reader stays
    /// where it is. None: that segment is gone, or has nothing whole from there on.
    pub fn record_at(&self, offset: Offset) -> Result<Option<Vec<u8>>> {
        let entries = self.entries()?;
        let after = entries.partition_point(|entry| entry.base <= offset.get());
        let Some(entry) = after.checked_sub(1).map(|at| &entries[at]) else { return Ok(None) };
        let Some(mut scan) = self.scan(entry)? else { return Ok(None) };
        let failed = || format!("cannot read {}", entry.path.display());
        let Some(found) = scan.resync(offset.get() - entry.base).with_context(failed)? else {
            return Ok(None);
        };
        match scan.look(found).with_context(failed)? {
            Seen::Record { payload, .. } => Ok(Some(scan.payload(payload).to_vec())),
            _ => Ok(None),
        }
    }

    fn step(&mut self) -> Result<Step> {
        let Some(segment) = &mut self.segment else { return self.enter() };
        let base = segment.base;
        let position = self.offset.saturating_sub(base);
        let failed = || format!("cannot read the segment at {base} in {}", self.core_dir.display());
        if position < FIRST {
            self.offset = base + FIRST;
            let damaged = position == 0 && segment.header.is_none();
            return Ok(if damaged { Step::Damaged(self.offset) } else { Step::Again });
        }
        match segment.look(position).with_context(failed)? {
            Seen::Record { time_us, payload, next } => {
                let offset = self.offset;
                self.offset = base + next;
                Ok(Step::Record { offset, time_us, payload })
            }
            Seen::End => self.leave(),
            seen @ (Seen::Unwritten | Seen::Damaged) => self.nothing_whole(position, &seen),
        }
    }

    /// No record begins here: not yet, or not any more.
    fn nothing_whole(&mut self, position: u64, seen: &Seen) -> Result<Step> {
        let finished = self.is_finished()?;
        let Some(segment) = &mut self.segment else { return Ok(Step::Again) };
        let base = segment.base;
        let failed = || format!("cannot read the segment at {base} in {}", self.core_dir.display());
        // Asked last: a spare that was never used is removed, and another takes its place with the same base.
        if segment.is_removed().with_context(failed)? {
            self.segment = None;
            return self.enter();
        }
        // The writer may have gone on between the look and the question whether it had left.
        if *seen == Seen::Unwritten && !finished {
            return Ok(Step::Wait);
        }
        if matches!(segment.look(position).with_context(failed)?, Seen::Record { .. } | Seen::End) {
            return Ok(Step::Again);
        }
        if let Some(found) = segment.resync(position + 8).with_context(failed)? {
            self.offset = base + found;
            return Ok(Step::Damaged(self.offset));
        }
        if !finished {
            return Ok(Step::Wait);
        }
        let ends_before =
            segment.sealed_at().with_context(failed)?.is_some_and(|end| end + END_BYTES as u64 <= position);
        if ends_before {
            return self.leave();
        }
        // Zeros to the end are no loss that anyone could name: the writer was killed before it wrote more.
        let damaged = segment.last_byte(position).with_context(failed)? > position;
        self.leave()?;
        Ok(if damaged { Step::Damaged(self.offset) } else { Step::Again })
    }

    /// Whether the writer has left the segment at hand: its end is said, or a later one has records.
    fn is_finished(&mut self) -> Result<bool> {
        let Some(segment) = &mut self.segment else { return Ok(false) };
        if segment.sealed_at().context("cannot read the end of a segment")?.is_some() {
            return Ok(true);
        }
        let base = segment.base;
        for later in self.entries()?.iter().filter(|entry| entry.base > base) {
            let Some(mut later) = self.scan(later)? else { continue };
            if later.look(FIRST)? != Seen::Unwritten {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on behind the segment at hand.
    fn leave(&mut self) -> Result<Step> {
        let Some(segment) = self.segment.take() else { return Ok(Step::Again) };
        let base = segment.base;
        self.offset = match segment.header {
            Some(header) => base + header.span,
            // Where it ends is only known by where the next begins.
            None => {
                let next = self.entries()?.into_iter().find(|entry| entry.base > base);
                next.map_or(base + SPAN_MAX, |next| next.base)
            }
        };
        Ok(Step::Again)
    }

    /// Opens the segment that holds the offset, or the next there is.
    fn enter(&mut self) -> Result<Step> {
        let entries = self.entries()?;
        let after = entries.partition_point(|entry| entry.base <= self.offset);
        if let Some(entry) = after.checked_sub(1).map(|at| &entries[at]) {
            let Some(scan) = self.scan(entry)? else { return Ok(Step::Again) };
            let span = scan.header.map_or(SPAN_MAX, |header| header.span);
            if self.offset - entry.base < span {
                self.segment = Some(scan);
                return Ok(Step::Again);
            }
        }
        match entries.get(after) {
            Some(next) => {
                self.offset = next.base;
                Ok(Step::Gap(next.base))
            }
            None => Ok(Step::Wait),
        }
    }

    /// Goes to a record before which none is `time_us` old or younger, if times never went back.
    fn seek(&mut self, time_us: u64) -> Result<()> {
        let entries = self.entries()?;
        self.offset = entries.first().map_or(0, |first| first.base);
        for entry in entries.iter().rev() {
            let Some(mut scan) = self.scan(entry)? else { continue };
            if scan.time_from(FIRST)?.is_some_and(|(first_us, _)| first_us < time_us) {
                self.offset = entry.base + bisect(&mut scan, time_us)?;
                return Ok(());
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        files::segments(&self.core_dir).with_context(|| format!("cannot list {}", self.core_dir.display()))
    }

    /// None: removed meanwhile.
    fn scan(&self, entry: &Entry) -> Result<Option<Scan>> {
        match Scan::open(entry, self.core, self.instance) {
            Ok(scan) => Ok(Some(scan)),
            Err(_) if !entry.path.exists() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The position of a record older than `time_us` that no younger one precedes; whole records are found from
/// anywhere, so halving the file needs no index.
fn bisect(scan: &mut Scan, time_us: u64) -> Result<u64> {
    const NEAR_BYTES: u64 = 32 << 10;
    let (mut older, mut limit) = (FIRST, scan.len()?);
    while limit.saturating_sub(older) > NEAR_BYTES {
        let middle = older + (limit - older) / 2;
        match scan.time_from(middle)? {
            Some((found_us, at)) if found_us < time_us => older = at.max(older + 8),
            _ => limit = middle,
        }
    }
    Ok(older)
}
