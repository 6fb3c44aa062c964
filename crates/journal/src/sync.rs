//! Puts what was written on disk, in a thread of its own for each core, and tells who waits for that.
//!
//! * `sync_ms` after a sync each segment with new records is synced again; with `sync_ms` 0 whenever an answer waits, so
//!   that all answers that came meanwhile share the next sync (group commit).
//! * A sync that failed says nothing about what is on disk, and the next one would succeed without having
//!   written anything. So it is never repeated: the writer leaves the file, waiters are told, and the records
//!   are copied to a new file in its place until that succeeds.

use crate::lane::{Lane, Trouble};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::{Offset, Unavailable};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{error, info};

/// Between attempts to copy a failed segment.
const RESCUE_EVERY: Duration = Duration::from_secs(1);
/// With nobody waiting, a sync comes this late.
const IDLE: Duration = Duration::from_millis(100);

/// Waits until records are on disk.
#[derive(Debug, Clone)]
pub struct Synced {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

impl Synced {
    pub(crate) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Self {
        Self { shared, lane }
    }

    /// Returns when the record at `offset` is on disk, or when its sync failed.
    pub async fn wait(&self, offset: Offset) -> Result<(), Unavailable> {
        let offset = offset.get();
        loop {
            let told = self.lane.notify.notified();
            tokio::pin!(told);
            // From here on no word is missed.
            told.as_mut().enable();
            // Read before the failures: a failure is noted before the records after it are durable.
            let durable = self.lane.durable.load(Ordering::Acquire);
            if self.lane.is_unsynced(offset) {
                return Err(Unavailable::SyncFailed);
            }
            if durable > offset {
                return Ok(());
            }
            if self.shared.settings.sync_ms == 0 {
                self.lane.sync_bell.ring();
            }
            told.await;
        }
    }
}

/// The thread: syncs until told to stop.
pub(crate) fn run(shared: &Shared, lane: &Lane) {
    lane.sync_bell.hang();
    let every = match shared.settings.sync_ms {
        0 => IDLE,
        ms => Duration::from_millis(ms),
    };
    let mut rescue_at = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        let now = Instant::now();
        let rescue = now >= rescue_at;
        if rescue {
            rescue_at = now + RESCUE_EVERY;
        }
        pass(shared, lane, rescue);
        if shared.settings.sync_ms == 0 {
            lane.sync_bell.wait(every);
        } else {
            rest(shared, lane, Instant::now() + every);
        }
    }
}

/// Syncs the lane once.
pub(crate) fn pass(shared: &Shared, lane: &Lane, rescue: bool) {
    for segment in lane.segments() {
        if segment.failed() {
            if rescue && segment.ended() {
                copy(shared, lane, &segment);
            }
        } else if segment.ended() || segment.written() > segment.synced() {
            sync(shared, lane, &segment);
        }
    }
}

fn sync(shared: &Shared, lane: &Lane, segment: &Arc<Segment>) {
    // Read before the sync: a segment left meanwhile is cut to its length by the next one.
    let ended = segment.ended();
    let before = segment.synced();
    let begun = Instant::now();
    let synced = segment.sync(&shared.disk, ended);
    shared.counts.syncs.observe(begun.elapsed());
    match synced {
        Ok(position) => {
            lane.durable.fetch_max(segment.base + position, Ordering::AcqRel);
            if ended {
                lane.settle(segment);
                shared.counts.segments_settled.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err(error) => {
            segment.set_failed();
            lane.set_trouble(Trouble::Sync);
            // The rest of the segment's offsets: what the writer adds before it notices is not on disk,
            // either.
            lane.set_unsynced(segment.base + before..segment.base + segment.span);
            lane.discard_spare(&shared.disk);
            shared.counts.sync_failures.fetch_add(1, Ordering::Relaxed);
            let (path, from) = (segment.path.display(), segment.base + before);
            error!(core = lane.core, %path, from, %error, "journal sync failed, check the disk");
            shared.room_bell.ring();
        }
    }
    lane.notify.notify_waiters();
}

fn copy(shared: &Shared, lane: &Lane, segment: &Arc<Segment>) {
    let path = segment.path.display();
    match segment.rescue(&shared.disk) {
        Ok(()) => {
            lane.clear_unsynced(segment);
            lane.settle(segment);
            shared.counts.segments_settled.fetch_add(1, Ordering::Relaxed);
            info!(core = lane.core, %path, "journal segment copied after its sync had failed");
        }
        Err(error) => error!(core = lane.core, %path, %error, "journal segment cannot be copied yet"),
    }
}

/// Sleeps until then; who rings is not in that much of a hurry.
fn rest(shared: &Shared, lane: &Lane, until: Instant) {
    while !shared.stop.load(Ordering::Acquire) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        lane.sync_bell.wait(left);
    }
}
