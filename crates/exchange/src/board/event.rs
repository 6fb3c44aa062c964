//! One moment of the exchange as JSON: the event that every subscriber gets.

use super::samples::{History, Point, Series};
use super::tables::{BidderRow, CountryRow, Shown, Sums, SupplyRow, Tables, View, latency_bounds_ms};
use crate::hold::unix_us;
use crate::http::pages::Health;
use crate::http::site::Site;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// All that is shown.
#[derive(Serialize)]
pub struct Moment<'a> {
    /// Milliseconds since 1970.
    time_ms: u64,
    health: Health,
    /// How old the tables are, in seconds.
    tables_age_s: f64,
    /// Whether other instances' part of them is as new as ours.
    is_fresh: bool,
    now: Point,
    series: Series,
    sums: Sums,
    instances: Vec<Cow<'a, InstanceNow>>,
    limiter: Option<LimiterNow>,
    journal: Option<JournalNow>,
    redis: Option<RedisNow>,
    connections: ConnectionsNow,
    supplies: Shown<'a, SupplyRow>,
    bidders: Shown<'a, BidderRow>,
    countries: Shown<'a, CountryRow>,
    latency_bounds_ms: Vec<f64>,
}

/// How one instance is, as it says itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceNow {
    address: String,
    /// This one, not what another one said.
    #[serde(default)]
    is_here: bool,
    status: Cow<'static, str>,
    version: Cow<'static, str>,
    uptime_s: f64,
    auctions_per_s: f64,
    fill: Option<f64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

#[derive(Serialize)]
struct LimiterNow {
    requests: u32,
    window_s: u64,
    addresses: usize,
    addresses_max: usize,
    /// Requests refused since the start.
    limited: u64,
    /// Requests whose address found no room.
    full: u64,
    /// Whether all instances keep it together; then also whether Redis is away, and what it did not decide.
    shared: bool,
    is_away: bool,
    undecided: u64,
}

#[derive(Serialize)]
struct JournalNow {
    available: bool,
    records: u64,
    /// Written, and not on disk yet.
    behind_bytes: u64,
    /// Their sync has failed.
    unsynced_bytes: u64,
    sync_failures: u64,
    segments_removed: u64,
    segments_removed_unread: u64,
    damaged: u64,
}

#[derive(Serialize)]
struct RedisNow {
    is_up: bool,
    waiting: u64,
    failed: u64,
}

#[derive(Serialize)]
struct ConnectionsNow {
    open: u64,
    max: usize,
    shed: u64,
    cut: u64,
}

impl InstanceNow {
    /// How this instance is.
    pub fn of(site: &Site, history: &History) -> Self {
        let (health, now) = (Health::of(site), history.now());
        Self {
            address: site.board.address.to_string(),
            is_here: false,
            status: health.status.into(),
            version: health.version.into(),
            uptime_s: health.uptime_s,
            auctions_per_s: now.auctions_per_s,
            fill: now.fill,
            p50_us: now.p50_us,
            p99_us: now.p99_us,
        }
    }
}

impl<'a> Moment<'a> {
    /// The moment that these readings show.
    pub fn of(site: &Site, history: &History, others: &'a [InstanceNow], tables: &'a Tables) -> Self {
        let own = InstanceNow { is_here: true, ..InstanceNow::of(site, history) };
        Self {
            time_ms: unix_us(SystemTime::now()) / 1000,
            health: Health::of(site),
            tables_age_s: tables.read_at.elapsed().as_secs_f64(),
            is_fresh: tables.is_fresh,
            now: history.now(),
            series: history.series(),
            sums: tables.sums,
            instances: std::iter::once(Cow::Owned(own)).chain(others.iter().map(Cow::Borrowed)).collect(),
            limiter: limiter(site, history),
            journal: journal(site),
            redis: redis(site),
            connections: connections(site),
            supplies: tables.supplies(&View::usual("requests")),
            bidders: tables.bidders(&View::usual("revenue")),
            countries: tables.countries(&View::usual("requests")),
            latency_bounds_ms: latency_bounds_ms().collect(),
        }
    }

    /// The event as it goes over the wire.
    pub fn to_wire(&self) -> Bytes {
        let mut wire = b"data: ".to_vec();
        // Numbers and strings: nothing in it can fail to be JSON, nor writing it to memory.
        let _ = serde_json::to_writer(&mut wire, self);
        wire.extend_from_slice(b"\n\n");
        wire.into()
    }
}

fn limiter(site: &Site, history: &History) -> Option<LimiterNow> {
    let (limiter, shared) = (site.exchange.limiter.as_ref()?, site.exchange.shared_limit.as_ref());
    let limit = limiter.limit();
    Some(LimiterNow {
        requests: limit.requests,
        window_s: limit.window_us.div_ceil(1_000_000),
        addresses: limiter.addresses(),
        addresses_max: limit.addresses_max,
        limited: history.limited(),
        full: limiter.full(),
        shared: shared.is_some(),
        is_away: shared.is_some_and(|shared| shared.is_away()),
        undecided: shared.map_or(0, |shared| shared.undecided()),
    })
}

fn journal(site: &Site) -> Option<JournalNow> {
    let status = site.exchange.journal.as_ref()?.status();
    let sum = |of: fn(&journal::CoreStatus) -> u64| status.cores.iter().map(of).sum();
    Some(JournalNow {
        available: status.available,
        records: sum(|core| core.records),
        behind_bytes: sum(|core| core.end.get().saturating_sub(core.synced.get())),
        unsynced_bytes: sum(|core| core.unsynced_bytes),
        sync_failures: status.sync_failures,
        segments_removed: status.segments_removed,
        segments_removed_unread: status.segments_removed_unread,
        damaged: site.exchange.damaged(),
    })
}

fn redis(site: &Site) -> Option<RedisNow> {
    let standing = site.exchange.others.as_ref()?.standing();
    Some(RedisNow {
        is_up: standing.link().is_some(),
        waiting: standing.waiting.load(Ordering::Relaxed),
        failed: standing.failed.load(Ordering::Relaxed),
    })
}

fn connections(site: &Site) -> ConnectionsNow {
    let sum = |meter: fn(&crate::metrics::Meters) -> u64| site.meters.iter().map(|m| meter(m)).sum::<u64>();
    ConnectionsNow {
        open: sum(|m| m.opened.get()).saturating_sub(sum(|m| m.closed.get())),
        max: site.connections_max,
        shed: sum(|m| m.shed.get()),
        cut: sum(|m| m.cut.get()),
    }
}
