//! The operator's eyes: which segments there are, and whether what they hold is whole.

use crate::Offset;
use crate::files::{self, Entry, core_dir};
use crate::scan::{FIRST, Scan};
use anyhow::{Context, Result};
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
    /// Where no whole record stands though one did; the header counts as well.
    pub damaged: Vec<Range<Offset>>,
    /// Bytes after the last whole record that are not zero, in a segment whose end is not said. The next
    /// start cuts them; in a running journal it may be a record that is just being written.
    pub torn_bytes: u64,
    /// The earliest and the latest time of a record.
    pub times_us: Option<(u64, u64)>,
}

/// The segments of all cores, oldest first.
pub fn list(dir: &Path) -> Result<Vec<SegmentInfo>> {
    each(dir, info)
}

/// Reads every segment of all cores.
pub fn verify(dir: &Path) -> Result<Vec<SegmentReport>> {
    each(dir, |entry, core, scan| {
        let info = info(entry, core, scan)?;
        let contents = scan.contents()?;
        let offset = |position: u64| Offset::new(entry.base + position);
        let header = info.created_at_us.is_none().then(|| offset(0)..offset(FIRST));
        let damaged = contents.damaged.iter().map(|range| offset(range.start)..offset(range.end));
        Ok(SegmentReport {
            info,
            records: contents.records,
            bytes: contents.end,
            damaged: header.into_iter().chain(damaged).collect(),
            torn_bytes: contents.torn_bytes,
            times_us: contents.times_us,
        })
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
    let mut seen = Vec::new();
    for core in files::cores(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        for entry in files::segments(&core_dir(dir, core))? {
            let looked =
                Scan::open(&entry, core, instance).and_then(|mut scan| look(&entry, core, &mut scan));
            match looked {
                Ok(one) => seen.push(one),
                // Retention may be at work.
                Err(_) if !entry.path.exists() => {}
                Err(error) => return Err(error.context(format!("cannot read {}", entry.path.display()))),
            }
        }
    }
    Ok(seen)
}
