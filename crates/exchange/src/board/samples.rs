//! Readings of everything that is only ever added to; rates and quantiles are what lies between two of them.
//!
//! * Units: rates a second, durations in microseconds, fill as a part of 1.
//! * A quantile is found within a bucket by its logarithm, for each is twice as wide as the one before.

use crate::http::problem::Code;
use crate::http::site::Site;
use journal::Durations;
use reporting::activity::Sales;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Instant;

/// How many seconds are remembered.
pub const SHOWN: usize = 120;
/// Over how many seconds fill and quantiles are taken: of one second's few auctions they would say little.
const WINDOW: usize = 10;

/// One reading.
#[derive(Debug, Clone)]
pub struct Sample {
    at: Instant,
    sales: Sales,
    limited: u64,
    durations: [u64; Durations::BUCKETS],
}

impl Sample {
    /// A reading of the sums over all cores.
    pub fn of(site: &Site) -> Self {
        let mut durations = [0; Durations::BUCKETS];
        for meters in &site.meters {
            durations.iter_mut().zip(meters.bid_duration.counts()).for_each(|(sum, n)| *sum += n);
        }
        let limited = site.meters.iter().map(|meters| meters.refusals(Code::RateLimited)).sum();
        Self { at: Instant::now(), sales: site.exchange.statistics.sales(), limited, durations }
    }
}

/// How it went in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Point {
    /// Auctions held a second.
    pub auctions_per_s: f64,
    /// Requests refused by the rate limit a second.
    pub limited_per_s: f64,
    /// Clearing prices a second, in USD.
    pub revenue_per_s: f64,
    /// Auctions that sold, of those held in the last ten seconds.
    pub fill: Option<f64>,
    /// From a request read to its answer, in microseconds, in the last ten seconds.
    pub p50_us: Option<f64>,
    /// The same.
    pub p90_us: Option<f64>,
    /// The same.
    pub p99_us: Option<f64>,
}

impl Point {
    fn between(before: &Sample, last: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(last.at).as_secs_f64().max(0.001);
        let (held, sold) = (now.sales.auctions - before.sales.auctions, now.sales.sold - before.sales.sold);
        let micros = now.sales.revenue.micros() - last.sales.revenue.micros();
        let mut durations = now.durations;
        durations.iter_mut().zip(before.durations).for_each(|(n, before)| *n -= before);
        let quantile = |q| quantile(&durations, duration_bound_us, q).map(|us| rounded(us, 2));
        Self {
            auctions_per_s: rounded((now.sales.auctions - last.sales.auctions) as f64 / seconds, 1),
            limited_per_s: rounded((now.limited - last.limited) as f64 / seconds, 1),
            revenue_per_s: rounded(micros as f64 / 1e6 / seconds, 2),
            fill: (held > 0).then(|| rounded(sold as f64 / held as f64, 4)),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
        }
    }
}

/// The last two minutes.
#[derive(Debug)]
pub struct History {
    /// At most [`WINDOW`] and the newest.
    samples: VecDeque<Sample>,
    points: VecDeque<Point>,
}

impl History {
    /// A history that begins with this reading.
    pub fn new(first: Sample) -> Self {
        Self { samples: [first].into(), points: VecDeque::new() }
    }

    /// Goes on to the next reading.
    pub fn push(&mut self, sample: Sample) {
        if let (Some(before), Some(last)) = (self.samples.front(), self.samples.back()) {
            self.points.push_back(Point::between(before, last, &sample));
        }
        self.samples.push_back(sample);
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        if self.points.len() > SHOWN {
            self.points.pop_front();
        }
    }

    /// The newest second.
    pub fn now(&self) -> Point {
        self.points.back().copied().unwrap_or_default()
    }

    /// Requests refused by the rate limit since the start.
    pub fn limited(&self) -> u64 {
        self.samples.back().map_or(0, |sample| sample.limited)
    }

