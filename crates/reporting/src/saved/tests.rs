//! Statistics that come back: whatever was saved, damaged or lost, they are the plain sum of all auctions.

use super::file::{self, Saved, SavedCore};
use super::*;
use crate::held::{self, Held, Process, counted, killed, quick_dir, settings, sum, supplies};
use crate::statistics::Counted;
use journal::Settings;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may become of a saved file.
#[derive(Debug, Clone)]
enum Harm {
    Removed,
    Flipped(Index, u8),
    Cut(Index),
    /// It is of another journal.
    Another,
}

#[derive(Debug, Clone)]
enum Step {
    Hold {
        core: Index,
        seed: u64,
    },
    Save,
    /// Saved by a thread that was held up after it had asked how far the cores are, for so many auctions.
    SaveLate(Vec<u64>),
    Restart {
        cores: u32,
        is_killed: bool,
        newer: Option<Harm>,
        before: Option<Harm>,
    },
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Removed),
        (any::<Index>(), 1..=255u8).prop_map(|(at, mask)| Harm::Flipped(at, mask)),
        any::<Index>().prop_map(Harm::Cut),
        Just(Harm::Another),
    ]
}

/// `both`: whether both saved files may be harmed at once.
fn step(both: bool) -> impl Strategy<Value = Step> {
    let harms = (proptest::option::of(harm()), proptest::option::of(harm()), any::<bool>());
    let harms = harms.prop_map(move |(newer, before, which)| match (both, which) {
        (true, _) => (newer, before),
        (false, true) => (newer, None),
        (false, false) => (None, before),
    });
    prop_oneof![
        20 => (any::<Index>(), any::<u64>()).prop_map(|(core, seed)| Step::Hold { core, seed }),
        3 => Just(Step::Save),
        1 => proptest::collection::vec(any::<u64>(), 0..6).prop_map(Step::SaveLate),
        2 => (1..=3u32, any::<bool>(), harms).prop_map(|(cores, is_killed, (newer, before))| {
            Step::Restart { cores, is_killed, newer, before }
        }),
    ]
}

