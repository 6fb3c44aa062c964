//! The operator's eyes: which segments there are, how far each reader has come, and whether all of it is whole.
//!
//! * Nothing is written, and a writer may be at work; what it appends meanwhile may be in or not.
//! * Segments that retention removes meanwhile are left out.

use crate::Offset;
use crate::cursor::{self, Place};
use crate::files::{self, Entry, core_dir};
use crate::format::END_BYTES;
use crate::scan::{FIRST, Scan};
use anyhow::{Context, Result};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is known about a segment without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Whose journal it is part of.
    pub core: u32,
    /// The file.
    pub path: PathBuf,
    /// The offset of its first byte.
    pub base: Offset,
    /// Its size now; of a segment at hand, with the room prepared in it.
    pub file_bytes: u64,
    /// Where it ends, if that is said.
    pub sealed_at: Option<Offset>,
    /// When it was made, in microseconds since 1970; None if the header is damaged.
    pub created_at_us: Option<u64>,
    /// The first record's time.
    pub first_time_us: Option<u64>,
}

/// What reading a segment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// What is known without reading.
    pub info: SegmentInfo,
    /// Whole records.
    pub records: u64,
    /// Bytes up to the last whole record, with headers and padding.
    pub bytes: u64,
    /// Where no whole record stands though one did; the header and the end count as well.
    pub damaged: Vec<Range<Offset>>,
    /// Bytes after the last whole record that are not zero, in a core's last segment if its end is not said. The
    /// next start cuts them; in a running journal it may be a record that is just being written.
    pub torn_bytes: u64,
    /// The earliest and the latest time of a record.
    pub times_us: Option<(u64, u64)>,
}

/// How far a registered reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderInfo {
    /// Its name.
    pub name: String,
    /// Whether its file is damaged; it then counts as being at the start.
    pub is_damaged: bool,
    /// Its place in the journal of each core.
    pub places: Vec<ReaderPlace>,
}

/// How far a registered reader has come in the journal of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderPlace {
    /// The core.
    pub core: u32,
    /// Everything before is done.
    pub offset: Offset,
    /// Bytes of records that are not; offsets that no record has do not count.
    pub behind_bytes: u64,
}

/// The segments of all cores, oldest first.
pub fn list(dir: &Path) -> Result<Vec<SegmentInfo>> {
    each(dir, info)
}

/// The names of the registered readers, in order.
pub fn reader_names(dir: &Path) -> Result<Vec<String>> {
    let places = cursor::places(dir).with_context(|| format!("cannot read readers of {}", dir.display()))?;
    let mut names: Vec<String> = places.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    Ok(names)
}

