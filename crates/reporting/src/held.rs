//! Auctions of a test's own: what is held, the plain sum of it, and processes that record it as the exchange does.

use crate::{Auctions, Event, Found, Restored, Saver, Statistics, SupplyTotals, Tally, restore};
use auction::encoding::{auction_bytes, supply_bytes, write_auction, write_supply};
use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Draws, Id, Imp,
    Opportunity, Profile, Record, Reply, Supply, clear, invite,
};
use journal::{Begin, Journal, Offset, Room, Settings, Writer, record_bytes};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The seed of every process here.
const SEED: u64 = 7;

/// So many cases, or as many for each second that `cargo xtask chaos` says.
pub(crate) fn cases(few: u32) -> u32 {
    let seconds = std::env::var("BOURSE_TEST_CHAOS_SECONDS").ok();
    few * seconds.map_or(1, |seconds| seconds.parse().expect("seconds"))
}

/// A directory in memory where there is one: tests that start processes by the hundred wait for no disk there.
pub(crate) fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A supply with these bidders; the last one buys in GB, every other one in the US.
pub(crate) fn supply(id: &str, bidders: &[&str]) -> Arc<Supply> {
    let bidder = |(at, id): (usize, &&str)| {
        let country = if at + 1 == bidders.len() && at > 0 { "GB" } else { "US" };
        let country = Country::from_code(country).unwrap();
        Arc::new(Bidder::new(Id::new(id).unwrap(), country, Profile::DEFAULT))
    };
    let bidders = bidders.iter().enumerate().map(bidder).collect();
    Arc::new(Supply::new(Id::new(id).unwrap(), AuctionType::FirstPrice, Cpm::ZERO, bidders))
}

/// Three supplies that share bidders, and the second once more as it is after a change.
pub(crate) fn supplies() -> Vec<Arc<Supply>> {
    vec![
        supply("s1", &["a", "b", "c"]),
        supply("s2", &["b", "d"]),
        supply("s3", &["e"]),
        supply("s2", &["d", "b", "f", "g"]),
    ]
}

/// An auction that was held.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) supply: Arc<Supply>,
    country: Country,
    ip: IpAddr,
    pub(crate) sequence: u64,
    answers: Answers,
    clearing: Clearing,
}

impl Held {
    /// Any auction of one of these supplies; the same seed is the same auction.
    pub(crate) fn any(supplies: &[Arc<Supply>], seed: u64) -> Self {
        let mut draws = Chance::new(seed, 0).bidder(1);
        let supply = &supplies[draws.below(supplies.len() as u64) as usize];
        let country = ["US", "US", "US", "GB", "DE"][draws.below(5) as usize];
        Self::new(supply, country, seed, &mut draws)
    }

    /// One of this supply, with answers as they are drawn.
    pub(crate) fn new(supply: &Arc<Supply>, country: &str, sequence: u64, draws: &mut Draws) -> Self {
        let country = Country::from_code(country).unwrap();
        let ip = Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(sequence as u16) << 80).into();
        let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
        for slot in supply.slots_in(country) {
            let answer = [Answer::Bid, Answer::Bid, Answer::NoBid, Answer::Timeout][draws.below(4) as usize];
            answers.replies.push(Reply { slot, answer, latency_ns: draws.below(200) * 1_000_000 });
            if answer == Answer::Bid {
                let price = Cpm::from_micros(1 + draws.below(2_000_000));
                answers.bids.push(Bid { slot, imp: 0, price });
            }
        }
        clearing.lots.push(supply.lot(&Imp::PLAIN));
        clear(&mut clearing, &answers.bids, Chance::new(SEED, sequence));
        Self { supply: Arc::clone(supply), country, ip, sequence, answers, clearing }
    }

    /// Its record, as the exchange makes it.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let opportunity = Opportunity {
            supply_id: self.supply.id.as_str(),
            ip: self.ip,
            country: self.country,
            tmax_ms: 200,
            imps: &[Imp::PLAIN],
        };
        let invitations = invite(&opportunity, &self.supply);
        use_it(&Record {
            id: AuctionId { seed: SEED, sequence: self.sequence },
            received_at_us: 1_700_000_000_000_000 + self.sequence % 1_000_000,
            catalogue_revision: 1,
            opportunity: &opportunity,
            supply: &self.supply,
            invitations: &invitations,
            answers: &self.answers,
            clearing: &self.clearing,
        })
    }

    /// Fails unless it was read as it was held.
    pub(crate) fn check(&self, supply: &Supply, read: &Record<'_>) {
        assert_eq!(supply, &*self.supply);
        self.with(|record| {
            assert_eq!(read.id, record.id);
            assert_eq!(read.received_at_us, record.received_at_us);
            assert_eq!(read.catalogue_revision, record.catalogue_revision);
            assert_eq!(read.opportunity.supply_id, record.opportunity.supply_id);
            assert_eq!(read.opportunity.ip, record.opportunity.ip);
            assert_eq!(read.opportunity.country, record.opportunity.country);
            assert_eq!(read.opportunity.tmax_ms, record.opportunity.tmax_ms);
            assert_eq!(read.answers.replies, record.answers.replies);
            assert_eq!(read.answers.bids, record.answers.bids);
            assert_eq!(read.clearing.fates, record.clearing.fates);
            assert_eq!(read.clearing.sales, record.clearing.sales);
        });
    }
}

/// A plain sum, by supply: slow, obvious, and none of the code under test.
pub(crate) type Sum = BTreeMap<Id, SupplyTotals>;

/// The sum of what was held.
pub(crate) fn sum<'h>(held: impl IntoIterator<Item = &'h Held>) -> Sum {
    let mut sum = Sum::new();
    held.into_iter().for_each(|one| one.with(|record| add(&mut sum, record)));
    sum
}

