//! Statistics: what every supply and bidder has done, exact to the micro.
//!
//! * Writers: each core counts on its own; a counter has one writer and needs no atomic addition.
//! * Readers: [`Statistics::report`] sums all cores. A counter is stored before its auction's answer leaves, so a reader
//!   sees every auction that was answered before it asked.
//! * Journal: a block says up to which offset its core's auctions are in it, and changes with that as one (a sequence
//!   lock), so whoever reads it knows which auctions it has seen. That is what makes the counts a view of the journal.
//! * Growth: a core has a block for each supply it has held an auction for; an auction touches one block, whatever
//!   the number of supplies. When a supply changes its bidders, its counts move to a new block.
//! * Activity: beside all that, and outside it, what was done since the start is counted for those who watch.
//! * Locks: a core takes its own lock when it meets a supply for the first time, and never again for that supply.

use crate::activity::{Activity, CallTotals, Calls, Sales};
use auction::{Answer, Bidder, Country, Cpm, Fate, Id, Record, Supply};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Nothing counted yet.
    #[expect(clippy::declare_interior_mutable_const, reason = "to begin with, not to share")]
    pub const ZERO: Self = Self(AtomicU64::new(0));

    /// Adds `n`. Only the counter's own thread may call it.
    pub fn add(&self, n: u64) {
        self.set(self.0.load(Ordering::Relaxed).wrapping_add(n));
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }
}

/// What one bidder has done for one supply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BidderTotals {
    /// Auctions won.
    pub wins: u64,
    /// The sum of its clearing prices.
    pub revenue: Cpm,
    /// Times it answered without a bid.
    pub no_bids: u64,
    /// Times it did not answer within tmax.
    pub timeouts: u64,
}

impl BidderTotals {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Self) {
        self.wins += other.wins;
        self.revenue = self.revenue.plus(other.revenue);
        self.no_bids += other.no_bids;
        self.timeouts += other.timeouts;
    }
}

/// What one supply has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SupplyTotals {
    /// Requests that named it and passed the rate limit.
    pub total_reqs: u64,
    /// The same, by country.
    pub reqs_per_country: BTreeMap<Country, u64>,
    /// Bidders that counted something; in a report also every other one that it lists.
    pub bidders: BTreeMap<Id, BidderTotals>,
}

impl SupplyTotals {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Self) {
        self.total_reqs += other.total_reqs;
        for (country, n) in other.reqs_per_country {
            *self.reqs_per_country.entry(country).or_default() += n;
        }
        for (id, counts) in other.bidders {
            self.bidders.entry(id).or_default().add(counts);
        }
    }

    /// Lists exactly these bidders besides those that counted something.
    pub fn list(&mut self, bidders: &[Arc<Bidder>]) {
        self.bidders.retain(|_, counts| *counts != BidderTotals::default());
        for bidder in bidders {
            self.bidders.entry(bidder.id.clone()).or_default();
        }
    }
}

/// The counts of one bidder for one supply on one core.
#[derive(Debug, Default)]
struct BidderCounts {
    wins: Counter,
    revenue_micros: Counter,
    no_bids: Counter,
    timeouts: Counter,
}

impl BidderCounts {
    fn totals(&self) -> BidderTotals {
        BidderTotals {
            wins: self.wins.get(),
            revenue: Cpm::from_micros(self.revenue_micros.get()),
            no_bids: self.no_bids.get(),
            timeouts: self.timeouts.get(),
        }
    }

    fn start_from(totals: BidderTotals) -> Self {
        let counts = Self::default();
        counts.wins.set(totals.wins);
        counts.revenue_micros.set(totals.revenue.micros());
        counts.no_bids.set(totals.no_bids);
        counts.timeouts.set(totals.timeouts);
        counts
    }
}

/// Countries are counted in pages of this many, so that a supply pays for the parts of the world it has seen.
const PAGE: usize = 32;
const PAGES: usize = Country::COUNT.div_ceil(PAGE);

