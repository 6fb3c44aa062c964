//! One reading of all meters.
//!
//! * Order: doors, auctions, state, journal, Redis, traces and logs, the admin API, bidders.
//! * A row of `docs/operations.md` for each name: a test holds them together.

use super::{Counted, Meters};
use crate::http::problem::Code;
use crate::http::site::Site;
use crate::log;
use auction::{Answer, Id};
use journal::Durations;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use reporting::activity::{CallTotals, latency_bound_ms};
use reporting::{BidderTotals, Counter};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of answers, in the order of their numbers.
const ANSWERS: [Answer; 3] = [Answer::Bid, Answer::NoBid, Answer::Timeout];

/// What is read.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Site>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.auctions(to)?;
        self.connections(to)?;
        self.state(to)?;
        self.limiter(to)?;
        self.journal(to)?;
        self.redis(to)?;
        self.telemetry(to)?;
        self.admin(to)?;
        self.streams(to)?;
        self.bidders(to)
    }
}

impl Scrape {
    fn sum(&self, meter: impl Fn(&Meters) -> &Counter) -> u64 {
        self.0.meters.iter().map(|meters| meter(meters).get()).sum()
    }

    fn auctions(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meters = &self.0.meters;
        let sold = ("sold", self.sum(|meters| &meters.sold));
        let refused = |code: Code| (code.name(), self.sum(|meters| &meters.refused[code as usize]));
        let answers = Code::ALL.into_iter().filter(|code| !code.is_admin()).map(refused);
        let answers = std::iter::once(sold).chain(answers);
        family(to, "bids", "answers to POST /bid, by outcome", None, "outcome", answers)?;
        counter(to, "auctions", "auctions held", self.0.exchange.auctions())?;
        let help = "from a bid request read to its answer";
        histogram(to, "bid_duration", help, &Counted::of(meters.iter().map(|meters| &meters.bid_duration)))?;
        let help = "the same, of requests that an auction was held for";
        let auctions = Counted::of(meters.iter().map(|meters| &meters.auction_duration));
        histogram(to, "auction_duration", help, &auctions)
    }

    fn admin(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let meters = &self.0.admin;
        let help = "requests to the admin API without a valid token";
        counter(to, "admin_unauthorized", help, count(&meters.unauthorized))?;
        counter(to, "admin_changes", "changes made by the admin API", count(&meters.changes))?;
        let help = "lines of the audit log that could not be written at once";
        counter(to, "admin_audit_failures", help, count(&meters.audit_failures))
    }

    fn connections(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let opened = self.sum(|m| &m.opened);
        counter(to, "connections_opened", "connections accepted to be served", opened)?;
        let help = "connections refused because too many were open";
        counter(to, "connections_shed", help, self.sum(|m| &m.shed))?;
        let help = "connections cut because the client was too slow";
        counter(to, "connections_cut", help, self.sum(|m| &m.cut))?;
        let help = "connections that could not be accepted";
        counter(to, "accept_errors", help, self.sum(|m| &m.accept_errors))?;
        let open = opened.saturating_sub(self.sum(|m| &m.closed));
        gauge(to, "connections_open", "connections open now", None, open as f64)?;
        let help = "connections that may be open at once";
        gauge(to, "connections_max", help, None, self.0.connections_max as f64)
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let snapshot = exchange.catalogue.snapshot();
        let stale = exchange.catalogue.freshness().confirmed_at.elapsed();
        let build = MetricType::Gauge;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut metric = to.encode_descriptor("build_info", "1, with the version that runs", None, build)?;
        ConstGauge::new(1_i64).encode(metric.encode_family(&version)?)?;
        gauge(to, "ready", "1 if requests should be sent here", None, f64::from(self.0.ready().is_ok()))?;
        gauge(to, "workers", "cores that serve", None, self.0.meters.len() as f64)?;
        gauge(to, "catalogue_supplies", "supplies in force", None, snapshot.supplies().len() as f64)?;
        gauge(to, "catalogue_bidders", "bidders in force", None, snapshot.bidders() as f64)?;
        let help = "since the catalogue in force was last known to be the database's";
        gauge(to, "catalogue_stale", help, Some(&Unit::Seconds), stale.as_secs_f64())?;
        let up_s = exchange.started_at.elapsed().as_secs_f64();
        gauge(to, "uptime", "since the start", Some(&Unit::Seconds), up_s)
    }

