//! Readers that follow a writer, go on where they were, and begin at a time.

use crate::scratch::{Owned, append, drain, open, payload, quick_dir, small};
use journal::{Begin, Cursor, Item, Offset, Reader, ReaderInfo, ReaderPlace, Settings, TIME_SLACK_US};
use std::thread;

#[test]
fn a_reader_sees_every_record_once_in_order_while_it_is_written() {
    const RECORDS: u64 = 100_000;
    let dir = quick_dir();
    let (journal, mut writer) = open(Settings { sync_ms: 1, ..small(dir.path()) });
    let path = dir.path().to_owned();
    let reading = thread::spawn(move || {
        let mut reader = Reader::open(&path, 0, Begin::Oldest).unwrap();
        let mut next = 0;
        while next < RECORDS {
            match reader.next().unwrap() {
                None => thread::yield_now(),
                Some(Item::Record { time_us, payload: found, .. }) => {
                    assert_eq!((time_us, found), (next, &payload(next, 8 + next as usize % 200)[..]));
                    next += 1;
                }
                Some(other) => panic!("after {next}: {other:?}"),
            }
        }
        assert_eq!(reader.next().unwrap(), None);
    });
    for next in 0..RECORDS {
        append(&mut writer, next, &payload(next, 8 + next as usize % 200));
    }
    reading.join().unwrap();
    assert_eq!(journal.status().cores[0].records, RECORDS);
    assert!(journal.status().cores[0].end.get() > 100 * (64 << 10), "no rotation was tested");
}

#[test]
fn a_reader_follows_across_restarts() {
    let dir = quick_dir();
    let mut reader = Reader::open(dir.path(), 0, Begin::Oldest).unwrap();
    assert_eq!(drain(&mut reader), []);
    for start in 0..5 {
        let (journal, mut writer) = open(small(dir.path()));
        assert_eq!(drain(&mut reader), [], "start {start}");
        let offset = append(&mut writer, start, b"record");
        let record = Owned::Record(offset.get(), start, b"record".to_vec());
        assert_eq!(drain(&mut reader), [record], "start {start}");
        drop((writer, journal));
    }
}

#[test]
fn how_far_a_reader_is_behind_counts_what_was_written_and_not_offsets_between() {
    let dir = quick_dir();
    let mut offsets = Vec::new();
    for _ in 0..2 {
        let (journal, mut writer) = open(small(dir.path()));
        // 16 bytes of header each.
        offsets.extend([8, 24, 8].map(|bytes| append(&mut writer, 1, &payload(1, bytes)).get()));
        drop((writer, journal));
    }
    let (_journal, mut writer) = open(small(dir.path()));
    append(&mut writer, 1, &payload(1, 84));
    for (offset, behind) in [
        (0, 2 * 88 + 104),
        (64, 2 * 88 + 104),
        (offsets[1], 64 + 88 + 104),
        (offsets[2] + 24, 88 + 104),
        (offsets[3] - 64, 88 + 104),
        (offsets[5], 24 + 104),
        (u64::MAX, 0),
    ] {
        let mut cursor = Cursor::open(dir.path(), "view").unwrap();
        cursor.set(0, Offset::new(offset));
        cursor.save().unwrap();
        let readers = journal::readers(dir.path()).unwrap();
        let place = ReaderPlace { core: 0, offset: Offset::new(offset), behind_bytes: behind };
        let expected = ReaderInfo { name: "view".into(), is_damaged: false, places: vec![place] };
        assert_eq!(readers, [expected], "{offset}");
    }
    let file = dir.path().join("readers/view");
    std::fs::write(file, "no place").unwrap();
    let readers = journal::readers(dir.path()).unwrap();
    assert!(readers[0].is_damaged && readers[0].places[0].behind_bytes == 2 * 88 + 104);
}

#[test]
fn a_cursor_goes_on_where_it_was_saved() {
    let dir = quick_dir();
    let (_journal, mut writer) = open(small(dir.path()));
    let mut unsaved = Offset::new(0);
    for round in 0..20_u64 {
        for _ in 0..3 {
            append(&mut writer, round, b"record");
        }
        let mut cursor = Cursor::open(dir.path(), "view").unwrap();
        let mut reader = Reader::open(dir.path(), 0, Begin::Offset(cursor.offset(0))).unwrap();
        let rounds: Vec<u64> = drain(&mut reader)
            .iter()
            .map(|item| match item {
                Owned::Record(_, time_us, _) => *time_us,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(rounds, [round; 3]);
        cursor.set(0, reader.offset());
        cursor.save().unwrap();
        unsaved = unsaved.max(reader.offset());
    }
    let mut cursor = Cursor::open(dir.path(), "view").unwrap();
    cursor.set(0, Offset::new(0));
    assert_eq!(
        Cursor::open(dir.path(), "view").unwrap().offset(0),
        unsaved,
        "what was not saved does not count"
    );
}

#[test]
fn a_damaged_cursor_says_what_to_do() {
    let dir = quick_dir();
    drop(Cursor::open(dir.path(), "view").unwrap());
    std::fs::write(dir.path().join("readers/view"), b"nonsense").unwrap();
    let error = format!("{:#}", Cursor::open(dir.path(), "view").unwrap_err());
    assert!(
        error.ends_with("is damaged: remove it, and the reader begins at the journal's start"),
        "{error}"
    );
    for name in ["", "a/b", "..", "a b"] {
        assert!(Cursor::open(dir.path(), name).is_err(), "{name:?}");
    }
}

#[test]
fn a_reader_from_a_time_misses_none_and_reads_little_before() {
    const RECORDS: u64 = 20_000;
    const STEP_US: u64 = 100_000;
    let dir = quick_dir();
    let settings = Settings {
        segment_bytes: 1 << 20,
        segment_bytes_max: 0,
        ahead_bytes: 512 << 10,
        ..small(dir.path())
    };
    let (_journal, mut writer) = open(settings);
    // Times go forward on the whole, and back by up to the slack.
    let time_us = |record: u64| TIME_SLACK_US + record * STEP_US - (record * 7919) % 100 * STEP_US;
    for record in 0..RECORDS {
        append(&mut writer, time_us(record), &payload(record, 150));
    }
    for wanted in (0..RECORDS).step_by(997) {
        let from_us = TIME_SLACK_US + wanted * STEP_US;
        let mut reader = Reader::open(dir.path(), 0, Begin::Time(from_us)).unwrap();
        let (mut earlier, mut found) = (0, 0);
        while let Some(item) = reader.next().unwrap() {
            match item {
                Item::Record { time_us, .. } if time_us >= from_us => found += 1,
                Item::Record { .. } => earlier += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            found,
            (0..RECORDS).filter(|record| time_us(*record) >= from_us).count(),
            "from {from_us}"
        );
        assert!(earlier < 600, "{earlier} records read for nothing");
    }
}

#[test]
fn group_commit_answers_when_it_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(Settings { sync_ms: 0, ..small(dir.path()) });
    let synced = writer.synced();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let writer = &mut writer;
    let journal = &journal;
    runtime.block_on(async move {
        for round in 0..20 {
            let offsets: Vec<Offset> = (0..50).map(|_| append(writer, round, &[1; 200])).collect();
            let waits: Vec<_> = offsets
                .iter()
                .map(|offset| {
                    let (synced, offset) = (synced.clone(), *offset);
                    async move { synced.wait(offset).await }
                })
                .collect();
            for wait in waits {
                assert_eq!(wait.await, Ok(()));
            }
            assert!(journal.status().cores[0].synced > offsets[49]);
        }
    });
}