/// The registered readers, in order of name.
pub fn readers(dir: &Path) -> Result<Vec<ReaderInfo>> {
    let written = each(dir, |entry, core, scan| {
        let end = match scan.sealed_at()? {
            Some(end) => end,
            None => scan.contents()?.end,
        };
        Ok((core, entry.base + FIRST..entry.base + end))
    })?;
    let behind = |core: u32, offset: u64| {
        let own = written.iter().filter(|(of, _)| *of == core);
        own.map(|(_, bytes)| bytes.end.saturating_sub(bytes.start.max(offset))).sum()
    };
    let cores = files::cores(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut places =
        cursor::places(dir).with_context(|| format!("cannot read readers of {}", dir.display()))?;
    places.sort_by(|(one, _), (other, _)| one.cmp(other));
    let reader = |(name, place): (String, Place)| {
        let at = |&core: &u32| {
            let offset = place.of(core);
            ReaderPlace { core, offset: Offset::new(offset), behind_bytes: behind(core, offset) }
        };
        ReaderInfo { name, is_damaged: place == Place::Damaged, places: cores.iter().map(at).collect() }
    };
    Ok(places.into_iter().map(reader).collect())
}

/// Where the oldest segment of a core begins; where there is none, its journal does.
pub fn oldest(dir: &Path, core: u32) -> Result<Offset> {
    let dir = core_dir(dir, core);
    let segments = files::segments(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(Offset::new(segments.first().map_or(0, |first| first.base)))
}

/// How many bytes of a core's records stand between two offsets, by the lengths of its files; offsets that no record
/// has do not count.
pub fn behind_bytes(dir: &Path, core: u32, from: Offset, to: Offset) -> Result<u64> {
    let dir = core_dir(dir, core);
    let segments = files::segments(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let behind = |segment: &Entry| {
        let end = segment.base + fs::metadata(&segment.path).map_or(0, |file| file.len());
        end.min(to.get()).saturating_sub((segment.base + FIRST).max(from.get()))
    };
    Ok(segments.iter().map(behind).sum())
}

/// Reads every segment of all cores; the reports come in the order of [`list`]. `progress` hears how many bytes of
/// how many were read.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<SegmentReport>> {
    let entries = entries(dir)?;
    let bytes = |entry: &Entry| fs::metadata(&entry.path).map_or(0, |file| file.len());
    let total = entries.iter().map(|(_, entry)| bytes(entry)).sum();
    let instance = files::read_instance(dir)?.unwrap_or(0);
    let mut reports: Vec<SegmentReport> = Vec::new();
    let mut done = 0;
    // The newest first: a writer ends a segment before it begins the next, so what stands before one that has records
    // is ended when it is read.
    for (core, entry) in entries.iter().rev() {
        let is_last = !reports.iter().any(|later| later.info.core == *core && later.records > 0);
        let read = opened(entry, *core, instance, |scan| report(entry, *core, scan, is_last))?;
        done += read.as_ref().map_or(0, |report| report.info.file_bytes);
        progress(done.min(total), total);
        reports.extend(read);
    }
    reports.reverse();
    Ok(reports)
}

fn report(entry: &Entry, core: u32, scan: &mut Scan, is_last: bool) -> Result<SegmentReport> {
    let info = info(entry, core, scan)?;
    let contents = scan.contents()?;
    let offset = |position: u64| Offset::new(entry.base + position);
    let header = info.created_at_us.is_none().then(|| offset(0)..offset(FIRST));
    let damaged = contents.damaged.iter().map(|range| offset(range.start)..offset(range.end));
    let mut damaged: Vec<_> = header.into_iter().chain(damaged).collect();
    let mut torn_bytes = contents.torn_bytes;
    // Only a core's last segment can hold a record that was never finished, and its last bytes only the end.
    if torn_bytes > 0 && (!is_last || contents.end + END_BYTES as u64 == info.file_bytes) {
        damaged.push(offset(contents.end)..offset((contents.end + torn_bytes).next_multiple_of(8)));
        torn_bytes = 0;
    }
    Ok(SegmentReport {
        info,
        records: contents.records,
        bytes: contents.end,
        damaged,
        torn_bytes,
        times_us: contents.times_us,
    })
}

fn info(entry: &Entry, core: u32, scan: &mut Scan) -> Result<SegmentInfo> {
    Ok(SegmentInfo {
        core,
        path: entry.path.clone(),
        base: Offset::new(entry.base),
        file_bytes: scan.len()?,
        sealed_at: scan.sealed_at()?.map(|position| Offset::new(entry.base + position)),
        created_at_us: scan.header.map(|header| header.created_at_us),
        first_time_us: scan.time_from(FIRST)?.map(|(time_us, _)| time_us),
    })
}

fn each<T>(dir: &Path, look: impl Fn(&Entry, u32, &mut Scan) -> Result<T>) -> Result<Vec<T>> {
    let instance = files::read_instance(dir)?.unwrap_or(0);
    let looked = entries(dir)?
        .into_iter()
        .map(|(core, entry)| opened(&entry, core, instance, |scan| look(&entry, core, scan)));
    looked.filter_map(Result::transpose).collect()
}

/// Every core's segments, oldest first.
fn entries(dir: &Path) -> Result<Vec<(u32, Entry)>> {
    let mut entries = Vec::new();
    for core in files::cores(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let dir = core_dir(dir, core);
        let segments = files::segments(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        entries.extend(segments.into_iter().map(|entry| (core, entry)));
    }
    Ok(entries)
}

/// None: retention was at work.
fn opened<T>(
    entry: &Entry,
    core: u32,
    instance: u64,
    look: impl FnOnce(&mut Scan) -> Result<T>,
) -> Result<Option<T>> {
    match Scan::open(entry, core, instance).and_then(|mut scan| look(&mut scan)) {
        Ok(one) => Ok(Some(one)),
        Err(_) if !entry.path.exists() => Ok(None),
        Err(error) => Err(error.context(format!("cannot read {}", entry.path.display()))),
    }
}
