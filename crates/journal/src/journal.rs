//! Opens a data directory for writing, recovers what the last process left, and closes it again.

use crate::disk::Disk;
use crate::files::{self, Entry, core_dir};
use crate::format::{self, END_BYTES, HEADER_BYTES, Header, SPAN_MAX};
use crate::lane::{Lane, Trouble};
use crate::scan::{self, Scan};
use crate::shared::{Bell, Counts, Shared};
use crate::{Durations, Offset, Settings, Writer, room, sync};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use tracing::{info, warn};

/// A data directory open for writing: the lock, and the threads that prepare, sync and retain.
///
/// Dropped after its writers, it leaves every segment synced and at its length. A writer that outlives it
/// writes into what room is left, and keeps the lock.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    recovery: Recovery,
}

/// What the start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments there were.
    pub segments: u64,
    /// Segments that their writer had not ended, and what was cut from them.
    pub torn: Vec<Torn>,
}

/// A segment that its writer had not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Bytes after the last whole record that were cut, zeros not counted.
    pub bytes: u64,
}

/// How the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether every core has room for its next records.
    pub available: bool,
    /// Of each core.
    pub cores: Vec<CoreStatus>,
    /// Syncs that failed since the start.
    pub sync_failures: u64,
    /// Segments that retention removed since the start.
    pub segments_removed: u64,
    /// Of those, the ones that a registered reader had not come to.
    pub segments_removed_unread: u64,
}

/// How one core's journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreStatus {
    /// Which core.
    pub core: u32,
    /// Whether there is room for the next records.
    pub available: bool,
    /// Records since the start.
    pub records: u64,
    /// After the last record.
    pub end: Offset,
    /// Before this everything is on disk but for the unsynced bytes.
    pub synced: Offset,
    /// Bytes whose sync failed, and which were not copied to a new file yet.
    pub unsynced_bytes: u64,
}

