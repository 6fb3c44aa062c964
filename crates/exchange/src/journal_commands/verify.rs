//! `bourse journal verify`: reads everything, and says what is damaged.
//!
//! * Two passes: every checksum of every segment, then every auction with its supply.
//! * What a killed process left unfinished at the end of a core's journal is told, and is no damage: nobody was answered
//!   for it, and the next start cuts it.

use super::walk::{Walk, each_core};
use super::{gap, offsets, print};
use crate::progress::Progress;
use anyhow::{Result, ensure};
use auction::encoding::Fault;
use journal::{Offset, SegmentReport};
use reporting::Event;
use std::ops::Range;
use std::path::Path;

pub(super) fn run(dir: &Path) -> Result<()> {
    let mut progress = Progress::start();
    let reports = journal::verify(dir, &mut |done, total| {
        progress.show("checking, MiB", done >> 20, total >> 20);
    })?;
    progress.finish();
    let found: Vec<Found> =
        each_core(dir, 0, "reading auctions, MiB", |core, walk| found(core, walk, &reports))?
            .into_iter()
            .flatten()
            .collect();

    let sum = Sum::of(&reports, &found);
    print(|out| {
        for line in reports.iter().flat_map(not_whole).chain(found.iter().map(Found::line)) {
            writeln!(out, "{line}")?;
        }
        let Sum { segments, records, bytes, damaged, missing, unreadable, torn_bytes } = sum;
        writeln!(
            out,
            "{segments} segments, {records} records, {bytes} bytes: {damaged} ranges damaged, {missing} missing, \
             {unreadable} records unreadable, {torn_bytes} bytes torn"
        )?;
        Ok(())
    })?;
    ensure!(
        sum.damaged + sum.missing + sum.unreadable == 0,
        "the journal is damaged: what is whole in it can be read, the rest has to come from a copy"
    );
    Ok(())
}

/// A line for each range of a segment that is not whole.
fn not_whole(report: &SegmentReport) -> Vec<String> {
    let path = report.info.path.display();
    let damaged = |range: &Range<Offset>| format!("{path}: {} are damaged", offsets(range.start, range.end));
    let mut lines: Vec<_> = report.damaged.iter().map(damaged).collect();
    if report.torn_bytes > 0 {
        let from = report.info.base.get() + report.bytes;
        let torn = offsets(Offset::new(from), Offset::new(from + report.torn_bytes));
        lines.push(format!(
            "{path}: {torn} are half a record: being written now, or when a process was killed"
        ));
    }
    lines
}

/// What the second pass found in a place.
enum Found {
    /// Whole records of one segment that cannot be read.
    Unreadable { path: String, records: u64, first: Offset, last: Offset, fault: Fault },
    /// Offsets between two segments.
    Missing { core: u32, from: Offset, to: Offset },
}

impl Found {
    fn line(&self) -> String {
        match self {
            Self::Unreadable { path, records, first, last, fault } => format!(
                "{path}: {records} records at offsets {first} to {last} cannot be read; of the first {fault}"
            ),
            Self::Missing { core, from, to } => gap(*core, *from, *to),
        }
    }
}

fn found(core: u32, walk: &mut Walk, reports: &[SegmentReport]) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut take = |event: &Event<'_>| match event {
        // What the first pass has not told already.
        Event::Auction { .. } | Event::Damaged { .. } => {}
        Event::Gap { from, to } => found.push(Found::Missing { core, from: *from, to: *to }),
        Event::Unreadable { offset, fault } => {
            let path = path_at(reports, core, *offset);
            match found.last_mut() {
                Some(Found::Unreadable { path: same, records, last, .. }) if *same == path => {
                    (*records, *last) = (*records + 1, *offset);
                }
                _ => {
                    let (first, last, fault) = (*offset, *offset, *fault);
                    found.push(Found::Unreadable { path, records: 1, first, last, fault });
                }
            }
        }
    };
    while walk.next(&mut take)?.is_some() {}
    let oldest = reports.iter().find(|report| report.info.core == core);
    if oldest.is_none_or(|oldest| !oldest.info.path.exists()) {
        // Retention, which begins with the oldest, was faster than we.
        found.retain(|one| !matches!(one, Found::Missing { .. }));
    }
    Ok(found)
}

/// The file that has this offset.
fn path_at(reports: &[SegmentReport], core: u32, offset: Offset) -> String {
    let own = reports.iter().filter(|report| report.info.core == core);
    let at = own.take_while(|report| report.info.base <= offset).last();
    // One that was begun after the first pass.
    at.map_or_else(|| format!("core-{core}"), |report| report.info.path.display().to_string())
}

#[derive(Clone, Copy, Default)]
struct Sum {
    segments: usize,
    records: u64,
    bytes: u64,
    damaged: u64,
    missing: u64,
    unreadable: u64,
    torn_bytes: u64,
}

impl Sum {
    fn of(reports: &[SegmentReport], found: &[Found]) -> Self {
        let mut sum = Self { segments: reports.len(), ..Self::default() };
        for report in reports {
            sum.records += report.records;
            sum.bytes += report.bytes;
            sum.damaged += report.damaged.len() as u64;
            sum.torn_bytes += report.torn_bytes;
        }
        for one in found {
            match one {
                Found::Unreadable { records, .. } => sum.unreadable += records,
                Found::Missing { .. } => sum.missing += 1,
            }
        }
        sum
    }
}
