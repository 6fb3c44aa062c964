//! Traces: what a collector is told of auctions, and that nothing it does touches one.

use crate::catalogues::{constant, constants, usual};
use crate::client::{Connection, any_bid, bid_body, micros};
use crate::collector::{Collector, Manner};
use crate::server::{Home, Server, eventually};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

fn traced(collector: &Collector, sample: u64, catalogue: &Value) -> Home {
    let home = Home::empty().with(catalogue).set("BOURSE_OTLP_ENDPOINT", &collector.endpoint());
    home.set("BOURSE_OTLP_SAMPLE", &sample)
}

/// The attributes as JSON.
fn attributes(attributes: &[KeyValue]) -> Value {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect::<Map<_, _>>().into()
}

fn is_root(span: &&Span) -> bool {
    span.name == "auction"
}

/// Waits for so many auctions.
fn auctions(collector: &Collector, n: usize) -> Vec<Span> {
    eventually("every trace has come", || collector.spans().iter().filter(is_root).count() >= n);
    collector.spans()
}

/// One auction, as a line of `bourse journal cat` has it.
fn by_journal(line: &str) -> (String, Value) {
    let exact: BTreeMap<&str, &RawValue> = serde_json::from_str(line).unwrap();
    let micros = |exact: &RawValue| micros(exact.get());
    // Milliseconds to the third place are whole microseconds.
    let whole_us = |latency_ms: &RawValue| crate::client::micros(latency_ms.get()) / 1_000;
    let line: Value = serde_json::from_str(line).unwrap();
    let mut auction = json!({
        "auction.id": line["auction"], "auction.supply": line["supply"], "auction.country": line["country"],
        "auction.tmax_ms": line["tmax_ms"], "auction.rule": line["rule"],
        "auction.bid_floor_micros": micros(exact["bid_floor"]),
        "auction.catalogue_revision": line["catalogue_revision"], "auction.outcome": line["outcome"],
    });
    if let Some(price) = exact.get("price") {
        auction["auction.winner"] = line["winner"].clone();
        auction["auction.price_micros"] = json!(micros(price));
    }
    let (mut bidders, mut not_invited) = (Vec::new(), Vec::new());
    let exact: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(exact["bidders"].get()).unwrap();
    for (bidder, exact) in line["bidders"].as_array().unwrap().iter().zip(exact) {
        if bidder["not_invited"].is_string() {
            not_invited.push(json!({"bidder.id": bidder["id"], "bidder.not_invited": bidder["not_invited"]}));
            continue;
        }
        let mut told = json!({"bidder.id": bidder["id"], "bidder.answer": bidder["answer"]});
        if let Some(bids) = exact.get("bids") {
            let bids: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(bids.get()).unwrap();
            told["bid.imp"] = json!(0);
            told["bid.price_micros"] = json!(micros(&bids[0]["price"]));
            told["bid.fate"] = bidder["bids"][0]["fate"].clone();
            match bids[0].get("clearing_price") {
                Some(price) => told["bid.clearing_price_micros"] = json!(micros(price)),
                None => told["bid.loss_reason"] = bidder["bids"][0]["reason"].clone(),
            }
        }
        bidders.push(json!({"attributes": told, "latency_us": whole_us(&exact["latency_ms"])}));
    }
    let id = line["auction"].as_str().unwrap().to_owned();
    (id, json!({"time": line["time"], "auction": auction, "bidders": bidders, "not_invited": not_invited}))
}

/// The same, as the collector has it.
fn by_traces(root: &Span, children: &[&Span], journal: &Value) -> (String, Value) {
    let auction = attributes(&root.attributes);
    let ns = |span: &Span| {
        assert_eq!(span.start_time_unix_nano, root.start_time_unix_nano, "all are asked at once");
        span.end_time_unix_nano - span.start_time_unix_nano
    };
    assert!((1..5_000_000_000).contains(&ns(root)), "{root:?}");
    for span in children {
        let is_late = attributes(&span.attributes)["bidder.answer"] == "timeout";
        assert_eq!(span.status.as_ref().map(|status| status.code), is_late.then_some(2), "{span:?}");
        assert_eq!((span.name.as_str(), span.kind), ("bidder", 3), "{span:?}");
    }
    let bidders: Vec<Value> = children
        .iter()
        .map(|span| json!({"attributes": attributes(&span.attributes), "latency_us": ns(span).div_ceil(1_000)}))
        .collect();
    let not_invited: Vec<Value> = root.events.iter().map(|event| attributes(&event.attributes)).collect();
    let start_us = root.start_time_unix_nano / 1_000;
    // To the microsecond, as text.
    let time = format!(".{:06}Z", start_us % 1_000_000);
    assert!(journal["time"].as_str().unwrap().ends_with(&time), "{time} {journal}");
    let id = auction["auction.id"].as_str().unwrap().to_owned();
    let told =
        json!({"time": journal["time"], "auction": auction, "bidders": bidders, "not_invited": not_invited});
    (id, told)
}