    fn limiter(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let Some(limiter) = &exchange.limiter else { return Ok(()) };
        let help = "addresses the rate limiter remembers";
        gauge(to, "limiter_addresses", help, None, limiter.addresses() as f64)?;
        let help = "addresses that it may remember";
        gauge(to, "limiter_addresses_max", help, None, limiter.limit().addresses_max as f64)?;
        counter(to, "limiter_full", "requests whose address found no room", limiter.full())?;
        let Some(shared) = &exchange.shared_limit else { return Ok(()) };
        let help = "requests that the shared limiter did not decide because redis was away";
        counter(to, "limiter_fallbacks", help, shared.undecided())?;
        let help = "1 if the shared limiter decides, 0 if redis was away in the last two seconds";
        gauge(to, "limiter_shared", help, None, f64::from(!shared.is_away()))?;
        let help = "how long redis took for a request that the shared limiter decided";
        histogram(to, "limiter_shared_duration", help, &shared.answers().into())
    }

    fn journal(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let Some(journal) = &exchange.journal else { return Ok(()) };
        let status = journal.status();
        let records = status.cores.iter().map(|core| core.records).sum();
        counter(to, "journal_records", "records written to the journal", records)?;
        let help = "1 if the next auction can be recorded";
        gauge(to, "journal_available", help, None, f64::from(status.available))?;
        histogram(to, "journal_sync_duration", "how long the disk took for a sync", &journal.syncs().into())?;
        let help = "bytes written and not on disk yet: what a power cut would take";
        let behind = status.cores.iter().map(|core| core.end.get().saturating_sub(core.synced.get()));
        gauge(to, "journal_sync_lag", help, Some(&Unit::Bytes), behind.sum::<u64>() as f64)?;
        let help = "bytes whose sync failed and that are not copied to a new file yet";
        let unsynced: u64 = status.cores.iter().map(|core| core.unsynced_bytes).sum();
        gauge(to, "journal_unsynced", help, Some(&Unit::Bytes), unsynced as f64)?;
        counter(to, "journal_sync_failures", "syncs of the journal that failed", status.sync_failures)?;
        let help = "segments of the journal that retention removed";
        counter(to, "journal_segments_removed", help, status.segments_removed)?;
        let help = "the same, before a reader had come to them";
        counter(to, "journal_segments_removed_unread", help, status.segments_removed_unread)?;
        let help = "places of the journal found damaged or unreadable, by the start or by the daily look at all of it";
        counter(to, "journal_damaged", help, exchange.damaged())?;
        let Ok(disk) = rustix::fs::statvfs(journal.dir()) else { return Ok(()) };
        let help = "free on the disk that the journal is on, for this process";
        gauge(to, "journal_disk_free", help, Some(&Unit::Bytes), (disk.f_bavail * disk.f_frsize) as f64)
    }

    fn redis(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(others) = &self.0.exchange.others else { return Ok(()) };
        let standing = others.standing();
        gauge(to, "redis_up", "1 if statistics reach redis", None, f64::from(standing.link().is_some()))?;
        let waiting = standing.waiting.load(Ordering::Relaxed);
        gauge(to, "redis_waiting", "supplies whose counts redis did not have yet", None, waiting as f64)?;
        counter(to, "redis_pushes", "hashes pushed to redis", standing.pushed.load(Ordering::Relaxed))?;
        let failed = standing.failed.load(Ordering::Relaxed);
        counter(to, "redis_push_failures", "rounds of pushes that redis failed", failed)?;
        let help = "how long a round of pushes took that redis took all of";
        histogram(to, "redis_push_duration", help, &(&standing.pushes).into())
    }

    fn telemetry(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(to, "log_events_dropped", "log events that could not be written in time", log::dropped())?;
        let Some(traces) = &self.0.exchange.traces else { return Ok(()) };
        counter(to, "trace_spans_exported", "spans that the collector took", traces.exported())?;
        counter(to, "trace_spans_dropped", "spans that the collector did not get", traces.dropped())
    }

    /// How far each sink is behind, and what became of its batches.
    fn streams(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let streams = &self.0.streams;
        if streams.is_empty() {
            return Ok(());
        }
        let count = |value: fn(&streams::Meters) -> &AtomicU64| {
            streams.iter().map(move |(name, meters)| (*name, value(meters).load(Ordering::Relaxed)))
        };
        let read =
            |value: fn(&streams::Meters) -> f64| streams.iter().map(move |(name, m)| (*name, value(m)));
        let up = |meters: &streams::Meters| f64::from(!meters.is_failing.load(Ordering::Relaxed));
        gauges(to, "stream_up", "1 if the last attempt at a batch did not fail", None, read(up))?;
        let help = "auctions not delivered yet, by their bytes and mean size";
        gauges(to, "stream_lag_auctions", help, None, read(|m| m.lag_auctions() as f64))?;
        let help = "bytes of the journal not delivered yet";
        gauges(to, "stream_lag", help, Some(&Unit::Bytes), read(|m| m.lag_bytes() as f64))?;
        let help = "how long the oldest auction that is not delivered has waited";
        gauges(to, "stream_lag", help, Some(&Unit::Seconds), read(streams::Meters::lag_s))?;
        let delivered = count(|m| &m.delivered);
        family(to, "stream_delivered_auctions", "auctions delivered", None, "stream", delivered)?;
        family(to, "stream_batches", "batches delivered", None, "stream", count(|m| &m.batches))?;
        let help = "attempts at a batch that failed and were or will be repeated";
        family(to, "stream_failures", help, None, "stream", count(|m| &m.failures))?;
        let help = "auctions given up because too many waited for the sink";
        family(to, "stream_dropped_auctions", help, None, "stream", count(|m| &m.dropped))?;
        let help = "places of the journal that were damaged or removed before the stream read them";
        family(to, "stream_missing", help, None, "stream", count(|m| &m.missing))
    }

