//! What each core counts of each bidder: its answers, and how long they took.
//!
//! * Writers: one core per [`BidderMeters`]; it meets a supply's bidders once for each catalogue, and then touches no
//!   lock.
//! * Bound: beyond `bidders_max` bidders share one meter, so memory and series are bounded.

use super::{Counted, Histogram};
use auction::{Answer, Id, Record, Supply};
use hashbrown::HashMap;
use reporting::Counter;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one core counts of one bidder.
#[derive(Debug, Default)]
struct Meter {
    answers: [Counter; ANSWERS.len()],
    /// Of answers in time.
    latency: Histogram,
}

/// In the order of their numbers.
const ANSWERS: [Answer; 3] = [Answer::Bid, Answer::NoBid, Answer::Timeout];

/// What all cores have counted.
#[derive(Debug)]
pub struct Bidders {
    max: usize,
    cores: Box<[Arc<Shelf>]>,
}

/// The meters of one core, where readers find them.
#[derive(Debug, Default)]
struct Shelf {
    meters: Mutex<HashMap<Id, Arc<Meter>>>,
    /// Of every bidder beyond the bound.
    others: Arc<Meter>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sums over all cores.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By answer, in the order of [`Totals::names`].
    pub(super) answers: [u64; ANSWERS.len()],
    /// Of answers in time.
    pub(super) latency: Counted,
}

impl Totals {
    /// The names of the answers.
    pub(super) fn names() -> [&'static str; ANSWERS.len()] {
        ANSWERS.map(Answer::name)
    }

    fn add(&mut self, meter: &Meter) {
        for (sum, counter) in self.answers.iter_mut().zip(&meter.answers) {
            *sum += counter.get();
        }
        self.latency.add(&meter.latency);
    }
}

impl Bidders {
    /// Nothing counted yet, by `cores` cores; beyond `max` bidders not by bidder.
    pub fn new(cores: usize, max: usize) -> Self {
        Self { max, cores: (0..cores).map(|_| Arc::default()).collect() }
    }

    /// How many bidders have a series of their own at most.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The writing end of a core.
    pub fn meters(&self, core: usize) -> BidderMeters {
        BidderMeters { max: self.max, shelf: Arc::clone(&self.cores[core]), met: RefCell::default() }
    }

    /// Of all bidders together, and of each, unless there were more than may have a series of their own.
    pub(super) fn read(&self) -> (Totals, Option<BTreeMap<Id, Totals>>) {
        let (mut all, mut each) = (Totals::default(), BTreeMap::<Id, Totals>::new());
        let mut is_whole = true;
        for shelf in &self.cores {
            all.add(&shelf.others);
            is_whole &= shelf.others.answers.iter().all(|counter| counter.get() == 0);
            // Copied, because a core that meets a supply must not wait for a sum.
            let meters: Vec<_> =
                shelf.lock().iter().map(|(id, meter)| (id.clone(), Arc::clone(meter))).collect();
            for (id, meter) in meters {
                all.add(&meter);
                each.entry(id).or_default().add(&meter);
            }
        }
        let is_whole = is_whole && each.len() <= self.max;
        (all, is_whole.then_some(each))
    }
}

/// The writing end of one core.
#[derive(Debug)]
pub struct BidderMeters {
    max: usize,
    shelf: Arc<Shelf>,
    met: RefCell<Met>,
}

/// The meters of one supply's bidders.
type BySlot = Box<[Arc<Meter>]>;

/// The meters of each supply's bidders, by slot, under one catalogue; a supply by its place in memory, which is kept from
/// being used again.
#[derive(Debug, Default)]
struct Met {
    catalogue_revision: u64,
    supplies: HashMap<*const Supply, (Arc<Supply>, BySlot), foldhash::fast::RandomState>,
}

impl BidderMeters {
    /// Counts the answers of one auction of `supply`.
    pub fn count(&self, supply: &Arc<Supply>, record: &Record<'_>) {
        let met = &mut *self.met.borrow_mut();
        if met.catalogue_revision != record.catalogue_revision {
            *met = Met { catalogue_revision: record.catalogue_revision, ..Met::default() };
        }
        let meet = || (Arc::clone(supply), self.meet(supply));
        let (_, meters) = met.supplies.entry(Arc::as_ptr(supply)).or_insert_with(meet);
        for reply in &record.answers.replies {
            let meter = &meters[reply.slot as usize];
            meter.answers[reply.answer as usize].add(1);
            if reply.answer != Answer::Timeout {
                meter.latency.observe_ns(reply.latency_ns);
            }
        }
    }

