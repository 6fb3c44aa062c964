//! A segment's pages in this process's memory: the only unsafe code of the crate.
//!
//! * A [`Map`] has one owner, the writer; readers and the background threads use the file (`pread`,
//!   `fdatasync`), so no two threads ever touch the mapping.
//! * Touching a page that has no block raises SIGBUS. The writer stays below what was written with zeros
//!   beforehand; the map itself only knows how long the mapping is, and asserts that.
//! * Under miri, which has no `mmap`, the pages are ordinary memory.
#![expect(unsafe_code, reason = "a store into a mapped page is the one way to record without a system call")]

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file's bytes from its beginning, shared with the kernel.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Map` is its only owner.
unsafe impl Send for Map {}

impl Map {
    /// Maps `len` bytes; the file may be shorter and grow.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        assert!(len > 0, "an empty mapping");
        let start = pages::map(file, len)?;
        Ok(Self { start, len })
    }

    /// The bytes `at..at + len`.
    pub(crate) fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        assert!(at <= self.len && len <= self.len - at, "beyond the mapping");
        // SAFETY: the range is inside the mapping, which lives as long as `self`; `&mut self` is the only way
        // to it in this process, and the lock on the directory keeps other processes from writing to
        // the file.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), len) }
    }

    /// Stores `word` after everything stored before it: whoever sees it, by `pread` or on disk after a kill,
    /// sees the rest, too.
    pub(crate) fn publish(&mut self, at: usize, word: u32) {
        assert!(
            at.is_multiple_of(4) && self.len >= 4 && at <= self.len - 4,
            "no aligned word in the mapping"
        );
        // SAFETY: inside the mapping and aligned (its start is aligned to a page, `at` to 4); `&mut self`
        // says that no reference to these bytes is alive.
        let place = unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) };
        place.store(word.to_le(), Ordering::Release);
    }

    /// Takes the whole pages before `end` out of this process's memory; their bytes stay in the file.
    pub(crate) fn forget(&mut self, end: usize) {
        pages::forget(self.start, end.min(self.len));
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        pages::unmap(self.start, self.len);
    }
}

#[cfg(not(miri))]
mod pages {
    use super::{File, NonNull, io};
    use std::os::fd::AsRawFd;

    pub(super) fn map(file: &File, len: usize) -> io::Result<NonNull<u8>> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that Rust knows.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).ok_or_else(|| io::Error::other("the kernel mapped a file at address zero"))
    }

    pub(super) fn forget(start: NonNull<u8>, end: usize) {
        const PAGE_BYTES: usize = 4096;
        let whole = end - end % PAGE_BYTES;
        // SAFETY: whole pages inside a shared mapping of a file: their contents stay in the page cache, and
        // the next access maps them again. Where a page is larger, the kernel refuses or rounds up
        // within the mapping, which is as harmless.
        unsafe { libc::madvise(start.as_ptr().cast(), whole, libc::MADV_DONTNEED) };
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: exactly what `map` returned, and its only owner is being dropped.
        unsafe { libc::munmap(start.as_ptr().cast(), len) };
    }
}

#[cfg(miri)]
mod pages {
    use super::{File, NonNull, io};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    const ALIGN: usize = 4096;

    fn layout(len: usize) -> io::Result<Layout> {
        Layout::from_size_align(len, ALIGN).map_err(io::Error::other)
    }

    pub(super) fn map(_: &File, len: usize) -> io::Result<NonNull<u8>> {
        // SAFETY: `Map::new` refuses a length of zero.
        let start = unsafe { alloc_zeroed(layout(len)?) };
        NonNull::new(start).ok_or_else(|| io::Error::other("out of memory"))
    }

    pub(super) fn forget(_: NonNull<u8>, _: usize) {}

    pub(super) fn unmap(start: NonNull<u8>, len: usize) {
        if let Ok(layout) = layout(len) {
            // SAFETY: allocated by `map` with the same layout, and its only owner is being dropped.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Map;
    use std::fs::File;

    /// Some file of 16 KiB; miri needs only its handle.
    fn file() -> File {
        #[cfg(miri)]
        return File::open("Cargo.toml").unwrap();
        #[cfg(not(miri))]
        {
            let file = tempfile::tempfile().unwrap();
            file.set_len(16 << 10).unwrap();
            file
        }
    }

    #[test]
    fn what_was_stored_is_there_and_stays_when_forgotten() {
        let mut map = Map::new(&file(), 16 << 10).unwrap();
        for at in (0..16 << 10).step_by(8) {
            map.bytes_mut(at + 4, 4).copy_from_slice(&(at as u32).to_le_bytes());
            map.publish(at, !(at as u32));
        }
        map.forget(10_000);
        for at in (0..16 << 10).step_by(8) {
            assert_eq!(map.bytes_mut(at, 4), (!(at as u32)).to_le_bytes());
            assert_eq!(map.bytes_mut(at + 4, 4), (at as u32).to_le_bytes());
        }
    }

    #[test]
    fn another_thread_may_own_it() {
        let mut map = Map::new(&file(), 4096).unwrap();
        map.publish(8, 7);
        let word = std::thread::spawn(move || map.bytes_mut(8, 4).to_vec()).join().unwrap();
        assert_eq!(word, 7_u32.to_le_bytes());
    }

    #[test]
    #[should_panic(expected = "beyond the mapping")]
    fn nothing_beyond_the_mapping_is_given_out() {
        let mut map = Map::new(&file(), 4096).unwrap();
        map.bytes_mut(4090, 7);
    }

    #[test]
    #[should_panic(expected = "no aligned word")]
    fn only_aligned_words_are_published() {
        let mut map = Map::new(&file(), 4096).unwrap();
        map.publish(6, 1);
    }
}