fn apply(harm: Option<&Harm>, path: &Path) {
    let (Some(harm), Ok(mut bytes)) = (harm, fs::read(path)) else { return };
    match harm {
        Harm::Removed => return fs::remove_file(path).unwrap(),
        Harm::Flipped(at, mask) => {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        Harm::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Harm::Another => {
            // One that was damaged before says nothing of whose it is.
            let Some(saved) = Saved::decode(&bytes) else { return };
            bytes = Saved { instance: !saved.instance, ..saved }.encode();
        }
    }
    fs::write(path, bytes).unwrap();
}

impl Saved {
    /// As bytes: what is saved where this was counted.
    fn encode(&self) -> Vec<u8> {
        let statistics = Statistics::new(self.cores.len());
        for (number, core) in &self.cores {
            let tally = statistics.tally(*number as usize);
            core.counted.iter().cloned().for_each(|counted| tally.start_from(counted));
        }
        let upto: Vec<u64> = self.cores.values().map(|core| core.upto).collect();
        file::encode(self.instance, &upto, &statistics)
    }
}

/// A journal that nothing is removed from.
fn whole(dir: &Path, cores: u32) -> Settings {
    Settings { retain_hours: None, ..settings(dir, cores) }
}

/// Runs the steps; the restored statistics are the plain sum after each start, and nothing is said to be damaged.
fn check(steps: Vec<Step>, settings: impl Fn(&Path, u32) -> Settings) {
    let supplies = supplies();
    let mut dir = quick_dir();
    let mut process = Process::start_with(settings(dir.path(), 2), dir.path());
    let mut held: Vec<Held> = Vec::new();
    for step in steps {
        match step {
            Step::Hold { core, seed } => {
                let one = Held::any(&supplies, seed);
                process.hold(core.index(process.pens.len()), &one);
                held.push(one);
            }
            Step::Save => process.save(),
            Step::SaveLate(seeds) => {
                let asked = file::upto(&process.statistics);
                for seed in seeds {
                    let one = Held::any(&supplies, seed);
                    process.hold(0, &one);
                    held.push(one);
                }
                process.saver.write(asked, &process.statistics).unwrap();
            }
            Step::Restart { cores, is_killed, newer, before } => {
                if is_killed {
                    let copy = killed(dir.path());
                    drop(process);
                    dir = copy;
                } else {
                    process.save();
                    drop(process);
                }
                apply(newer.as_ref(), &dir.path().join("statistics"));
                apply(before.as_ref(), &dir.path().join("statistics.before"));
                process = Process::start_with(settings(dir.path(), cores), dir.path());
                let found = process.found;
                assert_eq!((found.damaged, found.unreadable), (0, 0));
            }
        }
        assert_eq!(counted(&process.statistics), sum(&held));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: held::cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_one_saved_file_whole_nothing_is_lost_though_retention_takes_all_it_may(
        steps in proptest::collection::vec(step(false), 1..80)
    ) {
        check(steps, settings);
    }

    #[test]
    fn without_any_saved_file_the_journal_has_it_all(steps in proptest::collection::vec(step(true), 1..80)) {
        check(steps, whole);
    }
}

/// A directory whose two saved files are of different moments, with auctions after both; and what was held.
fn saved_twice() -> (tempfile::TempDir, u64, Vec<Held>) {
    let dir = quick_dir();
    let supplies = supplies();
    let held: Vec<Held> = (0..40).map(|seed| Held::any(&supplies, seed)).collect();
    let mut process = Process::start_with(whole(dir.path(), 2), dir.path());
    for (at, one) in held.iter().enumerate() {
        process.hold(at % 2, one);
        if at == 11 || at == 25 {
            process.save();
        }
    }
    let copy = killed(dir.path());
    // Ended, so that reading it alone starts no process.
    drop(process);
    let process = Process::start_with(whole(copy.path(), 2), copy.path());
    let instance = process.journal.instance();
    drop(process);
    for name in ["statistics", "statistics.before"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    (copy, instance, held)
}

#[test]
fn whatever_is_left_of_the_saved_files_the_sum_is_the_same() {
    let (dir, instance, held) = saved_twice();
    let (path, sum) = (dir.path().join("statistics"), sum(&held));
    let (newer, older) = (fs::read(&path).unwrap(), fs::read(before(&path)).unwrap());
    let journal = dir.path().join("journal");
    let check = |newer: Option<&[u8]>, older: Option<&[u8]>, cores: usize, what: &str| {
        for (path, bytes) in [(&path, newer), (&before(&path), older)] {
            let _ = fs::remove_file(path);
            if let Some(bytes) = bytes {
                fs::write(path, bytes).unwrap();
            }
        }
        let restored = restore(dir.path(), &journal, instance, cores).unwrap();
        assert_eq!(counted(&restored.statistics), sum, "{what}");
        let Found { damaged, unreadable, .. } = restored.found;
        assert_eq!((damaged, unreadable), (0, 0), "{what}");
        restored.found.auctions
    };
    let another = |bytes: &[u8]| {
        let saved = Saved::decode(bytes).unwrap();
        Saved { instance: saved.instance + 1, ..saved }.encode()
    };
    let (newer, older) = (newer.as_slice(), older.as_slice());
    let (other_newer, other_older) = (another(newer), another(older));
    let all = held.len() as u64;
    for (row, (of_newer, of_older, cores, read)) in [
        (Some(newer), Some(older), 2, 14),
        (Some(newer), None, 1, 14),
        (Some(newer), Some(&other_older[..]), 4, 14),
        (None, Some(older), 2, 28),
        (Some(&other_newer), Some(older), 1, 28),
        (None, None, 3, all),
        (Some(&other_newer), None, 2, all),
        (None, Some(&other_older), 2, all),
        (Some(b""), Some(b"\0"), 2, all),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(check(of_newer, of_older, cores, &format!("row {row}")), read, "row {row}: auctions read");
    }
    for at in 0..newer.len() {
        let mut flipped = newer.to_vec();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(check(Some(&flipped), Some(older), 2, &format!("byte {at}")), 28);
        assert_eq!(check(Some(&newer[..at]), Some(older), 2, &format!("cut at {at}")), 28);
    }
    for at in 0..older.len() {
        let mut flipped = older.to_vec();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(check(None, Some(&flipped), 2, &format!("older, byte {at}")), all);
        assert_eq!(check(None, Some(&older[..at]), 2, &format!("older, cut at {at}")), all);
    }
}

/// As the release before the second version wrote it.
fn version_1(saved: &Saved) -> Vec<u8> {
    let mut to = b"bourse.t".to_vec();
    let id = |id: &auction::Id, to: &mut Vec<u8>| {
        to.extend((id.as_str().len() as u16).to_le_bytes());
        to.extend(id.as_str().as_bytes());
    };
    to.extend(1u32.to_le_bytes());
    to.extend(saved.instance.to_le_bytes());
    to.extend((saved.cores.len() as u32).to_le_bytes());
    for (number, core) in &saved.cores {
        to.extend(number.to_le_bytes());
        to.extend(core.upto.to_le_bytes());
        to.extend((core.counted.len() as u32).to_le_bytes());
        for Counted { supply, upto, totals } in &core.counted {
            id(supply, &mut to);
            to.extend([*upto, totals.total_reqs].map(u64::to_le_bytes).concat());
            to.extend((totals.reqs_per_country.len() as u32).to_le_bytes());
            for (country, n) in &totals.reqs_per_country {
                to.extend(country.alpha2().as_bytes());
                to.extend(n.to_le_bytes());
            }
            to.extend((totals.bidders.len() as u32).to_le_bytes());
            for (bidder, counts) in &totals.bidders {
                id(bidder, &mut to);
                let numbers = [counts.wins, counts.revenue.micros(), counts.no_bids, counts.timeouts];
                to.extend(numbers.map(u64::to_le_bytes).concat());
            }
        }
    }
    to.extend(crc32c::crc32c(&to).to_le_bytes());
    to
}

#[test]
fn a_file_of_the_version_before_is_read_as_this_one_is() {
    let (dir, ..) = saved_twice();
    let saved = Saved::decode(&fs::read(dir.path().join("statistics")).unwrap()).unwrap();
    assert!(saved.cores.values().any(|core| core.counted.iter().any(|one| one.totals.bidders.len() > 1)));
    let old = version_1(&saved);
    assert_eq!(Saved::decode(&old).as_ref(), Some(&saved));
    assert!(saved.encode().len() < old.len() / 2, "and it was longer");
}

#[test]
fn a_file_of_a_later_version_is_refused_and_stays() {
    let (dir, instance, _) = saved_twice();
    let path = dir.path().join("statistics");
    let mut bytes = fs::read(&path).unwrap();
    let body = bytes.len() - 4;
    bytes[8..12].copy_from_slice(&3u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = restore(dir.path(), &dir.path().join("journal"), instance, 2).unwrap_err().to_string();
    assert!(error.contains("a later version"), "{error}");
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_damaged_file_never_takes_the_place_of_the_whole_one_before_it() {
    let (dir, instance, held) = saved_twice();
    let path = dir.path().join("statistics");
    let whole = fs::read(before(&path)).unwrap();
    fs::write(&path, b"damaged").unwrap();
    restore(dir.path(), &dir.path().join("journal"), instance, 2).unwrap();
    assert!(fs::read(before(&path)).unwrap() == whole, "the one file that could be read is kept");
    let newer = Saved::decode(&fs::read(&path).unwrap()).unwrap();
    let totals = newer.cores.values().flat_map(|core| &core.counted).map(|one| one.totals.total_reqs);
    assert_eq!(totals.sum::<u64>(), held.len() as u64, "and the new one has all");
}

#[test]
fn the_journal_keeps_what_the_file_before_needs() {
    let (dir, instance, _) = saved_twice();
    let journal = dir.path().join("journal");
    let needed = Saved::decode(&fs::read(dir.path().join("statistics")).unwrap()).unwrap();
    let needed: Vec<u64> = needed.cores.values().map(|core| core.upto).collect();
    let restored = restore(dir.path(), &journal, instance, 2).unwrap();
    drop(restored);
    // What was newer before the start is the older one now.
    let cursor = Cursor::open(&journal, READER).unwrap();
    assert_eq!([0, 1].map(|core| cursor.offset(core).get()).to_vec(), needed);
}

#[test]
fn a_disk_that_takes_no_file_keeps_nobody_from_starting() {
    let (dir, instance, held) = saved_twice();
    let journal = dir.path().join("journal");
    // A directory in the way of the new file stands for a disk without space: root, too, is refused there.
    let in_the_way = [dir.path().join(".statistics.new"), journal.join("readers/.statistics.new")];
    let kept = ["statistics.before", "journal/readers/statistics"];
    for blocked in [&in_the_way[..1], &in_the_way[1..], &in_the_way] {
        blocked.iter().for_each(|path| fs::create_dir(path).unwrap());
        for _ in 0..2 {
            let mut restored = restore(dir.path(), &journal, instance, 2).unwrap();
            assert_eq!(counted(&restored.statistics), sum(&held));
            restored.saver.replace(&restored.statistics).unwrap_err();
            assert!(kept.iter().all(|name| dir.path().join(name).is_file()), "what there is stays");
        }
        blocked.iter().for_each(|path| fs::remove_dir(path).unwrap());
    }
    let mut restored = restore(dir.path(), &journal, instance, 2).unwrap();
    restored.saver.save(&restored.statistics).unwrap();
    assert_eq!(restore(dir.path(), &journal, instance, 2).unwrap().found, Found::default());
}

#[test]
fn counts_newer_than_their_core_are_not_counted_twice() {
    let (dir, instance, held) = saved_twice();
    let (path, journal) = (dir.path().join("statistics"), dir.path().join("journal"));
    let early = Saved::decode(&fs::read(before(&path)).unwrap()).unwrap();
    let late = Saved::decode(&fs::read(&path).unwrap()).unwrap();
    let cores = early.cores.iter().zip(late.cores.values()).map(|((number, early), late)| {
        (*number, SavedCore { upto: early.upto, counted: late.counted.clone() })
    });
    fs::write(&path, Saved { instance, cores: cores.collect() }.encode()).unwrap();
    let restored = restore(dir.path(), &journal, instance, 2).unwrap();
    assert_eq!(counted(&restored.statistics), sum(&held));
    assert_eq!(restored.found.auctions, 14, "what the counts have is passed over");
}

#[test]
fn a_start_after_a_save_reads_nothing_again_and_finds_no_damage() {
    let (dir, ..) = saved_twice();
    for cores in [2, 1, 3] {
        let mut process = Process::start(dir.path(), cores);
        process.hold(0, &Held::any(&supplies(), 1));
        process.save();
        let copy = killed(dir.path());
        let again = Process::start(copy.path(), cores);
        assert_eq!(again.found, Found::default(), "{cores} cores");
    }
}

#[test]
fn counts_of_a_core_whose_journal_is_gone_stay() {
    let (dir, instance, held) = saved_twice();
    let journal = dir.path().join("journal");
    drop(restore(dir.path(), &journal, instance, 2).unwrap());
    fs::remove_dir_all(journal.join("core-1")).unwrap();
    for _ in 0..2 {
        let restored = restore(dir.path(), &journal, instance, 1).unwrap();
        assert_eq!(counted(&restored.statistics), sum(&held));
    }
}

#[test]
fn what_is_saved_while_auctions_are_held_is_exact() {
    const EACH: u64 = 2_000;
    let dir = quick_dir();
    let supplies = supplies();
    let mut process = Process::start_with(whole(dir.path(), 2), dir.path());
    let Process { pens, statistics, saver, .. } = &mut process;
    let (statistics, holding) = (&*statistics, AtomicUsize::new(pens.len()));
    std::thread::scope(|scope| {
        for (core, pen) in pens.iter_mut().enumerate() {
            let (supplies, holding) = (&supplies, &holding);
            scope.spawn(move || {
                let tally = statistics.tally(core);
                for seed in (core as u64..).step_by(2).take(EACH as usize) {
                    let one = Held::any(supplies, seed);
                    let end = pen.write(&one);
                    one.with(|record| tally.count(tally.seat(&one.supply.id), &one.supply, record, end));
                }
                holding.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for round in 0.. {
            let is_last = holding.load(Ordering::Relaxed) == 0;
            saver.save(statistics).unwrap();
            if is_last || round % 16 == 15 {
                // Nothing is saved meanwhile, so the journal has at least what the saved files have.
                let copy = killed(dir.path());
                let restored = Process::start_with(whole(copy.path(), 2), copy.path());
                let sum = held::read(&copy.path().join("journal"));
                assert_eq!(counted(&restored.statistics), sum, "round {round}");
            }
            if is_last {
                break;
            }
        }
    });
    assert_eq!(
        counted(statistics),
        sum(&(0..2 * EACH).map(|seed| Held::any(&supplies, seed)).collect::<Vec<_>>())
    );
}
