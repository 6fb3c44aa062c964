//! Auctions in Kafka: each at least once, known by its event id, keyed by its supply, whatever happens on the way.

use crate::catalogues::usual;
use crate::client::{bid_body, micros};
use crate::journal_commands::{address, cat};
use crate::kafka::{Broker, events, json};
use crate::ledger::members;
use crate::proxy::Way;
use crate::python::program;
use crate::server::{Home, Server, eventually, said};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// With three supplies, and short patience.
pub(crate) fn home(broker: SocketAddr) -> Home {
    let mut catalogue = usual();
    for id in ["supply2", "\"third\" 日本"] {
        catalogue["supplies"][id] = catalogue["supplies"]["supply1"].clone();
    }
    streams(Home::empty().with(&catalogue), broker)
}

pub(crate) fn streams(home: Home, broker: SocketAddr) -> Home {
    home.set("BOURSE_KAFKA_BROKERS", &broker)
        .set(
            "BOURSE_KAFKA_OPTIONS",
            "reconnect.backoff.ms=10; reconnect.backoff.max.ms=50; retry.backoff.ms=20",
        )
        .set("BOURSE_STREAMS_RETRY_MAX_MS", &50)
        .set("BOURSE_STREAMS_TIMEOUT_MS", &2000)
}

pub(crate) fn bids(server: &Server, from: usize, n: usize) {
    let mut connection = server.connect();
    for i in from..from + n {
        let body = bid_body(["supply1", "supply2", "\"third\" 日本"][i % 3], &address(i));
        let answer = connection.bid(body.replace("US", ["US", "FR"][i % 2]));
        assert!(
            ["200", "400 no_bids", "400 no_eligible_bidders"].contains(&&*answer.verdict()),
            "{answer:?}"
        );
    }
}

#[track_caller]
pub(crate) fn has_delivered(server: &Server, auctions: usize) {
    let delivered = || server.metric("bourse_stream_delivered_auctions_total{stream=\"kafka\"}");
    eventually("everything is acknowledged", || delivered() == auctions as u64);
}

/// The journal has so many auctions, and the topic the same ones.
#[track_caller]
pub(crate) fn is_all_there(broker: &Broker, home: &Home, auctions: usize) {
    let events = events(broker.messages());
    let lines = cat(home, &[]);
    assert_eq!((events.len(), lines.len()), (auctions, auctions));
    for line in lines {
        let message = &events[line["event"].as_str().unwrap()];
        assert_eq!((json(message), &*message.key), (line.clone(), line["supply"].as_str().unwrap()));
    }
}

#[test]
fn an_auction_is_a_message_as_the_journal_shows_it_in_the_partition_of_its_supply() {
    for compression in ["none", "gzip", "lz4", "zstd"] {
        let broker = Broker::start();
        let home = home(broker.address).set("BOURSE_KAFKA_COMPRESSION", compression);
        let server = home.serve_with(&["--workers", "2"]);
        bids(&server, 0, 90);
        has_delivered(&server, 90);
        is_all_there(&broker, &server.home, 90);
        let messages = broker.messages();
        assert_eq!(messages.len(), 90, "nothing failed, so nothing came twice");
        for message in &messages {
            let of_supply = messages.iter().filter(|other| other.key == message.key);
            assert!(of_supply.into_iter().all(|other| other.partition == message.partition));
            let headers = &message.headers;
            assert_eq!((&*headers["schema"], &*headers["content-type"]), ("1", "application/json"));
        }
        assert_eq!(server.metric("bourse_stream_failures_total{stream=\"kafka\"}"), 0);
    }
}

#[test]
fn what_breaks_on_the_way_comes_again_while_auctions_go_on() {
    let (broker, proxy) = Broker::behind_proxy();
    let server = home(broker.address).serve_with(&["--workers", "2"]);
    let failures = || server.metric("bourse_stream_failures_total{stream=\"kafka\"}");
    let mut auctions = 0;
    for way in [Way::Cut, Way::Hanging, Way::Deaf] {
        bids(&server, auctions, 50);
        has_delivered(&server, auctions + 50);
        proxy.set(way);
        let before = failures();
        bids(&server, auctions + 50, 50);
        eventually("it is told", || failures() > before);
        assert_eq!(server.metric("bourse_stream_up{stream=\"kafka\"}"), 0);
        bids(&server, auctions + 100, 50);
        proxy.set(Way::Open);
        auctions += 150;
        has_delivered(&server, auctions);
        is_all_there(&broker, &server.home, auctions);
    }
    assert_eq!(server.metric("bourse_stream_dropped_auctions_total{stream=\"kafka\"}"), 0);
}

#[test]
fn a_hanging_broker_costs_no_auction_its_answer_and_no_event_its_place() {
    let broker = Broker::start();
    let server = home(broker.address).set("BOURSE_STREAMS_TIMEOUT_MS", &200).serve_with(&["--workers", "2"]);
    let failures = || server.metric("bourse_stream_failures_total{stream=\"kafka\"}");
    for round in 0..3 {
        broker.pause();
        let before = failures();
        bids(&server, round * 100, 100);
        eventually("it was tried often", || failures() >= before + 3);
        broker.resume();
        has_delivered(&server, (round + 1) * 100);
    }
    is_all_there(&broker, &server.home, 300);
    // An attempt that waits sends nothing twice.
    assert_eq!(broker.messages().len(), 300);
}