/// The numbers of a block at one moment.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Every auction of the supply below this offset of the core's journal is in.
    pub(crate) upto: u64,
    pub(crate) total_reqs: u64,
    /// In order, without zeros.
    pub(crate) countries: Vec<(Country, u64)>,
    /// By slot.
    bidders: Vec<BidderTotals>,
}

/// One core's counts of one supply, as its bidders were when the block was made.
#[derive(Debug)]
pub(crate) struct Block {
    supply: Arc<Supply>,
    /// Odd while an auction is being counted.
    version: AtomicU64,
    /// Every auction of this supply below this offset of the core's journal is in.
    upto: Counter,
    total_reqs: Counter,
    countries: [OnceLock<Box<[Counter; PAGE]>>; PAGES],
    /// By slot.
    bidders: Box<[BidderCounts]>,
    /// What bidders counted that the supply no longer lists.
    gone: Vec<(Id, BidderTotals)>,
}

impl Block {
    /// Goes on from these totals.
    fn new(supply: Arc<Supply>, upto: u64, totals: SupplyTotals) -> Self {
        let mut carried = totals.bidders;
        let bidders = supply.bidders().iter().map(|bidder| {
            carried.remove(&bidder.id).map_or_else(BidderCounts::default, BidderCounts::start_from)
        });
        let bidders = bidders.collect();
        let gone = carried.into_iter().filter(|(_, totals)| *totals != BidderTotals::default()).collect();
        let block = Self {
            supply,
            version: AtomicU64::new(0),
            upto: Counter::default(),
            total_reqs: Counter::default(),
            countries: Default::default(),
            bidders,
            gone,
        };
        block.upto.set(upto);
        block.total_reqs.set(totals.total_reqs);
        totals.reqs_per_country.into_iter().for_each(|(country, n)| block.country(country).set(n));
        block
    }

    fn country(&self, country: Country) -> &Counter {
        &self.countries[country.index() / PAGE].get_or_init(Box::default)[country.index() % PAGE]
    }

    /// Counts one auction; only the block's own core does.
    fn count(&self, record: &Record<'_>, upto: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.total_reqs.add(1);
        self.country(record.opportunity.country).add(1);
        for reply in &record.answers.replies {
            let counts = &self.bidders[reply.slot as usize];
            match reply.answer {
                Answer::Bid => {}
                Answer::NoBid => counts.no_bids.add(1),
                Answer::Timeout => counts.timeouts.add(1),
            }
        }
        for (bid, fate) in record.answers.bids.iter().zip(&record.clearing.fates) {
            if let Fate::Won(price) = fate {
                let counts = &self.bidders[bid.slot as usize];
                counts.wins.add(1);
                counts.revenue_micros.add(price.micros());
            }
        }
        self.upto.set(upto);
        self.version.store(version + 2, Ordering::Release);
    }

    /// Whose counts they are.
    pub(crate) fn id(&self) -> &Id {
        &self.supply.id
    }