impl Journal {
    /// Opens the directory, which is created if need be, and returns a writer for each core.
    pub fn open(settings: Settings) -> Result<(Self, Vec<Writer>)> {
        check(&settings)?;
        let dir = settings.dir.clone();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = files::lock(&dir)?;
        let instance = files::instance(&dir)?;
        let mut recovery = Recovery::default();
        let mut lanes = Vec::new();
        for core in 0..settings.cores {
            let dir = core_dir(&dir, core);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        for core in files::cores(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let core_dir = core_dir(&dir, core);
            let floor = recover(&core_dir, core, instance, &mut recovery)?;
            if core < settings.cores {
                let key = format::key(instance, core);
                lanes.push(Arc::new(Lane::new(core, core_dir, key, floor)));
            }
        }
        let shared = Arc::new(Shared {
            settings,
            instance,
            lanes,
            disk: Disk::new(),
            room_bell: Bell::default(),
            stop: AtomicBool::new(false),
            counts: Counts::default(),
            lock,
        });
        // So that the first record finds room; if there is none, the thread keeps trying.
        shared.lanes.iter().for_each(|lane| room::keep(&shared, lane));
        let mut threads = vec![start("journal-room".to_owned(), &shared, room::run)?];
        // A thread each, so that a core's records never wait for the sync of another's.
        for lane in &shared.lanes {
            let (name, lane) = (format!("journal-sync-{}", lane.core), Arc::clone(lane));
            threads.push(start(name, &shared, move |shared| sync::run(shared, &lane))?);
        }
        let writers =
            shared.lanes.iter().map(|lane| Writer::new(Arc::clone(&shared), Arc::clone(lane))).collect();
        Ok((Self { shared, threads, recovery }, writers))
    }

    /// What the start found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Who writes here: the same number from the directory's first start on.
    pub fn instance(&self) -> u64 {
        self.shared.instance
    }

    /// How the journal is.
    pub fn status(&self) -> Status {
        let shared = &*self.shared;
        let cores: Vec<CoreStatus> = shared
            .lanes
            .iter()
            .map(|lane| CoreStatus {
                core: lane.core,
                available: lane.trouble() != Trouble::Sync && lane.has_room(),
                records: lane.records.load(Ordering::Relaxed),
                end: lane.end(),
                synced: Offset::new(lane.durable.load(Ordering::Acquire)),
                unsynced_bytes: lane.unsynced_bytes(),
            })
            .collect();
        Status {
            available: cores.iter().all(|core| core.available),
            cores,
            sync_failures: shared.counts.sync_failures.load(Ordering::Relaxed),
            segments_removed: shared.counts.segments_removed.load(Ordering::Relaxed),
            segments_removed_unread: shared.counts.segments_removed_unread.load(Ordering::Relaxed),
        }
    }

    /// How long its syncs took since the start.
    pub fn syncs(&self) -> &Durations {
        &self.shared.counts.syncs
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.shared.settings.dir
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.room_bell.ring();
        self.shared.lanes.iter().for_each(|lane| lane.sync_bell.ring());
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        self.shared.lanes.iter().for_each(|lane| lane.discard_spare(&self.shared.disk));
        self.shared.lanes.iter().for_each(|lane| sync::pass(&self.shared, lane, true));
    }
}

/// A segment that holds nothing but its header and its end.
const EMPTY_BYTES: u64 = (HEADER_BYTES + END_BYTES) as u64;

fn check(settings: &Settings) -> Result<()> {
    let (segment, ahead) = (settings.segment_bytes, settings.ahead_bytes);
    ensure!(settings.cores > 0, "a journal needs at least one core");
    ensure!(
        (64 << 10..=SPAN_MAX).contains(&segment) && segment.is_multiple_of(4096),
        "a segment has 64 KiB to 1 GiB, in whole pages of 4 KiB: {segment} has not"
    );
    ensure!(settings.segment_bytes_max <= SPAN_MAX, "a segment has 1 GiB at most");
    ensure!(
        (16 << 10..=segment).contains(&ahead) && ahead.is_multiple_of(4096),
        "16 KiB to a segment are prepared ahead, in whole pages of 4 KiB: {ahead} is not"
    );
    Ok(())
}

/// Ends the segments that were not. Returns where the next one begins: behind every offset that was ever
/// given out, so that no reader's place is ever some other record's.
fn recover(core_dir: &Path, core: u32, instance: u64, recovery: &mut Recovery) -> Result<u64> {
    let failed = || format!("cannot list {}", core_dir.display());
    for name in files::names(core_dir).with_context(failed)? {
        if name.ends_with(".new") || name.ends_with(".rescue") {
            // Never had a record that is nowhere else.
            let _ = fs::remove_file(core_dir.join(name));
        }
    }
    let entries = files::segments(core_dir).with_context(failed)?;
    recovery.segments += entries.len() as u64;
    for entry in &entries {
        match scan::seal(entry, core, instance) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let path = entry.path.clone();
                info!(core, path = %path.display(), bytes, "journal tail cut");
                recovery.torn.push(Torn { path, bytes });
            }
            // Readers manage without the end being said; the next start tries again.
            Err(error) => warn!(core, error = format!("{error:#}"), "journal segment was not recovered"),
        }
    }
    let mut last: Option<&Entry> = None;
    for entry in &entries {
        let is_spare = fs::metadata(&entry.path).is_ok_and(|file| file.len() == EMPTY_BYTES);
        let taken_over = last.filter(|_| is_spare).map(|owner| take_over(owner, entry, core, instance));
        match taken_over.transpose() {
            Ok(Some(true)) => {}
            Ok(_) => last = Some(entry),
            Err(error) => {
                warn!(core, error = format!("{error:#}"), "journal spare was not removed");
                last = Some(entry);
            }
        }
    }
    let Some(last) = last else { return Ok(0) };
    let header = Scan::open(last, core, instance)?.header;
    Ok(last.base + header.map_or(SPAN_MAX, |header| header.span))
}

/// Removes a spare that no record came to. Its offsets may have been given out: the segment before it owns them from
/// now on, so that they are never another record's and no reader takes them for a gap. Returns whether it could.
fn take_over(owner: &Entry, spare: &Entry, core: u32, instance: u64) -> Result<bool> {
    let header = |entry: &Entry| Scan::open(entry, core, instance).map(|scan| scan.header);
    let (Some(owned), Some(empty)) = (header(owner)?, header(spare)?) else { return Ok(false) };
    let span = empty.base + empty.span - owned.base;
    if owned.base + owned.span < empty.base || span > SPAN_MAX {
        return Ok(false);
    }
    if owned.span < span {
        let failed = || format!("cannot write the header of {}", owner.path.display());
        let longer = Header { span, ..owned };
        rewrite(&owner.path, &longer.encode()).with_context(failed)?;
    }
    fs::remove_file(&spare.path).with_context(|| format!("cannot remove {}", spare.path.display()))?;
    Ok(true)
}

/// Replaces a header where it stands. A power cut may leave it damaged, which costs no record.
fn rewrite(path: &Path, header: &[u8]) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let changed_at = file.metadata()?.modified()?;
    file.write_all_at(header, 0)?;
    // What is in it is as old as before.
    file.set_modified(changed_at)?;
    file.sync_all()
}

fn start(
    name: String,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name(name).spawn(move || run(&shared));
    thread.context("cannot start a thread of the journal")
}
