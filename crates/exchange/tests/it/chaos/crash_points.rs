//! The server dies right before its Nth call of one kind, for N = 1, 2, 3, … until it lives to its end: at every step of
//! a start, of turning a page, of saving and of ending. Needs the program `strace`.
//!
//! * Only calls on files of the journal and of the statistics count, by thread, as strace does.
//! * After each death the server starts in what it left, and the books are right.

use super::{Ledger, MIXED, catalogue, furnished_as, time};
use crate::server::{Home, Server};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The number of SIGKILL.
const KILL: i32 = 9;
const WORKERS: &[&str] = &["--workers", "2"];
/// What all of it takes where nobody says how long.
const SHORT: Duration = Duration::from_secs(50);

/// A kind of call to die before.
struct Row {
    /// As strace names them; with `?` where an architecture may lack one.
    calls: &'static str,
    /// Whose calls: which of the journal's and the statistics' files.
    files: fn(&Path) -> Vec<PathBuf>,
    /// Each death in a directory of its own, or all of them one after another in the same.
    is_fresh: bool,
    /// 0: what was answered was on disk.
    sync_ms: u32,
    /// In MiB; with one, segments are removed as soon as they may be.
    retain_mib: u32,
}

/// More MiB than is ever written here.
const ALL: u32 = 1_000;

const ROWS: &[Row] = &[
    // First starts.
    Row { calls: "?mkdir,?mkdirat", files: directories, is_fresh: true, sync_ms: 1, retain_mib: ALL },
    Row { calls: "write", files: small_files, is_fresh: true, sync_ms: 1, retain_mib: ALL },
    Row { calls: "fsync", files: all, is_fresh: true, sync_ms: 0, retain_mib: ALL },
    Row { calls: "?rename,?renameat,?renameat2", files: all, is_fresh: true, sync_ms: 0, retain_mib: ALL },
    // One death after another.
    Row { calls: "pwrite64", files: segments, is_fresh: false, sync_ms: 1, retain_mib: ALL },
    Row { calls: "fdatasync", files: segments, is_fresh: false, sync_ms: 1, retain_mib: ALL },
    // The second segments: made and synced by the background, not by the start.
    Row { calls: "fdatasync", files: later_segments, is_fresh: false, sync_ms: 0, retain_mib: ALL },
    Row { calls: "ftruncate", files: segments, is_fresh: false, sync_ms: 1, retain_mib: ALL },
    Row { calls: "?mmap,?mmap2", files: segments, is_fresh: false, sync_ms: 1, retain_mib: ALL },
    Row { calls: "openat", files: all, is_fresh: false, sync_ms: 0, retain_mib: ALL },
    Row { calls: "fsync", files: saved_files, is_fresh: false, sync_ms: 1, retain_mib: ALL },
    Row {
        calls: "?rename,?renameat,?renameat2",
        files: saved_files,
        is_fresh: false,
        sync_ms: 1,
        retain_mib: ALL,
    },
    Row { calls: "?unlink,?unlinkat", files: segments, is_fresh: false, sync_ms: 1, retain_mib: 1 },
];

#[test]
fn whatever_call_it_dies_before_every_answer_is_in_the_books() {
    let template = Home::empty().with(&catalogue());
    let (begun, each) = (Instant::now(), time().unwrap_or(SHORT) / ROWS.len() as u32);
    for (row, turn) in ROWS.iter().zip(1..) {
        let has_time = || begun.elapsed() < each * turn;
        let mut scene = Scene {
            row,
            template: &template,
            home: None,
            ledger: Ledger::default(),
            deaths: BTreeSet::new(),
        };
        // A spread first: 1, 2, 3, 5, 8, …
        let (mut n, mut before) = (1, 1);
        while scene.dies_at(n) && (n < 3 || has_time()) {
            (n, before) = (n + before, n);
        }
        if time().is_some() {
            // Then what is between.
            (1..n).for_each(|n| _ = !scene.deaths.contains(&n) && has_time() && scene.dies_at(n));
        }
        let of = scene.deaths.last().expect("it never came to such a call");
        println!("{:>4} deaths before the first {of} of {}", scene.deaths.len(), row.calls);
    }
}

/// Where a row's deaths happen.
struct Scene<'a> {
    row: &'a Row,
    template: &'a Home,
    home: Option<Home>,
    ledger: Ledger,
    deaths: BTreeSet<usize>,
}

impl Scene<'_> {
    /// Whether the server dies of its Nth call; afterwards it starts and all is right.
    fn dies_at(&mut self, n: usize) -> bool {
        if self.row.is_fresh {
            (self.home, self.ledger) = (None, Ledger::default());
        }
        let home = self.home.take().unwrap_or_else(|| furnished_as(self.template));
        let (is_dead, left) = run(home, self.row, n, &self.ledger);
        self.home = Some(recovered(left, self.row, &self.ledger));
        is_dead && self.deaths.insert(n)
    }
}

