//! A disk that is really full.

use crate::scratch::{Owned, append, open, payload, read, small};
use crate::tiny::{Tiny, again_as_root};
use journal::{Journal, Settings, Unavailable};
use std::fs;
use std::time::{Duration, Instant};

/// How much space each round gives back.
const STEP_BYTES: usize = 640 << 10;

#[test]
fn a_full_disk_refuses_records_until_there_is_space_and_loses_none() {
    let Some(disk) = Tiny::mount() else {
        return again_as_root("full::a_full_disk_refuses_records_until_there_is_space_and_loses_none");
    };
    let settings = Settings {
        segment_bytes: 1 << 20,
        segment_bytes_max: 0,
        ahead_bytes: 256 << 10,
        retain_bytes: None,
        ..small(disk.path())
    };
    let (journal, mut writer) = open(settings.clone());
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 3 * STEP_BYTES]).unwrap();
    let mut written = 0;
    for round in (0..3).rev() {
        let refused = fill(&mut writer, &mut written);
        assert_eq!(refused, Unavailable::NoRoom);
        let begun = Instant::now();
        while journal.status().available {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", journal.status());
            std::thread::yield_now();
        }
        fs::File::options().write(true).open(&filler).unwrap().set_len((round * STEP_BYTES) as u64).unwrap();
        append(&mut writer, written, &payload(written, 300));
        written += 1;
    }
    drop((writer, journal));

    // A start on a full disk recovers what is there.
    fs::write(&filler, vec![1; 4 << 20]).unwrap_err();
    let (journal, mut writer) = open(settings);
    assert_eq!(writer.append(0, b"no room"), Err(Unavailable::NoRoom));
    let expected = |at: u64| (at, payload(at, 300));
    let found = read(disk.path()).into_iter().map(|item| match item {
        Owned::Record(_, time_us, payload) => (time_us, payload),
        other => panic!("{other:?}"),
    });
    assert!(found.eq((0..written).map(expected)));
    fs::remove_file(&filler).unwrap();
    append(&mut writer, 0, b"room");
    drop((writer, journal));
}

#[test]
fn a_full_disk_is_full_of_records() {
    let Some(disk) = Tiny::mount() else {
        return again_as_root("full::a_full_disk_is_full_of_records");
    };
    for cores in [1, 2] {
        let dir = disk.path().join(cores.to_string());
        let settings = Settings {
            segment_bytes: 1 << 20,
            segment_bytes_max: 0,
            ahead_bytes: 1 << 20,
            cores,
            ..small(&dir)
        };
        let (journal, mut writers) = Journal::open(Settings { retain_bytes: None, ..settings }).unwrap();
        let mut full_since = Instant::now();
        while full_since.elapsed() < Duration::from_millis(500) {
            for writer in &mut writers {
                if writer.append(1, &[7; 300]).is_ok() {
                    full_since = Instant::now();
                }
            }
        }
        let reports = journal::verify(&dir, &mut |_, _| {}).unwrap();
        let unused: u64 = reports.iter().map(|one| one.info.file_bytes - one.bytes).sum();
        assert!(unused < u64::from(cores) * (16 << 10), "{unused} bytes have no record");
        assert!(fs::write(disk.path().join("more"), [1; 4097]).is_err(), "there is space");
        drop((writers, journal));
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_long_record_is_taken_as_long_as_there_is_space_for_it_and_none_is_wasted_on_it_after() {
    let Some(disk) = Tiny::mount() else {
        return again_as_root(
            "full::a_long_record_is_taken_as_long_as_there_is_space_for_it_and_none_is_wasted_on_it_after",
        );
    };
    let settings =
        Settings { segment_bytes: 1 << 20, segment_bytes_max: 0, ahead_bytes: 1 << 20, ..small(disk.path()) };
    let (journal, mut writer) = open(Settings { retain_bytes: None, ..settings });
    let long = payload(1, 300 << 10);
    let mut written = 0;
    // 3.6 of 4 MiB.
    while written < 12 {
        append(&mut writer, 1, &long);
        written += 1;
    }
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        match writer.append(1, &long) {
            Ok(_) => written += 1,
            Err(error) => {
                assert_eq!(error, Unavailable::NoRoom);
                refused += 1;
            }
        }
    }
    let segments = journal::list(disk.path()).unwrap().len();
    assert!(refused > 100 && segments <= written + 1, "{refused} refused, {segments} segments");
    let mut short = 0_usize;
    while writer.append(1, b"a short one").is_ok() {
        short += 1;
    }
    assert!(short > 100, "what is too little for a long record takes short ones: {short}");
    drop((writer, journal));
    assert_eq!(read(disk.path()).len(), written + short);
}

/// Appends until the disk has been full for a while.
fn fill(writer: &mut journal::Writer, written: &mut u64) -> Unavailable {
    let mut refused_since = Instant::now();
    loop {
        match writer.append(*written, &payload(*written, 300)) {
            Ok(_) => {
                *written += 1;
                refused_since = Instant::now();
            }
            Err(error) if refused_since.elapsed() > Duration::from_millis(500) => return error,
            Err(_) => std::thread::yield_now(),
        }
    }
}
