//! A core's pen: one thread appends, without a system call, an allocation or a lock in the usual case.
//!
//! * When [`Writer::append`] returns an offset, the record is in the kernel's page cache: killing the process
//!   does not lose it. A power cut may, until it is synced ([`Writer::synced`]).
//! * A record is copied first and its length stored last, so a reader never sees half of one.
//! * The writer never waits: without prepared room it returns [`Unavailable`] and rings for some.
//! * Every segment that the writer leaves ends with a record that says so.

use crate::format::{self, END_BYTES, HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, Word, stride};
use crate::lane::{Lane, Trouble};
use crate::map::Map;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::sync::Synced;
use crate::{Offset, locked};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a record was not taken. Nothing of it is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The disk is full, or slower than what is written.
    NoRoom,
    /// A sync failed, and no new segment could be synced since.
    SyncFailed,
    /// Longer than [`PAYLOAD_BYTES_MAX`], or records asked for together longer than what is prepared ahead.
    TooLong,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "the journal has no prepared room: free space on the data directory's disk",
            Self::SyncFailed => {
                "the journal's disk failed to sync: check it; a new segment is tried meanwhile"
            }
            Self::TooLong => {
                "the record is longer than what a segment of the journal takes: raise journal.segment_mib"
            }
        })
    }
}

impl std::error::Error for Unavailable {}

/// Appends to one core's journal.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    page: Option<Page>,
    records: u64,
    /// What a new segment has room for.
    bytes_max: usize,
}

/// Room in the segment at hand: what is appended through it stands in one segment.
#[derive(Debug)]
pub struct Room<'w> {
    page: &'w mut Page,
    shared: &'w Shared,
    lane: &'w Lane,
    records: &'w mut u64,
}

impl Room<'_> {
    /// The first offset of the segment.
    #[inline]
    pub fn segment(&self) -> Offset {
        Offset::new(self.page.segment.base)
    }

    /// The offset that the next record has.
    #[inline]
    pub fn position(&self) -> Offset {
        Offset::new(self.page.segment.base + self.page.at as u64)
    }

    /// As [`Writer::append`]; refused only beyond the room that was asked for.
    pub fn append(&mut self, time_us: u64, payload: &[u8]) -> Result<Offset, Unavailable> {
        self.append_with(time_us, payload.len(), |bytes| bytes.copy_from_slice(payload))
    }

    /// As [`Writer::append_with`]; refused only beyond the room that was asked for.
    #[inline]
    pub fn append_with(
        &mut self,
        time_us: u64,
        payload_bytes: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Offset, Unavailable> {
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Unavailable::TooLong);
        }
        if !self.page.fits(stride(payload_bytes)) {
            return Err(Unavailable::NoRoom);
        }
        let offset = self.page.write(self.lane.key, time_us, payload_bytes, write);
        *self.records += 1;
        self.lane.records.store(*self.records, Ordering::Relaxed);
        if self.page.at >= self.page.look_at {
            self.page.look(self.shared, self.lane);
        }
        Ok(offset)
    }
}

/// The segment at hand.
#[derive(Debug)]
struct Page {
    segment: Arc<Segment>,
    map: Map,
    /// Where the next record goes.
    at: usize,
    /// Records end here, so that the end of the segment always has its place.
    room: usize,
    /// Where to look for more room.
    look_at: usize,
    time_us: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Self {
        let bytes_max = shared.settings.ahead_bytes as usize - HEADER_BYTES - END_BYTES;
        Self { shared, lane, page: None, records: 0, bytes_max }
    }

    /// The core whose journal this is.
    pub fn core(&self) -> u32 {
        self.lane.core
    }

    /// Records `payload`. Times of one core may go back by [`TIME_SLACK_US`](crate::TIME_SLACK_US) at most,
    /// or readers that ask for a time will miss records.
    #[inline]
    pub fn append(&mut self, time_us: u64, payload: &[u8]) -> Result<Offset, Unavailable> {
        self.append_with(time_us, payload.len(), |bytes| bytes.copy_from_slice(payload))
    }