#[test]
fn every_traced_auction_is_the_tree_that_the_journal_has() {
    let mut catalogue = usual();
    catalogue["bidders"]["gb"] = constant(5, 0.75);
    catalogue["bidders"]["gb"]["country"] = json!("GB");
    catalogue["supplies"]["second"] = json!({"bidders": ["bidder0", "bidder1", "bidder2", "gb"],
        "auction": "second_price", "bid_floor": 0.40});
    let collector = Collector::start();
    let server = traced(&collector, 1, &catalogue).serve_with(&["--workers", "2"]);
    for i in 0..60 {
        let body = bid_body(["supply1", "second", "unknown"][i % 3], "203.0.113.77");
        server.bid(if i % 4 == 0 { body.replace("US", "GB") } else { body });
    }
    let spans = auctions(&collector, 40);
    let home = server.stop();
    let journal: BTreeMap<String, Value> =
        home.run(&["journal", "cat"]).done().lines().map(by_journal).collect();
    assert_eq!(journal.len(), 40);
    let mut outcomes = BTreeSet::new();
    for root in spans.iter().filter(is_root) {
        let children: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
        assert!(children.iter().all(|span| span.trace_id == root.trace_id));
        let id = attributes(&root.attributes)["auction.id"].as_str().unwrap().to_owned();
        let (_, told) = by_traces(root, &children, &journal[&id]);
        assert_eq!(told, journal[&id], "{id}");
        outcomes.insert(told["auction"]["auction.outcome"].as_str().unwrap().to_owned());
    }
    assert!(outcomes.contains("sold") && outcomes.contains("no_eligible_bidders"), "{outcomes:?}");
    let unique = |of: fn(&Span) -> &Vec<u8>| spans.iter().map(of).collect::<BTreeSet<_>>().len();
    assert_eq!(unique(|span| &span.span_id), spans.len());
    assert_eq!(unique(|span| &span.trace_id), 40);
    assert!(spans.iter().all(|span| span.trace_id.len() == 16 && span.span_id.len() == 8));
    assert!(!format!("{spans:?}").contains("203.0.113"), "no address is told");
    for (head, resource) in collector.heads().iter().zip(collector.resources()) {
        assert_eq!(head[""], "POST /v1/traces HTTP/1.1");
        assert_eq!(head["content-type"], "application/x-protobuf");
        let resource = attributes(&resource.attributes);
        assert_eq!(resource["service.name"], "bourse");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(resource["service.instance.id"].as_str().map(str::len), Some(16), "{resource}");
    }
}

