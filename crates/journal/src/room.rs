//! Keeps room ready before the writers, in a thread of its own: a slow sync must not keep a writer from room.
//!
//! * The segment at hand has zeros beyond what is written, as many as the writer takes in half a second, and a spare one
//!   waits. They are at least a mebibyte and at most `ahead_bytes`, less where there is little space.
//! * A full disk ends that, is logged once, and is tried again until there is space.
//! * Segments that are old are marked, so that the writer leaves them with its next record.

use crate::format::END_BYTES;
use crate::lane::{Lane, Trouble};
use crate::locked;
use crate::retain;
use crate::segment::{PAGE_BYTES, Segment};
use crate::shared::Shared;
use crate::{SEGMENT_S, Settings};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info};

/// Between looks when nobody rings.
const EVERY: Duration = Duration::from_millis(100);
/// Prepared for a writer that has little to write.
const AHEAD_BYTES_USUAL: u64 = 1 << 20;
/// Over a shorter time a burst looks faster than it is.
const PACE_US_MIN: u64 = 20_000;
/// How long a fast writer is remembered.
const FADE_US: u64 = 30_000_000;
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
    lane.ahead_bytes.store(ahead_bytes(shared, lane), Ordering::Relaxed);
    let enough = (lane.ahead() / 2).max(lane.needed_bytes.load(Ordering::Relaxed) + END_BYTES as u64);
    let extend = || {
        // The one at hand first: it is needed first.
        let segments = lane.segments();
        // In large steps: after a file has grown its sync costs more.
        let mut short = segments.iter().filter(|segment| segment.ready() - segment.written() < enough);
        short.try_for_each(|segment| segment.prepare(lane.ahead(), &shared.disk))
    };
    extend()?;
    let fresh = lane.make_spare(shared)?;
    if fresh {
        extend()?;
    }
    Ok(fresh)
}

/// As much as the writer takes in half a second, or has asked for; at most what is set, or where the disk has little
/// space a part of it: all of it together would fill the disk with zeros.
fn ahead_bytes(shared: &Shared, lane: &Lane) -> u64 {
    let paced = locked(&lane.pace).bytes_per_s(&lane.segments()) / 2;
    let usual = paced.max(AHEAD_BYTES_USUAL).next_multiple_of(4096).min(shared.settings.ahead_bytes);
    let bounded = rustix::fs::statvfs(&lane.dir).map_or(usual, |disk| {
        let part = disk.f_bavail.saturating_mul(disk.f_frsize) / (16 * shared.lanes.len() as u64);
        usual.min((part & !(AHEAD_BYTES_MIN - 1)).max(AHEAD_BYTES_MIN))
    });
    bounded.max(lane.needed_bytes.load(Ordering::Relaxed) + END_BYTES as u64)
}

/// How long the next segment gets: as it is set, or more if that would be written in less than [`SEGMENT_S`].
pub(crate) fn span(settings: &Settings, bytes_per_s: u64) -> u64 {
    let wanted = bytes_per_s.saturating_mul(SEGMENT_S);
    let wanted = wanted.clamp(settings.segment_bytes, settings.segment_bytes_most());
    wanted - (wanted - settings.segment_bytes) % PAGE_BYTES
}

/// How fast a writer has been.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seen: Option<(Instant, u64, u64)>,
    bytes_per_s: u64,
}

impl Pace {
    /// How fast it is, or was a while ago: a pause does not make the next burst wait for room.
    pub(crate) fn bytes_per_s(&mut self, segments: &[Arc<Segment>]) -> u64 {
        let at_hand = segments.iter().rev().find(|segment| !segment.is_empty());
        let (now, base, written) = match at_hand {
            Some(segment) => (Instant::now(), segment.base, segment.written()),
            None => return self.bytes_per_s,
        };
        let Some((seen, base_seen, written_seen)) = self.seen else {
            self.seen = Some((now, base, written));
            return self.bytes_per_s;
        };
        let us = now.duration_since(seen).as_micros() as u64;
        if us < PACE_US_MIN {
            return self.bytes_per_s;
        }
        self.seen = Some((now, base, written));
        let bytes = if base == base_seen { written - written_seen } else { written };
        let faded = self.bytes_per_s - self.bytes_per_s * us.min(FADE_US) / FADE_US;
        self.bytes_per_s = faded.max(bytes * 1_000_000 / us);
        self.bytes_per_s
    }
}

fn age(shared: &Shared, lane: &Lane) {
    let limit = Duration::from_secs(shared.settings.segment_age_s);
    for segment in lane.segments() {
        if !segment.is_empty() && segment.begun.get_or_init(Instant::now).elapsed() >= limit {
            segment.set_aged();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_as_long_as_it_is_set_or_lasts_some_seconds_and_stays_a_small_part_of_what_is_kept() {
        const MIB: u64 = 1 << 20;
        for (least, most, retain, cores, mib_per_s, expected) in [
            (64, 256, None, 2, 0, 64),
            (64, 256, None, 2, 4, 64),
            (64, 256, None, 2, 8, 120),
            (64, 256, None, 2, 17, 255),
            (64, 256, None, 2, 1000, 256),
            (64, 256, None, 2, u64::MAX / MIB, 256),
            (64, 256, Some(16 << 10), 64, 1000, 64),
            (64, 256, Some(16 << 10), 16, 1000, 128),
            (64, 256, Some(1), 2, 1000, 64),
            (64, 64, None, 2, 1000, 64),
            (512, 256, None, 2, 1000, 512),
        ] {
            let settings = Settings {
                segment_bytes: least * MIB,
                segment_bytes_max: most * MIB,
                retain_bytes: retain.map(|mib: u64| mib * MIB),
                ..Settings::new("", cores)
            };
            let span = span(&settings, mib_per_s * MIB);
            assert_eq!(span, expected * MIB, "{least} to {most} MiB, {mib_per_s} MiB/s, {retain:?}");
        }
        let settings = Settings::new("", 1);
        let odd = [5_000_001, 9_999_999].map(|bytes_per_s| span(&settings, bytes_per_s));
        assert!(odd.iter().all(|span| span.is_multiple_of(PAGE_BYTES)), "{odd:?}");
    }
}