    /// Finds the meters of a supply's bidders.
    #[cold]
    fn meet(&self, supply: &Supply) -> BySlot {
        let mut meters = self.shelf.lock();
        let meter = |id: &Id| {
            if let Some(meter) = meters.get(id) {
                return Arc::clone(meter);
            }
            if meters.len() >= self.max {
                return Arc::clone(&self.shelf.others);
            }
            Arc::clone(meters.entry(id.clone()).or_default())
        };
        supply.bidders().iter().map(|bidder| &bidder.id).map(meter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::{
        Answers, AuctionId, AuctionType, Bidder, Clearing, Country, Cpm, Imp, Opportunity, Profile, Reply,
        invite,
    };
    use std::net::Ipv4Addr;

    fn supply(id: &str, bidders: &[&str]) -> Arc<Supply> {
        let us = Country::from_code("US").unwrap();
        let bidder = |id: &&str| Arc::new(Bidder::new(Id::new(id).unwrap(), us, Profile::DEFAULT));
        let bidders = bidders.iter().map(bidder).collect();
        Arc::new(Supply::new(Id::new(id).unwrap(), AuctionType::FirstPrice, Cpm::ZERO, bidders))
    }

    /// Every bidder of the supply answers like this.
    fn hold(meters: &BidderMeters, catalogue_revision: u64, supply: &Arc<Supply>, answer: Answer) {
        let opportunity = Opportunity {
            supply_id: supply.id.as_str(),
            ip: Ipv4Addr::LOCALHOST.into(),
            country: Country::from_code("US").unwrap(),
            tmax_ms: 200,
            imps: &[Imp::PLAIN],
        };
        let invitations = invite(&opportunity, supply);
        let reply = |(slot, _)| Reply { slot, answer, latency_ns: 3_000_000 };
        let answers = Answers { replies: invitations.iter().map(reply).collect(), bids: Vec::new() };
        let record = Record {
            id: AuctionId { seed: 7, sequence: 1 },
            received_at_us: 0,
            catalogue_revision,
            opportunity: &opportunity,
            supply,
            invitations: &invitations,
            answers: &answers,
            clearing: &Clearing::default(),
        };
        meters.count(supply, &record);
    }

    #[test]
    fn answers_are_counted_by_bidder_over_supplies_cores_and_catalogues() {
        let (all, each) = held(5);
        assert_eq!(all.answers, [5, 2, 3]);
        // Timeouts have no latency.
        assert_eq!(all.latency.buckets.iter().sum::<u64>(), 7);
        assert_eq!(all.latency.sum_ns, 7 * 3_000_000);
        let each = each.unwrap();
        let each: Vec<_> = each.iter().map(|(id, totals)| (id.as_str(), totals.answers)).collect();
        let expected =
            [("a", [2, 0, 1]), ("b", [1, 1, 0]), ("c", [0, 1, 0]), ("d", [1, 0, 1]), ("e", [1, 0, 1])];
        assert_eq!(each, expected);
    }

    #[test]
    fn beyond_the_bound_only_all_bidders_together_are_told() {
        for max in [0, 3, 4] {
            let (all, each) = held(max);
            assert_eq!((all.answers, each.is_none()), ([5, 2, 3], true), "{max}");
        }
    }

    /// Ten answers of five bidders, on two cores.
    fn held(max: usize) -> (Totals, Option<BTreeMap<Id, Totals>>) {
        let bidders = Bidders::new(2, max);
        let [first, second] = [0, 1].map(|core| bidders.meters(core));
        hold(&first, 1, &supply("s1", &["a", "b"]), Answer::Bid);
        hold(&first, 1, &supply("s2", &["b", "c"]), Answer::NoBid);
        hold(&first, 2, &supply("s1", &["a", "d", "e"]), Answer::Timeout);
        hold(&second, 2, &supply("s1", &["a", "d", "e"]), Answer::Bid);
        bidders.read()
    }
}
