//! Damage: found wherever it is, and no record pays for another's.

use crate::scratch::{Owned, append, drain, open, payload, quick_dir, read, segments, small};
use journal::{Begin, Offset, Reader};
use std::fs;
use std::path::Path;

/// A journal with two ended segments: what is in it, and the first one's file.
fn two_segments(dir: &Path, lengths: &[usize]) -> (Vec<Owned>, std::path::PathBuf) {
    for half in 0..2 {
        let (journal, mut writer) = open(small(dir));
        for (at, length) in lengths.iter().enumerate() {
            let seed = (half * 100 + at) as u64;
            append(&mut writer, 1_000 + seed, &payload(seed, *length));
        }
        drop((writer, journal));
    }
    (read(dir), segments(dir).remove(0))
}

/// Where each record begins and the next one does, in its file.
fn extents(records: &[Owned]) -> Vec<(u64, u64)> {
    let extent = |record: &Owned| match record {
        Owned::Record(offset, _, payload) => {
            (*offset, *offset + (16 + payload.len() as u64).next_multiple_of(8))
        }
        other => panic!("{other:?}"),
    };
    records.iter().map(extent).collect()
}

#[test]
fn every_flipped_byte_is_found_and_costs_its_record_alone() {
    let dir = quick_dir();
    let lengths = [0, 1, 7, 8, 9, 40, 64, 100, 250, 3, 16, 500];
    let (records, path) = two_segments(dir.path(), &lengths);
    let extents = extents(&records);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for mask in [0x01, 0x10, 0xFF] {
            let mut flipped = whole.clone();
            flipped[at] ^= mask;
            fs::write(&path, &flipped).unwrap();
            let items = read(dir.path());

            let hit =
                extents[..lengths.len()].iter().position(|(from, to)| (*from..*to).contains(&(at as u64)));
            let damaged =
                items.iter().filter(|item| matches!(item, Owned::Damaged(from, to) if from < to)).count();
            assert_eq!(damaged, 1, "byte {at} mask {mask:#x}: {items:?}");
            let kept = items.iter().filter(|item| matches!(item, Owned::Record(..)));
            let expected = records.iter().enumerate().filter(|(record, _)| Some(*record) != hit);
            assert!(kept.eq(expected.map(|(_, record)| record)), "byte {at} mask {mask:#x}");

            let report = journal::verify(dir.path(), &mut |_, _| {}).unwrap().remove(0);
            assert_eq!(report.records, (lengths.len() - usize::from(hit.is_some())) as u64);
            // The segment behind it has records, so nothing in this one is a record that was never finished.
            let found = matches!(&report.damaged[..], [one] if (one.start.get()..one.end.get()).contains(&(at as u64)));
            assert!(found && report.torn_bytes == 0, "byte {at} mask {mask:#x}: {report:?}");
        }
    }
}

#[test]
fn half_a_record_at_the_end_is_torn_and_a_damaged_end_is_damaged() {
    let dir = quick_dir();
    let (_, first) = two_segments(dir.path(), &[100, 8]);
    let last = segments(dir.path()).pop().unwrap();
    let base: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let whole = fs::read(&last).unwrap();
    let end = whole.len() - 16;
    let mut unsaid = [&whole[..end], &[0; 400]].concat();
    let torn = {
        unsaid[end + 16..end + 90].fill(7);
        unsaid.clone()
    };
    let mut flipped = whole.clone();
    flipped[end + 9] ^= 1;
    let range = |from: usize, to: usize| Offset::new(base + from as u64)..Offset::new(base + to as u64);
    for (bytes, damaged, torn_bytes) in
        [(&whole, vec![], 0), (&torn, vec![], 90), (&flipped, vec![range(end, end + 16)], 0)]
    {
        fs::write(&last, bytes).unwrap();
        let mut heard = Vec::new();
        let reports = journal::verify(dir.path(), &mut |done, total| heard.push((done, total))).unwrap();
        assert_eq!((&reports[0].info.path, reports[0].records, reports[0].torn_bytes), (&first, 2, 0));
        assert_eq!((&reports[1].damaged, reports[1].torn_bytes), (&damaged, torn_bytes));
        let total = fs::metadata(&first).unwrap().len() + bytes.len() as u64;
        assert_eq!(heard, [(bytes.len() as u64, total), (total, total)]);
    }
}