    /// Records the `payload_bytes` bytes that `write` puts into its argument, which may hold anything before.
    #[inline]
    pub fn append_with(
        &mut self,
        time_us: u64,
        payload_bytes: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Offset, Unavailable> {
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Unavailable::TooLong);
        }
        self.room(stride(payload_bytes))?.append_with(time_us, payload_bytes, write)
    }

    /// Room for records of [`record_bytes`](crate::record_bytes) together, in one segment.
    #[inline]
    pub fn room(&mut self, bytes: usize) -> Result<Room<'_>, Unavailable> {
        if bytes > self.bytes_max {
            return Err(Unavailable::TooLong);
        }
        if !self.page.as_ref().is_some_and(|page| page.takes(bytes)) {
            self.make_room(bytes)?;
        }
        match &mut self.page {
            Some(page) => {
                Ok(Room { page, shared: &self.shared, lane: &self.lane, records: &mut self.records })
            }
            None => Err(Unavailable::NoRoom),
        }
    }

    /// Leaves a segment that has become old, although no record comes that would; to be called once in a while.
    pub fn rest(&mut self) {
        if let Some(mut page) = self.page.take_if(|page| !page.segment.is_open()) {
            page.end(self.lane.key);
            self.lane.sync_bell.ring();
        }
    }

    /// What an answer that must survive a power cut waits with.
    pub fn synced(&self) -> Synced {
        Synced::new(Arc::clone(&self.shared), Arc::clone(&self.lane))
    }

    /// The offset that the next record has at least.
    pub fn position(&self) -> Offset {
        self.lane.end()
    }

    #[cold]
    fn make_room(&mut self, needed: usize) -> Result<(), Unavailable> {
        if let Some(page) = &mut self.page {
            page.look(&self.shared, &self.lane);
            if page.takes(needed) {
                return Ok(());
            }
        }
        self.lane.needed_bytes.fetch_max(needed as u64, Ordering::Relaxed);
        // Turned even where this segment may still grow: room that is there beats room that may come.
        let spare = locked(&self.lane.spare).take_if(|(segment, _)| segment.has_room(needed));
        let failed = self.page.as_ref().is_some_and(|page| page.segment.failed());
        if failed || spare.is_some() {
            self.page.iter_mut().for_each(|page| page.end(self.lane.key));
            self.page = spare.map(|(segment, map)| Page::new(segment, map, &self.shared, &self.lane));
        }
        self.shared.room_bell.ring();
        match &self.page {
            Some(page) if page.fits(needed) && !page.segment.failed() => Ok(()),
            _ if self.lane.trouble() == Trouble::Sync => Err(Unavailable::SyncFailed),
            _ => Err(Unavailable::NoRoom),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(page) = &mut self.page {
            page.end(self.lane.key);
            self.lane.sync_bell.ring();
        }
    }
}

impl Page {
    fn new(segment: Arc<Segment>, map: Map, shared: &Shared, lane: &Lane) -> Self {
        let at = segment.written() as usize;
        let mut page = Self { segment, map, at, room: 0, look_at: 0, time_us: 0 };
        page.look(shared, lane);
        page
    }

    #[inline]
    fn fits(&self, needed: usize) -> bool {
        self.at + needed <= self.room
    }

    #[inline]
    fn takes(&self, needed: usize) -> bool {
        self.fits(needed) && self.segment.is_open()
    }

    #[inline]
    fn write(
        &mut self,
        key: u32,
        time_us: u64,
        payload_bytes: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Offset {
        let (at, stride) = (self.at, stride(payload_bytes));
        let offset = self.segment.base + at as u64;
        let word = Word::record(payload_bytes);
        let payload_end = RECORD_HEADER_BYTES + payload_bytes;
        let record = self.map.bytes_mut(at, stride + 4);
        write(&mut record[RECORD_HEADER_BYTES..payload_end]);
        format::fill(record, key, offset, word, time_us, payload_end);
        self.map.publish(at, word);
        self.at = at + stride;
        self.time_us = time_us;
        self.segment.set_written(self.at as u64);
        Offset::new(offset)
    }

    /// Sees what room was prepared, rings when it runs low, and lets go of pages that are written.
    #[cold]
    fn look(&mut self, shared: &Shared, lane: &Lane) {
        let ready = self.segment.ready() as usize;
        let ahead = lane.ahead() as usize;
        self.room = ready.saturating_sub(END_BYTES);
        self.map.forget(self.at);
        self.look_at = if ready as u64 == self.segment.span {
            self.at + ahead / 2
        } else if self.at + ahead / 2 >= ready {
            shared.room_bell.ring();
            self.at + ahead / 16
        } else {
            ready - ahead / 2
        };
    }

    /// Says where the segment ends.
    fn end(&mut self, key: u32) {
        let end = self.map.bytes_mut(self.at, END_BYTES);
        end[8..16].copy_from_slice(&self.time_us.to_le_bytes());
        let crc = format::checksum(key, self.segment.base + self.at as u64, Word::END, &end[8..16]);
        end[4..8].copy_from_slice(&crc.to_le_bytes());
        self.map.publish(self.at, Word::END);
        self.segment.end();
    }
}