#[test]
fn a_kill_costs_nothing_however_little_the_journal_may_keep() {
    let ledger = Ledger::default();
    let home = Home::empty()
        .with(&catalogue())
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1);
    let server = home.set("BOURSE_JOURNAL_RETAIN_MIB", &1).serve_with(WORKERS);
    // Ten times what may be kept, in less time than passes between two saves.
    (0..4).for_each(|_| ledger.load(server.address, 4, 60, MIXED));
    assert!(ledger.answered() > 500);
    let server = server.killed().serve_with(WORKERS);
    assert_eq!(server.metric("bourse_journal_segments_removed_unread_total"), 0);
    ledger.check_retained(&[&server.home.data_dir()], &server.get("/stat"));
}

/// A run: start, load, end; dead if it came to its Nth call. Returns whether it died of that.
fn run(home: Home, row: &Row, n: usize, ledger: &Ledger) -> (bool, Home) {
    let set = format!("trace={}", row.calls);
    let inject = format!("inject={}:signal=KILL:when={n}", row.calls);
    // As a grandchild, so that the server is our own child; told of nothing but the calls it waits for.
    let mut tool: Vec<String> =
        ["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", &set, "-e", &inject].map(String::from).into();
    for path in (row.files)(&home.data_dir()) {
        tool.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let tool: Vec<&str> = tool.iter().map(String::as_str).collect();
    // Absolute, as strace compares names.
    let data_dir = home.data_dir();
    let home = home
        .set("BOURSE_DATA_DIR", data_dir.to_str().unwrap())
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_AGE_S", &1)
        .set("BOURSE_JOURNAL_SYNC_MS", &row.sync_ms)
        .set("BOURSE_JOURNAL_RETAIN_MIB", &row.retain_mib);
    let fallen = match home.serve_under(&tool, WORKERS) {
        Ok(server) => {
            ledger.load(server.address, 4, 60, MIXED);
            server.signal("TERM");
            server.fall()
        }
        Err(fallen) => fallen,
    };
    match (fallen.status.signal(), fallen.status.code()) {
        (Some(KILL), _) => (true, fallen.home),
        (None, Some(0)) => (false, fallen.home),
        _ => panic!("before {} number {n} it ended with {}: {}", row.calls, fallen.status, fallen.log),
    }
}

/// Starts it again, finds everything right, and lets it be killed once more.
fn recovered(home: Home, row: &Row, ledger: &Ledger) -> Home {
    // So that what was under way at the death is still there to be read.
    let server = home.set("BOURSE_JOURNAL_RETAIN_MIB", &ALL).serve_with(WORKERS);
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(server.metric("bourse_journal_damaged_total"), 0, "{}", server.log());
    check(&server, row, ledger);
    ledger.load(server.address, 2, 5, MIXED);
    check(&server, row, ledger);
    server.killed()
}

fn check(server: &Server, row: &Row, ledger: &Ledger) {
    let (data_dir, stat) = (server.home.data_dir(), server.get("/stat"));
    match row.retain_mib {
        1 => ledger.check_retained(&[&data_dir], &stat),
        _ => ledger.check(&[&data_dir], &stat),
    }
}

fn directories(data_dir: &Path) -> Vec<PathBuf> {
    ["journal", "journal/core-0", "journal/core-1", "journal/readers"].map(|name| data_dir.join(name)).into()
}

fn small_files(data_dir: &Path) -> Vec<PathBuf> {
    let names =
        ["journal/lock", "journal/.instance.new", ".statistics.new", "journal/readers/.statistics.new"];
    names.map(|name| data_dir.join(name)).into()
}

/// The statistics and how far the journal is read for them, with their directories.
fn saved_files(data_dir: &Path) -> Vec<PathBuf> {
    let readers = data_dir.join("journal/readers");
    let mut paths = vec![data_dir.to_owned(), data_dir.join("statistics.before")];
    for dir in [data_dir, &readers] {
        paths.extend(["statistics", ".statistics.new"].map(|name| dir.join(name)));
    }
    paths.push(readers);
    paths
}

/// What a run may make or touch: the segments that there are, and of each core the next ones.
fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for core in ["core-0", "core-1"].map(|name| data_dir.join("journal").join(name)) {
        paths.extend(std::fs::read_dir(&core).into_iter().flatten().map(|entry| entry.unwrap().path()));
        paths.extend(next_segments(&core, 0..12));
    }
    paths
}

/// Of each core the segments that a run makes after the one that its start makes.
fn later_segments(data_dir: &Path) -> Vec<PathBuf> {
    let cores = ["core-0", "core-1"].map(|name| data_dir.join("journal").join(name));
    cores.iter().flat_map(|core| next_segments(core, 1..12)).collect()
}

fn next_segments(core: &Path, which: std::ops::Range<u64>) -> impl Iterator<Item = PathBuf> + use<> {
    let listed = std::fs::read_dir(core).into_iter().flatten().map(|entry| entry.unwrap().path());
    let bases = listed.filter_map(|path| path.file_stem()?.to_str()?.parse::<u64>().ok());
    let first = bases.max().map_or(0, |last| last + (1 << 20));
    let core = core.to_owned();
    which.flat_map(move |at| {
        let base = first + (at << 20);
        ["seg", "new"].map(|extension| core.join(format!("{base:020}.{extension}")))
    })
}

fn all(data_dir: &Path) -> Vec<PathBuf> {
    [directories(data_dir), small_files(data_dir), saved_files(data_dir), segments(data_dir)].concat()
}