#[test]
fn a_cut_at_any_length_leaves_exactly_the_whole_records() {
    let lengths = [0, 1, 20, 8, 60, 100];
    let origin = quick_dir();
    let (records, first) = two_segments(origin.path(), &lengths);
    let last = segments(origin.path()).pop().unwrap();
    let [earlier, bytes] = [&first, &last].map(|path| fs::read(path).unwrap());
    let base: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    for length in 0..bytes.len() {
        for garbage in [0, 21] {
            fs::write(&last, [&bytes[..length], &vec![0xA5; garbage]].concat()).unwrap();
            let whole = |(_, to): &&(u64, u64)| *to <= base + length as u64;
            let kept = extents(&records).iter().filter(whole).count();

            let (journal, mut writer) = open(small(origin.path()));
            let torn = &journal.recovery().torn;
            assert_eq!(torn.len(), 1, "length {length}");
            assert!(
                garbage == 0 || length < 64 || torn[0].bytes >= garbage as u64,
                "length {length}: {torn:?}"
            );
            let found: Vec<Owned> =
                read(origin.path()).into_iter().filter(|item| !is_header(item, base)).collect();
            assert_eq!(found, records[..kept], "length {length}");

            // What comes later is a record of its own, whatever was cut.
            let next = append(&mut writer, 9, b"next");
            assert!(next.get() >= base + (64 << 10));
            drop((writer, journal));
            segments(origin.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
            // A start may have given it the offsets of an empty one.
            fs::write(&first, &earlier).unwrap();
        }
    }
}

/// The report of a header that the cut took.
fn is_header(item: &Owned, base: u64) -> bool {
    *item == Owned::Damaged(base, base + 64)
}

#[test]
fn a_record_inside_a_damaged_record_is_not_one() {
    let dir = quick_dir();
    let (journal, mut writer) = open(small(dir.path()));
    append(&mut writer, 1, b"a record that is copied");
    drop((writer, journal));
    let copied = fs::read(&segments(dir.path())[0]).unwrap()[64..104].to_vec();
    let (journal, mut writer) = open(small(dir.path()));
    let offset = append(&mut writer, 2, &[&copied[..], &copied[..]].concat());
    append(&mut writer, 3, b"behind it");
    drop((writer, journal));
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[64] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    let items = drain(&mut Reader::open(dir.path(), 0, Begin::Offset(offset)).unwrap());
    assert_eq!(items[0], Owned::Damaged(offset.get(), offset.get() + 96));
    assert_eq!(items[1], Owned::Record(offset.get() + 96, 3, b"behind it".to_vec()));
    assert_eq!(items.len(), 2);
}

#[test]
fn a_reader_may_begin_anywhere() {
    let dir = quick_dir();
    let (records, _) = two_segments(dir.path(), &[5, 30, 8, 100]);
    let extents = extents(&records);
    for from in 0..extents[7].1 {
        // Only around the records: what is between is all alike.
        if from > 500 && from < (64 << 10) - 8 {
            continue;
        }
        let items = drain(&mut Reader::open(dir.path(), 0, Begin::Offset(Offset::new(from))).unwrap());
        let found = items.iter().filter(|item| matches!(item, Owned::Record(..)));
        let expected = records.iter().zip(&extents).filter(|(_, (begins, _))| *begins >= from);
        assert!(found.eq(expected.map(|(record, _)| record)), "from {from}");
    }
}

#[test]
fn a_segment_that_is_missing_is_a_gap() {
    let dir = quick_dir();
    for part in 0..3 {
        let (journal, mut writer) = open(small(dir.path()));
        append(&mut writer, part, b"one");
        drop((writer, journal));
    }
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    let items = read(dir.path());
    assert_eq!(items[1], Owned::Gap(64 << 10, 128 << 10));
    assert_eq!(items.len(), 3);
}
