//! /metrics, judged by Prometheus itself, and its page in the documentation.

use crate::catalogues::{constant, constants};
use crate::client::{any_bid, bid_body};
use crate::collector::Collector;
use crate::prometheus::{Prometheus, complaints};
use crate::redis::Redis;
use crate::server::{Home, Server, eventually};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// How Prometheus 2.42 asks.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,\
    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

fn page(server: &Server, accept: &str) -> String {
    server.request("GET", "/metrics", &[("accept", accept)], b"").text().to_owned()
}

/// A server with everything on that has metrics, and what it needs.
fn full() -> (Redis, Collector, Server) {
    let (redis, collector) = (Redis::start(), Collector::start());
    let home = Home::empty().usual().set("BOURSE_RATE_LIMIT_REQUESTS", &1000);
    let home = home.set("BOURSE_REDIS_URL", &redis.url());
    let lake = format!("file://{}", home.path("lake").display());
    let home = home.set("BOURSE_LAKE_URL", &lake);
    let server = home.set("BOURSE_OTLP_ENDPOINT", &collector.endpoint()).serve();
    (redis, collector, server)
}

/// The value of the only sample of this name and labels.
fn value(page: &str, series: &str) -> f64 {
    let mut samples = page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let sample = samples.next().unwrap_or_else(|| panic!("no {series} in {page}"));
    assert_eq!(samples.next(), None, "{series}");
    sample.parse().unwrap_or_else(|_| panic!("{series} {sample}"))
}

#[track_caller]
fn check(page: &str, series: &str, expected: f64) {
    let value = value(page, series);
    assert!((value - expected).abs() < 1e-9, "{series} is {value}, not {expected}");
}

#[test]
fn promtool_has_nothing_to_say_of_the_page() {
    let (_redis, _collector, server) = full();
    (0..20).for_each(|_| drop(server.bid(any_bid())));
    for accept in ["", "text/plain", "*/*"] {
        let answer = server.request("GET", "/metrics", &[("accept", accept)], b"");
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(complaints(answer.text()), "");
    }
    assert_ne!(complaints("# TYPE a counter\na 1\n"), "", "promtool judges");
}

#[test]
fn promtool_reads_ids_with_quotes_backslashes_and_other_scripts() {
    let ids = ["plain", "a:b", "\"q\" \\", "日本", "\\n"];
    let bidders: Map<String, Value> = ids.iter().map(|id| ((*id).to_owned(), constant(0, 0.5))).collect();
    let server = Home::empty().with(&json!({"supplies": {"s": ids}, "bidders": bidders})).serve();
    (0..40).for_each(|_| assert_eq!(server.bid(bid_body("s", "203.0.113.77")).status, 200));
    assert_eq!(complaints(&page(&server, "")), "");
}

#[test]
fn prometheus_reads_every_metric_as_what_it_is() {
    let (_redis, _collector, server) = full();
    let sold = (0..40).filter(|_| server.bid(any_bid()).status == 200).count();
    let prometheus = Prometheus::of(server.address);
    eventually("Prometheus has read them", || {
        prometheus.value("bourse_bids_total{outcome=\"sold\"}") == Some(sold.to_string())
    });
    assert_eq!(prometheus.value("up").as_deref(), Some("1"), "{}", prometheus.trouble());
    assert_eq!(prometheus.value("bourse_auctions_total").as_deref(), Some("40"));
    assert_eq!(prometheus.value("sum(bourse_answers_total)").as_deref(), Some("480"));
    assert_eq!(prometheus.value("bourse_auction_duration_seconds_count").as_deref(), Some("40"));
    let is_known = |name: &str| name.starts_with("bourse_") || name.starts_with("process_");
    let read: BTreeSet<_> = prometheus.kinds().into_iter().filter(|(name, _)| is_known(name)).collect();
    let kinds = |page: &str| -> BTreeSet<(String, String)> {
        let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        lines.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    };
    assert_eq!(read, kinds(&page(&server, PROMETHEUS)));
}

#[test]
fn both_formats_have_the_same_samples() {
    let (_redis, _collector, server) = full();
    (0..20).for_each(|_| drop(server.bid(any_bid())));
    let open = server.request("GET", "/metrics", &[("accept", PROMETHEUS)], b"");
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let samples = |page: &str| -> Vec<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(samples(open.text()), samples(&page(&server, "text/plain")));
}

