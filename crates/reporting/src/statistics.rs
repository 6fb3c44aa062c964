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
//! * Locks: a core takes its own lock when it meets a supply for the first time, or changed, and with a new catalogue.

mod block;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use block::{Block, Reading};
pub use tally::{Seat, Tally};

use crate::activity::{Activity, CallTotals, Sales};
use auction::{Bidder, Country, Cpm, Id};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

    fn reserve(&mut self, supplies: usize) {
        let more = supplies.saturating_sub(self.all.len());
        self.all.reserve(more);
        self.by_id.reserve(more);
    }

    /// In place of the supply's block before, if there is one.
    fn put(&mut self, block: Arc<Block>) {
        match self.by_id.get(block.id()) {
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
        Tally::new(shelf, activity)
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
            *marks.entry(block.id().clone()).or_default() += block.upto();
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
