//! The calls that a disk may refuse, in one place, so that tests can refuse them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The machine's disk.
#[cfg(not(test))]
#[derive(Debug)]
pub(crate) struct Disk;

#[cfg(not(test))]
impl Disk {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    pub(crate) fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// A disk that refuses what a test tells it to, and remembers what was synced after a failure.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) refuse_writes: std::sync::atomic::AtomicBool,
    pub(crate) refuse_syncs: std::sync::atomic::AtomicBool,
    pub(crate) is_slow_to_remove: std::sync::atomic::AtomicBool,
    /// Held open, so that no new file gets an old one's number.
    failed: std::sync::Mutex<Vec<File>>,
    pub(crate) synced_again: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Disk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        refuse(&self.refuse_writes, libc::ENOSPC)?;
        file.write_all_at(bytes, at)
    }

    pub(crate) fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let inode = |file: &File| file.metadata().map(|metadata| metadata.ino());
        let this = inode(file)?;
        let mut failed = crate::locked(&self.failed);
        if failed.iter().any(|one| inode(one).is_ok_and(|one| one == this)) {
            self.synced_again.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        if let Err(error) = refuse(&self.refuse_syncs, libc::EIO) {
            failed.push(file.try_clone()?);
            return Err(error);
        }
        file.sync_data()
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_slow_to_remove.load(std::sync::atomic::Ordering::Acquire) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        fs::remove_file(path)
    }
}

#[cfg(test)]
fn refuse(switch: &std::sync::atomic::AtomicBool, errno: i32) -> io::Result<()> {
    if switch.load(std::sync::atomic::Ordering::Acquire) {
        return Err(io::Error::from_raw_os_error(errno));
    }
    Ok(())
}
