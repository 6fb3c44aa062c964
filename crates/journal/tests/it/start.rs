//! Starting: who may, who it is, how fast.

use crate::scratch::{Owned, append, drain, open, payload, quick_dir, read, segments, small};
use journal::{Begin, Journal, Offset, Reader, Settings, Unavailable};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[test]
fn two_processes_never_share_a_directory() {
    let dir = quick_dir();
    let (journal, writer) = open(small(dir.path()));
    let refused = format!("{:#}", Journal::open(small(dir.path())).unwrap_err());
    let expected = format!("process {} is using {}", std::process::id(), dir.path().display());
    assert!(refused.starts_with(&expected) && !refused.contains('\n'), "{refused}");
    drop(journal);
    assert!(Journal::open(small(dir.path())).is_err(), "the writer still is there");
    drop(writer);
    assert!(Journal::open(small(dir.path())).is_ok());
}

#[test]
fn an_instance_stays_who_it_is() {
    let dir = quick_dir();
    let first = open(small(dir.path())).0.instance();
    assert_eq!(open(small(dir.path())).0.instance(), first);
    assert_ne!(open(small(quick_dir().path())).0.instance(), first);
}

#[test]
fn a_start_without_records_leaves_no_file_behind() {
    let dir = quick_dir();
    for _ in 0..3 {
        drop(open(small(dir.path())));
        assert_eq!(segments(dir.path()).len(), 0);
    }
}

#[test]
fn starts_that_are_killed_before_a_record_leave_neither_files_nor_gaps() {
    let mut dir = quick_dir();
    let (mut records, mut reached) = (Vec::new(), Vec::new());
    for round in 0..40 {
        let (journal, mut writer) = open(small(dir.path()));
        if round % 13 == 5 {
            let offset = append(&mut writer, round, b"record");
            assert!(Some(&offset) > reached.last(), "an offset that was given out comes again");
            records.push(offset);
        }
        reached.push(writer.position());
        let copy = killed(dir.path(), 1);
        drop((writer, journal));
        dir = copy;
    }
    drop(open(small(dir.path())));
    assert!(segments(dir.path()).len() <= 2 * records.len() + 1, "{:?}", segments(dir.path()));
    for from in reached {
        let items = drain(&mut Reader::open(dir.path(), 0, Begin::Offset(from)).unwrap());
        let found: Vec<Offset> = items
            .into_iter()
            .map(|item| match item {
                Owned::Record(offset, ..) => Offset::new(offset),
                other => panic!("from {from}: {other:?}"),
            })
            .collect();
        let expected: Vec<Offset> = records.iter().copied().filter(|record| *record >= from).collect();
        assert_eq!(found, expected, "from {from}");
    }
}

/// The files as a kill would leave them now: the writers never say where their segments end.
fn killed(dir: &Path, cores: u32) -> TempDir {
    let copy = quick_dir();
    fs::copy(dir.join("instance"), copy.path().join("instance")).unwrap();
    for core in (0..cores).map(|core| format!("core-{core}")) {
        fs::create_dir(copy.path().join(&core)).unwrap();
        for entry in fs::read_dir(dir.join(&core)).unwrap() {
            let entry = entry.unwrap();
            let copied = fs::copy(entry.path(), copy.path().join(&core).join(entry.file_name()));
            // The background goes on meanwhile.
            assert!(copied.is_ok() || !entry.path().exists(), "{copied:?}");
        }
    }
    copy
}

#[test]
fn a_clean_end_leaves_no_room_in_the_files() {
    let dir = quick_dir();
    let (journal, mut writer) = open(small(dir.path()));
    append(&mut writer, 1, &[1; 100]);
    drop((writer, journal));
    // Header, one record of 16 + 100 bytes padded, the end.
    assert_eq!(fs::metadata(&segments(dir.path())[0]).unwrap().len(), 64 + 120 + 16);
    assert_eq!(open(small(dir.path())).0.recovery().torn, []);
}

