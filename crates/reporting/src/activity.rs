//! Activity: what one core has done since it began to count, for those who watch it. Not kept over a restart and not
//! shared with other instances: that is what [`statistics`](crate::statistics) are for.
//!
//! * Writers: each core its own, with one store a counter and no lock.
//! * Readers: any, at any time; numbers that belong together may be an auction apart.
//! * Growth: a table of countries, and 58 counters for each bidder that was ever asked.

use crate::Counter;
use auction::{Answer, Country, Cpm, Fate, Id, Record, Supply};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was sold where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sales {
    /// Auctions held.
    pub auctions: u64,
    /// Of those, the ones that sold.
    pub sold: u64,
    /// The sum of their clearing prices.
    pub revenue: Cpm,
}

impl Sales {
    /// Adds what was sold elsewhere.
    pub fn add(&mut self, other: Self) {
        self.auctions += other.auctions;
        self.sold += other.sold;
        self.revenue = self.revenue.plus(other.revenue);
    }
}

/// How one bidder has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTotals {
    /// Answers in time by their latency; [`latency_bound_ms`] says which.
    pub latencies: [u64; LATENCIES],
    /// The sum of their latencies.
    pub latency_ns: u64,
    /// By kind: [`Answer::Bid`], [`Answer::NoBid`], [`Answer::Timeout`].
    pub answers: [u64; 3],
    /// Bids that won.
    pub wins: u64,
}

impl Default for CallTotals {
    fn default() -> Self {
        Self { latencies: [0; LATENCIES], latency_ns: 0, answers: [0; 3], wins: 0 }
    }
}

impl CallTotals {
    /// How often it was asked.
    pub fn calls(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// How often it answered like this.
    pub fn answered(&self, answer: Answer) -> u64 {
        self.answers[answer as usize]
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Self) {
        self.latencies.iter_mut().zip(other.latencies).for_each(|(sum, n)| *sum += n);
        self.latency_ns += other.latency_ns;
        self.answers.iter_mut().zip(other.answers).for_each(|(sum, n)| *sum += n);
        self.wins += other.wins;
    }
}

/// Latencies are counted in four steps to each power of two of a millisecond: under 1 ms, 1.25, 1.5, 1.75, 2, 2.5, …
/// and what took 7,168 ms or longer.
pub const LATENCIES: usize = 53;

/// The latency in milliseconds that those counted at `place` stay under; None for the last place.
pub fn latency_bound_ms(place: usize) -> Option<f64> {
    let (octave, step) = (place / 4, place % 4);
    (place + 1 < LATENCIES).then(|| (1u64 << octave) as f64 * (1.0 + step as f64 / 4.0))
}

fn place(latency_ns: u64) -> usize {
    let quarters = latency_ns / 250_000;
    match quarters.checked_ilog2() {
        Some(octave @ 2..) => {
            let (octave, step) = (octave as usize - 2, quarters >> (octave - 2) & 3);
            (1 + 4 * octave + step as usize).min(LATENCIES - 1)
        }
        _ => 0,
    }
}

#[derive(Debug, Default)]
struct SalesCounts {
    auctions: Counter,
    sold: Counter,
    revenue_micros: Counter,
}

impl SalesCounts {
    fn totals(&self) -> Sales {
        Sales {
            auctions: self.auctions.get(),
            sold: self.sold.get(),
            revenue: Cpm::from_micros(self.revenue_micros.get()),
        }
    }
}

/// The counts of one bidder on one core, whatever the supply.
#[derive(Debug)]
pub(crate) struct Calls {
    latencies: [Counter; LATENCIES],
    latency_ns: Counter,
    answers: [Counter; 3],
    wins: Counter,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            latencies: [const { Counter::ZERO }; LATENCIES],
            latency_ns: Counter::ZERO,
            answers: [const { Counter::ZERO }; 3],
            wins: Counter::ZERO,
        }
    }
}

impl Calls {
    fn totals(&self) -> CallTotals {
        CallTotals {
            latencies: self.latencies.each_ref().map(Counter::get),
            latency_ns: self.latency_ns.get(),
            answers: self.answers.each_ref().map(Counter::get),
            wins: self.wins.get(),
        }
    }
}

/// What one core has done.
#[derive(Debug)]
pub(crate) struct Activity {
    countries: Box<[SalesCounts]>,
    bidders: Mutex<HashMap<Id, Arc<Calls>, foldhash::fast::RandomState>>,
}

impl Default for Activity {
    fn default() -> Self {
        let countries = (0..Country::COUNT).map(|_| SalesCounts::default());
        Self { countries: countries.collect(), bidders: Mutex::default() }
    }
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Calls>, foldhash::fast::RandomState>> {
        self.bidders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the calls of a supply's bidders are counted, by slot; for a supply met for the first time.
    pub(crate) fn calls(&self, supply: &Supply) -> Box<[Arc<Calls>]> {
        let mut bidders = self.lock();
        let calls =
            supply.bidders().iter().map(|bidder| Arc::clone(bidders.entry_ref(&bidder.id).or_default()));
        calls.collect()
    }

    /// Counts one auction; only the core itself does.
    pub(crate) fn count(&self, record: &Record<'_>, calls: &[Arc<Calls>]) {
        let country = &self.countries[record.opportunity.country.index()];
        country.auctions.add(1);
        if record.clearing.sales.iter().any(Result::is_ok) {
            country.sold.add(1);
        }
        for reply in &record.answers.replies {
            let calls = &calls[reply.slot as usize];
            calls.answers[reply.answer as usize].add(1);
            if reply.answer != Answer::Timeout {
                calls.latencies[place(reply.latency_ns)].add(1);
                calls.latency_ns.add(reply.latency_ns);
            }
        }
        for (bid, fate) in record.answers.bids.iter().zip(&record.clearing.fates) {
            if let Fate::Won(price) = fate {
                calls[bid.slot as usize].wins.add(1);
                country.revenue_micros.add(price.micros());
            }
        }
    }

    /// All sales.
    pub(crate) fn sales(&self) -> Sales {
        self.countries.iter().fold(Sales::default(), |mut sum, country| {
            sum.add(country.totals());
            sum
        })
    }

    /// Adds the sales of every country that had an auction.
    pub(crate) fn add_countries(&self, to: &mut BTreeMap<Country, Sales>) {
        for (index, counts) in self.countries.iter().enumerate() {
            let sales = counts.totals();
            if let Some(country) = Country::from_index(index).filter(|_| sales.auctions > 0) {
                to.entry(country).or_default().add(sales);
            }
        }
    }

    /// Adds the calls of every bidder that was asked.
    pub(crate) fn add_bidders(&self, to: &mut BTreeMap<Id, CallTotals>) {
        // Copied, because a core that meets a supply for the first time must not wait for a sum.
        let bidders: Vec<_> = self.lock().iter().map(|(id, calls)| (id.clone(), Arc::clone(calls))).collect();
        for (id, calls) in bidders {
            to.entry(id).or_default().add(calls.totals());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_at_the_first_place_whose_bound_it_stays_under() {
        for ns in (0..17)
            .flat_map(|octave| [0, 1, 2, 3].map(|step| (4 + step) * (62_500 << octave)))
            .flat_map(|ns| [ns - 1, ns])
        {
            let under =
                |place: &usize| latency_bound_ms(*place).is_none_or(|bound| (ns as f64) < bound * 1e6);
            assert_eq!(Some(place(ns)), (0..LATENCIES).find(under), "{ns} ns");
        }
        assert_eq!((place(0), place(u64::MAX)), (0, LATENCIES - 1));
    }
}
