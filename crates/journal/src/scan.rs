//! One segment's file, looked at by position: what stands there, and where the next whole record is after
//! damage.
//!
//! * Nothing is trusted: a length is believed when the checksum agrees.
//! * Reads go through a window that may be older than the file; what looks unwritten or damaged is read again
//!   before it is called so. A writer stores the length last, so a second read after it was seen has all of
//!   the record.

use crate::files::Entry;
use crate::format::{self, END_BYTES, HEADER_BYTES, Header, HeaderFault, RECORD_HEADER_BYTES, Word, stride};
use crate::format::{u32_at, u64_at};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Where the first record of a version 1 segment stands.
pub(crate) const FIRST: u64 = HEADER_BYTES as u64;

const WINDOW_BYTES: usize = 64 << 10;

/// A segment's file, and a window into it.
#[derive(Debug)]
pub(crate) struct Scan {
    file: File,
    pub(crate) base: u64,
    /// None: the header is damaged.
    pub(crate) header: Option<Header>,
    key: u32,
    window: Vec<u8>,
    window_at: u64,
    filled: usize,
}

/// What stands at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A whole record; its payload is in the window until the next look, the next record at `next`.
    Record {
        time_us: u64,
        payload: Range<usize>,
        next: u64,
    },
    /// The segment ends.
    End,
    /// Zeros, or the end of the file.
    Unwritten,
    Damaged,
}

/// What a whole segment holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) records: u64,
    /// Positions.
    pub(crate) damaged: Vec<Range<u64>>,
    /// The position after the last whole record.
    pub(crate) end: u64,
    /// Whether a record says that the segment ends there.
    pub(crate) ended: bool,
    /// From `end` to the last byte that is not zero, where the end is not said.
    pub(crate) torn_bytes: u64,
    pub(crate) times_us: Option<(u64, u64)>,
}

