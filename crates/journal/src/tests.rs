//! What only tests with a hand inside can show: a disk that refuses, and retention when told to.

use crate::lane::Trouble;
use crate::{Begin, Cursor, Item, Journal, Offset, Reader, Settings, Unavailable, Writer, retain};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

fn small(dir: &Path) -> Settings {
    Settings { segment_bytes: 64 << 10, segment_bytes_max: 0, ahead_bytes: 16 << 10, ..Settings::new(dir, 1) }
}

fn open(settings: Settings) -> (Journal, Writer) {
    let (journal, mut writers) = Journal::open(settings).unwrap();
    (journal, writers.remove(0))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn append(writer: &mut Writer, payload: &[u8]) -> Offset {
    let mut appended = None;
    until("room", || {
        appended = writer.append(1, payload).ok();
        appended.is_some()
    });
    appended.unwrap()
}

fn payloads(dir: &Path) -> Vec<Vec<u8>> {
    let mut reader = Reader::open(dir, 0, Begin::Oldest).unwrap();
    let mut payloads = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Record { payload, .. } => payloads.push(payload.to_vec()),
            other => panic!("{other:?}"),
        }
    }
    payloads
}

fn wait(writer: &Writer, offset: Offset) -> Result<(), Unavailable> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(writer.synced().wait(offset))
}

#[test]
fn a_failed_sync_is_never_repeated_and_what_it_missed_is_copied() {
    for sync_ms in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut writer) = open(Settings { sync_ms, ..small(dir.path()) });
        let disk = &journal.shared().disk;
        let first = append(&mut writer, b"on disk");
        assert_eq!(wait(&writer, first), Ok(()));

        let lane = &journal.shared().lanes[0];
        until("spare", || crate::locked(&lane.spare).is_some());

        disk.refuse_syncs.store(true, Ordering::Release);
        let second = append(&mut writer, b"not on disk");
        assert_eq!(wait(&writer, second), Err(Unavailable::SyncFailed));
        assert_eq!(wait(&writer, first), Ok(()), "what was synced stays so");
        until("refusal", || writer.append(1, b"refused") == Err(Unavailable::SyncFailed));
        let status = journal.status();
        assert!(!status.available && status.sync_failures == 1, "{status:?}");
        assert!(status.cores[0].unsynced_bytes > 0);

        disk.refuse_syncs.store(false, Ordering::Release);
        let third = append(&mut writer, b"on a new file");
        assert_eq!(wait(&writer, third), Ok(()));
        until("copy", || journal.status().cores[0].unsynced_bytes == 0);
        assert_eq!(wait(&writer, second), Ok(()));
        assert!(journal.status().available);
        assert_eq!(disk.synced_again.load(Ordering::Relaxed), 0);
        assert_eq!(payloads(dir.path()), [&b"on disk"[..], b"not on disk", b"on a new file"]);
        drop((writer, journal));
        assert_eq!(payloads(dir.path()).len(), 3);
    }
}

#[test]
fn the_next_spare_waits_until_the_one_before_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(Settings { sync_ms: 1, ..small(dir.path()) });
    let (disk, lane) = (&journal.shared().disk, &journal.shared().lanes[0]);
    disk.is_slow_to_remove.store(true, Ordering::Release);
    let mut written = Vec::new();
    let mut record = |writer: &mut Writer| {
        let number = (written.len() as u32).to_le_bytes();
        append(writer, &number);
        written.push(number);
    };
    for _ in 0..5 {
        record(&mut writer);
        until("spare", || lane.trouble() == Trouble::None && crate::locked(&lane.spare).is_some());
        disk.refuse_syncs.store(true, Ordering::Release);
        record(&mut writer);
        // While the spare is being taken away.
        until("failure", || lane.trouble() == Trouble::Sync);
        disk.refuse_syncs.store(false, Ordering::Release);
    }
    record(&mut writer);
    assert_eq!(payloads(dir.path()), written);
}

