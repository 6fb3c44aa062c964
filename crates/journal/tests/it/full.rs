//! A disk that is really full.

use crate::scratch::{Owned, append, open, payload, read, small};
use journal::{Settings, Unavailable};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A file system of 4 MiB in memory; unmounted however the test ends.
struct Tiny(TempDir);

impl Tiny {
    /// None: this user may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(dir.path());
        let mounted = mount.output().expect("this test needs the program mount");
        mounted.status.success().then(|| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: after a failed assertion files may still be open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Runs this test where whoever runs it is root: in a namespace of users and mounts of its own.
fn again_as_root() {
    const INSIDE: &str = "BOURSE_TEST_INSIDE";
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "this test must mount a tmpfs, and may not even in its own namespace"
    );
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    again.args(["--exact", "full::a_full_disk_refuses_records_until_there_is_space_and_loses_none"]);
    let said = again.env(INSIDE, "1").output().expect("this test needs root, or the program unshare");
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}

/// How much space each round gives back.
const STEP_BYTES: usize = 640 << 10;

#[test]
fn a_full_disk_refuses_records_until_there_is_space_and_loses_none() {
    let Some(disk) = Tiny::mount() else { return again_as_root() };
    let settings =
        Settings { segment_bytes: 1 << 20, ahead_bytes: 256 << 10, retain_bytes: None, ..small(disk.path()) };
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
