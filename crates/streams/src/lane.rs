//! One core's part of a stream: reads the next batch, or gives one up.
//!
//! * A batch ends where there is nothing more, where it is large enough, at the end of its segment, or where a plan says.
//! * What is damaged or gone is counted and logged, and reading goes on.

use crate::meters::{Meters, now_us};
use crate::{Batch, Event, EventId, Sink};
use anyhow::Result;
use journal::{Begin, Offset};
use reporting::Auctions;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::warn;

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) core: u32,
    dir: PathBuf,
    instance: u64,
    auctions: Auctions,
    /// Whether `auctions` goes on where a batch may begin.
    is_ready: bool,
    /// Everything before it is delivered or given up; as the cursor on disk says.
    pub(crate) done: Offset,
    /// Where the journal ended when there was nothing more to read.
    pub(crate) dry_at: Option<Offset>,
    /// Whether a batch was read and is not delivered.
    pub(crate) is_held: bool,
    /// Since when something is seen to wait.
    pub(crate) waiting_since: Option<Instant>,
    /// Every auction before this time is delivered.
    pub(crate) since_us: u64,
}

/// What the next event is for a batch.
enum Met {
    Taken,
    /// The first of another segment.
    Beyond(Offset),
    Missing(String),
}

impl Lane {
    pub(crate) fn open(dir: &Path, core: u32, instance: u64, done: Offset) -> Result<Self> {
        let begin = Begin::Offset(done);
        // Only to know since when the first one waits.
        let first_us = Auctions::open(dir, core, begin)?.next(time_of)?.flatten();
        Ok(Self {
            core,
            dir: dir.to_owned(),
            instance,
            auctions: Auctions::open(dir, core, begin)?,
            is_ready: true,
            done,
            dry_at: None,
            is_held: false,
            waiting_since: None,
            since_us: first_us.unwrap_or_else(now_us),
        })
    }

    /// How far it has read.
    pub(crate) fn offset(&self) -> Offset {
        self.auctions.offset()
    }

    fn go_to(&mut self, offset: Offset) -> Result<()> {
        self.auctions = Auctions::open(&self.dir, self.core, Begin::Offset(offset))?;
        self.is_ready = true;
        Ok(())
    }

    /// Reads the next batch into the sink. `end` is where the journal ends now, `until` where this batch ended when it
    /// was read before a crash.
    pub(crate) fn fill(
        &mut self,
        sink: &mut impl Sink,
        end: Offset,
        until: Option<Offset>,
        bytes_max: u64,
        meters: &Meters,
    ) -> Result<Option<Batch>> {
        sink.clear();
        if !self.is_ready {
            self.go_to(self.done)?;
        }
        self.is_ready = false;
        let mut batch = None;
        let mut next = None;
        while until.map_or(!is_full(batch.as_ref(), bytes_max), |until| self.offset() < until) {
            let (core, instance) = (self.core, self.instance);
            let met = self.auctions.next(|event| take(instance, core, sink, &mut batch, &event))?;
            match met.transpose()? {
                Some(Met::Taken) => {}
                Some(Met::Beyond(offset)) => {
                    next = Some(offset);
                    break;
                }
                Some(Met::Missing(what)) => {
                    meters.missing.fetch_add(1, Ordering::Relaxed);
                    warn!(core, what, "auctions are missing from a stream");
                }
                None => {
                    self.dry_at = Some(end);
                    break;
                }
            }
        }
        match next {
            Some(next) => self.go_to(next)?,
            None => self.is_ready = true,
        }
        self.is_held = batch.is_some();
        Ok(batch)
    }

    /// The batch is delivered.
    pub(crate) fn set_done(&mut self, batch: &Batch) {
        (self.done, self.is_held, self.waiting_since) = (batch.to, false, None);
        self.since_us = self.since_us.max(batch.times_us.1);
    }

    /// Gives up what is left of the oldest segment. Returns how many auctions that is; None: it is the newest.
    pub(crate) fn give_up(&mut self) -> Result<Option<u64>> {
        let mut auctions = Auctions::open(&self.dir, self.core, Begin::Offset(self.done))?;
        let (mut oldest, mut count, mut last_us) = (None, 0, 0);
        loop {
            let met = auctions.next(|event| match event {
                reporting::Event::Auction { offset, segment, record, .. } => {
                    Some((offset, segment, record.received_at_us))
                }
                _ => None,
            })?;
            match met {
                None => return Ok(None),
                Some(None) => {}
                Some(Some((next, segment, _))) if oldest.is_some_and(|oldest| oldest != segment) => {
                    self.go_to(next)?;
                    (self.done, self.is_held, self.dry_at) = (next, false, None);
                    self.since_us = self.since_us.max(last_us);
                    return Ok(Some(count));
                }
                Some(Some((_, segment, time_us))) => {
                    (oldest, last_us) = (Some(segment), time_us);
                    count += 1;
                }
            }
        }
    }
}

fn is_full(batch: Option<&Batch>, bytes_max: u64) -> bool {
    batch.is_some_and(|batch| batch.to.get() - batch.from.get() >= bytes_max)
}

fn time_of(event: reporting::Event<'_>) -> Option<u64> {
    match event {
        reporting::Event::Auction { record, .. } => Some(record.received_at_us),
        _ => None,
    }
}

fn take(
    instance: u64,
    core: u32,
    sink: &mut impl Sink,
    batch: &mut Option<Batch>,
    event: &reporting::Event<'_>,
) -> Result<Met> {
    let (offset, to, segment, supply, record) = match *event {
        reporting::Event::Auction { offset, end, segment, supply, record } => {
            (offset, end, segment, supply, record)
        }
        reporting::Event::Damaged { from, to } => {
            return Ok(Met::Missing(format!("offsets {from} to {to} are damaged")));
        }
        reporting::Event::Gap { from, to } => {
            return Ok(Met::Missing(format!("offsets {from} to {to} were removed before they were read")));
        }
        reporting::Event::Unreadable { offset, fault } => {
            return Ok(Met::Missing(format!("the record at offset {offset} cannot be read: {fault}")));
        }
    };
    if batch.as_ref().is_some_and(|batch| batch.segment != segment) {
        return Ok(Met::Beyond(offset));
    }
    sink.add(&Event { id: EventId { instance, core, offset }, record, supply })?;
    let time_us = record.received_at_us;
    let new = Batch { instance, core, segment, from: offset, to, auctions: 0, times_us: (time_us, time_us) };
    let batch = batch.get_or_insert(new);
    (batch.to, batch.auctions) = (to, batch.auctions + 1);
    batch.times_us = (batch.times_us.0.min(time_us), batch.times_us.1.max(time_us));
    Ok(Met::Taken)
}
