//! A process that is killed loses nothing that it was told is recorded.

use crate::scratch::{Owned, append, open, payload, read, small};
use journal::Settings;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "JOURNAL_TEST_DIR";
const FIRST: &str = "JOURNAL_TEST_FIRST";

/// Not a test of its own: what the killed process runs. It says on stderr which record is recorded.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let (_journal, mut writer) = open(settings(&PathBuf::from(dir)));
    let mut stderr = std::io::stderr();
    for record in first.. {
        append(&mut writer, record, &payload(record, record as usize % 600));
        stderr.write_all(&record.to_le_bytes()).unwrap();
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: 256 << 10,
        segment_bytes_max: 0,
        ahead_bytes: 128 << 10,
        sync_ms: 1,
        ..small(dir)
    }
}

#[test]
fn a_killed_process_has_lost_no_record_that_it_was_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = 0;
    for round in 0..50_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut told = vec![0; 8];
        stderr.read_exact(&mut told).unwrap();
        let listening = std::thread::spawn(move || {
            stderr.read_to_end(&mut told).unwrap();
            told
        });
        std::thread::sleep(Duration::from_micros(round * round % 37 * 1_300));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = listening.join().unwrap();
        let last = told.chunks_exact(8).last().unwrap();
        let last = u64::from_le_bytes(last.try_into().unwrap());
        assert!(last >= first && told.len() as u64 == (last - first + 1) * 8, "round {round}");
        first = check(dir.path(), last);
    }
    // And after the next start, which cuts what was not whole.
    drop(open(settings(dir.path())));
    assert_eq!(check(dir.path(), first - 1), first);
}

/// Every record up to `last` is there once, and perhaps one that nobody was told of. Returns what comes next.
fn check(dir: &Path, last: u64) -> u64 {
    let mut next = 0;
    for item in read(dir) {
        let Owned::Record(_, time_us, found) = item else { panic!("{item:?}") };
        assert_eq!((time_us, &found), (next, &payload(next, next as usize % 600)));
        next += 1;
    }
    assert!(next == last + 1 || next == last + 2, "told {last}, found {next}");
    next
}
