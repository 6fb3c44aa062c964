//! One core's counts of one supply.
//!
//! * Memory: what an auction changes stands in one piece, whose place is known before the auction is held, so that all of
//!   it can be fetched at once; names and whatever else only readers need stand elsewhere.

use super::{BidderTotals, Counter, SupplyTotals};
use auction::{Answer, Country, Cpm, Fate, Id, Record, Supply};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Half of a cache line.
type Row = [Counter; 4];

/// What an auction changes.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// The supply's, then each bidder's by slot.
    rows: Arc<[Row]>,
    /// The country that the supply's row counts: where most of its requests had come from when the block was made.
    home: Country,
}

/// Places in the supply's row. The version is odd while an auction is being counted; every auction of the supply below
/// the offset `UPTO` of the core's journal is in.
const VERSION: usize = 0;
const UPTO: usize = 1;
const TOTAL_REQS: usize = 2;
const HOME_REQS: usize = 3;
/// Places in a bidder's row.
const WINS: usize = 0;
const REVENUE_MICROS: usize = 1;
const NO_BIDS: usize = 2;
const TIMEOUTS: usize = 3;

impl Counts {
    fn new(supply: &Supply, home: Country) -> Self {
        let rows = std::iter::repeat_with(Row::default).take(1 + supply.bidders().len());
        Self { rows: rows.collect(), home }
    }

    fn supply(&self) -> &Row {
        &self.rows[0]
    }

    fn bidders(&self) -> &[Row] {
        &self.rows[1..]
    }

    fn totals(&self) -> impl Iterator<Item = BidderTotals> {
        self.bidders().iter().map(|row| BidderTotals {
            wins: row[WINS].get(),
            revenue: Cpm::from_micros(row[REVENUE_MICROS].get()),
            no_bids: row[NO_BIDS].get(),
            timeouts: row[TIMEOUTS].get(),
        })
    }

    /// A row of each of its cache lines, but for the end of the last.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().step_by(2)
    }

    /// Counts one auction, whose record ends before `upto`, but for the country unless it is the home; only the core
    /// itself does. `abroad` counts the country.
    pub(super) fn count(&self, record: &Record<'_>, upto: u64, abroad: impl FnOnce(Country)) {
        let (supply, bidders) = (self.supply(), self.bidders());
        let version = &supply[VERSION].0;
        let even = version.load(Ordering::Relaxed);
        version.store(even + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        supply[TOTAL_REQS].add(1);
        match record.opportunity.country {
            country if country == self.home => supply[HOME_REQS].add(1),
            country => abroad(country),
        }
        for reply in &record.answers.replies {
            let row = &bidders[reply.slot as usize];
            match reply.answer {
                Answer::Bid => {}
                Answer::NoBid => row[NO_BIDS].add(1),
                Answer::Timeout => row[TIMEOUTS].add(1),
            }
        }
        for (bid, fate) in record.answers.bids.iter().zip(&record.clearing.fates) {
            if let Fate::Won(price) = fate {
                let row = &bidders[bid.slot as usize];
                row[WINS].add(1);
                row[REVENUE_MICROS].add(price.micros());
            }
        }
        supply[UPTO].set(upto);
        version.store(even + 2, Ordering::Release);
    }
}

/// Countries are counted in pages of this many, so that a supply pays for the parts of the world it has seen.
const PAGE: usize = 32;
const PAGES: usize = Country::COUNT.div_ceil(PAGE);

/// One core's counts of one supply, as its bidders were when the block was made.
#[derive(Debug)]
pub(crate) struct Block {
    supply: Arc<Supply>,
    counts: Counts,
    /// Of every other country than the home.
    countries: [OnceLock<Box<[Counter; PAGE]>>; PAGES],
    /// What bidders counted that the supply no longer lists.
    gone: Vec<(Id, BidderTotals)>,
}