#[test]
fn one_auction_in_so_many_is_traced_the_first_included() {
    let collector = Collector::start();
    let server =
        traced(&collector, 10, &constants(&[("a", 0, 0.5)])).serve_with(&["--workers", "1", "--seed", "7"]);
    let mut connection = server.connect();
    (0..95).for_each(|_| assert_eq!(connection.bid(any_bid()).status, 200));
    // The end sends what is left.
    server.stop();
    let told = collector.spans().into_iter().filter(|span| is_root(&span));
    let ids: Vec<String> =
        told.map(|span| attributes(&span.attributes)["auction.id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..10).map(|i| format!("0000000000000007-{}", i * 10)).collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_callers_trace_goes_on_if_it_is_sampled_and_only_then_in_both_lanes() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for express in ["true", "false"] {
        let collector = Collector::start();
        let home = traced(&collector, 1_000_000, &constants(&[("a", 0, 0.5)]));
        let server = home.set("BOURSE_HTTP_EXPRESS", express).serve_with(&["--workers", "1", "--seed", "7"]);
        let mut connection = server.connect();
        let mut bid = |parents: &[&str]| {
            let json = [("content-type", "application/json")];
            let parents = parents.iter().map(|parent| ("TraceParent", *parent));
            let headers: Vec<_> = json.into_iter().chain(parents).collect();
            let answer = connection.request("POST", "/bid", &headers, any_bid().as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        };
        let (sampled, unsampled) = (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-00"));
        bid(&[&unsampled]);
        bid(&[&sampled]);
        bid(&["00-nonsense"]); // Our turn: the first that says nothing.
        bid(&[&sampled, &sampled]);
        bid(&[]);
        bid(&[&sampled]);
        server.stop();
        let spans = collector.spans();
        let told: Vec<_> = spans.iter().filter(is_root).collect();
        let told: Vec<_> = told
            .iter()
            .map(|span| {
                let id = attributes(&span.attributes)["auction.id"].as_str().unwrap()[17..].to_owned();
                (id, hex(&span.trace_id) == TRACE, hex(&span.parent_span_id))
            })
            .collect();
        let expected = [("1", true, SPAN), ("2", false, ""), ("5", true, SPAN)]
            .map(|(id, is_theirs, parent)| (id.to_owned(), is_theirs, parent.to_owned()));
        assert_eq!(told, expected, "express: {express}");
    }
}

const EXPORTED: &str = "bourse_trace_spans_exported_total";
const DROPPED: &str = "bourse_trace_spans_dropped_total";

/// Bids `n` times; each auction has two spans.
fn bid(connection: &mut Connection, n: usize) {
    (0..n).for_each(|_| assert_eq!(connection.bid(any_bid()).status, 200));
}

/// Checks that so many spans are accounted for, in time.
fn accounted(server: &Server, exported: u64, dropped: u64) {
    eventually("every span is accounted for", || {
        (server.metric(EXPORTED), server.metric(DROPPED)) == (exported, dropped)
    });
}

#[test]
fn a_collector_that_fails_costs_spans_that_are_counted_and_one_line_of_log() {
    let collector = Collector::start();
    let server = traced(&collector, 1, &constants(&[("a", 0, 0.5)])).serve();
    let mut connection = server.connect();
    bid(&mut connection, 10);
    accounted(&server, 20, 0);
    // Not worth another attempt.
    collector.behave(Manner::Says(400));
    let before = collector.asked();
    bid(&mut connection, 10);
    accounted(&server, 20, 20);
    assert_eq!(collector.asked(), before + 1);
    // Worth two more.
    collector.behave(Manner::Says(503));
    bid(&mut connection, 10);
    accounted(&server, 20, 40);
    assert_eq!(collector.asked(), before + 4);
    collector.behave(Manner::RefusesOne);
    bid(&mut connection, 1);
    accounted(&server, 21, 41);
    collector.behave(Manner::Takes);
    bid(&mut connection, 10);
    accounted(&server, 41, 41);
    assert_eq!(server.log().matches("takes no traces").count(), 1, "{}", server.log());
    assert_eq!(server.log().matches("takes traces again").count(), 1, "{}", server.log());
}

#[test]
fn an_outage_of_a_moment_costs_no_span() {
    let collector = Collector::start();
    let server = traced(&collector, 1, &constants(&[("a", 0, 0.5)])).serve();
    collector.behave(Manner::Says(503));
    bid(&mut server.connect(), 10);
    eventually("it is asked", || collector.asked() > 0);
    collector.behave(Manner::Takes);
    accounted(&server, 20, 0);
}

#[test]
fn a_collector_that_hangs_holds_back_no_auction_and_no_end() {
    let collector = Collector::start();
    collector.behave(Manner::Hangs);
    let server = traced(&collector, 1, &constants(&[("a", 0, 0.5)])).serve();
    let mut connection = server.connect();
    bid(&mut connection, 1);
    eventually("it hangs", || collector.asked() == 1);
    // The queue holds 512 auctions and a request 1,025, should the first be given up meanwhile; the rest is dropped.
    bid(&mut connection, 2_000);
    assert!(server.metric(DROPPED) >= 2 * (2_000 - 512 - 1_025), "{}", server.metric(DROPPED));
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_collector_that_is_not_there_is_no_reason_not_to_start() {
    let home =
        Home::empty().usual().set("BOURSE_OTLP_ENDPOINT", "http://127.0.0.1:1").set("BOURSE_OTLP_SAMPLE", &1);
    let server = home.serve();
    assert_ne!(server.bid(any_bid()).status, 500);
    eventually("the spans are counted", || server.metric(DROPPED) == 13);
    assert!(server.log().contains("takes no traces"), "{}", server.log());
}

#[test]
fn an_address_that_is_none_stops_the_start() {
    for endpoint in
        ["localhost:4318", "https://collector:4318", "http://", "http:///v1/traces", "ftp://a", "http://a b"]
    {
        let said = Home::empty().usual().set("BOURSE_OTLP_ENDPOINT", endpoint).run(&["serve"]);
        let line = said.one_line_error();
        assert!(line.contains("BOURSE_OTLP_ENDPOINT") && line.contains("http://HOST:PORT"), "{line}");
    }
}
