//! A segment that is being written, as the background threads see it: a file, and how far it is prepared,
//! written and synced.
//!
//! * Positions count from the file's beginning; an offset is `base` plus a position.
//! * `ready` grows only after zeros were written up to there, so that every page below it has its block.
//! * `written` is stored by the writer after each record; everything below it is whole.
//! * A file whose sync failed is never synced again: [`Segment::rescue`] copies it to a new one.

use crate::disk::Disk;
use crate::files::{segment_path, sync_dir};
use crate::format::{END_BYTES, HEADER_BYTES, Header};
use crate::locked;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// Whether the writer may stay.
const OPEN: u8 = 0;
/// The writer moves on as soon as there is another segment.
const AGED: u8 = 1;
/// The writer moves on now.
const FAILED: u8 = 2;

/// What a new segment is synced with: the rest of its room needs no sync before it is used, and a start would wait
/// for it.
const FIRST_BYTES: u64 = 256 << 10;

/// What a file system gives a file at least.
pub(crate) const PAGE_BYTES: u64 = 4096;

static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) base: u64,
    pub(crate) span: u64,
    /// When the first record was noticed.
    pub(crate) begun: OnceLock<Instant>,
    ready: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    state: AtomicU8,
    ended: AtomicBool,
    /// Held while the file grows or shrinks: zeros written after the cut would lengthen it again.
    shape: Mutex<()>,
}

impl Segment {
    /// A new file with a header and the first of `ahead` bytes of room, on disk with its name; or nothing at all.
    /// It gets its name last, because readers look at what has one.
    pub(crate) fn create(dir: &Path, header: &Header, ahead: u64, disk: &Disk) -> io::Result<Self> {
        let path = segment_path(dir, header.base);
        let unnamed = path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unnamed)?;
        let segment = Self {
            path,
            file,
            base: header.base,
            span: header.span,
            begun: OnceLock::new(),
            ready: AtomicU64::new(0),
            written: AtomicU64::new(HEADER_BYTES as u64),
            synced: AtomicU64::new(HEADER_BYTES as u64),
            state: AtomicU8::new(OPEN),
            ended: AtomicBool::new(false),
            shape: Mutex::new(()),
        };
        let prepared = segment
            .prepare(ahead.min(FIRST_BYTES), disk)
            .and_then(|()| disk.write_at(&segment.file, &header.encode(), 0))
            .and_then(|()| disk.sync(&segment.file))
            .and_then(|()| fs::rename(&unnamed, &segment.path))
            .and_then(|()| sync_dir(dir));
        if let Err(error) = prepared {
            // Half of a segment would only take room that is missing.
            let _ = fs::remove_file(&unnamed);
            return Err(error);
        }
        Ok(segment)
    }

    /// Writes zeros until `ahead` bytes beyond what is written are ready. What could be written before an
    /// error is kept, to a page or so.
    pub(crate) fn prepare(&self, ahead: u64, disk: &Disk) -> io::Result<()> {
        let _shape = locked(&self.shape);
        if self.ended() || self.failed() {
            return Ok(());
        }
        let until = (self.written() + ahead).min(self.span);
        let mut ready = self.ready();
        let mut at_once = ZEROS.len() as u64;
        while ready < until {
            let bytes = (until - ready).min(at_once);
            match disk.write_at(&self.file, &ZEROS[..bytes as usize], ready) {
                Ok(()) => ready += bytes,
                // Some of it may have found its place.
                Err(error) if error.kind() == io::ErrorKind::StorageFull && bytes > PAGE_BYTES => {
                    at_once = bytes / 2;
                }
                Err(error) => return Err(error),
            }
            self.ready.store(ready, Ordering::Release);
        }
        Ok(())
    }

    /// Puts what is written on disk, with its final length if the writer has left. Returns the position
    /// synced to.
    pub(crate) fn sync(&self, disk: &Disk, ended: bool) -> io::Result<u64> {
        let written = self.written();
        if ended {
            let _shape = locked(&self.shape);
            disk.set_len(&self.file, written + END_BYTES as u64)?;
        }
        disk.sync(&self.file)?;
        self.synced.store(written, Ordering::Release);
        Ok(written)
    }

    /// Copies a segment whose sync failed to a new file in its place. What was written is still in the page
    /// cache, or its checksums will say that it is not.
    pub(crate) fn rescue(&self, disk: &Disk) -> io::Result<()> {
        let fresh = self.path.with_extension("rescue");
        self.copy(&fresh, disk).inspect_err(|_| {
            // Half of a file would only take room that is missing, and a file whose sync failed is not synced again.
            let _ = fs::remove_file(&fresh);
        })
    }

    fn copy(&self, fresh: &Path, disk: &Disk) -> io::Result<()> {
        let copy = File::create(fresh)?;
        let end = self.written() + END_BYTES as u64;
        let mut buffer = vec![0; ZEROS.len()];
        let mut at = 0;
        while at < end {
            let bytes = (end - at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..bytes], at)?;
            disk.write_at(&copy, &buffer[..bytes], at)?;
            at += bytes as u64;
        }
        disk.sync(&copy)?;
        fs::rename(fresh, &self.path)?;
        self.path.parent().map_or(Ok(()), sync_dir)
    }

    pub(crate) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn set_written(&self, position: u64) {
        self.written.store(position, Ordering::Release);
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether so many more bytes have their place, and the segment's end after them.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.written() + (bytes + END_BYTES) as u64 <= self.ready()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written() == HEADER_BYTES as u64
    }

    /// Whether the writer has left.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the writer may stay without asking further.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OPEN
    }

    pub(crate) fn failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    pub(crate) fn set_aged(&self) {
        // A failure is not taken back.
        let _ = self.state.compare_exchange(OPEN, AGED, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(crate) fn set_failed(&self) {
        self.state.store(FAILED, Ordering::Release);
    }
}
