//! The disk fills up or fails: no answer without a record, and all is well again once the disk is, without a restart.

use super::tiny::{Tiny, again_as_root};
use super::{Ledger, MIXED, catalogue};
use crate::client::{Answer, Connection, bid_body};
use crate::server::{Home, Server, eventually, rounds};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const WORKERS: &[&str] = &["--workers", "2"];
/// So many connections meet every core.
const CONNECTIONS: usize = 16;

fn held(answer: &Answer) -> bool {
    ["200", "400 no_bids", "400 no_eligible_bidders"].contains(&answer.verdict().as_str())
}

fn is_unrecorded(answer: &Answer) -> bool {
    answer.verdict() == "503 journal_unavailable" && answer.retry_after_s() >= 1
}

/// Connections to all cores.
fn connections(server: &Server) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| server.connect()).collect()
}

/// Loads the server until no core takes an auction any more.
fn until_refused(server: &Server, ledger: &Ledger, supplies: &[&'static str]) {
    let mut connections = connections(server);
    eventually("every core refuses", || {
        ledger.load(server.address, 4, 40, supplies);
        // By the shortest record there is.
        connections.iter_mut().all(|one| is_unrecorded(&ledger.ask(one, "nobody").expect("an answer")))
    });
}

/// What a server says while it cannot record.
fn check_unavailable(server: &Server) {
    eventually("it says that it is not ready", || server.get("/health/ready").status == 503);
    assert_eq!(server.get("/health/ready").json()["status"], "journal_unavailable");
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.json("/")["status"], "journal_unavailable");
    assert_eq!(server.metric("bourse_journal_available"), 0);
}