#[test]
fn a_copy_that_fails_leaves_nothing_behind_and_is_no_file_that_is_synced_again() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(small(dir.path()));
    let record = append(&mut writer, b"record");
    journal.shared().disk.refuse_syncs.store(true, Ordering::Release);
    assert_eq!(wait(&writer, record), Err(Unavailable::SyncFailed));
    until("refusal", || writer.append(1, b"refused") == Err(Unavailable::SyncFailed));
    let shared = std::sync::Arc::clone(journal.shared());
    // The end tries once more, too.
    drop((writer, journal));
    let names = crate::files::names(&dir.path().join("core-0")).unwrap();
    assert!(names.iter().all(|name| name.ends_with(".seg")), "{names:?}");
    assert_eq!(shared.disk.synced_again.load(Ordering::Relaxed), 0);
    assert_eq!(payloads(dir.path())[0], b"record");
}

#[test]
fn a_disk_that_takes_nothing_costs_no_record_and_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(small(dir.path()));
    let disk = &journal.shared().disk;
    let mut written = vec![b"before".to_vec()];
    append(&mut writer, b"before");
    disk.refuse_writes.store(true, Ordering::Release);
    while writer.append(1, &[7; 1000]).is_ok() {
        written.push(vec![7; 1000]);
    }
    assert_eq!(writer.append(1, &[7; 1000]), Err(Unavailable::NoRoom));
    until("status", || !journal.status().available);
    disk.refuse_writes.store(false, Ordering::Release);
    written.push(b"after".to_vec());
    append(&mut writer, b"after");
    until("status", || journal.status().available);
    assert_eq!(payloads(dir.path()), written);
}

#[test]
fn a_disk_that_takes_nothing_at_the_start_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(small(dir.path()));
    let lane = &journal.shared().lanes[0];
    journal.shared().disk.refuse_writes.store(true, Ordering::Release);
    lane.discard_spare(&journal.shared().disk);
    assert_eq!(writer.append(1, b"early"), Err(Unavailable::NoRoom));
    journal.shared().disk.refuse_writes.store(false, Ordering::Release);
    append(&mut writer, b"later");
    assert_eq!(payloads(dir.path()), [b"later"]);
}

#[test]
fn a_panic_while_a_payload_is_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(small(dir.path()));
    let abandoned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        writer.append_with(1, 500, |bytes| {
            bytes.fill(0xAB);
            panic!("in the middle of a record");
        })
    }));
    assert!(abandoned.is_err());
    append(&mut writer, b"short");
    append(&mut writer, b"next");
    assert_eq!(payloads(dir.path()), [&b"short"[..], b"next"]);
    drop((writer, journal));
    let report = crate::verify(dir.path(), &mut |_, _| {}).unwrap().remove(0);
    assert_eq!((report.records, report.damaged.len(), report.torn_bytes), (2, 0, 0));
}

#[test]
fn an_old_segment_is_left_with_the_next_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(Settings { segment_age_s: 0, ..small(dir.path()) });
    let first = append(&mut writer, b"one");
    until("age", || append(&mut writer, b"more").get() >= first.get() - 64 + (64 << 10));
    drop((writer, journal));
}

#[test]
fn an_old_segment_is_left_by_a_writer_that_has_nothing_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(Settings { segment_age_s: 0, ..small(dir.path()) });
    append(&mut writer, b"one");
    let ended = || crate::list(dir.path()).unwrap().first().is_some_and(|first| first.sealed_at.is_some());
    until("the end", || {
        writer.rest();
        ended()
    });
    append(&mut writer, b"two");
    assert_eq!(payloads(dir.path()), [b"one", b"two"]);
    drop((writer, journal));
}

/// Sealed segments of one core, all but the last as old as said, and their bases.
fn sealed(dir: &Path, journal: &Journal, writer: &mut Writer, ages: &[Duration]) -> Vec<u64> {
    while crate::files::segments(&dir.join("core-0")).unwrap().len() <= ages.len() + 1 {
        append(writer, &[1; 4000]);
    }
    until("seals", || journal.shared().lanes[0].segments().len() <= 2);
    let segments = crate::files::segments(&dir.join("core-0")).unwrap();
    for (segment, age) in segments.iter().zip(ages) {
        let file = File::options().write(true).open(&segment.path).unwrap();
        file.set_modified(SystemTime::now() - *age).unwrap();
    }
    segments.iter().map(|segment| segment.base).collect()
}