    fn bidders(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exchange = &self.0.exchange;
        let mut totals: BTreeMap<Id, BidderTotals> = BTreeMap::new();
        let mut revenue_micros = 0;
        for (id, counts) in exchange.report().into_values().flat_map(|supply| supply.bidders) {
            revenue_micros += counts.revenue.micros();
            totals.entry(id).or_default().add(counts);
        }
        let usd_micros = Unit::Other("usd_micros".to_owned());
        let kind = MetricType::Counter;
        let metric =
            to.encode_descriptor("revenue", "clearing prices, of all bidders", Some(&usd_micros), kind)?;
        ConstCounter::new(revenue_micros).encode(metric)?;
        let calls = exchange.statistics.calls();
        let mut all = CallTotals::default();
        calls.values().for_each(|one| all.add(*one));
        let answers = ANSWERS.map(|answer| (answer.name(), all.answered(answer)));
        family(to, "answers", "answers of invited bidders, by kind", None, "answer", answers.into_iter())?;
        let help = "from an invitation to its answer, if in time";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        latencies(&mut to.encode_descriptor("answer_latency", help, unit, kind)?, &all)?;
        if totals.len().max(calls.len()) > exchange.bidders_max {
            return Ok(());
        }
        let bids = calls.iter().map(|(id, calls)| (id.as_str(), calls.answered(Answer::Bid)));
        family(to, "bidder_bids", "answers with a bid", None, "bidder", bids)?;
        let mut metric = to.encode_descriptor("bidder_latency", help, unit, kind)?;
        for (id, calls) in &calls {
            latencies(&mut metric.encode_family(&[("bidder", id.as_str())])?, calls)?;
        }
        let each = |value: fn(&BidderTotals) -> u64| {
            totals.iter().map(move |(id, totals)| (id.as_str(), value(totals)))
        };
        family(to, "bidder_wins", "auctions won", None, "bidder", each(|t| t.wins))?;
        family(to, "bidder_no_bids", "answers without a bid", None, "bidder", each(|t| t.no_bids))?;
        family(to, "bidder_timeouts", "answers not within tmax", None, "bidder", each(|t| t.timeouts))?;
        let revenue = each(|t| t.revenue.micros());
        family(to, "bidder_revenue", "clearing prices", Some(&usd_micros), "bidder", revenue)
    }
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}

pub(super) fn counter_f64(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Counter)?)
}

pub(super) fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

fn gauges<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (&'a str, f64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, unit, MetricType::Gauge)?;
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
    let mut metric = to.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (value_of_label, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&[(label, value_of_label)])?)?;
    }
    Ok(())
}

/// Four of the places that latencies are counted at make a bucket here: a power of two of milliseconds.
fn latencies(metric: &mut MetricEncoder<'_>, calls: &CallTotals) -> fmt::Result {
    let mut buckets = vec![(0.001, calls.latencies[0])];
    for (places, last) in calls.latencies[1..].chunks(4).zip((4..).step_by(4)) {
        let bound = latency_bound_ms(last).map_or(f64::INFINITY, |ms| ms / 1e3);
        buckets.push((bound, places.iter().sum()));
    }
    let count = calls.latencies.iter().sum();
    metric.encode_histogram::<NoLabelSet>(calls.latency_ns as f64 / 1e9, count, &buckets, None)
}

fn histogram(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, counted: &Counted) -> fmt::Result {
    let kind = MetricType::Histogram;
    encode_histogram(&mut to.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?, counted)
}

fn encode_histogram(metric: &mut MetricEncoder<'_>, counted: &Counted) -> fmt::Result {
    let bound = |i: usize| {
        if i + 1 == Durations::BUCKETS { f64::INFINITY } else { (1_u64 << i) as f64 / 1e6 }
    };
    let buckets: Vec<(f64, u64)> =
        counted.buckets.iter().enumerate().map(|(i, count)| (bound(i), *count)).collect();
    let count = counted.buckets.iter().sum();
    metric.encode_histogram::<NoLabelSet>(counted.sum_ns as f64 / 1e9, count, &buckets, None)
}
