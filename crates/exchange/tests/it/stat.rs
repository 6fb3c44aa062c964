//! GET /stat: exact, complete, and never behind what was answered.

use crate::catalogues::constant;
use crate::client::bid_body;
use crate::ledger::Ledger;
use crate::server::{AtEnd, Home, Server};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn a_supply_appears_with_its_first_request_and_has_this_shape() {
    let catalogue = json!({
        "supplies": {"s1": ["wins", "passes", "late", "abroad"], "s2": ["wins"]},
        "bidders": {"wins": constant(0, 0.83),
            "passes": {"country": "US", "simulation": {"no_bid_probability": 1, "latency_ms": {"constant": 0}}},
            "late": {"country": "US", "simulation": {"latency_ms": {"constant": 9000}}},
            "abroad": {"country": "GB"}}});
    let server = Home::empty().with(&catalogue).serve();
    assert_eq!(server.json("/stat"), json!({}));
    let mut connection = server.connect();
    connection.bid(bid_body("unknown", "192.0.2.1")).is_refusal(400, "unknown_supply");
    connection.bid("{").is_refusal(400, "malformed_json");
    connection.bid(bid_body("s1", "x")).is_refusal(422, "invalid_request");
    assert_eq!(server.json("/stat"), json!({}));
    (0..3).for_each(|_| assert_eq!(connection.bid(bid_body("s1", "192.0.2.1")).status, 200));
    let bidder = |wins: u32, revenue: f64, no_bids: u32, timeouts: u32| json!({"wins": wins, "total_revenue": revenue, "no_bids": no_bids, "timeouts": timeouts});
    let expected = json!({"s1": {"total_reqs": 3, "reqs_per_country": {"US": 3}, "bidders": {
        "wins": bidder(3, 2.49, 0, 0), "passes": bidder(0, 0.0, 3, 0),
        "late": bidder(0, 0.0, 0, 3), "abroad": bidder(0, 0.0, 0, 0)}}});
    assert_eq!(server.json("/stat"), expected);
}

#[test]
fn a_request_counts_whatever_came_of_it() {
    let catalogue = json!({"supplies": {"s": ["passes"]},
        "bidders": {"passes": {"country": "GB", "simulation": {"no_bid_probability": 1}}}});
    let server = Home::empty().with(&catalogue).serve();
    let mut connection = server.connect();
    for (country, code) in
        [("US", "no_eligible_bidders"), ("GB", "no_bids"), ("GBR", "no_bids"), ("us", "no_eligible_bidders")]
    {
        connection.bid(bid_body("s", "192.0.2.1").replace("US", country)).is_refusal(400, code);
    }
    let stat = server.json("/stat");
    assert_eq!(stat["s"]["total_reqs"], 4);
    assert_eq!(stat["s"]["reqs_per_country"], json!({"GB": 2, "US": 2}));
}

#[test]
fn sums_are_exact_under_concurrency() {
    const EACH: usize = 250;
    let price =
        |low: f64, high: f64| json!({"country": "US", "simulation": {"price": {"uniform": [low, high]}}});
    let bidders =
        json!({"cents": price(0.01, 1.0), "micros": price(0.000_001, 0.999_999), "tens": price(0.1, 0.9)});
    let catalogue = json!({"supplies": {"supply1": ["cents", "micros", "tens"]}, "bidders": bidders});
    let server = Home::empty().with(&catalogue).serve_with(&["--workers", "2"]);
    let client = || {
        let mut connection = server.connect();
        let mut told = Ledger::default();
        (0..EACH).for_each(|_| told.note(&connection.bid(bid_body("supply1", "192.0.2.1"))));
        told
    };
    let mut told = Ledger::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().for_each(|client| told.add(client.join().unwrap()));
    });
    assert_eq!(told.requests, 8 * EACH as u64);
    assert_eq!(Ledger::of_stat(&server.get("/stat"), "supply1"), told);
}

#[test]
fn each_eligible_bidder_has_one_fate_in_every_auction() {
    let server = Server::usual();
    let mut connection = server.connect();
    let sold = (0..200).filter(|_| connection.bid(bid_body("supply1", "192.0.2.1")).status == 200).count();
    let stat = server.json("/stat");
    let bidders = stat["supply1"]["bidders"].as_object().unwrap();
    let number = |bidder: &Value, of: &str| bidder[of].as_u64().unwrap();
    assert_eq!(bidders.values().map(|b| number(b, "wins")).sum::<u64>(), sold as u64);
    for (id, bidder) in bidders {
        let fates = number(bidder, "wins") + number(bidder, "no_bids") + number(bidder, "timeouts");
        assert!(fates <= 200, "{id}: {bidder}");
    }
}

#[test]
fn a_reader_sees_every_auction_that_was_answered_before_it_asked() {
    let server = Home::empty().usual().serve_with(&["--workers", "2"]);
    let (answered, writers) = (AtomicU64::new(0), AtomicU64::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let _end = AtEnd(|| _ = writers.fetch_sub(1, Ordering::SeqCst));
                let mut connection = server.connect();
                for _ in 0..200 {
                    connection.bid(bid_body("supply1", "192.0.2.1"));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = server.connect();
                while writers.load(Ordering::SeqCst) > 0 {
                    let before = answered.load(Ordering::SeqCst);
                    let stat = connection.request("GET", "/stat", &[], b"").json();
                    let seen = stat["supply1"]["total_reqs"].as_u64().unwrap_or(0);
                    assert!(seen >= before, "{before} answered, {seen} seen");
                    let countries = stat["supply1"]["reqs_per_country"]["US"].as_u64().unwrap_or(0);
                    assert!(countries >= before, "{before} answered, {countries} seen");
                }
            });
        }
    });
    assert_eq!(server.json("/stat")["supply1"]["total_reqs"], 800);
}
