//! The disk lies: a byte of a segment is another than was written. It costs at most the auction that it was part of,
//! and is told.

use super::{Ledger, MIXED, Outcome, Stat, catalogue, time};
use crate::server::{Home, eventually};
use journal::{Begin, Journal, Settings};
use reporting::{Auctions, Event, restore};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The record that says where a segment ends: the one thing that is said twice, the other time by the file's length.
const END_BYTES: usize = 16;

/// A home with a few auctions of one core, of which only the journal knows, and their segment.
fn recorded() -> (Home, Ledger, PathBuf) {
    let ledger = Ledger::default();
    let server = Home::empty().with(&catalogue()).serve_with(&["--workers", "1"]);
    ledger.load(server.address, 1, 8, &["narrow", "nobody"]);
    let home = server.stop();
    forget_what_was_saved(&home.data_dir());
    let segment = home.data_dir().join("journal/core-0/00000000000000000000.seg");
    (home, ledger, segment)
}

fn forget_what_was_saved(data_dir: &Path) {
    for name in ["statistics", "statistics.before", "journal/readers/statistics"] {
        let _ = fs::remove_file(data_dir.join(name));
    }
}

/// The sums of all auctions, and of all but each one.
fn sums(data_dir: &Path) -> (Stat, Vec<Stat>) {
    let without = |lost: Option<usize>| {
        let mut auctions = Auctions::open(&data_dir.join("journal"), 0, Begin::Oldest).unwrap();
        let (mut stat, mut at) = (Stat::default(), 0);
        let mut add = |event: Event<'_>| {
            let Event::Auction { record, .. } = event else { panic!("{event:?}") };
            if Some(at) != lost {
                stat.add(record, &Outcome::of_record(record));
            }
            at += 1;
        };
        while auctions.next(&mut add).unwrap().is_some() {}
        (stat, at)
    };
    let (all, n) = without(None);
    (all, (0..n).map(|lost| without(Some(lost)).0).collect())
}

/// Fails unless it is the sum of all auctions, or of all but one and that is told.
#[track_caller]
fn check(stat: &Stat, (all, all_but_one): &(Stat, Vec<Stat>), is_told: bool, what: &str) {
    let is_one_lost = all_but_one.contains(stat);
    assert!(
        stat == all || is_one_lost,
        "{what}: more than an auction is lost, or another is wrong: {stat:?}"
    );
    assert!(stat == all || is_told, "{what}: an auction is lost in silence");
}

#[test]
fn any_flipped_byte_costs_at_most_its_auction_and_is_found() {
    let (home, _, segment) = recorded();
    let whole = fs::read(&segment).unwrap();
    let sums = sums(&home.data_dir());
    assert_eq!(sums.1.len(), 8);
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (journal, core) = (dir.path().join("journal"), dir.path().join("journal/core-0"));
    fs::create_dir_all(&core).unwrap();
    fs::copy(home.data_dir().join("journal/instance"), journal.join("instance")).unwrap();
    // One bit of each byte; each bit of it if there is time.
    let flips = (0..whole.len()).flat_map(|at| {
        let bits = if time().is_some() { 0..8 } else { at % 8..at % 8 + 1 };
        bits.map(move |bit| (at, 1 << bit))
    });
    for (at, mask) in flips {
        let mut flipped = whole.clone();
        flipped[at] ^= mask;
        fs::write(core.join(segment.file_name().unwrap()), flipped).unwrap();
        forget_what_was_saved(dir.path());
        // As a start does it: first whatever was not ended is, then all of it is read.
        let settings = Settings {
            segment_bytes: 64 << 10,
            segment_bytes_max: 0,
            ahead_bytes: 16 << 10,
            ..Settings::new(&journal, 1)
        };
        let (open, writers) = Journal::open(settings).unwrap();
        let restored = restore(dir.path(), &journal, open.instance(), 1).unwrap();
        drop((writers, open));
        let is_told = restored.found.damaged + restored.found.unreadable > 0;
        check(&Stat::of(&restored.statistics.report()), &sums, is_told, &format!("byte {at}"));
        assert!(is_told || at + END_BYTES >= whole.len(), "byte {at} is damaged and nobody said so");
    }
}

#[test]
fn a_server_starts_on_a_damaged_journal_and_says_so() {
    const FLIPS: usize = 20;
    let (mut home, ledger, segment) = recorded();
    let whole = fs::read(&segment).unwrap();
    let sums = sums(&home.data_dir());
    for flip in 0..FLIPS {
        let at = flip * (whole.len() - END_BYTES) / FLIPS;
        let mut flipped = whole.clone();
        flipped[at] ^= 0xFF;
        for entry in fs::read_dir(segment.parent().unwrap()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(&segment, flipped).unwrap();
        forget_what_was_saved(&home.data_dir());
        let server = home.serve_with(&["--workers", "1"]);
        assert!(server.metric("bourse_journal_damaged_total") > 0, "byte {at}");
        assert_eq!(server.get("/health/ready").status, 200);
        check(&Stat::parse(server.get("/stat").text()), &sums, true, &format!("byte {at}"));
        let held = ledger.ask(&mut server.connect(), MIXED[0]).unwrap();
        assert!([200, 400].contains(&held.status), "it holds auctions: {held:?}");
        home = server.killed();
    }
}

#[test]
fn half_a_record_at_the_end_of_each_core_costs_nothing() {
    let ledger = Ledger::default();
    let mut home = Home::empty().with(&catalogue());
    // What a record leaves whose length was not stored yet, one whose length is on disk and the rest is not, and both.
    for (from, to) in [(16, 300), (0, 4), (0, 300)] {
        let server = home.serve_with(&["--workers", "2"]);
        eventually("each core has auctions", || {
            ledger.load(server.address, 8, 5, MIXED);
            torn_ends(&server.home.data_dir()).len() == 2
        });
        home = server.killed();
        for (path, end) in torn_ends(&home.data_dir()) {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&[0xA5; 300][from..to], end + from as u64).unwrap();
        }
        let server = home.serve_with(&["--workers", "2"]);
        eventually("both were cut", || server.log().matches("journal tail cut").count() >= 2);
        assert_eq!(server.metric("bourse_journal_damaged_total"), 0);
        ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
        home = server.killed();
    }
}

/// The segments that do not say where they end, and where their records do.
fn torn_ends(data_dir: &Path) -> Vec<(PathBuf, u64)> {
    let reports = journal::verify(&data_dir.join("journal"), &mut |_, _| {}).unwrap();
    let torn = reports.into_iter().filter(|one| one.info.sealed_at.is_none() && one.records > 0);
    torn.map(|one| (one.info.path, one.bytes)).collect()
}