#[test]
fn fewer_cores_than_before_are_recovered_and_read_all_the_same() {
    let dir = quick_dir();
    let (journal, mut writers) = Journal::open(Settings { cores: 3, ..small(dir.path()) }).unwrap();
    for writer in &mut writers {
        append(writer, 1, b"record");
    }
    let copy = killed(dir.path(), 3);
    drop((writers, journal));
    let (journal, writer) = open(small(copy.path()));
    // Spares that the background had made by then are ended, too.
    let mut torn: Vec<_> = journal.recovery().torn.iter().filter_map(|torn| torn.path.parent()).collect();
    torn.dedup();
    assert_eq!(torn, [0, 1, 2].map(|core| copy.path().join(format!("core-{core}"))));
    assert_eq!(journal::cores(copy.path()).unwrap(), [0, 1, 2]);
    assert_eq!(read(copy.path()).len(), 1);
    drop((writer, journal));
}

#[test]
fn a_start_reads_only_the_segment_that_was_not_ended() {
    let dir = quick_dir();
    let settings =
        Settings { segment_bytes: 16 << 20, segment_bytes_max: 0, ahead_bytes: 8 << 20, ..small(dir.path()) };
    let (journal, mut writer) = open(settings.clone());
    let record = payload(7, 100_000);
    for at in 0..2_000 {
        append(&mut writer, at, &record);
    }
    drop((writer, journal));
    let last = segments(dir.path()).pop().unwrap();
    let length = fs::metadata(&last).unwrap().len();
    fs::File::options().write(true).open(&last).unwrap().set_len(length - 17).unwrap();

    let begun = Instant::now();
    let (journal, _writer) = open(settings);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?} for 200 MB", begun.elapsed());
    assert_eq!(journal.recovery().torn.len(), 1);
    assert!(journal.recovery().segments > 10);
}

#[test]
fn a_record_is_as_long_as_what_is_prepared_ahead_or_four_mebibytes() {
    for (ahead_bytes, longest) in
        [(16 << 10, (16 << 10) - 64 - 16 - 16), (8 << 20, journal::PAYLOAD_BYTES_MAX)]
    {
        let dir = quick_dir();
        let (_journal, mut writer) = open(Settings {
            segment_bytes: 16 << 20,
            segment_bytes_max: 0,
            ahead_bytes,
            ..small(dir.path())
        });
        append(&mut writer, 1, b"the segment is at hand");
        assert_eq!(writer.append(1, &vec![0; longest + 1]), Err(Unavailable::TooLong));
        append(&mut writer, 1, &payload(1, longest));
        assert_eq!(read(dir.path()).len(), 2);
    }
}

#[test]
fn segments_that_were_full_at_once_are_followed_by_longer_ones_that_are_read_and_taken_up_as_any() {
    let dir = quick_dir();
    let settings = Settings { segment_bytes_max: 1 << 20, retain_bytes: None, ..small(dir.path()) };
    let (journal, mut writer) = open(settings.clone());
    let (record, begun) = (payload(7, 1_000), Instant::now());
    let longest = || segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).max().unwrap();
    let mut written = 0;
    while longest() < 256 << 10 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes", longest());
        append(&mut writer, written, &record);
        written += 1;
    }
    // As it is after a kill, with a segment at hand that is long.
    let copy = killed(dir.path(), 1);
    drop((writer, journal));
    let (journal, mut writer) = open(Settings { dir: copy.path().to_owned(), ..settings });
    append(&mut writer, written, &record);
    drop((writer, journal));
    let mut reader = Reader::open(copy.path(), 0, Begin::Oldest).unwrap();
    let times = drain(&mut reader).into_iter().map(|item| match item {
        Owned::Record(_, time_us, payload) if payload == record => time_us,
        other => panic!("{other:?}"),
    });
    assert!(times.eq(0..=written));
}
