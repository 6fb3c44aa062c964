//! Journals of a test's own, and what is in them.

use journal::{Begin, Item, Journal, Offset, Reader, Settings, Writer};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory in memory where there is one: tests that open journals by the hundred wait for no disk there.
pub(crate) fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The smallest segments there are.
pub(crate) fn small(dir: &Path) -> Settings {
    Settings { segment_bytes: 64 << 10, segment_bytes_max: 0, ahead_bytes: 16 << 10, ..Settings::new(dir, 1) }
}

/// A journal with one core.
pub(crate) fn open(settings: Settings) -> (Journal, Writer) {
    let (journal, mut writers) = Journal::open(settings).unwrap();
    (journal, writers.remove(0))
}

/// Appends, waiting for the background as the exchange never would.
pub(crate) fn append(writer: &mut Writer, time_us: u64, payload: &[u8]) -> Offset {
    let begun = Instant::now();
    loop {
        match writer.append(time_us, payload) {
            Ok(offset) => return offset,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// An item that owns its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owned {
    Record(u64, u64, Vec<u8>),
    Damaged(u64, u64),
    Gap(u64, u64),
}

impl Owned {
    pub(crate) fn of(item: Item<'_>) -> Self {
        match item {
            Item::Record { offset, time_us, payload, .. } => {
                Self::Record(offset.get(), time_us, payload.to_vec())
            }
            Item::Damaged { from, to } => Self::Damaged(from.get(), to.get()),
            Item::Gap { from, to } => Self::Gap(from.get(), to.get()),
        }
    }
}

/// Everything that can be read now.
pub(crate) fn drain(reader: &mut Reader) -> Vec<Owned> {
    let mut items = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        items.push(Owned::of(item));
    }
    items
}

/// Everything that can be read from the oldest record on.
pub(crate) fn read(dir: &Path) -> Vec<Owned> {
    drain(&mut Reader::open(dir, 0, Begin::Oldest).unwrap())
}

/// The segment files of core 0, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("core-0")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    paths.sort();
    paths
}

/// A payload of this length that no other seed gives.
pub(crate) fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect()
}
