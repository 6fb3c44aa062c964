//! A damaged journal: `verify` names the place, and everything else is shown all the same.

use crate::client::bid_body;
use crate::journal_commands::{address, cat, journal, objects, two_segments};
use crate::server::{Home, Server, files_under};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A core's segments, oldest first.
fn segments(home: &Home) -> Vec<PathBuf> {
    let files = files_under(&home.data_dir().join("journal/core-0")).into_iter().map(|(path, _)| path);
    let mut paths: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    paths.sort();
    paths
}

/// Where the records of a segment stand in its file; the last is its end.
fn records(segment: &[u8]) -> Vec<Range<usize>> {
    let mut at = 64;
    std::iter::from_fn(|| {
        let word = u32::from_le_bytes(segment.get(at..at + 4)?.try_into().unwrap()) & 0xff_ffff;
        let record = at..at + word as usize;
        at = record.end.next_multiple_of(8);
        (word > 0).then_some(record)
    })
    .collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The ranges of offsets that `verify` says are damaged, after checking that it says so of this file and fails.
#[track_caller]
fn damaged(home: &Home, path: &Path) -> Vec<Range<u64>> {
    let status = home.command(&["journal", "verify"]).output().unwrap().status;
    assert_eq!(status.code(), Some(1));
    let said = journal(home, &["verify"]);
    let last = said.err.lines().last().unwrap();
    assert!(last.starts_with("bourse: the journal is damaged: "), "{said:?}");
    let name = path.file_name().unwrap().to_str().unwrap();
    let ranges = said.out.lines().filter(|line| line.contains("damaged") && line.contains(name));
    let number = |word: Option<&str>| word.unwrap().parse::<u64>().unwrap();
    ranges
        .map(|line| {
            let mut words = line.split("offsets ").nth(1).unwrap().split(' ');
            number(words.next())..number(words.nth(1))
        })
        .collect()
}

#[test]
fn a_flipped_byte_is_named_by_verify_and_costs_its_own_auction_alone() {
    let (home, all) = two_segments();
    is_whole(&home);
    for (segment, path) in segments(&home).iter().enumerate() {
        let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let whole = fs::read(path).unwrap();
        let places = records(&whole);
        // Twice the supply, ten auctions, the end.
        assert_eq!(places.len(), 13);
        for (at, lost) in [
            (20, None),
            (places[0].start + 2, None),
            (places[0].start + 80, None),
            (places[1].end - 1, None),
            (places[2].start, Some(0)),
            (places[5].start + 9, Some(3)),
            (places[5].start + 30, Some(3)),
            (places[6].end - 1, Some(4)),
            (places[11].start + 16, Some(9)),
            (places[12].start + 1, None),
            (whole.len() - 1, None),
        ] {
            flip(path, at);
            let ranges = damaged(&home, path);
            assert!(
                matches!(&ranges[..], [range] if range.contains(&(base + at as u64))),
                "byte {at}: {ranges:?}"
            );
            let said = journal(&home, &["cat"]);
            let lost = lost.map(|lost| segment * 10 + lost);
            let expected =
                all.iter().enumerate().filter(|(i, _)| Some(*i) != lost).map(|(_, line)| line.clone());
            assert_eq!(objects(&said.out), expected.collect::<Vec<_>>(), "byte {at}: {}", said.err);
            assert!(said.ok && said.err.lines().count() <= 1, "byte {at}: {}", said.err);
            assert!(
                lost.is_none() || said.err.contains("are damaged, what stood there is lost"),
                "byte {at}"
            );
            fs::write(path, &whole).unwrap();
        }
    }
}

#[test]
fn auctions_whose_supply_is_lost_are_named_and_the_others_are_shown() {
    let (home, all) = two_segments();
    let path = &segments(&home)[0];
    let places = records(&fs::read(path).unwrap());
    places[..2].iter().for_each(|place| flip(path, place.start + 40));
    damaged(&home, path);
    let said = journal(&home, &["verify"]);
    let line = format!("10 records at offsets {} to {} cannot be read", places[2].start, places[11].start);
    assert!(said.out.contains(&line), "{said:?}");
    let said = journal(&home, &["cat"]);
    assert_eq!(objects(&said.out), all[10..]);
    assert_eq!(
        said.err.lines().filter(|line| line.contains("cannot be read: its")).count(),
        10,
        "{}",
        said.err
    );
}

#[test]
fn a_segment_that_is_missing_is_named() {
    let (home, all) = two_segments();
    let server = home.serve_with(&["--workers", "1"]);
    server.bid(bid_body("supply1", &address(20)));
    let home = server.stop();
    let last = cat(&home, &[]).split_off(20);
    let paths = segments(&home);
    let base = |path: &Path| path.file_stem().unwrap().to_str().unwrap().trim_start_matches('0').to_owned();
    fs::remove_file(&paths[1]).unwrap();
    let gap = format!(
        "core 0: there is no segment with offsets {} to {} any more",
        base(&paths[1]),
        base(&paths[2])
    );
    assert_eq!(damaged(&home, &paths[0]), []);
    assert!(journal(&home, &["verify"]).out.contains(&gap), "{gap}");
    let said = journal(&home, &["cat"]);
    assert_eq!((objects(&said.out), said.err), ([&all[..10], &last].concat(), format!("bourse: {gap}\n")));

    // What retention has removed is nobody's loss.
    fs::remove_file(&paths[0]).unwrap();
    journal(&home, &["verify"]).done();
    assert_eq!(cat(&home, &[]), last);
}

#[track_caller]
fn is_whole(home: &Home) {
    let said = journal(home, &["verify"]).done();
    assert!(said.ends_with("0 ranges damaged, 0 missing, 0 records unreadable, 0 bytes torn\n"), "{said}");
}

/// A running server that has held ten auctions.
fn ten_auctions() -> Server {
    let server = Home::empty().usual().serve_with(&["--workers", "1"]);
    (0..10).for_each(|i| _ = server.bid(bid_body("supply1", &address(i))));
    server
}

#[test]
fn the_journal_of_a_running_and_of_a_killed_server_is_whole() {
    let server = ten_auctions();
    is_whole(&server.home);
    let mut home = server.killed();
    is_whole(&home);
    // Room that a killed process prepared and never used is no gap.
    for _ in 0..3 {
        home = home.serve_with(&["--workers", "1"]).killed();
        is_whole(&home);
    }
    let server = home.serve_with(&["--workers", "1"]);
    server.bid(bid_body("supply1", &address(10)));
    is_whole(&server.home);
    assert_eq!(cat(&server.stop(), &[]).len(), 11);
}

#[test]
fn half_a_record_of_a_killed_process_is_told_and_is_no_damage() {
    let home = ten_auctions().killed();
    let path = segments(&home).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    // A record's length is written last.
    let end = records(&bytes).last().unwrap().end.next_multiple_of(8);
    bytes[end + 8..end + 50].fill(7);
    fs::write(&path, bytes).unwrap();
    let said = journal(&home, &["verify"]).done();
    let line = format!("offsets {end} to {} are half a record", end + 50);
    assert!(said.contains(&line) && said.ends_with(" 50 bytes torn\n"), "{said}");
    assert_eq!(cat(&home, &[]).len(), 10);
}
