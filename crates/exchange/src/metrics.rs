//! Metrics: what each core counts about its doors, and the Prometheus page that sums it.
//!
//! * Writers: one core per [`Meters`]; no atomic addition, no lock.
//! * Labels: outcomes, codes and reasons from fixed lists, bidders from the catalogue; nothing from a request.

use crate::hold::Exchange;
use crate::http::problem::Code;
use crate::http::site::Site;
use auction::Id;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use reporting::{BidderTotals, Counter};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    refused: [Counter; Code::ALL.len()],
}

impl Meters {
    /// Counts a refused bid request.
    pub fn refused(&self, code: Code) {
        self.refused[code as usize].add(1);
    }
}

/// Durations by powers of two: bucket `i` holds what is under 2^i microseconds, the last one the rest.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Self::BUCKETS],
    sum_ns: Counter,
}

impl Histogram {
    const BUCKETS: usize = 25;

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = duration.as_nanos() as u64;
        self.sum_ns.add(ns);
        self.buckets[Self::bucket(ns)].add(1);
    }

    const fn bucket(ns: u64) -> usize {
        let bits = (u64::BITS - (ns / 1_000).leading_zeros()) as usize;
        if bits < Self::BUCKETS { bits } else { Self::BUCKETS - 1 }
    }
}

/// The page of /metrics.
pub fn page(site: &Arc<Site>) -> String {
    let mut registry = Registry::with_prefix("bourse");
    registry.register_collector(Box::new(Scrape(Arc::clone(site))));
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut page, &registry);
    page
}

/// One reading of all meters.
#[derive(Debug)]
struct Scrape(Arc<Site>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sum = |meter: fn(&Meters) -> &Counter| self.0.meters.iter().map(|m| meter(m).get()).sum::<u64>();
        let to = &mut encoder;
        self.auctions(to)?;
        counter(to, "connections_opened", "connections accepted to be served", sum(|m| &m.opened))?;
        counter(to, "connections_shed", "connections refused because too many were open", sum(|m| &m.shed))?;
        counter(to, "connections_cut", "connections cut because the client was too slow", sum(|m| &m.cut))?;
        counter(to, "accept_errors", "connections that could not be accepted", sum(|m| &m.accept_errors))?;
        let open = sum(|m| &m.opened).saturating_sub(sum(|m| &m.closed));
        gauge(to, "connections_open", "connections open now", None, open as f64)?;
        self.state(to)?;
        self.journal(to)?;
        streams(to, &self.0.streams)?;
        bidders(to, &self.0.exchange)
    }
}

impl Scrape {
    fn auctions(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meters = &self.0.meters;
        let answers = std::iter::once(("sold", meters.iter().map(|m| m.sold.get()).sum::<u64>()));
        let refused = Code::ALL
            .into_iter()
            .map(|code| (code.name(), meters.iter().map(|m| m.refused[code as usize].get()).sum::<u64>()));
        let help = "answers to POST /bid, by outcome";
        family(to, "bids", help, None, "outcome", answers.chain(refused))?;
        counter(to, "auctions", "auctions held", self.0.exchange.auctions())?;

        let buckets: Vec<(f64, u64)> = (0..Histogram::BUCKETS)
            .map(|i| {
                let bound =
                    if i + 1 == Histogram::BUCKETS { f64::INFINITY } else { (1u64 << i) as f64 / 1e6 };
                (bound, meters.iter().map(|m| m.bid_duration.buckets[i].get()).sum())
            })
            .collect();
        let sum_ns: u64 = meters.iter().map(|m| m.bid_duration.sum_ns.get()).sum();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let help = "from a bid request read to its answer";
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let mut metric = to.encode_descriptor("bid_duration", help, Some(&Unit::Seconds), kind)?;
        metric.encode_histogram::<NoLabelSet>(sum_ns as f64 / 1e9, count, &buckets, None)
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let snapshot = exchange.catalogue.snapshot();
        let stale = exchange.catalogue.freshness().confirmed_at.elapsed();
        gauge(to, "ready", "1 if requests should be sent here", None, f64::from(self.0.ready().is_ok()))?;
        gauge(to, "catalogue_supplies", "supplies in force", None, snapshot.supplies().len() as f64)?;
        gauge(to, "catalogue_bidders", "bidders in force", None, snapshot.bidders() as f64)?;
        let help = "since the catalogue in force was last known to be the database's";
        gauge(to, "catalogue_stale", help, Some(&Unit::Seconds), stale.as_secs_f64())?;
        gauge(
            to,
            "uptime",
            "since the start",
            Some(&Unit::Seconds),
            exchange.started_at.elapsed().as_secs_f64(),
        )?;
        if let Some(limiter) = &exchange.limiter {
            let help = "addresses the rate limiter remembers";
            gauge(to, "limiter_addresses", help, None, limiter.addresses() as f64)?;
            counter(to, "limiter_full", "requests whose address found no room", limiter.full())?;
        }
        if let Some(shared) = &exchange.shared_limit {
            let help = "requests that the shared limiter did not decide because redis was away";
            counter(to, "limiter_fallbacks", help, shared.undecided())?;
            let help = "1 if the shared limiter decides, 0 if redis was away in the last two seconds";
            gauge(to, "limiter_shared", help, None, f64::from(!shared.is_away()))?;
        }
        if let Some(others) = &exchange.others {
            let standing = others.standing();
            gauge(to, "redis_up", "1 if statistics reach redis", None, f64::from(standing.link().is_some()))?;
            let waiting = standing.waiting.load(Ordering::Relaxed);
            gauge(to, "redis_waiting", "supplies whose counts redis did not have yet", None, waiting as f64)?;
            let pushed = standing.pushed.load(Ordering::Relaxed);
            counter(to, "redis_pushes", "hashes pushed to redis", pushed)?;
            let failed = standing.failed.load(Ordering::Relaxed);
            counter(to, "redis_push_failures", "rounds of pushes that redis failed", failed)?;
        }
        Ok(())
    }
}