#[test]
fn what_was_not_acknowledged_before_a_kill_comes_after_it() {
    let (broker, proxy) = Broker::behind_proxy();
    let (mut home, mut auctions) = (home(broker.address), 0);
    for way in [Way::Deaf, Way::Hanging, Way::Cut, Way::Open] {
        let server = home.serve_with(&["--workers", "2"]);
        proxy.set(way);
        bids(&server, auctions, 60);
        auctions += 60;
        home = server.killed();
        proxy.set(Way::Open);
        let server = home.serve_with(&["--workers", "2"]);
        server.drained("kafka");
        is_all_there(&broker, &server.home, auctions);
        home = server.stop();
    }
}

#[test]
fn the_consumer_of_the_documentation_adds_up_what_stat_says() {
    let broker = Broker::start();
    let server = home(broker.address).serve_with(&["--workers", "2"]);
    bids(&server, 0, 200);
    has_delivered(&server, 200);
    let page = include_str!("../../../../docs/events.md").split("## Kafka").nth(1).unwrap();
    let script = page.split("```python").nth(1).unwrap().split("```").next().unwrap();
    let mut python = Command::new(program("python"));
    python.args(["-c", script, &broker.address.to_string()]);
    python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let told = said(python).done();
    let told: BTreeMap<&str, u64> =
        told.lines().map(|line| line.rsplit_once(' ').unwrap()).map(|(id, sum)| (id, micros(sum))).collect();
    let stat = server.get("/stat");
    let counted = members(stat.text()).into_iter().map(|(supply, totals)| {
        let bidders = members(members(totals.get())["bidders"].get());
        let revenue = |counts: &RawValue| micros(members(counts.get())["total_revenue"].get());
        (supply, bidders.values().map(|counts| revenue(counts)).sum::<u64>())
    });
    let counted: BTreeMap<String, u64> = counted.collect();
    assert_eq!(counted.iter().map(|(id, sum)| (&**id, *sum)).collect::<BTreeMap<_, _>>(), told);
}

#[test]
fn protobuf_is_read_by_the_proto_file_and_says_what_the_journal_does() {
    let broker = Broker::start();
    let server = home(broker.address).set("BOURSE_KAFKA_FORMAT", "protobuf").serve_with(&["--workers", "1"]);
    bids(&server, 0, 60);
    has_delivered(&server, 60);
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../streams/proto");
    let set = protox::compile(["bourse/events/v1/event.proto"], [proto]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
    let kind = pool.get_message_by_name("bourse.events.v1.Event").unwrap();
    let (events, lines) = (events(broker.messages()), cat(&server.home, &[]));
    assert_eq!((events.len(), lines.len()), (60, 60));
    for line in lines {
        let message = &events[line["event"].as_str().unwrap()];
        assert_eq!(message.headers["content-type"], "application/x-protobuf");
        let event = DynamicMessage::decode(kind.clone(), &message.value[..]).unwrap();
        let text = |name: &str| event.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        for name in ["event", "auction", "supply", "country", "ip", "rule", "outcome"] {
            assert_eq!(text(name), line[name].as_str().unwrap());
        }
        let price = event.get_field_by_name("price_micros").unwrap().as_u64().unwrap();
        assert_eq!(price, line.get("price").map_or(0, |price| micros(&price.to_string())));
        let bidders = event.get_field_by_name("bidders").unwrap().as_list().unwrap().len();
        assert_eq!(bidders, line["bidders"].as_array().unwrap().len());
    }
}

#[test]
fn a_bad_setting_stops_the_start_with_a_line_that_names_it() {
    for (name, value, says) in [
        ("BOURSE_KAFKA_TOPIC", "two words", "a topic's name"),
        ("BOURSE_KAFKA_FORMAT", "avro", "json | protobuf"),
        ("BOURSE_KAFKA_COMPRESSION", "brotli", "none | gzip | snappy | lz4 | zstd"),
        ("BOURSE_KAFKA_SASL", "GUESS", "PLAIN | SCRAM"),
        ("BOURSE_KAFKA_USERNAME", "somebody", "kafka.security = sasl_ssl"),
        #[cfg(not(feature = "tls"))]
        ("BOURSE_KAFKA_SECURITY", "ssl", "build it with `--features kafka,tls`"),
        ("BOURSE_KAFKA_OPTIONS", "secret", "NAME=VALUE; NAME=VALUE"),
        ("BOURSE_KAFKA_OPTIONS", "no.such.option=secret", "no.such.option"),
        ("BOURSE_KAFKA_OPTIONS", "linger.ms=secret", "linger.ms"),
        ("BOURSE_KAFKA_BATCH_MIB", "0", "1 to 64"),
        ("BOURSE_JOURNAL_ENABLED", "false", "leave one of kafka.brokers and journal.enabled = false out"),
    ] {
        let home = Home::empty().set("BOURSE_KAFKA_BROKERS", "127.0.0.1:1").set(name, value);
        let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
        let error = said.err.trim_end().lines().last().unwrap();
        assert!(!said.ok && error.starts_with("bourse: ") && error.contains(says), "{said:?}");
        assert!(!said.err.contains("secret"), "{said:?}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let home = Home::empty()
        .set("BOURSE_KAFKA_PASSWORD", "tell-nobody")
        .set("BOURSE_KAFKA_OPTIONS", "ssl.key.password=tell-nobody")
        .set("BOURSE_LAKE_SECRET", "tell-nobody");
    let shown = home.run(&["config", "show"]).done();
    assert!(shown.contains("kafka.password") && !shown.contains("tell-nobody"), "{shown}");
}
