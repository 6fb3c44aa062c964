//! Keeps room ready before the writers, in a thread of its own: a slow sync must not keep a writer from room.
//!
//! * The segment at hand has `ahead_bytes` of zeros beyond what is written, less where there is little space, and a
//!   spare one waits.
//! * A full disk ends that, is logged once, and is tried again until there is space.
//! * Segments that are old are marked, so that the writer leaves them with its next record.

use crate::lane::{Lane, Trouble};
use crate::retain;
use crate::shared::Shared;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info};

/// Between looks when nobody rings.
const EVERY: Duration = Duration::from_millis(100);
/// Between attempts on a disk that refuses.
const RETRY: Duration = Duration::from_millis(5);
/// Prepared even where there is hardly any space.
const AHEAD_BYTES_MIN: u64 = 16 << 10;
/// Readers come on and segments age without ringing.
const RETAIN_EVERY: Duration = Duration::from_secs(10);

/// The thread: prepares, ages and retains until told to stop.
pub(crate) fn run(shared: &Shared) {
    shared.room_bell.hang();
    let started = Instant::now();
    let mut retain_at = started;
    let mut settled = 0;
    while !shared.stop.load(Ordering::Acquire) {
        for lane in &shared.lanes {
            keep(shared, lane);
        }
        let now = shared.counts.segments_settled.load(Ordering::Relaxed);
        if now != settled || Instant::now() >= retain_at {
            settled = now;
            retain_at = Instant::now() + RETAIN_EVERY;
            // Readers that just started come to what they need.
            let is_patient = started.elapsed() < retain::PATIENCE;
            let needed_before = SystemTime::now().checked_sub(retain::PATIENCE).filter(|_| !is_patient);
            retain::pass(shared, needed_before);
        }
        if shared.lanes.iter().any(|lane| lane.trouble() != Trouble::None) {
            // Every refused record rings.
            thread::sleep(RETRY);
        }
        shared.room_bell.wait(EVERY);
    }
}

/// Prepares what a lane lacks, and says once what prevents it.
pub(crate) fn keep(shared: &Shared, lane: &Lane) {
    age(shared, lane);
    match prepare(shared, lane) {
        Ok(fresh) => {
            // Only a new segment says that a disk which failed to sync works again.
            let over = match lane.trouble() {
                Trouble::None => false,
                Trouble::Room => true,
                Trouble::Sync => fresh,
            };
            if over {
                lane.set_trouble(Trouble::None);
                info!(core = lane.core, "journal has room again");
            }
        }
        Err(error) => {
            let dir = lane.dir.display();
            // A failed sync stays the reason until a new segment works.
            if lane.trouble() == Trouble::None {
                lane.set_trouble(Trouble::Room);
                error!(core = lane.core, %dir, %error, "journal cannot prepare room, free space or check the disk");
            }
        }
    }
}

/// Returns whether a new segment was made.
fn prepare(shared: &Shared, lane: &Lane) -> io::Result<bool> {
    shared.ahead_bytes.store(ahead_bytes(shared, lane), Ordering::Relaxed);
    let extend = || {
        // The one at hand first: it is needed first.
        lane.segments().iter().try_for_each(|segment| segment.prepare(lane.ahead(shared), &shared.disk))
    };
    extend()?;
    let fresh = lane.make_spare(shared)?;
    if fresh {
        extend()?;
    }
    Ok(fresh)
}

/// What is set, or where the disk has little space a part of it: all of it together would fill the disk with zeros.
fn ahead_bytes(shared: &Shared, lane: &Lane) -> u64 {
    let Ok(disk) = rustix::fs::statvfs(&lane.dir) else { return shared.settings.ahead_bytes };
    let part = disk.f_bavail.saturating_mul(disk.f_frsize) / (16 * shared.lanes.len() as u64);
    (part & !(AHEAD_BYTES_MIN - 1)).clamp(AHEAD_BYTES_MIN, shared.settings.ahead_bytes)
}

fn age(shared: &Shared, lane: &Lane) {
    let limit = Duration::from_secs(shared.settings.segment_age_s);
    for segment in lane.segments() {
        if !segment.is_empty() && segment.begun.get_or_init(Instant::now).elapsed() >= limit {
            segment.set_aged();
        }
    }
}