    /// Reads all of it at one moment, as numbers: with names it would take longer than the next auction.
    pub(crate) fn read(&self, to: &mut Reading) {
        loop {
            let version = self.version.load(Ordering::Acquire);
            to.bidders.clear();
            to.bidders.extend(self.bidders.iter().map(BidderCounts::totals));
            to.countries.clear();
            to.countries.extend(self.by_country());
            (to.upto, to.total_reqs) = (self.upto.get(), self.total_reqs.get());
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// The same with names, and the offset that belongs to it.
    fn totals(&self) -> (u64, SupplyTotals) {
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
    pub(crate) fn named<'a>(
        &'a self,
        reading: &'a Reading,
    ) -> impl Iterator<Item = (&'a Id, BidderTotals)> {
        let listed = self.supply.bidders().iter().map(|bidder| &bidder.id);
        listed.zip(reading.bidders.iter().copied()).chain(self.gone.iter().map(|(id, totals)| (id, *totals)))
    }

    fn by_country(&self) -> impl Iterator<Item = (Country, u64)> {
        let counts =
            self.countries.iter().enumerate().filter_map(|(i, page)| page.get().map(|page| (i, page)));
        counts.flat_map(|(i, page)| {
            let counts =
                page.iter().enumerate().map(move |(j, n)| (Country::from_index(i * PAGE + j), n.get()));
            counts.filter_map(|(country, n)| country.filter(|_| n > 0).map(|country| (country, n)))
        })
    }
}

/// What all cores have counted.
#[derive(Debug)]
pub struct Statistics {
    cores: Box<[Arc<Shelf>]>,
}

/// The blocks of a core, one for each supply.
#[derive(Debug, Default)]
struct Blocks {
    /// In the order in which the supplies were met.
    all: Vec<Arc<Block>>,
    by_id: HashMap<Id, usize, foldhash::fast::RandomState>,
}

impl Blocks {
    fn get(&self, supply: &Id) -> Option<&Arc<Block>> {
        self.by_id.get(supply).map(|place| &self.all[*place])
    }

    /// In place of the supply's block before, if there is one.
    fn put(&mut self, block: Arc<Block>) {
        match self.by_id.get(&block.supply.id) {
            Some(place) => self.all[*place] = block,
            None => {
                self.by_id.insert(block.id().clone(), self.all.len());
                self.all.push(block);
            }
        }
    }
}

/// So many blocks are copied under one lock.
const AT_ONCE: usize = 256;

/// The blocks of one core, where readers find them.
#[derive(Debug, Default)]
struct Shelf {
    blocks: Mutex<Blocks>,
    /// Every auction below this offset of the core's journal is in its block.
    upto: Counter,
    /// Of whoever took the writing end last.
    activity: Mutex<Arc<Activity>>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every block there is when it comes to it. The lock is held for a few at a time: an auction of a new supply must
    /// not wait for a sum.
    fn blocks(&self) -> impl Iterator<Item = Arc<Block>> {
        let some = |taken: usize| self.lock().all.iter().skip(taken).take(AT_ONCE).cloned().collect();
        let parts = (0..).step_by(AT_ONCE).map(some).take_while(|part: &Vec<_>| !part.is_empty());
        parts.flatten()
    }

    fn activity(&self) -> MutexGuard<'_, Arc<Activity>> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end of one core.
#[derive(Debug)]
pub struct Tally {
    shelf: Arc<Shelf>,
    activity: Arc<Activity>,
    /// By the supply's place in memory, which the block keeps from being used again.
    blocks: RefCell<HashMap<*const Supply, Met, foldhash::fast::RandomState>>,
}

/// Where a core counts the auctions of a supply it has met.
#[derive(Debug)]
struct Met {
    block: Arc<Block>,
    /// By slot.
    calls: Box<[Arc<Calls>]>,
}

/// What one core has counted for one supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The supply.
    pub supply: Id,
    /// Every auction of it below this offset of the core's journal is in.
    pub upto: u64,
    /// The counts.
    pub totals: SupplyTotals,
}

impl Statistics {
    /// Nothing counted yet, by `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| Arc::default()).collect() }
    }

    /// How many cores have counted, or may.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The writing end of a core; each may be taken by one thread only. The core's activity begins anew.
    pub fn tally(&self, core: usize) -> Tally {
        let (shelf, activity) = (Arc::clone(&self.cores[core]), Arc::default());
        *shelf.activity() = Arc::clone(&activity);
        Tally { shelf, activity, blocks: RefCell::default() }
    }

    fn activities(&self) -> impl Iterator<Item = Arc<Activity>> {
        self.cores.iter().map(|shelf| Arc::clone(&shelf.activity()))
    }

    /// What was sold since the start, everywhere.
    pub fn sales(&self) -> Sales {
        self.activities().fold(Sales::default(), |mut sum, activity| {
            sum.add(activity.sales());
            sum
        })
    }

    /// The same, by country.
    pub fn sales_by_country(&self) -> BTreeMap<Country, Sales> {
        let mut sum = BTreeMap::new();
        self.activities().for_each(|activity| activity.add_countries(&mut sum));
        sum
    }

    /// How every bidder that was asked since the start has answered.
    pub fn calls(&self) -> BTreeMap<Id, CallTotals> {
        let mut sum = BTreeMap::new();
        self.activities().for_each(|activity| activity.add_bidders(&mut sum));
        sum
    }

    /// Up to which offset of its journal every auction of this core is counted.
    pub fn upto(&self, core: usize) -> u64 {
        self.cores[core].upto.get()
    }

    /// What a core has counted, supply by supply. Auctions from [`Statistics::upto`] on, asked for before, may be in or
    /// not: the supply's own offset says.
    pub(crate) fn blocks(&self, core: usize) -> impl Iterator<Item = Arc<Block>> {
        self.cores[core].blocks()
    }

    /// For each supply a number that changes with every auction counted for it, and never goes back: the sum of its
    /// offsets over all cores.
    pub fn marks(&self) -> HashMap<Id, u64, foldhash::fast::RandomState> {
        let mut marks: HashMap<Id, u64, _> = HashMap::default();
        for block in self.cores.iter().flat_map(|shelf| shelf.blocks()) {
            *marks.entry(block.id().clone()).or_default() += block.upto.get();
        }
        marks
    }

    /// The sums of one supply over all cores, with the mark that belongs to them.
    pub fn supply(&self, id: &Id) -> (u64, SupplyTotals) {
        let blocks: Vec<_> = self.cores.iter().filter_map(|shelf| shelf.lock().get(id).cloned()).collect();
        blocks.iter().fold((0, SupplyTotals::default()), |(mark, mut sum), block| {
            let (upto, totals) = block.totals();
            sum.add(totals);
            (mark + upto, sum)
        })
    }

    /// The sums over all cores, for each supply with at least one request, in order of id.
    pub fn report(&self) -> BTreeMap<Id, SupplyTotals> {
        let mut report: BTreeMap<Id, SupplyTotals> = BTreeMap::new();
        for block in self.cores.iter().flat_map(|shelf| shelf.blocks()) {
            report.entry(block.id().clone()).or_default().add(block.totals().1);
        }
        report
    }
}

impl Tally {
    /// Goes on from what was counted before.
    pub fn start_from(&self, counted: Counted) {
        let Counted { supply, upto, totals } = counted;
        // Its bidders are those of the first auction to come; until then they are kept by name.
        let placeholder =
            Supply::new(supply, auction::AuctionType::FirstPrice, Cpm::ZERO, Vec::new());
        self.shelf.lock().put(Arc::new(Block::new(Arc::new(placeholder), upto, totals)));
    }

