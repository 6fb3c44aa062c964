//! What is read is what was held, and damage costs what it hit and nothing else.

use super::*;
use crate::held::{Held, Process, counted, quick_dir, sum, supplies};
use crate::{Found, restore};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// An event that owns what it says of an auction: whether it is the next one that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// The auction of this number.
    Auction(u64),
    Unreadable(Fault),
    Damaged(u64, u64),
    Gap,
}

/// Reads what there is now, comparing each auction with the one of its number.
fn read_on(auctions: &mut Auctions, held: &[Held]) -> Vec<Came> {
    let mut came = Vec::new();
    let mut note = |event: Event<'_>| {
        came.push(match event {
            Event::Auction { offset, end, supply, record, .. } => {
                assert!(end > offset);
                held[record.id.sequence as usize].check(supply, record);
                Came::Auction(record.id.sequence)
            }
            Event::Unreadable { fault, .. } => Came::Unreadable(fault),
            Event::Damaged { from, to } => Came::Damaged(from.get(), to.get()),
            Event::Gap { .. } => Came::Gap,
        });
    };
    while auctions.next(&mut note).unwrap().is_some() {}
    came
}

fn read(dir: &Path, held: &[Held], begin: Begin) -> Vec<Came> {
    read_on(&mut Auctions::open(&dir.join("journal"), 0, begin).unwrap(), held)
}

/// So many auctions, numbered from 0.
fn some(n: u64) -> Vec<Held> {
    let supplies = supplies();
    (0..n).map(|number| Held::any(&supplies, number)).collect()
}

/// Their journal, ended.
fn recorded(held: &[Held]) -> TempDir {
    let dir = quick_dir();
    let mut process = Process::start(dir.path(), 1);
    held.iter().for_each(|one| process.hold(0, one));
    drop(process);
    dir
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("journal/core-0/00000000000000000000.seg")
}

/// What stands in the journal's one segment: each record's kind, where it begins and where the next one does.
fn records(dir: &Path) -> Vec<(Kind, u64, u64)> {
    let mut reader = Reader::open(&dir.join("journal"), 0, Begin::Oldest).unwrap();
    let mut records = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Record { offset, payload, .. } = item else { panic!("{item:?}") };
        let end = offset.get() + journal::record_bytes(payload.len()) as u64;
        records.push((Kind::of(payload), offset.get(), end));
    }
    records
}

/// All but the one at this place among the auctions.
fn all_but(n: u64, lost: Option<u64>) -> Vec<Came> {
    (0..n).filter(|number| Some(*number) != lost).map(Came::Auction).collect()
}

#[test]
fn each_auction_comes_once_in_order_and_as_it_was_held_also_while_it_is_written() {
    const N: u64 = 3_000;
    let dir = quick_dir();
    let held = some(N);
    let mut process = Process::start(dir.path(), 1);
    let (pen, ends) = (&mut process.pens[0], AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            held.iter().for_each(|one| _ = pen.write(one));
            ends.store(true, Ordering::Release);
        });
        let mut auctions = Auctions::open(&dir.path().join("journal"), 0, Begin::Oldest).unwrap();
        let mut came = Vec::new();
        loop {
            let is_last = ends.load(Ordering::Acquire);
            came.extend(read_on(&mut auctions, &held));
            if is_last {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(came, all_but(N, None));
        assert_eq!(read(dir.path(), &held, Begin::Oldest), came);
    });
}

#[test]
fn reading_may_begin_at_any_auction_though_its_supply_stands_before() {
    let held = some(30);
    let dir = recorded(&held);
    let auctions = records(dir.path()).into_iter().filter(|(kind, ..)| *kind == Kind::Auction);
    for (number, (_, offset, end)) in (0..).zip(auctions) {
        for (begin, first) in [(offset, number), (end, number + 1)] {
            let came = read(dir.path(), &held, Begin::Offset(Offset::new(begin)));
            assert_eq!(came, (first..30).map(Came::Auction).collect::<Vec<_>>(), "from {begin}");
        }
    }
}

