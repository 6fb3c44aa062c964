//! Removes old segments.
//!
//! * By age: older than `retain_hours`, and no registered reader still needs it.
//! * By size: when all segments together take more than `retain_bytes`, the oldest go first; what a reader
//!   still needs goes last and not at once, and is counted and logged, because that reader will find a gap.
//! * The newest segment of a core always stays: it says which offsets were given out. A spare that nobody wrote to is
//!   not it: it goes with a clean end, and its offsets come again.

use crate::cursor::{self, Place};
use crate::files::{self, core_dir};
use crate::shared::Shared;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tracing::{info, warn};

/// A segment that may go.
#[derive(Debug)]
struct Candidate {
    core: u32,
    base: u64,
    path: PathBuf,
    bytes: u64,
    changed_at: SystemTime,
    /// The reader that is furthest behind, if it still needs this.
    needed_by: Option<String>,
}

/// How long a reader may need what is over the bound: readers come every few seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Brings the directory within its bounds, once. What a reader needs goes only if it was written before `needed_before`.
pub(crate) fn pass(shared: &Shared, needed_before: Option<SystemTime>) {
    if let Err(error) = remove(shared, needed_before) {
        let dir = shared.settings.dir.display();
        warn!(%dir, %error, "journal cannot remove old segments");
    }
}

fn remove(shared: &Shared, needed_before: Option<SystemTime>) -> io::Result<()> {
    let (mut candidates, mut total) = candidates(shared)?;
    candidates.sort_by_key(|one| (one.needed_by.is_some(), one.changed_at, one.core, one.base));
    let hours = shared.settings.retain_hours;
    let oldest = hours.and_then(|hours| SystemTime::now().checked_sub(Duration::from_secs(hours * 3600)));
    for one in &candidates {
        let aged = oldest.is_some_and(|oldest| one.changed_at < oldest) && one.needed_by.is_none();
        let over = shared.settings.retain_bytes.is_some_and(|bound| total > bound);
        let is_kept = one.needed_by.is_some() && needed_before.is_none_or(|before| one.changed_at >= before);
        if is_kept || (!aged && !over) {
            continue;
        }
        match fs::remove_file(&one.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        total -= one.bytes;
        shared.counts.segments_removed.fetch_add(1, Ordering::Relaxed);
        let (core, base, bytes) = (one.core, one.base, one.bytes);
        if let Some(reader) = &one.needed_by {
            shared.counts.segments_removed_unread.fetch_add(1, Ordering::Relaxed);
            warn!(core, base, bytes, reader, "journal segment removed before its reader came to it");
        } else {
            info!(core, base, bytes, "journal segment removed");
        }
    }
    Ok(())
}

/// What may go, and the bytes of everything there is.
fn candidates(shared: &Shared) -> io::Result<(Vec<Candidate>, u64)> {
    let dir = &shared.settings.dir;
    // By core and base, and whether nothing was written to it.
    let live: BTreeMap<(u32, u64), bool> = shared
        .lanes
        .iter()
        .flat_map(|lane| lane.segments().into_iter().map(|one| ((lane.core, one.base), one.is_empty())))
        .collect();
    let readers = cursor::places(dir)?;
    let mut candidates = Vec::new();
    let mut total = 0;
    for core in files::cores(dir)? {
        let behind = furthest_behind(&readers, core);
        let segments = files::segments(&core_dir(dir, core))?;
        let newest = segments.iter().rposition(|one| live.get(&(core, one.base)) != Some(&true));
        let ends = segments.iter().skip(1).map(|next| Some(next.base)).chain([None]);
        for (at, (segment, end)) in segments.iter().zip(ends).enumerate() {
            let Ok(metadata) = fs::metadata(&segment.path) else { continue };
            total += metadata.len();
            let stays = newest == Some(at) || live.contains_key(&(core, segment.base));
            let Some(end) = end.filter(|_| !stays) else { continue };
            candidates.push(Candidate {
                core,
                base: segment.base,
                path: segment.path.clone(),
                bytes: metadata.len(),
                changed_at: metadata.modified()?,
                needed_by: behind.filter(|(_, at)| end > *at).map(|(name, _)| name.to_owned()),
            });
        }
    }
    Ok((candidates, total))
}

fn furthest_behind(readers: &[(String, Place)], core: u32) -> Option<(&str, u64)> {
    readers.iter().map(|(name, place)| (name.as_str(), place.of(core))).min_by_key(|(_, at)| *at)
}
