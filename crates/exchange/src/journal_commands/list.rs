//! `bourse journal ls`: segments, readers, and the sum.

use super::print;
use crate::calendar::ToMillis;
use crate::json::Text;
use anyhow::Result;
use journal::{ReaderInfo, ReaderPlace, SegmentInfo};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

pub(super) fn run(dir: &Path, json: bool) -> Result<()> {
    let (segments, readers) = (journal::list(dir)?, journal::readers(dir)?);
    print(|out| if json { objects(out, &segments, &readers) } else { table(out, &segments, &readers) })
}

fn table(out: &mut dyn Write, segments: &[SegmentInfo], readers: &[ReaderInfo]) -> Result<()> {
    writeln!(out, "{:>4}  {:>20}  {:>12}  {:<24}  state", "core", "base", "bytes", "first record")?;
    for segment in segments {
        let SegmentInfo { core, base, file_bytes, .. } = segment;
        let first = first_time(segment).map_or_else(|| "-".to_owned(), |time| time.0.to_string());
        writeln!(out, "{core:>4}  {:>20}  {file_bytes:>12}  {first:<24}  {}", base.get(), state(segment))?;
    }
    if !readers.is_empty() {
        writeln!(out, "\n{:>4}  {:>20}  {:>12}  reader", "core", "offset", "bytes behind")?;
    }
    for (reader, place) in places(readers) {
        let ReaderPlace { core, offset, behind_bytes } = place;
        let damaged = if reader.is_damaged { " (its file is damaged)" } else { "" };
        writeln!(out, "{core:>4}  {:>20}  {behind_bytes:>12}  {}{damaged}", offset.get(), reader.name)?;
    }
    writeln!(out, "\n{} segments, {} bytes; {} readers", segments.len(), bytes(segments), readers.len())?;
    Ok(())
}

fn objects(out: &mut dyn Write, segments: &[SegmentInfo], readers: &[ReaderInfo]) -> Result<()> {
    let segment = |segment: &SegmentInfo| Object::Segment {
        core: segment.core,
        base: segment.base.get(),
        bytes: segment.file_bytes,
        first_record: first_time(segment),
        state: state(segment),
        path: segment.path.display().to_string(),
    };
    let reader = |(reader, place): (&ReaderInfo, &ReaderPlace)| Object::Reader {
        name: reader.name.clone(),
        core: place.core,
        offset: place.offset.get(),
        behind_bytes: place.behind_bytes,
        damaged: reader.is_damaged,
    };
    let total = Object::Total { segments: segments.len(), bytes: bytes(segments), readers: readers.len() };
    for object in segments.iter().map(segment).chain(places(readers).map(reader)).chain([total]) {
        writeln!(out, "{}", serde_json::to_string(&object)?)?;
    }
    Ok(())
}

/// What a line says.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Object {
    Segment {
        core: u32,
        base: u64,
        bytes: u64,
        /// None: it has no record yet.
        first_record: Option<Text<ToMillis>>,
        state: &'static str,
        path: String,
    },
    Reader {
        name: String,
        core: u32,
        offset: u64,
        behind_bytes: u64,
        damaged: bool,
    },
    Total {
        segments: usize,
        bytes: u64,
        readers: usize,
    },
}

fn first_time(segment: &SegmentInfo) -> Option<Text<ToMillis>> {
    segment.first_time_us.map(|us| Text(ToMillis(us)))
}

fn state(segment: &SegmentInfo) -> &'static str {
    if segment.sealed_at.is_some() { "sealed" } else { "open" }
}

fn places(readers: &[ReaderInfo]) -> impl Iterator<Item = (&ReaderInfo, &ReaderPlace)> {
    readers.iter().flat_map(|reader| reader.places.iter().map(move |place| (reader, place)))
}

fn bytes(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|segment| segment.file_bytes).sum()
}
