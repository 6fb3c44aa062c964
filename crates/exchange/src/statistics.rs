//! Statistics: what every supply and bidder has done, exact to the micro.
//!
//! * Writers: each core counts on its own; a counter has one writer and needs no atomic addition.
//! * Readers: [`Statistics::report`] sums all cores. A counter is stored before its auction's answer leaves, so a reader
//!   sees every auction that was answered before it asked.
//! * Growth: a core has a block for each supply it has held an auction for; an auction touches one block, whatever
//!   the number of supplies. When a supply changes its bidders, its counts move to a new block.
//! * Locks: a core takes its own lock when it meets a supply for the first time, and never again for that supply.

use auction::{Answer, Country, Cpm, Fate, Id, Record, Supply};
use catalogue::Snapshot;
use hashbrown::HashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the counter's own thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The counts of one bidder for one supply.
#[derive(Debug, Default)]
struct BidderCounts {
    wins: Counter,
    revenue_micros: Counter,
    no_bids: Counter,
    timeouts: Counter,
}

/// The same, summed.
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
        counts.wins.add(totals.wins);
        counts.revenue_micros.add(totals.revenue.micros());
        counts.no_bids.add(totals.no_bids);
        counts.timeouts.add(totals.timeouts);
        counts
    }
}

/// Countries are counted in pages of this many, so that a supply pays for the parts of the world it has seen.
const PAGE: usize = 32;
const PAGES: usize = Country::COUNT.div_ceil(PAGE);

/// One core's counts of one supply, as its bidders were when the block was made.
#[derive(Debug)]
struct Block {
    supply: Arc<Supply>,
    total_reqs: Counter,
    countries: [OnceLock<Box<[Counter; PAGE]>>; PAGES],
    /// By slot.
    bidders: Box<[BidderCounts]>,
    /// What bidders counted that the supply no longer lists.
    gone: Vec<(Id, BidderTotals)>,
}

impl Block {
    fn new(supply: Arc<Supply>, before: Option<&Self>) -> Self {
        let mut carried = before.map(Self::by_bidder).unwrap_or_default();
        let bidders = supply.bidders().iter().map(|bidder| {
            carried.remove(&bidder.id).map_or_else(BidderCounts::default, BidderCounts::start_from)
        });
        let bidders = bidders.collect();
        let gone = carried.into_iter().filter(|(_, totals)| *totals != BidderTotals::default()).collect();
        let block =
            Self { supply, total_reqs: Counter::default(), countries: Default::default(), bidders, gone };
        if let Some(before) = before {
            block.total_reqs.add(before.total_reqs.get());
            before.by_country().for_each(|(country, n)| block.country(country).add(n));
        }
        block
    }

    fn country(&self, country: Country) -> &Counter {
        &self.countries[country.index() / PAGE].get_or_init(Box::default)[country.index() % PAGE]
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

    fn by_bidder(&self) -> BTreeMap<Id, BidderTotals> {
        let listed = self
            .supply
            .bidders()
            .iter()
            .zip(&self.bidders)
            .map(|(b, counts)| (b.id.clone(), counts.totals()));
        let mut all: BTreeMap<_, _> = listed.collect();
        for (id, totals) in &self.gone {
            all.entry(id.clone()).or_default().add(*totals);
        }
        all
    }
}

/// What all cores have counted.
#[derive(Debug)]
pub struct Statistics {
    cores: Box<[Arc<Shelf>]>,
}

/// The blocks of one core, where readers find them.
#[derive(Debug, Default)]
struct Shelf(Mutex<HashMap<Id, Arc<Block>, foldhash::fast::RandomState>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Block>, foldhash::fast::RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end of one core.
#[derive(Debug)]
pub struct Tally {
    shelf: Arc<Shelf>,
    /// By the supply's place in memory, which the block keeps from being used again.
    blocks: RefCell<HashMap<*const Supply, Arc<Block>, foldhash::fast::RandomState>>,
}

/// What one supply has done, over all cores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SupplyTotals {
    /// Requests that named it and passed the rate limit.
    pub total_reqs: u64,
    /// The same, by country.
    pub reqs_per_country: BTreeMap<Country, u64>,
    /// Every bidder it lists, zeros included, and those it no longer lists that counted something.
    pub bidders: BTreeMap<Id, BidderTotals>,
}

impl Statistics {
    /// Nothing counted yet, by `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| Arc::default()).collect() }
    }

    /// The writing end of a core; each may be taken by one thread only.
    pub fn tally(&self, core: usize) -> Tally {
        Tally { shelf: Arc::clone(&self.cores[core]), blocks: RefCell::default() }
    }

    /// The sums over all cores, for each supply with at least one request, in order of id. `now` says which bidders a
    /// supply lists now.
    pub fn report(&self, now: &Snapshot) -> BTreeMap<Id, SupplyTotals> {
        let mut report: BTreeMap<Id, SupplyTotals> = BTreeMap::new();
        for core in &self.cores {
            // Copied first: an auction must not wait for the sums.
            let blocks: Vec<Arc<Block>> = core.lock().values().cloned().collect();
            for block in blocks {
                let totals = report.entry(block.supply.id.clone()).or_default();
                totals.total_reqs += block.total_reqs.get();
                block
                    .by_country()
                    .for_each(|(country, n)| *totals.reqs_per_country.entry(country).or_default() += n);
                for (id, counts) in block.by_bidder() {
                    totals.bidders.entry(id).or_default().add(counts);
                }
            }
        }
        for (id, totals) in &mut report {
            let listed = now.supply(id.as_str()).map_or(&[][..], |supply| supply.bidders());
            totals.bidders.retain(|_, counts| *counts != BidderTotals::default());
            for bidder in listed {
                totals.bidders.entry(bidder.id.clone()).or_default();
            }
        }
        report
    }
}

impl Tally {
    /// Counts one auction of `supply`.
    pub fn count(&self, supply: &Arc<Supply>, record: &Record<'_>) {
        let mut blocks = self.blocks.borrow_mut();
        let block = match blocks.get(&Arc::as_ptr(supply)) {
            Some(block) => block,
            None => {
                let block = self.open(supply, &mut blocks);
                blocks.entry(Arc::as_ptr(supply)).or_insert(block)
            }
        };
        block.total_reqs.add(1);
        block.country(record.opportunity.country).add(1);
        for reply in &record.answers.replies {
            let counts = &block.bidders[reply.slot as usize];
            match reply.answer {
                Answer::Bid => {}
                Answer::NoBid => counts.no_bids.add(1),
                Answer::Timeout => counts.timeouts.add(1),
            }
        }
        for (bid, fate) in record.answers.bids.iter().zip(&record.clearing.fates) {
            if let Fate::Won(price) = fate {
                let counts = &block.bidders[bid.slot as usize];
                counts.wins.add(1);
                counts.revenue_micros.add(price.micros());
            }
        }
    }

    /// A block for a supply met for the first time, or changed since; the old block's counts move into it.
    #[cold]
    fn open(
        &self,
        supply: &Arc<Supply>,
        blocks: &mut HashMap<*const Supply, Arc<Block>, foldhash::fast::RandomState>,
    ) -> Arc<Block> {
        let mut shelf = self.shelf.lock();
        let before = shelf.get(&supply.id);
        let block = Arc::new(Block::new(Arc::clone(supply), before.map(|block| &**block)));
        if let Some(before) = before {
            blocks.remove(&Arc::as_ptr(&before.supply));
        }
        shelf.insert(supply.id.clone(), Arc::clone(&block));
        block
    }
}

#[cfg(test)]
mod tests;
