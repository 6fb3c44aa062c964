//! The journal: append, sync, recover, read, retain. It knows bytes, times and offsets, not what they mean.
//!
//! * Each core has an endless stream of bytes of its own, cut into segment files. An [`Offset`] is a place in
//!   it; it never becomes another record's.
//! * What [`Writer::append`] returned an offset for survives the process; what was synced survives the power.
//! * A writer never waits. Without room it says [`Unavailable`], and works again when there is room again.
//! * Any damaged byte is found by whoever reads it, costs the record that it is in and no other, and is
//!   reported.
//! * One process writes a directory; any number read it, also while it is written.
//!
//! | module | what it does |
//! |---|---|
//! | [`writer`] | appends, on the data plane |
//! | [`journal`] | opens, recovers, closes |
//! | [`reader`] | reads and follows one core |
//! | [`cursor`] | keeps how far a reader has come |
//! | [`mod@verify`] | lists segments and readers, and checks that all is whole |
//! | [`durations`] | how long what is done in the background takes |
//! | `room`, `retain`, `sync` | the background: zeros ahead, old segments, the disk |
//! | `segment`, `lane`, `shared` | what both sides look at |
//! | `scan`, `format`, `files`, `disk`, `map` | positions, bytes, names, calls, memory |
//!
//! The bytes are described in `docs/journal.md`.

pub mod cursor;
mod disk;
pub mod durations;
mod files;
mod format;
pub mod journal;
mod lane;
mod map;
pub mod reader;
mod retain;
mod room;
mod scan;
mod segment;
mod shared;
mod sync;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod writer;

pub use cursor::Cursor;
pub use durations::Durations;
pub use files::{cores, holder, lock, read_instance, replace};
pub use format::{PAYLOAD_BYTES_MAX, stride as record_bytes};
pub use journal::{CoreStatus, Journal, Recovery, Status, Torn};
pub use reader::{Begin, Item, Reader};
pub use sync::Synced;
pub use verify::{
    ReaderInfo, ReaderPlace, SegmentInfo, SegmentReport, behind_bytes, list, oldest, reader_names, readers,
    verify,
};
pub use writer::{Room, Unavailable, Writer};

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far times of one core may go back from record to record, in microseconds.
pub const TIME_SLACK_US: u64 = 10_000_000;

/// A segment lasts so many seconds, if it may get long enough for that.
pub const SEGMENT_S: u64 = 15;

/// A place in a core's stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The place of this number.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the journal lies, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data directory.
    pub dir: PathBuf,
    /// How many cores write.
    pub cores: u32,
    /// How often what was written is synced; 0: whenever an answer waits for it.
    pub sync_ms: u64,
    /// How long a segment gets at least.
    pub segment_bytes: u64,
    /// How long it gets at most where that would not last for [`SEGMENT_S`]: what stands in every segment is then
    /// written less often.
    pub segment_bytes_max: u64,
    /// How old a segment gets before a record begins the next.
    pub segment_age_s: u64,
    /// How much is written with zeros before the writer at most: what one burst may take.
    pub ahead_bytes: u64,
    /// When segments take more, the oldest are removed, read or not.
    pub retain_bytes: Option<u64>,
    /// Segments older than this are removed once every registered reader has come past them.
    pub retain_hours: Option<u64>,
}

impl Settings {
    /// How long a segment gets at most: never a large part of what may be kept, because whole segments are removed.
    pub fn segment_bytes_most(&self) -> u64 {
        let retained = self.retain_bytes.map_or(u64::MAX, |bytes| bytes / (8 * u64::from(self.cores)));
        self.segment_bytes_max.min(retained).max(self.segment_bytes)
    }

    /// Synced every 10 ms; segments of 64 MiB or an hour, longer ones where much is written; 8 MiB ahead; kept for a week, or 16 GiB.
    pub fn new(dir: impl Into<PathBuf>, cores: u32) -> Self {
        Self {
            dir: dir.into(),
            cores,
            sync_ms: 10,
            segment_bytes: 64 << 20,
            segment_bytes_max: 256 << 20,
            segment_age_s: 3600,
            ahead_bytes: 8 << 20,
            retain_bytes: Some(16 << 30),
            retain_hours: Some(7 * 24),
        }
    }
}

/// What is behind a lock, also after a thread that held it panicked: no step under a lock leaves half of a
/// change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