#[test]
fn a_flipped_byte_costs_the_auction_it_is_in_and_none_if_it_is_in_a_supply() {
    const N: u64 = 12;
    let held = some(N);
    let dir = recorded(&held);
    let (path, records) = (segment(dir.path()), records(dir.path()));
    let kinds = |wanted| records.iter().filter(|(kind, ..)| *kind == wanted).count();
    assert_eq!((kinds(Kind::Supply), kinds(Kind::Auction)), (8, N as usize), "four supplies, each twice");
    let end = records.last().unwrap().2;
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let hit = records.iter().position(|(_, from, to)| (*from..*to).contains(&(at as u64)));
        let lost = hit
            .filter(|hit| records[*hit].0 == Kind::Auction)
            .map(|hit| records[..hit].iter().filter(|(kind, ..)| *kind == Kind::Auction).count() as u64);
        let came = read(dir.path(), &held, Begin::Oldest);
        let (auctions, rest): (Vec<Came>, Vec<Came>) =
            came.into_iter().partition(|one| matches!(one, Came::Auction(_)));
        assert_eq!(auctions, all_but(N, lost), "byte {at}");
        // Where the segment ends is said once more by its length.
        let damaged = u64::from((at as u64) < end);
        let expected = hit.map_or((0, 64), |hit| (records[hit].1, records[hit].2));
        let expected: Vec<Came> = (0..damaged).map(|_| Came::Damaged(expected.0, expected.1)).collect();
        assert_eq!(rest, expected, "byte {at}");

        for name in ["statistics", "statistics.before", "journal/readers/statistics"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        let restored = restore(dir.path(), &dir.path().join("journal"), 0, 1).unwrap();
        let kept = held.iter().filter(|one| Some(one.sequence) != lost);
        assert_eq!(counted(&restored.statistics), sum(kept), "byte {at}");
        let auctions = N - u64::from(lost.is_some());
        assert_eq!(restored.found, Found { auctions, damaged, ..Found::default() }, "byte {at}");
    }
}

#[test]
fn without_both_records_of_its_supply_an_auction_is_unreadable_and_others_are_not() {
    let held = some(20);
    let dir = recorded(&held);
    let (path, records) = (segment(dir.path()), records(dir.path()));
    let whole = fs::read(&path).unwrap();
    let of = |wanted| records.iter().filter(move |(kind, ..)| *kind == wanted).map(|(_, from, _)| *from);
    let under: Vec<u64> = of(Kind::Auction)
        .map(|from| encoding::supply_at(from, &whole[from as usize + 16..]).unwrap())
        .collect();
    for twice in of(Kind::Supply).collect::<Vec<_>>().chunks(2) {
        let mut damaged = whole.clone();
        twice.iter().for_each(|from| damaged[*from as usize + 20] ^= 0xFF);
        fs::write(&path, damaged).unwrap();
        let came = read(dir.path(), &held, Begin::Oldest);
        let came: Vec<_> = came.into_iter().filter(|one| !matches!(one, Came::Damaged(..))).collect();
        let expected = (0..).zip(&under).map(|(number, under)| match *under == twice[0] {
            true => Came::Unreadable(NO_SUPPLY),
            false => Came::Auction(number),
        });
        assert_eq!(came, expected.collect::<Vec<_>>());
    }
}

#[test]
fn what_a_later_version_adds_is_passed_over_and_what_it_changes_is_named() {
    let held = some(6);
    let dir = quick_dir();
    let mut process = Process::start(dir.path(), 1);
    for (number, one) in held.iter().enumerate() {
        process.hold(0, one);
        match number {
            0 => process.pens[0].append(&[9, 1, 2, 3]),
            1 => process.pens[0].append(&[]),
            2 => process.pens[0].append(&[2, encoding::VERSION + 1, 0, 0]),
            3 => process.pens[0].append(&[1, encoding::VERSION + 1, 0, 0]),
            4 => process.pens[0].append(&[2, encoding::VERSION]),
            _ => {}
        }
    }
    let mut expected = all_but(6, None);
    expected.insert(3, Came::Unreadable(Fault::Newer(encoding::VERSION + 1)));
    expected.insert(6, Came::Unreadable(Fault::Malformed("head")));
    assert_eq!(read(dir.path(), &held, Begin::Oldest), expected);
    drop(process);
    fs::remove_file(dir.path().join("statistics")).unwrap();
    let restored = restore(dir.path(), &dir.path().join("journal"), 0, 1).unwrap();
    assert_eq!(counted(&restored.statistics), sum(&held));
    assert_eq!(restored.found, Found { auctions: 6, unreadable: 2, ..Found::default() });
}