/// Adds one auction.
pub(crate) fn add(sum: &mut Sum, record: &Record<'_>) {
    let bidder = |slot: u32| record.supply.bidders()[slot as usize].id.clone();
    let totals = sum.entry(record.supply.id.clone()).or_default();
    totals.total_reqs += 1;
    *totals.reqs_per_country.entry(record.opportunity.country).or_default() += 1;
    for reply in &record.answers.replies {
        match reply.answer {
            Answer::Bid => {}
            Answer::NoBid => totals.bidders.entry(bidder(reply.slot)).or_default().no_bids += 1,
            Answer::Timeout => totals.bidders.entry(bidder(reply.slot)).or_default().timeouts += 1,
        }
    }
    if let Ok(sale) = record.clearing.sales[0] {
        let winner = totals.bidders.entry(bidder(sale.slot)).or_default();
        winner.wins += 1;
        winner.revenue = winner.revenue.plus(sale.price);
    }
}

/// What was counted, without bidders that counted nothing.
pub(crate) fn counted(statistics: &Statistics) -> Sum {
    let mut report = statistics.report();
    report.values_mut().for_each(|totals| totals.list(&[]));
    report
}

/// Writes one core's auctions down, as the exchange's recorder does.
#[derive(Debug)]
pub(crate) struct Pen {
    writer: Writer,
    segment: Offset,
    /// By a supply's place in memory, which is kept from being used again.
    written: HashMap<usize, (Arc<Supply>, Offset)>,
}

impl Pen {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer, segment: Offset::new(0), written: HashMap::new() }
    }

    /// Writes it down; returns the offset after it. Waits for room as the exchange never would.
    pub(crate) fn write(&mut self, held: &Held) -> u64 {
        let bytes = held.with(auction_bytes).unwrap();
        let supply_bytes = record_bytes(supply_bytes(&held.supply));
        let mut room = room(&mut self.writer, 2 * supply_bytes + record_bytes(bytes));
        if room.segment() != self.segment {
            self.segment = room.segment();
            self.written.clear();
        }
        let (_, at) = self.written.entry(Arc::as_ptr(&held.supply).addr()).or_insert_with(|| {
            let at = room.position();
            let terms = write_supply(SEED, at.get(), &held.supply);
            room.append(0, &terms).unwrap();
            room.append(0, &terms).unwrap();
            (Arc::clone(&held.supply), at)
        });
        held.with(|record| {
            let back = (room.position().get() - at.get()) as u32;
            let write = |to: &mut [u8]| write_auction(record, back, to);
            room.append_with(record.received_at_us, bytes, write).unwrap();
        });
        room.position().get()
    }

    /// Writes anything down.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        room(&mut self.writer, record_bytes(payload.len())).append(0, payload).unwrap();
    }
}

fn room(writer: &mut Writer, bytes: usize) -> Room<'_> {
    let begun = Instant::now();
    while let Err(error) = writer.room(bytes) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        std::thread::sleep(Duration::from_micros(100));
    }
    writer.room(bytes).unwrap()
}

/// The smallest journal there is; what every reader has read goes with the next look at it, and nothing else.
pub(crate) fn settings(dir: &Path, cores: u32) -> Settings {
    Settings {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        ahead_bytes: 16 << 10,
        retain_bytes: None,
        retain_hours: Some(0),
        ..Settings::new(dir.join("journal"), cores)
    }
}

/// A process that holds auctions: the journal's and the statistics' end of it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pens: Vec<Pen>,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) statistics: Statistics,
    pub(crate) saver: Saver,
    pub(crate) found: Found,
    /// Dropped last: it leaves every segment ended.
    pub(crate) journal: Journal,
}

impl Process {
    pub(crate) fn start(dir: &Path, cores: u32) -> Self {
        Self::start_with(settings(dir, cores), dir)
    }

    pub(crate) fn start_with(settings: Settings, dir: &Path) -> Self {
        let cores = settings.cores as usize;
        let (journal, writers) = Journal::open(settings).unwrap();
        let Restored { statistics, saver, found } =
            restore(dir, &dir.join("journal"), journal.instance(), cores).unwrap();
        let tallies = (0..cores).map(|core| statistics.tally(core)).collect();
        Self { pens: writers.into_iter().map(Pen::new).collect(), tallies, statistics, saver, found, journal }
    }

    /// Records and counts an auction.
    pub(crate) fn hold(&mut self, core: usize, held: &Held) {
        let end = self.pens[core].write(held);
        let tally = &self.tallies[core];
        held.with(|record| tally.count(tally.seat(&held.supply.id), &held.supply, record, end));
    }

    pub(crate) fn save(&mut self) {
        self.saver.save(&self.statistics).unwrap();
    }
}

/// What a journal holds, added up; any damage there is fails.
pub(crate) fn read(journal: &Path) -> Sum {
    let mut sum = Sum::new();
    for core in journal::cores(journal).unwrap() {
        let mut auctions = Auctions::open(journal, core, Begin::Oldest).unwrap();
        let mut use_it = |event: Event<'_>| match event {
            Event::Auction { record, .. } => add(&mut sum, record),
            // Where an empty segment was.
            Event::Gap { .. } => {}
            other => panic!("{other:?}"),
        };
        while auctions.next(&mut use_it).unwrap().is_some() {}
    }
    sum
}

/// The files as they are now, as a kill would leave them.
pub(crate) fn killed(dir: &Path) -> TempDir {
    let copy = quick_dir();
    copy_into(dir, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_into(&entry.path(), &to);
        } else if let Err(error) = std::fs::copy(entry.path(), to) {
            // The background goes on meanwhile.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}