#[test]
fn the_metrics_are_those_of_the_operations_page() {
    let (_redis, _collector, server) = full();
    server.bid(any_bid());
    let page = page(&server, "");
    let described = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: BTreeMap<&str, &str> = described.collect();
    let document = include_str!("../../../../docs/operations.md");
    // | `name` labels | kind | what it is | when to worry |
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<_> = rows
        .filter(|(name, _)| name.starts_with("bourse_") || name.starts_with("process_"))
        .map(|(name, rest)| (name, rest.split('|').map(str::trim).collect::<Vec<_>>()))
        .collect();
    let documented: BTreeMap<&str, &str> = rows.iter().map(|(name, cells)| (*name, cells[1])).collect();
    assert_eq!(documented.len(), rows.len(), "each has one row");
    assert_eq!(documented, served);
    for (name, cells) in &rows {
        // With its labels, what it is, and when to worry; the last one is the end of the line.
        assert!(cells.len() == 5 && cells[2..4].iter().all(|cell| !cell.is_empty()), "{name}: {cells:?}");
        let labels = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        for label in labels.filter_map(|labels| labels.split_once('=')).map(|(label, _)| label) {
            assert!(cells[0].contains(&format!("`{label}`")) || label == "le", "{name} {label}: {cells:?}");
        }
    }
}

#[test]
fn answers_and_latencies_are_counted_for_all_bidders_and_for_each() {
    let catalogue = constants(&[("quick", 3, 0.5), ("slow", 130, 0.6), ("late", 300, 0.7)]);
    let server = Home::empty().with(&catalogue).serve_with(&["--workers", "2"]);
    (0..10).for_each(|_| assert_eq!(server.bid(any_bid()).status, 200));
    let page = page(&server, "");
    for (series, expected) in [
        ("bourse_answers_total{answer=\"bid\"}", 20.0),
        ("bourse_answers_total{answer=\"no_bid\"}", 0.0),
        ("bourse_answers_total{answer=\"timeout\"}", 10.0),
        ("bourse_answer_latency_seconds_count", 20.0),
        ("bourse_answer_latency_seconds_sum", 1.33),
        ("bourse_bidder_bids_total{bidder=\"slow\"}", 10.0),
        ("bourse_bidder_timeouts_total{bidder=\"late\"}", 10.0),
        ("bourse_bidder_latency_seconds_count{bidder=\"late\"}", 0.0),
        ("bourse_bidder_latency_seconds_bucket{le=\"0.004\",bidder=\"quick\"}", 10.0),
        ("bourse_bidder_latency_seconds_bucket{le=\"0.256\",bidder=\"slow\"}", 10.0),
        ("bourse_bidder_latency_seconds_bucket{le=\"0.128\",bidder=\"slow\"}", 0.0),
        ("bourse_revenue_usd_micros_total", 6_000_000.0),
        ("bourse_bidder_revenue_usd_micros_total{bidder=\"slow\"}", 6_000_000.0),
    ] {
        check(&page, series, expected);
    }
}

#[test]
fn beyond_the_bound_no_bidder_has_a_series_of_its_own() {
    let catalogue = constants(&[("a", 3, 0.5), ("b", 3, 0.6), ("c", 3, 0.7)]);
    for (max, is_each) in [(3, true), (2, false), (0, false)] {
        let home = Home::empty().with(&catalogue).set("BOURSE_METRICS_BIDDERS_MAX", &max);
        let server = home.serve_with(&["--workers", "1"]);
        (0..10).for_each(|_| assert_eq!(server.bid(any_bid()).status, 200));
        let page = page(&server, "");
        assert_eq!(page.contains("bidder=\""), is_each, "{max}: {page}");
        check(&page, "bourse_answers_total{answer=\"bid\"}", 30.0);
        check(&page, "bourse_revenue_usd_micros_total", 7_000_000.0);
    }
}

#[test]
fn the_process_is_told_as_the_system_sees_it() {
    let server = Server::usual();
    let before = page(&server, "");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let of_status = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    let resident = value(&before, "process_resident_memory_bytes");
    assert!((resident / 1024.0 / of_status("VmRSS") - 1.0).abs() < 0.2, "{resident}");
    let threads = value(&before, "process_threads");
    assert!((threads - of_status("Threads")).abs() <= 2.0, "{threads}");
    assert!(value(&before, "process_virtual_memory_bytes") > resident);
    let open = value(&before, "process_open_fds");
    assert!(open > 5.0 && open < value(&before, "process_max_fds"), "{open}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - value(&before, "process_start_time_seconds");
    assert!((-2.0..120.0).contains(&age), "{age}");
    check(&before, &format!("bourse_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
    let cpu = value(&before, "process_cpu_seconds_total");
    eventually("work costs CPU", || {
        let _ = server.bid(any_bid());
        value(&page(&server, ""), "process_cpu_seconds_total") > cpu
    });
}

#[test]
fn syncs_and_redis_are_timed() {
    let (_redis, _collector, server) = full();
    (0..10).for_each(|_| drop(server.bid(any_bid())));
    for series in [
        "bourse_journal_sync_duration_seconds_count",
        "bourse_limiter_shared_duration_seconds_count",
        "bourse_redis_push_duration_seconds_count",
        "bourse_journal_disk_free_bytes",
    ] {
        eventually(series, || value(&page(&server, ""), series) > 0.0);
    }
    eventually("all is on disk", || server.metric("bourse_journal_sync_lag_bytes") == 0);
}