    /// All seconds, the oldest first, figure by figure.
    pub fn series(&self) -> Series {
        let all = |figure: fn(&Point) -> f64| self.points.iter().map(figure).collect();
        let some = |figure: fn(&Point) -> Option<f64>| self.points.iter().map(figure).collect();
        Series {
            auctions_per_s: all(|point| point.auctions_per_s),
            revenue_per_s: all(|point| point.revenue_per_s),
            fill: some(|point| point.fill),
            p50_us: some(|point| point.p50_us),
            p90_us: some(|point| point.p90_us),
            p99_us: some(|point| point.p99_us),
        }
    }
}

/// The figures of the last two minutes, one a second.
#[derive(Debug, Serialize)]
pub struct Series {
    auctions_per_s: Vec<f64>,
    revenue_per_s: Vec<f64>,
    fill: Vec<Option<f64>>,
    p50_us: Vec<Option<f64>>,
    p90_us: Vec<Option<f64>>,
    p99_us: Vec<Option<f64>>,
}

fn duration_bound_us(bucket: usize) -> Option<f64> {
    (bucket + 1 < Durations::BUCKETS).then(|| (1u64 << bucket) as f64)
}

/// What a part `q` of those counted stays under. `bound` is a bucket's upper bound, None for the last, which is taken to
/// be as wide as the one before. None: nothing was counted.
pub fn quantile(counts: &[u64], bound: impl Fn(usize) -> Option<f64>, q: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let wanted = q * all as f64;
    let mut below = 0.0;
    for (bucket, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let n = n as f64;
        if below + n >= wanted {
            let low = bucket.checked_sub(1).and_then(&bound);
            let high = bound(bucket).or(low.map(|low| 2.0 * low)).unwrap_or_default();
            let part = (wanted - below) / n;
            return Some(match low {
                None => high * part,
                Some(low) => low * (high / low).powf(part),
            });
        }
        below += n;
    }
    None
}

/// Short enough to be sent every second.
pub fn rounded(number: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::Cpm;
    use std::time::Duration;

    #[test]
    fn a_quantile_lies_in_its_bucket_and_grows_with_q() {
        let bound = |bucket| [Some(1.0), Some(2.0), Some(4.0), None][bucket];
        for (counts, q, expected) in [
            ([0, 0, 0, 0], 0.5, None),
            ([4, 0, 0, 0], 0.5, Some(0.5)),
            ([0, 0, 8, 0], 0.5, Some(2.0 * 2f64.sqrt())),
            ([0, 8, 0, 0], 1.0, Some(2.0)),
            ([5, 0, 5, 0], 0.5, Some(1.0)),
            ([0, 0, 0, 2], 0.5, Some(4.0 * 2f64.sqrt())),
        ] {
            let found = quantile(&counts, bound, q);
            let near = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(near, "{counts:?} {q}: {found:?}");
        }
        let all: Vec<_> = (0..=100).map(|q| quantile(&[3, 1, 4, 1], bound, f64::from(q) / 100.0)).collect();
        assert!(all.is_sorted(), "{all:?}");
    }

    #[test]
    fn a_point_is_what_lies_between_two_readings() {
        let begun = Instant::now();
        let reading = |s: u64, auctions, sold, micros, bucket: usize| {
            let mut durations = [0; Durations::BUCKETS];
            durations[bucket] = auctions;
            let sales = Sales { auctions, sold, revenue: Cpm::from_micros(micros) };
            Sample { at: begun + Duration::from_secs(s), sales, limited: s, durations }
        };
        let mut history = History::new(reading(0, 0, 0, 0, 3));
        history.push(reading(2, 100, 50, 3_000_000, 3));
        let now = history.now();
        assert_eq!(
            (now.auctions_per_s, now.limited_per_s, now.revenue_per_s, now.fill),
            (50.0, 1.0, 1.5, Some(0.5))
        );
        assert!(now.p50_us.is_some_and(|us| (4.0..8.0).contains(&us)), "{now:?}");
        history.push(reading(3, 100, 50, 3_000_000, 3));
        assert_eq!((history.now().auctions_per_s, history.now().fill), (0.0, Some(0.5)), "of ten seconds");
        (4..500).for_each(|s| history.push(reading(s, 100, 50, 3_000_000, 3)));
        assert_eq!((history.now().fill, history.now().p99_us), (None, None));
        assert_eq!(history.points.len(), SHOWN);
    }
}
