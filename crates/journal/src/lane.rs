//! What a core's writer and the background threads share.

use crate::disk::Disk;
use crate::files::now_us;
use crate::format::Header;
use crate::map::Map;
use crate::room::{self, Pace};
use crate::segment::Segment;
use crate::shared::{Bell, Shared};
use crate::{Offset, locked};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What keeps a lane from having room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    None = 0,
    Room = 1,
    Sync = 2,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) core: u32,
    pub(crate) dir: PathBuf,
    /// Of the records' checksums.
    pub(crate) key: u32,
    /// Taken by the writer when it turns the page.
    pub(crate) spare: Mutex<Option<(Arc<Segment>, Map)>>,
    /// How much is prepared before the writer now.
    pub(crate) ahead_bytes: AtomicU64,
    /// Held while a spare is made or taken away, because the next one's file has the same name; never by the writer.
    making: Mutex<()>,
    /// The most that the writer lacked room for at once.
    pub(crate) needed_bytes: AtomicU64,
    /// How fast it has been.
    pub(crate) pace: Mutex<Pace>,
    /// Records since the start.
    pub(crate) records: AtomicU64,
    /// Every record below is on disk, but for what `unsynced` says.
    pub(crate) durable: AtomicU64,
    /// Wakes the thread that syncs this lane.
    pub(crate) sync_bell: Bell,
    /// Waiters for `durable`.
    pub(crate) notify: Notify,
    live: Mutex<Live>,
    /// What is in segments whose sync failed and which were not rescued yet.
    unsynced: Mutex<Vec<Range<u64>>>,
    trouble: AtomicU8,
}

/// Segments that are not on disk with their final length.
#[derive(Debug)]
struct Live {
    /// Oldest first: left by the writer, at hand, spare.
    segments: Vec<Arc<Segment>>,
    /// The next segment's base when there are none.
    floor: u64,
}

impl Lane {
    pub(crate) fn new(core: u32, dir: PathBuf, key: u32, floor: u64) -> Self {
        Self {
            core,
            dir,
            key,
            spare: Mutex::default(),
            ahead_bytes: AtomicU64::new(0),
            making: Mutex::default(),
            needed_bytes: AtomicU64::new(0),
            pace: Mutex::default(),
            records: AtomicU64::new(0),
            durable: AtomicU64::new(floor),
            sync_bell: Bell::default(),
            notify: Notify::new(),
            live: Mutex::new(Live { segments: Vec::new(), floor }),
            unsynced: Mutex::default(),
            trouble: AtomicU8::new(Trouble::None as u8),
        }
    }

    pub(crate) fn ahead(&self) -> u64 {
        self.ahead_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        locked(&self.live).segments.clone()
    }

    /// The offset after the last record.
    pub(crate) fn end(&self) -> Offset {
        let live = locked(&self.live);
        let at_hand = live.segments.iter().rev().find(|segment| !segment.is_empty());
        let end = at_hand.or(live.segments.first()).map(|segment| segment.base + segment.written());
        Offset::new(end.unwrap_or(live.floor))
    }

    /// Makes the segment that the writer turns to next, if there is none. Only the room thread does.
    pub(crate) fn make_spare(&self, shared: &Shared) -> io::Result<bool> {
        let _making = locked(&self.making);
        if locked(&self.spare).is_some() {
            return Ok(false);
        }
        let paced = locked(&self.pace).bytes_per_s(&self.segments());
        let base = {
            let live = locked(&self.live);
            live.segments.last().map_or(live.floor, |last| last.base + last.span)
        };
        let header = Header {
            core: self.core,
            base,
            span: room::span(&shared.settings, paced),
            instance: shared.instance,
            created_at_us: now_us(),
        };
        let segment = Segment::create(&self.dir, &header, self.ahead(), &shared.disk)?;
        let map = Map::new(&segment.file, header.span as usize).inspect_err(|_| {
            // Without a mapping the file is of no use, and its name is needed again.
            let _ = std::fs::remove_file(&segment.path);
        })?;
        let segment = Arc::new(segment);
        locked(&self.live).segments.push(Arc::clone(&segment));
        *locked(&self.spare) = Some((segment, map));
        Ok(true)
    }

    /// Takes away the spare, which nothing was written to.
    pub(crate) fn discard_spare(&self, disk: &Disk) {
        let _making = locked(&self.making);
        let Some((spare, _map)) = locked(&self.spare).take() else { return };
        locked(&self.live).segments.retain(|segment| !Arc::ptr_eq(segment, &spare));
        // Its base is used again: no record ever had an offset in it. A file that stays is in the way of the
        // next one, which says so.
        let _ = disk.remove(&spare.path);
    }

    /// The segment is on disk as it will stay.
    pub(crate) fn settle(&self, settled: &Segment) {
        let mut live = locked(&self.live);
        live.floor = live.floor.max(settled.base + settled.span);
        live.segments.retain(|segment| segment.base != settled.base);
    }

    pub(crate) fn set_unsynced(&self, offsets: Range<u64>) {
        locked(&self.unsynced).push(offsets);
    }

    /// A rescued segment's records are on disk after all.
    pub(crate) fn clear_unsynced(&self, segment: &Segment) {
        let owned = segment.base..segment.base + segment.span;
        locked(&self.unsynced).retain(|range| !owned.contains(&range.start));
    }

    pub(crate) fn is_unsynced(&self, offset: u64) -> bool {
        locked(&self.unsynced).iter().any(|range| range.contains(&offset))
    }

    /// The bytes that a power cut would take although their sync was tried.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let failed = self.segments().into_iter().filter(|segment| segment.failed());
        failed.map(|segment| segment.written() - segment.synced()).sum()
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self.trouble.load(Ordering::Acquire) {
            0 => Trouble::None,
            1 => Trouble::Room,
            _ => Trouble::Sync,
        }
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::Release);
    }

    /// Whether the next records have their place.
    pub(crate) fn has_room(&self) -> bool {
        let enough = (64 << 10).min(self.ahead() / 4);
        locked(&self.spare).is_some()
            || self.segments().last().is_some_and(|segment| {
                !segment.failed() && !segment.ended() && segment.ready() - segment.written() > enough
            })
    }
}
