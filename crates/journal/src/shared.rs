//! What the writers, the background threads and the [`Journal`](crate::Journal) hold in common.

use crate::Settings;
use crate::disk::Disk;
use crate::durations::Durations;
use crate::lane::Lane;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) instance: u64,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) disk: Disk,
    /// Wakes the thread that prepares room.
    pub(crate) room_bell: Bell,
    pub(crate) stop: AtomicBool,
    pub(crate) counts: Counts,
    /// The directory is ours until the last writer is gone.
    pub(crate) lock: File,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Said, not left to the file's end: a process that was forked in between still holds the file for a
        // moment.
        let _ = self.lock.unlock();
    }
}

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How long syncs took.
    pub(crate) syncs: Durations,
    pub(crate) sync_failures: AtomicU64,
    pub(crate) segments_settled: AtomicU64,
    pub(crate) segments_removed: AtomicU64,
    pub(crate) segments_removed_unread: AtomicU64,
}

/// Wakes one thread; ringing twice is ringing once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    thread: OnceLock<Thread>,
}

impl Bell {
    /// The calling thread is the one to wake.
    pub(crate) fn hang(&self) {
        let _ = self.thread.set(thread::current());
    }

    pub(crate) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Sleeps until rung, or for this long.
    pub(crate) fn wait(&self, at_most: Duration) {
        thread::park_timeout(at_most);
    }
}