    /// Up to which offset the auctions of this supply are counted.
    pub fn upto(&self, supply: &Id) -> u64 {
        self.shelf.lock().get(supply).map_or(0, |block| block.upto.get())
    }

    /// Counts one auction of `supply`, whose record in the journal ends before `upto`.
    pub fn count(&self, supply: &Arc<Supply>, record: &Record<'_>, upto: u64) {
        let mut blocks = self.blocks.borrow_mut();
        let met = match blocks.get(&Arc::as_ptr(supply)) {
            Some(met) => met,
            None => {
                let met = self.open(supply, &mut blocks);
                blocks.entry(Arc::as_ptr(supply)).or_insert(met)
            }
        };
        met.block.count(record, upto);
        self.activity.count(record, &met.calls);
        self.passed(upto);
    }

    /// Nothing below this offset is left to count.
    pub fn passed(&self, upto: u64) {
        self.shelf.upto.set(upto);
    }

    /// A block for a supply met for the first time, or changed since; the old block's counts move into it.
    #[cold]
    fn open(
        &self,
        supply: &Arc<Supply>,
        blocks: &mut HashMap<*const Supply, Met, foldhash::fast::RandomState>,
    ) -> Met {
        let calls = self.activity.calls(supply);
        let mut shelf = self.shelf.lock();
        let before = shelf.get(&supply.id);
        let (upto, totals) = before.map(|block| block.totals()).unwrap_or_default();
        if let Some(before) = before {
            blocks.remove(&Arc::as_ptr(&before.supply));
        }
        let block = Arc::new(Block::new(Arc::clone(supply), upto, totals));
        shelf.put(Arc::clone(&block));
        Met { block, calls }
    }
}

#[cfg(test)]
mod tests;