#[test]
fn by_age_only_what_every_reader_has_read_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { retain_hours: Some(5), retain_bytes: None, ..small(dir.path()) };
    let mut slow = Cursor::open(dir.path(), "slow").unwrap();
    let (journal, mut writer) = open(settings);
    let ages = [9, 8, 7, 1].map(|hours| HOUR * hours);
    let bases = sealed(dir.path(), &journal, &mut writer, &ages);
    let left = || crate::files::segments(&dir.path().join("core-0")).unwrap().first().unwrap().base;

    for (read_to, oldest) in
        [(0, bases[0]), (bases[1] - 1, bases[0]), (bases[1], bases[1]), (bases[4], bases[3])]
    {
        slow.set(0, Offset::new(read_to));
        slow.save().unwrap();
        retain::pass(journal.shared(), Some(SystemTime::now()));
        assert_eq!(left(), oldest, "read to {read_to}");
    }
    let status = journal.status();
    assert_eq!((status.segments_removed, status.segments_removed_unread), (3, 0));
    slow.forget().unwrap();
}

#[test]
fn by_size_the_oldest_go_and_a_reader_that_was_not_there_yet_finds_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { retain_hours: None, retain_bytes: Some(1 << 30), ..small(dir.path()) };
    let lagging = Cursor::open(dir.path(), "lagging").unwrap();
    let (journal, mut writer) = open(settings.clone());
    let bases = sealed(dir.path(), &journal, &mut writer, &[HOUR * 4, HOUR * 3, HOUR * 2]);
    drop((writer, journal));
    let lengths = crate::files::segments(&dir.path().join("core-0")).unwrap();
    let lengths: u64 = lengths.iter().skip(1).map(|one| one.path.metadata().unwrap().len()).sum();
    // With the new spare at least one is too many.
    let (journal, _writer) = open(Settings { retain_bytes: Some(lengths), ..settings });
    for patient in [None, SystemTime::now().checked_sub(HOUR * 5)] {
        retain::pass(journal.shared(), patient);
        assert_eq!(journal.status().segments_removed, 0, "the reader is waited for");
    }
    retain::pass(journal.shared(), Some(SystemTime::now()));
    let left = crate::files::segments(&dir.path().join("core-0")).unwrap();
    assert!(left[0].base > bases[0]);
    let status = journal.status();
    assert!(
        status.segments_removed > 0 && status.segments_removed == status.segments_removed_unread,
        "{status:?}"
    );

    let mut reader = Reader::open(dir.path(), 0, Begin::Offset(lagging.offset(0))).unwrap();
    let gap = Item::Gap { from: Offset::new(0), to: Offset::new(left[0].base) };
    assert_eq!(reader.next().unwrap(), Some(gap));
    assert!(matches!(reader.next().unwrap(), Some(Item::Record { .. })));
}

#[test]
fn the_newest_segment_stays_however_old_or_large() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { retain_hours: Some(0), retain_bytes: Some(0), ..small(dir.path()) };
    let (journal, mut writer) = open(settings.clone());
    let last = append(&mut writer, b"record");
    drop((writer, journal));
    let (journal, mut writer) = open(settings);
    retain::pass(journal.shared(), Some(SystemTime::now()));
    assert!(append(&mut writer, b"another") > last);
}

#[test]
fn no_offset_is_given_twice_though_everything_was_removed_and_nothing_new_came() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { retain_hours: Some(0), retain_bytes: Some(0), ..small(dir.path()) };
    let (journal, mut writer) = open(settings.clone());
    let last = append(&mut writer, b"record");
    drop((writer, journal));
    for _ in 0..2 {
        let (journal, writer) = open(settings.clone());
        retain::pass(journal.shared(), Some(SystemTime::now()));
        // The spare goes, too: nobody wrote to it.
        drop((writer, journal));
    }
    let (_journal, mut writer) = open(settings);
    assert!(append(&mut writer, b"another") > last);
}
