//! Reads the whole journal in the background, slowly, so that damage is known before somebody needs what is lost.
//!
//! * Order: the newest segments first, which a start has read anyway.
//! * Pace: 32 MiB a second, so that neither a core nor a disk notices.

use crate::{Auctions, Event};
use anyhow::Result;
use journal::{Begin, Offset};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast it is read.
const BYTES_PER_S: u64 = 32 << 20;
/// More places than this are not told apart.
const PLACES_MAX: usize = 100_000;

/// Where the journal was found damaged or unreadable.
#[derive(Debug, Default)]
pub struct Damage(Mutex<BTreeSet<(u32, Offset)>>);

impl Damage {
    /// Notes a place of a core's journal; a place that is known is noted once.
    pub fn note(&self, core: u32, at: Offset) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() < PLACES_MAX {
            places.insert((core, at));
        }
    }

    /// How many places are known.
    pub fn places(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}

/// Reads every segment of `journal` once and notes what is damaged. `rest` is called to sleep, and says whether to go on.
pub fn scrub(journal: &Path, damage: &Damage, mut rest: impl FnMut(Duration) -> bool) -> Result<()> {
    let mut segments = journal::list(journal)?;
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.created_at_us));
    let ends: BTreeMap<(u32, Offset), Offset> = {
        let mut by_core: Vec<_> = segments.iter().map(|segment| (segment.core, segment.base)).collect();
        by_core.sort_unstable();
        let pairs = by_core.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs.map(|pair| (pair[0], pair[1].1)).collect()
    };
    let begun = Instant::now();
    let mut bytes = 0;
    for segment in &segments {
        let end = ends.get(&(segment.core, segment.base));
        let mut auctions = Auctions::open(journal, segment.core, Begin::Offset(segment.base))?;
        let mut at = segment.base.get();
        while end.is_none_or(|end| auctions.offset() < *end)
            && auctions.next(|event| note(damage, segment.core, &event))?.is_some()
        {
            bytes += auctions.offset().get() - at;
            at = auctions.offset().get();
            let due = Duration::from_millis(bytes * 1_000 / BYTES_PER_S);
            let ahead = due.saturating_sub(begun.elapsed());
            if ahead > Duration::from_millis(100) && !rest(ahead) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn note(damage: &Damage, core: u32, event: &Event<'_>) {
    match *event {
        Event::Damaged { from, .. } => damage.note(core, from),
        Event::Unreadable { offset, .. } => damage.note(core, offset),
        Event::Auction { .. } | Event::Gap { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::{Held, Process, quick_dir, supplies};

    #[test]
    fn a_damaged_place_is_found_and_counts_once_however_often_it_is_looked_at() {
        let dir = quick_dir();
        let supplies = supplies();
        let mut process = Process::start(dir.path(), 1);
        (0..2_000).for_each(|number| process.hold(0, &Held::any(&supplies, number)));
        drop(process);
        let (journal, damage) = (dir.path().join("journal"), Damage::default());
        let segments = journal::list(&journal).unwrap();
        scrub(&journal, &damage, |_| true).unwrap();
        assert_eq!((damage.places(), segments.is_empty()), (0, false));
        for segment in &segments {
            let mut bytes = std::fs::read(&segment.path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&segment.path, bytes).unwrap();
        }
        for _ in 0..2 {
            scrub(&journal, &damage, |_| true).unwrap();
            assert_eq!(damage.places(), segments.len() as u64);
        }
    }
}
