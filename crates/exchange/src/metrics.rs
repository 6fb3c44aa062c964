//! Metrics: what each core counts about its doors, and the Prometheus page that sums it.
//!
//! * Writers: one core per [`Meters`]; no atomic addition, no lock.
//! * Labels: outcomes, codes and reasons from fixed lists, bidders from the catalogue; nothing from a request.
//! * Bound: beyond `metrics.bidders_max` bidders there is no series for each of them, only for all of them together.
//! * What each means, and when to worry: `docs/operations.md`.

mod format;
mod process;
mod scrape;

pub use format::Format;

use crate::http::problem::Code;
use crate::http::site::Site;
use journal::Durations;
use prometheus_client::registry::Registry;
use reporting::Counter;
use std::sync::Arc;
use std::time::Duration;

/// What one core counts.
#[derive(Debug, Default)]
pub struct Meters {
    /// Auctions that sold.
    pub sold: Counter,
    /// Connections accepted to be served.
    pub opened: Counter,
    /// Connections ended.
    pub closed: Counter,
    /// Connections answered 503 because too many were open.
    pub shed: Counter,
    /// Connections cut because the client was too slow.
    pub cut: Counter,
    /// Failures to accept.
    pub accept_errors: Counter,
    /// From the moment a bid request was read to its answer.
    pub bid_duration: Histogram,
    /// The same, of those for which an auction was held.
    pub auction_duration: Histogram,
    refused: [Counter; Code::ALL.len()],
}

impl Meters {
    /// Counts a refused bid request.
    pub fn refused(&self, code: Code) {
        self.refused[code as usize].add(1);
    }

    /// How many bid requests were refused with this code.
    pub fn refusals(&self, code: Code) -> u64 {
        self.refused[code as usize].get()
    }
}

/// Durations by powers of two, as [`Durations`] has them, counted by one thread.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Durations::BUCKETS],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = duration.as_nanos() as u64;
        self.sum_ns.add(ns);
        self.buckets[Durations::bucket(ns)].add(1);
    }

    /// What was counted, bucket by bucket.
    pub fn counts(&self) -> [u64; Durations::BUCKETS] {
        self.buckets.each_ref().map(Counter::get)
    }
}

/// What was counted of durations, by one writer or several.
#[derive(Debug, Clone, Default)]
struct Counted {
    buckets: [u64; Durations::BUCKETS],
    sum_ns: u64,
}

impl Counted {
    fn add(&mut self, other: &Histogram) {
        for (sum, counter) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += counter.get();
        }
        self.sum_ns += other.sum_ns.get();
    }

    /// The sum over all of them.
    fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut counted = Self::default();
        histograms.into_iter().for_each(|one| counted.add(one));
        counted
    }
}

impl From<&Durations> for Counted {
    fn from(durations: &Durations) -> Self {
        let (buckets, sum_ns) = durations.read();
        Self { buckets, sum_ns }
    }
}

/// The page of /metrics, in this format.
pub fn page(site: &Arc<Site>, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process));
    let ours = registry.sub_registry_with_prefix("bourse");
    ours.register_collector(Box::new(scrape::Scrape(Arc::clone(site))));
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut page, &registry);
    format.write(page)
}