impl Scan {
    /// `instance` is whose the records are if the header is damaged.
    pub(crate) fn open(entry: &Entry, core: u32, instance: u64) -> Result<Self> {
        let at = |error: io::Error| {
            let context = format!("cannot read {}", entry.path.display());
            anyhow::Error::new(error).context(context)
        };
        let file = File::open(&entry.path).map_err(at)?;
        let mut bytes = [0; HEADER_BYTES];
        let header = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Header::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HeaderFault::Damaged),
            Err(error) => return Err(at(error)),
        };
        let header = match header {
            Err(HeaderFault::Newer(version)) => bail!(
                "{} has format version {version}: read it with the release that wrote it",
                entry.path.display()
            ),
            // A file under a name that is not its own: its offsets are not those of its name.
            Ok(header) => Some(header).filter(|header| header.base == entry.base && header.core == core),
            Err(HeaderFault::Damaged) => None,
        };
        let key = format::key(header.map_or(instance, |header| header.instance), core);
        let window = vec![0; WINDOW_BYTES];
        Ok(Self { file, base: entry.base, header, key, window, window_at: 0, filled: 0 })
    }

    /// What stands at `position`, as the file is now.
    pub(crate) fn look(&mut self, position: u64) -> io::Result<Seen> {
        match self.judge(position)? {
            Seen::Unwritten | Seen::Damaged => {
                self.filled = 0;
                self.judge(position)
            }
            seen => Ok(seen),
        }
    }

    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        &self.window[range]
    }

    /// The first position from `from` on where something whole stands.
    pub(crate) fn resync(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut position = from.next_multiple_of(8);
        loop {
            let word = match self.bytes(position, 4)? {
                word if word.len() < 4 => return Ok(None),
                word => u32_at(word, 0),
            };
            if word != 0 && matches!(self.judge(position)?, Seen::Record { .. } | Seen::End) {
                return Ok(Some(position));
            }
            position += 8;
        }
    }

    /// Where the file says that the segment ends: in its last bytes.
    pub(crate) fn sealed_at(&mut self) -> io::Result<Option<u64>> {
        let Some(last) = self.len()?.checked_sub(END_BYTES as u64) else { return Ok(None) };
        if last < FIRST || !last.is_multiple_of(8) {
            return Ok(None);
        }
        Ok((self.judge(last)? == Seen::End).then_some(last))
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file was removed, or another took its place.
    pub(crate) fn is_removed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// The time of the first record from `position` on, and where it stands.
    pub(crate) fn time_from(&mut self, position: u64) -> io::Result<Option<(u64, u64)>> {
        let Some(found) = self.resync(position)? else { return Ok(None) };
        match self.judge(found)? {
            Seen::Record { time_us, .. } => Ok(Some((time_us, found))),
            _ => Ok(None),
        }
    }

    /// Reads everything.
    pub(crate) fn contents(&mut self) -> io::Result<Contents> {
        let mut contents = Contents { end: FIRST, ..Contents::default() };
        let mut position = FIRST;
        loop {
            match self.look(position)? {
                Seen::Record { time_us, next, .. } => {
                    contents.records += 1;
                    let (first, last) = contents.times_us.unwrap_or((time_us, time_us));
                    contents.times_us = Some((first.min(time_us), last.max(time_us)));
                    contents.end = next;
                    position = next;
                }
                Seen::End => {
                    contents.ended = true;
                    contents.end = position;
                    return Ok(contents);
                }
                Seen::Unwritten | Seen::Damaged => match self.resync(position + 8)? {
                    // A writer may have gone on while we looked further.
                    Some(found) => {
                        if matches!(self.look(position)?, Seen::Unwritten | Seen::Damaged) {
                            contents.damaged.push(position..found);
                            position = found;
                        }
                    }
                    None => {
                        let torn_bytes = self.last_byte(position)?.saturating_sub(position);
                        // Asked last: a writer that goes on tears nothing.
                        if matches!(self.look(position)?, Seen::Unwritten | Seen::Damaged) {
                            contents.torn_bytes = torn_bytes;
                        }
                        return Ok(contents);
                    }
                },
            }
        }
    }

    /// The position after the last byte from `from` on that is not zero.
    pub(crate) fn last_byte(&mut self, from: u64) -> io::Result<u64> {
        let (mut position, mut last) = (from, from);
        loop {
            let bytes = self.bytes(position, WINDOW_BYTES)?;
            if bytes.is_empty() {
                return Ok(last);
            }
            if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
                last = position + at as u64 + 1;
            }
            position += bytes.len() as u64;
        }
    }

    fn judge(&mut self, position: u64) -> io::Result<Seen> {
        let key = self.key;
        let offset = self.base + position;
        let head = self.bytes(position, RECORD_HEADER_BYTES)?;
        if head.len() < RECORD_HEADER_BYTES {
            return Ok(Seen::Unwritten);
        }
        let (word, crc, time_us) = (u32_at(head, 0), u32_at(head, 4), u64_at(head, 8));
        let payload_bytes = match Word::of(word) {
            Word::Unwritten => return Ok(Seen::Unwritten),
            Word::Damaged => return Ok(Seen::Damaged),
            Word::Record(bytes) => bytes,
            Word::End => 0,
        };
        let bytes = stride(payload_bytes);
        // A length that damage made up is not worth the memory.
        if bytes > self.window.len() && position + bytes as u64 > self.len()? {
            return Ok(Seen::Damaged);
        }
        let record = self.bytes(position, bytes)?;
        if record.len() < bytes || format::checksum(key, offset, word, &record[8..]) != crc {
            return Ok(Seen::Damaged);
        }
        if word == Word::END {
            return Ok(Seen::End);
        }
        let payload_at = (position - self.window_at) as usize + RECORD_HEADER_BYTES;
        let payload = payload_at..payload_at + payload_bytes;
        Ok(Seen::Record { time_us, payload, next: position + bytes as u64 })
    }

    /// Up to `bytes` bytes at `position`, fewer only at the end of the file.
    fn bytes(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        let held = position.checked_sub(self.window_at).filter(|at| at + bytes as u64 <= self.filled as u64);
        let at = match held {
            Some(at) => at as usize,
            None => {
                if self.window.len() < bytes {
                    self.window.resize(bytes, 0);
                }
                self.window_at = position;
                self.filled = read_up_to(&self.file, &mut self.window, position)?;
                0
            }
        };
        Ok(&self.window[at..(at + bytes).min(self.filled)])
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Ends a segment that its writer did not: what follows the last whole record is cut. Returns how many bytes,
/// zeros not counted, or None if the segment had ended.
pub(crate) fn seal(entry: &Entry, core: u32, instance: u64) -> Result<Option<u64>> {
    let mut scan = Scan::open(entry, core, instance)?;
    let path = entry.path.as_path();
    let failed = || format!("cannot recover {}", path.display());
    if scan.sealed_at().with_context(failed)?.is_some() {
        return Ok(None);
    }
    let contents = scan.contents().with_context(failed)?;
    write_end(path, &scan, &contents).with_context(failed)?;
    Ok(Some(contents.torn_bytes))
}

fn write_end(path: &Path, scan: &Scan, contents: &Contents) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let mut end = [0; END_BYTES];
    end[0..4].copy_from_slice(&Word::END.to_le_bytes());
    end[8..16].copy_from_slice(&contents.times_us.map_or(0, |(_, last)| last).to_le_bytes());
    let crc = format::checksum(scan.key, scan.base + contents.end, Word::END, &end[8..]);
    end[4..8].copy_from_slice(&crc.to_le_bytes());
    // First the end, in a block that is there already, then the cut: a full disk does not prevent recovery.
    file.write_all_at(&end, contents.end)?;
    file.set_len(contents.end + END_BYTES as u64)?;
    file.sync_all()
}