/// The numbers of a block at one moment.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Every auction of the supply below this offset of the core's journal is in.
    pub(crate) upto: u64,
    pub(crate) total_reqs: u64,
    /// Those that have requests, in no order.
    pub(crate) countries: Vec<(Country, u64)>,
    /// By slot.
    bidders: Vec<BidderTotals>,
}

impl Block {
    /// Goes on from these totals; the next request is from `next`.
    pub(super) fn new(supply: Arc<Supply>, next: Country, upto: u64, totals: SupplyTotals) -> Self {
        let most = totals.reqs_per_country.iter().max_by_key(|(_, n)| **n);
        let counts = Counts::new(&supply, most.map_or(next, |(country, _)| *country));
        counts.supply()[UPTO].set(upto);
        counts.supply()[TOTAL_REQS].set(totals.total_reqs);
        let mut carried = totals.bidders;
        for (row, bidder) in counts.bidders().iter().zip(supply.bidders()) {
            if let Some(totals) = carried.remove(&bidder.id) {
                row[WINS].set(totals.wins);
                row[REVENUE_MICROS].set(totals.revenue.micros());
                row[NO_BIDS].set(totals.no_bids);
                row[TIMEOUTS].set(totals.timeouts);
            }
        }
        let gone = carried.into_iter().filter(|(_, totals)| *totals != BidderTotals::default()).collect();
        let block = Self { supply, counts, countries: Default::default(), gone };
        totals.reqs_per_country.into_iter().for_each(|(country, n)| block.requests_from(country).set(n));
        block
    }

    /// Whose counts they are.
    pub(crate) fn id(&self) -> &Id {
        &self.supply.id
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn upto(&self) -> u64 {
        self.counts.supply()[UPTO].get()
    }

    pub(super) fn requests_from(&self, country: Country) -> &Counter {
        if country == self.counts.home {
            return &self.counts.supply()[HOME_REQS];
        }
        &self.countries[country.index() / PAGE].get_or_init(Box::default)[country.index() % PAGE]
    }

    /// Reads all of it at one moment, as numbers: with names it would take longer than the next auction.
    pub(crate) fn read(&self, to: &mut Reading) {
        let row = self.counts.supply();
        loop {
            let version = row[VERSION].get();
            to.bidders.clear();
            to.bidders.extend(self.counts.totals());
            to.countries.clear();
            to.countries.extend(self.by_country());
            (to.upto, to.total_reqs) = (row[UPTO].get(), row[TOTAL_REQS].get());
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && row[VERSION].0.load(Ordering::Relaxed) == version {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// The same with names, and the offset that belongs to it.
    pub(crate) fn totals(&self) -> (u64, SupplyTotals) {
        let mut reading = Reading::default();
        self.read(&mut reading);
        let mut totals = SupplyTotals { total_reqs: reading.total_reqs, ..SupplyTotals::default() };
        for (id, counts) in self.named(&reading) {
            totals.bidders.entry(id.clone()).or_default().add(counts);
        }
        totals.reqs_per_country = reading.countries.into_iter().collect();
        (reading.upto, totals)
    }

    /// Every bidder with its counts; one that moved may come twice.
    pub(crate) fn named<'a>(&'a self, reading: &'a Reading) -> impl Iterator<Item = (&'a Id, BidderTotals)> {
        let listed = self.supply.bidders().iter().map(|bidder| &bidder.id);
        listed.zip(reading.bidders.iter().copied()).chain(self.gone.iter().map(|(id, totals)| (id, *totals)))
    }

    fn by_country(&self) -> impl Iterator<Item = (Country, u64)> {
        let home = (self.counts.home, self.counts.supply()[HOME_REQS].get());
        let pages =
            self.countries.iter().enumerate().filter_map(|(i, page)| page.get().map(|page| (i, page)));
        let others = pages.flat_map(|(i, page)| {
            let counts =
                page.iter().enumerate().map(move |(j, n)| (Country::from_index(i * PAGE + j), n.get()));
            counts.filter_map(|(country, n)| country.map(|country| (country, n)))
        });
        others.chain([home]).filter(|(_, n)| *n > 0)
    }
}