impl Scrape {
    fn journal(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let Some(journal) = &exchange.journal else { return Ok(()) };
        let status = journal.status();
        let records = status.cores.iter().map(|core| core.records).sum();
        counter(to, "journal_records", "records written to the journal", records)?;
        let help = "1 if the next auction can be recorded";
        gauge(to, "journal_available", help, None, f64::from(status.available))?;
        let help = "bytes whose sync failed and that are not copied to a new file yet";
        let unsynced: u64 = status.cores.iter().map(|core| core.unsynced_bytes).sum();
        gauge(to, "journal_unsynced", help, Some(&Unit::Bytes), unsynced as f64)?;
        counter(to, "journal_sync_failures", "syncs of the journal that failed", status.sync_failures)?;
        let help = "segments of the journal that retention removed";
        counter(to, "journal_segments_removed", help, status.segments_removed)?;
        let help = "the same, before a reader had come to them";
        counter(to, "journal_segments_removed_unread", help, status.segments_removed_unread)?;
        let help = "places of the journal found damaged or unreadable, by the start or by the daily look at all of it";
        counter(to, "journal_damaged", help, exchange.damaged())
    }
}

/// How far each sink is behind, and what became of its batches.
fn streams(to: &mut DescriptorEncoder<'_>, streams: &[(&'static str, Arc<streams::Meters>)]) -> fmt::Result {
    if streams.is_empty() {
        return Ok(());
    }
    let count = |value: fn(&streams::Meters) -> &AtomicU64| {
        streams.iter().map(move |(name, meters)| (*name, value(meters).load(Ordering::Relaxed)))
    };
    let read = |value: fn(&streams::Meters) -> f64| streams.iter().map(move |(name, m)| (*name, value(m)));
    let up = |meters: &streams::Meters| f64::from(!meters.is_failing.load(Ordering::Relaxed));
    gauges(to, "stream_up", "1 if the last attempt at a batch did not fail", None, read(up))?;
    let help = "auctions not delivered yet, by their bytes and mean size";
    gauges(to, "stream_lag_auctions", help, None, read(|m| m.lag_auctions() as f64))?;
    let help = "bytes of the journal not delivered yet";
    gauges(to, "stream_lag", help, Some(&Unit::Bytes), read(|m| m.lag_bytes() as f64))?;
    let help = "how long the oldest auction that is not delivered has waited";
    gauges(to, "stream_lag", help, Some(&Unit::Seconds), read(streams::Meters::lag_s))?;
    let help = "auctions delivered";
    family(to, "stream_delivered_auctions", help, None, "stream", count(|m| &m.delivered))?;
    family(to, "stream_batches", "batches delivered", None, "stream", count(|m| &m.batches))?;
    let help = "attempts at a batch that failed and were or will be repeated";
    family(to, "stream_failures", help, None, "stream", count(|m| &m.failures))?;
    let help = "auctions given up because too many waited for the sink";
    family(to, "stream_dropped_auctions", help, None, "stream", count(|m| &m.dropped))?;
    let help = "places of the journal that were damaged or removed before the stream read them";
    family(to, "stream_missing", help, None, "stream", count(|m| &m.missing))
}

fn bidders(to: &mut DescriptorEncoder<'_>, exchange: &Exchange) -> fmt::Result {
    let mut totals: BTreeMap<Id, BidderTotals> = BTreeMap::new();
    for supply in exchange.report().into_values() {
        for (id, counts) in supply.bidders {
            totals.entry(id).or_default().add(counts);
        }
    }
    let each =
        |value: fn(&BidderTotals) -> u64| totals.iter().map(move |(id, totals)| (id.as_str(), value(totals)));
    family(to, "bidder_wins", "auctions won", None, "bidder", each(|t| t.wins))?;
    family(to, "bidder_no_bids", "answers without a bid", None, "bidder", each(|t| t.no_bids))?;
    family(to, "bidder_timeouts", "answers not within tmax", None, "bidder", each(|t| t.timeouts))?;
    let micros = Unit::Other("usd_micros".to_owned());
    family(to, "bidder_revenue", "clearing prices", Some(&micros), "bidder", each(|t| t.revenue.micros()))
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(to.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Counter)?)
}

fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(to.encode_descriptor(name, help, unit, prometheus_client::metrics::MetricType::Gauge)?)
}

fn gauges<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (&'a str, f64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, unit, prometheus_client::metrics::MetricType::Gauge)?;
    for (stream, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&[("stream", stream)])?)?;
    }
    Ok(())
}

fn family<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut metric = to.encode_descriptor(name, help, unit, kind)?;
    for (value_of_label, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&[(label, value_of_label)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_in_the_bucket_below_its_power_of_two() {
        for (ns, expected) in [
            (0, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (1_000_000, 10),
            (u64::MAX, Histogram::BUCKETS - 1),
        ] {
            assert_eq!(Histogram::bucket(ns), expected, "{ns} ns");
        }
    }
}