/// It becomes ready again, and holds auctions on every core.
fn check_recovered(server: &Server, ledger: &Ledger) {
    eventually("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.json("/")["status"], "ok");
    assert_eq!(server.metric("bourse_journal_available"), 1);
    let mut connections = connections(server);
    eventually("every core holds auctions", || {
        connections.iter_mut().all(|one| held(&ledger.ask(one, "narrow").expect("an answer")))
    });
}

/// A guest that asks while nothing can be recorded, and has all its requests afterwards.
struct Patient(&'static str);

impl Patient {
    fn ask(&self, server: &Server) -> String {
        server.bid(bid_body("nobody", self.0)).verdict()
    }

    fn is_refused(&self, server: &Server) {
        (0..CONNECTIONS).for_each(|_| assert_eq!(self.ask(server), "503 journal_unavailable"));
    }

    fn has_all_its_requests(&self, server: &Server) {
        (0..3).for_each(|_| assert_eq!(self.ask(server), "400 no_eligible_bidders"));
        assert_eq!(self.ask(server), "429 rate_limited");
    }
}

/// A file of so many bytes, or of what there is room for.
fn fill(disk: &Path, bytes: usize) -> PathBuf {
    let path = disk.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    let page = [1; 4096];
    let _full = (0..bytes / page.len()).try_for_each(|_| file.write_all(&page));
    path
}

fn shorten(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

#[test]
fn a_full_disk_costs_no_answer_and_nobody_a_request() {
    let Some(disk) = Tiny::mount() else {
        return again_as_root("chaos::disk::a_full_disk_costs_no_answer_and_nobody_a_request");
    };
    let ledger = Ledger::default();
    let home = Home::empty().set("BOURSE_DATA_DIR", disk.path().to_str().unwrap()).with(&catalogue());
    let home = home
        .set("BOURSE_RATE_LIMIT_REQUESTS", &3)
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1);
    let server = home.serve_with(WORKERS);
    let books = |server: &Server| ledger.check(&[disk.path()], &server.get("/stat"));
    ledger.load(server.address, 4, 10, MIXED);
    let filler = fill(disk.path(), 1 << 20);
    until_refused(&server, &ledger, &["middle"]);
    check_unavailable(&server);
    let patient = Patient("192.0.2.1");
    patient.is_refused(&server);
    books(&server);
    fs::remove_file(&filler).unwrap();
    check_recovered(&server, &ledger);
    patient.has_all_its_requests(&server);
    books(&server);

    // A start on a disk that is full to its last byte.
    let home = server.killed();
    let filler = fill(disk.path(), 4 << 20);
    let server = home.serve_with(WORKERS);
    books(&server);
    until_refused(&server, &ledger, &["middle"]);
    check_unavailable(&server);
    fs::remove_file(&filler).unwrap();
    check_recovered(&server, &ledger);
    books(&server);

    // And an end on one.
    let filler = fill(disk.path(), 4 << 20);
    until_refused(&server, &ledger, &["middle"]);
    let home = server.stop();
    fs::remove_file(&filler).unwrap();
    let server = home.serve_with(WORKERS);
    books(&server);
    assert_eq!(server.metric("bourse_journal_damaged_total"), 0);
}

#[test]
fn a_supply_that_no_room_is_left_for_costs_nobody_a_request_either() {
    let Some(disk) = Tiny::mount() else {
        return again_as_root("chaos::disk::a_supply_that_no_room_is_left_for_costs_nobody_a_request_either");
    };
    let home = Home::empty().set("BOURSE_DATA_DIR", disk.path().to_str().unwrap()).with(&catalogue());
    let home = home
        .set("BOURSE_RATE_LIMIT_REQUESTS", &3)
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1);
    let server = home.serve_with(&["--workers", "1"]);
    let (mut connection, mut guests) = (server.connect(), 0);
    let mut ask = |supply: &str, ip: Option<&str>| {
        guests += 1;
        let other = format!("198.18.{}.{}", guests / 250, guests % 250);
        connection.bid(bid_body(supply, ip.unwrap_or(&other))).verdict()
    };
    let filler = fill(disk.path(), 4 << 20);
    eventually("there is no room at all", || {
        (0..100).any(|_| ask("narrow", None) == "503 journal_unavailable")
    });
    // Room for many records, but not for a supply of a thousand bidders twice before the first of them.
    shorten(&filler, 48 << 10);
    eventually("there is some room", || ask("narrow", None) != "503 journal_unavailable");
    for _ in 0..20 {
        assert_eq!(ask("wide", Some("192.0.2.1")), "503 journal_unavailable");
        assert_ne!(ask("narrow", None), "503 journal_unavailable");
    }
    fs::remove_file(&filler).unwrap();
    eventually("there is room for it", || ask("wide", None) == "200");
    let verdicts: Vec<String> = (0..4).map(|_| ask("wide", Some("192.0.2.1"))).collect();
    assert_eq!(verdicts, ["200", "200", "200", "429 rate_limited"]);
}

/// A fault that is put on some calls of a running server until it is lifted, by `strace`.
struct Fault {
    strace: Child,
    log: PathBuf,
}

impl Fault {
    /// `calls` and what becomes of them, as strace says it.
    fn put_on(server: &Server, calls: &str, error: &str) -> Self {
        let log = server.home.path("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-o", log.to_str().unwrap(), "-p", &server.pid().to_string()]);
        strace.args([
            "-e",
            &format!("trace={calls},{NAMING}"),
            "-e",
            &format!("inject={calls}:error={error}"),
        ]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().expect("this test needs the program strace");
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        // What it says further is read by nobody, and must not stop it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { strace, log }
    }

    /// The server runs free again; what was seen meanwhile.
    fn lift(mut self) -> String {
        let sent = Command::new("kill").args(["-s", "TERM", &self.strace.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        self.strace.wait().unwrap();
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Calls that make another file of a name.
const NAMING: &str = "?unlink,?unlinkat,?rename,?renameat,?renameat2";

/// Goes through what strace saw: which segments' syncs failed. Fails if one of those files was synced again.
fn check_no_file_is_synced_again(log: &str) -> BTreeSet<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut failed, mut all) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let (thread, said) = line.split_once(' ').expect("a thread");
        let said = said.trim_start();
        // A call that another thread's came between is told in two parts.
        let call = if said.starts_with("<...") { begun.remove(thread).unwrap_or_default() } else { said };
        if said.ends_with("<unfinished ...>") {
            begun.insert(thread, said);
            continue;
        }
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if is_sync {
            let path = call.split(['<', '>']).nth(1).expect("a path").to_owned();
            // A directory is no file: what was made, renamed or removed in it is asked for again.
            if Path::new(&path).extension().is_some() {
                assert!(!failed.contains(&path), "synced again after it had failed: {line}");
                if said.contains("= -1 ") {
                    failed.insert(path.clone());
                    all.insert(path);
                }
            }
        } else if said.ends_with("= 0") {
            // Removed, or another file has its name now.
            call.split('"').skip(1).step_by(2).for_each(|name| _ = failed.remove(name));
        }
    }
    all
}

/// A server whose rate limit holds and whose segments are small.
fn limited(sync_ms: u32) -> Server {
    let home = Home::empty().with(&catalogue()).set("BOURSE_JOURNAL_SYNC_MS", &sync_ms);
    let data_dir = home.data_dir();
    // Absolute, as strace tells names.
    let home = home.set("BOURSE_DATA_DIR", data_dir.to_str().unwrap());
    home.set("BOURSE_RATE_LIMIT_REQUESTS", &3)
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1)
        .serve_with(WORKERS)
}

/// After the fault: all is well without a restart, and exact after one.
fn check_after(server: Server, ledger: &Ledger) {
    check_recovered(&server, ledger);
    eventually("what failed is on disk", || server.metric("bourse_journal_unsynced_bytes") == 0);
    ledger.load(server.address, 4, 20, MIXED);
    ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
    let server = server.killed().serve_with(WORKERS);
    assert_eq!(server.metric("bourse_journal_damaged_total"), 0);
    ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
}

#[test]
fn a_disk_that_takes_no_write_costs_no_answer_and_nobody_a_request() {
    for round in rounds(2) {
        let (error, sync_ms) = [("ENOSPC", 10), ("EIO", 0)][round % 2];
        let (server, ledger) = (limited(sync_ms), Ledger::default());
        ledger.load(server.address, 4, 20, MIXED);
        let fault = Fault::put_on(&server, "pwrite64", error);
        until_refused(&server, &ledger, &["wide", "narrow"]);
        check_unavailable(&server);
        let patient = Patient("192.0.2.1");
        patient.is_refused(&server);
        fault.lift();
        check_recovered(&server, &ledger);
        patient.has_all_its_requests(&server);
        check_after(server, &ledger);
    }
}

#[test]
fn a_disk_that_syncs_nothing_costs_no_answer_and_no_file_is_synced_again() {
    for round in rounds(2) {
        let sync_ms = [10, 0][round % 2];
        let ledger = if sync_ms == 0 { Ledger::of_failing_syncs() } else { Ledger::default() };
        let server = limited(sync_ms);
        ledger.load(server.address, 4, 20, MIXED);
        let fault = Fault::put_on(&server, "fdatasync,fsync", "EIO");
        until_refused(&server, &ledger, &["narrow"]);
        check_unavailable(&server);
        let patient = Patient("192.0.2.1");
        patient.is_refused(&server);
        let failures = server.metric("bourse_journal_sync_failures_total");
        assert!(failures >= 2 && server.metric("bourse_journal_unsynced_bytes") > 0, "{failures}");
        let copies = |log: &str| log.lines().filter(|line| line.contains(".rescue>")).count();
        eventually("copies are tried twice", || copies(&fs::read_to_string(&fault.log).unwrap()) >= 4);
        let failed = check_no_file_is_synced_again(&fault.lift());
        assert!(
            failed.iter().filter(|path| path.ends_with(".seg")).count() >= 2,
            "of each core one: {failed:?}"
        );
        check_recovered(&server, &ledger);
        patient.has_all_its_requests(&server);
        check_after(server, &ledger);
    }
}

#[test]
fn syncs_that_fail_now_and_then_cost_no_answer_and_no_file_is_synced_again() {
    for round in rounds(4) {
        let (sync_ms, when) = [(1, "3..5"), (1, "10+40"), (0, "3..5"), (0, "10..16")][round % 4];
        let ledger = if sync_ms == 0 { Ledger::of_failing_syncs() } else { Ledger::default() };
        let home = Home::empty().with(&catalogue());
        let log = home.path("strace");
        let (trace, inject) =
            (format!("trace=fdatasync,fsync,{NAMING}"), format!("inject=fdatasync:error=EIO:when={when}"));
        let tool =
            ["strace", "-D", "-f", "-y", "-qqq", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
        let data_dir = home.data_dir();
        let home = home
            .set("BOURSE_DATA_DIR", data_dir.to_str().unwrap())
            .set("BOURSE_JOURNAL_SYNC_MS", &sync_ms)
            .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
            .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1);
        let Ok(server) = home.serve_under(&tool, WORKERS) else { panic!("it does not start") };
        eventually("syncs have failed", || {
            ledger.load(server.address, 4, 20, MIXED);
            server.metric("bourse_journal_sync_failures_total") >= 3
        });
        check_recovered(&server, &ledger);
        ledger.check(&[&data_dir], &server.get("/stat"));
        let home = server.killed();
        let failed = check_no_file_is_synced_again(&fs::read_to_string(&log).unwrap());
        assert!(failed.iter().any(|path| path.ends_with(".seg")), "{failed:?}");
        let server = home.serve_with(WORKERS);
        assert_eq!(server.metric("bourse_journal_damaged_total"), 0);
        ledger.check(&[&data_dir], &server.get("/stat"));
    }
}
