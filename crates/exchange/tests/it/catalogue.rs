//! load-data and generate-data: all of a file or none of it, visible at once and unnoticed by auctions.

use crate::catalogues::{constant, constants, usual};
use crate::client::{Connection, any_bid, bid_body};
use crate::database::on_both;
use crate::server::{AtEnd, Home, Server, eventually, said};
use serde_json::json;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bids until told to stop; how many auctions failed for the sake of anything but the bidders.
pub(crate) fn hammer(server: &Server, stop: &AtomicBool) -> (u32, Vec<String>) {
    let (mut connection, mut held, mut failed) = (Connection::open(server.address), 0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let verdict = connection.bid(any_bid()).verdict();
        held += 1;
        if verdict != "200" {
            failed.push(verdict);
        }
        // Not as fast as it can: where a disk stands still for half a minute, a full journal would refuse.
        thread::sleep(Duration::from_micros(200));
    }
    (held, failed)
}

#[test]
fn a_load_is_visible_within_a_second_and_fails_no_auction() {
    on_both(|home| {
        home.run(&["db", "upgrade"]).done();
        home.load(&constants(&[("b", 0, 0.5)])).done();
        let server = home.serve_with(&["--workers", "2"]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let hammers: Vec<_> = (0..2).map(|_| scope.spawn(|| hammer(&server, &stop))).collect();
            let rounds = AtEnd(|| stop.store(true, Ordering::Relaxed));
            // The median of five: the machine may be busy with other tests for once.
            let mut took: Vec<Duration> = (0..5)
                .map(|round| {
                    let id = format!("new{round}");
                    let catalogue = json!({"supplies": {id.as_str(): ["b", "c"]},
                    "bidders": {"c": constant(0, f64::from(round + 1) / 10.0)}});
                    server.home.load(&catalogue).done();
                    let loaded_at = Instant::now();
                    let mut connection = server.connect();
                    eventually("the load is visible", || {
                        connection.bid(bid_body(&id, "192.0.2.1")).status == 200
                    });
                    let took = loaded_at.elapsed();
                    assert!(server.supplies().contains(&id));
                    took
                })
                .collect();
            took.sort_unstable();
            assert!(took[2] < Duration::from_secs(1), "{took:?} on {}", server.ready);
            drop(rounds);
            for hammer in hammers {
                let (held, failed) = hammer.join().unwrap();
                assert!(held > 0 && failed.is_empty(), "{} of {held}: {:?}", failed.len(), failed.first());
            }
        });
    });
}

#[test]
fn a_load_adds_what_is_new_and_brings_what_exists_to_what_the_file_says() {
    on_both(|home| {
        home.run(&["db", "upgrade"]).done();
        home.load(&json!({
            "supplies": {"kept": ["a"], "changed": ["a"], "ruled": {"bidders": ["a", "b"], "bid_floor": 0.95}},
            "bidders": {"a": constant(0, 0.5), "b": constant(0, 0.6)}}))
        .done();
        home.load(&json!({
            "supplies": {"changed": ["b"], "new": ["a", "b"],
                "ruled": {"bidders": ["a", "b"], "auction": "second_price", "bid_floor": 0.10}},
            "bidders": {"b": constant(0, 0.9)}}))
            .done();
        let server = home.serve();
        assert_eq!(server.supplies(), ["changed", "kept", "new", "ruled"]);
        for (supply, winner, micros) in [
            ("kept", "a", 500_000),
            ("changed", "b", 900_000),
            ("new", "b", 900_000),
            ("ruled", "b", 510_000),
        ] {
            let sale = server.bid(bid_body(supply, "192.0.2.1")).sale();
            assert_eq!(sale, Some((winner.to_owned(), micros)), "{supply}");
        }
    });
}

/// A file, and where its problems are, one line each.
const BAD: &[(&str, &[&str])] = &[
    ("{\"supplies\":{\"s\":[\"b\",\n\"nobody\"]},\"bidders\":{\"b\":{\"country\":\"US\"}}}", &["2:1"]),
    ("{\"supplies\":{},\"bidders\":{\"b\":{\"country\":\"XX\"},\n  \"c\":{\"country\":1}}}", &["1:", "2:"]),
    ("{\"supplies\":{\"s\":[],\n\"s\":[]},\"bidders\":{}}", &["2:1"]),
    ("{\"bidders\":{\"b\":{\"country\":\"US\"},\n\"b\":{\"country\":\"US\"}}}", &["2:1"]),
    ("{\"supplies\":{\"s\":[\"b\",\"b\"]},\"bidders\":{\"b\":{\"country\":\"US\"}}}", &["1:"]),
    (
        "{\"supplies\":{\"s\":{\"bidders\":[],\"auction\":\"third_price\",\n\"bid_floor\":-1}},\"bidders\":{}}",
        &["1:", "2:"],
    ),
    ("{\"bidders\":{\"\":{\"country\":\"US\"},\n\"b\":{}}}", &["1:", "2:"]),
    ("{\"bidders\":{\"b\":{\"country\":\"US\",\"simulation\":{\"no_bid_probability\":2}}}}", &["1:"]),
    ("{\"bidders\":{\"b\":{\"country\":\"US\",\n\"simulation\":{\"price\":{\"uniform\":[1,0]}}}}}", &["2:"]),
    ("{\"bidders\":{\"b\":{\"country\":\"US\",\"colour\":\"red\"}}}", &["1:"]),
    ("{\"supply\":{}}", &["1:"]),
    ("{\"supplies\":{", &["1:"]),
    ("", &["1:"]),
    ("[]", &["1:"]),
];

#[test]
fn a_bad_file_loads_nothing_and_lists_each_problem_with_its_place() {
    on_both(|home| {
        home.run(&["db", "upgrade"]).done();
        home.load(&usual()).done();
        for (text, places) in BAD {
            let good = "\"supplies\":{\"good\":[],";
            let file = home.write("bad.json", text.replacen("\"supplies\":{", good, 1).replace(",}", "}"));
            // What was put in moves the places on its line.
            let file_as_is = home.write("as-is.json", text);
            assert!(!home.run(&["load-data", "-i", file.to_str().unwrap()]).ok, "{text}");
            let said = home.run(&["load-data", "-i", "as-is.json"]);
            assert!(!said.ok, "{text}");
            let lines: Vec<&str> = said.err.lines().filter(|line| line.contains("as-is.json:")).collect();
            assert_eq!(lines.len(), places.len(), "{text}: {said:?}");
            for (line, place) in lines.iter().zip(*places) {
                let at = line.split("as-is.json:").nth(1).unwrap();
                assert!(at.starts_with(place), "{text}: {line}");
                let mut numbers = at.splitn(3, ':').map(|part| part.trim().parse::<u32>().is_ok());
                assert!(numbers.next() == Some(true) && numbers.next() == Some(true), "{line}");
            }
            drop(file_as_is);
        }
        assert_eq!(home.serve().supplies(), ["supply1"]);
    });
}

#[test]
fn a_missing_file_is_one_line() {
    let home = Home::empty();
    let said = home.run(&["load-data", "-i", "missing.json"]);
    assert!(said.one_line_error().contains("missing.json"), "{said:?}");
    let said = home.run(&["load-data"]);
    assert!(said.one_line_error().contains("data.json"), "the default: {said:?}");
}

#[test]
fn a_file_may_come_by_standard_input() {
    let home = Home::empty();
    let mut command = home.command(&["load-data", "-i", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(usual().to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(home.serve().supplies(), ["supply1"]);
}

#[test]
fn the_full_form_of_the_contract_is_loaded() {
    on_both(|home| {
        home.run(&["db", "upgrade"]).done();
        home.write("data.json", r#"{"supplies":{"supply1":["bidder1","bidder2"],
             "supply2":{"bidders":["bidder2"],"auction":"second_price","bid_floor":0.10}},
 "bidders":{"bidder1":{"country":"US"},
            "bidder2":{"country":"GB","simulation":{"no_bid_probability":0.2,
                       "price":{"uniform":[0.05,0.60]},"latency_ms":{"lognormal":{"median":40,"sigma":0.6}}}}}}"#);
        home.run(&["load-data"]).done();
        let server = home.serve_with(&["--seed", "7"]);
        assert_eq!(server.supplies(), ["supply1", "supply2"]);
        let mut connection = server.connect();
        let body = |supply| bid_body(supply, "192.0.2.1").replace("US", "GB");
        let (mut sold, mut dearest) = (0, 0);
        for _ in 0..300 {
            if let Some((winner, price)) = connection.bid(body("supply1")).sale() {
                assert!(winner == "bidder2" && (50_000..=600_000).contains(&price), "{winner} at {price}");
                (sold, dearest) = (sold + 1, dearest.max(price));
            }
            // A sole bid pays the floor.
            let sole = connection.bid(body("supply2"));
            assert!(sole.sale().is_none_or(|(_, price)| price == 100_000), "{}", sole.text());
        }
        // A median of 40 ms leaves 1 in 300 over 200 ms; one fifth passes.
        assert!((200..=280).contains(&sold) && dearest > 550_000, "{sold} sold, {dearest} at most");
    });
}

#[test]
fn generated_data_is_loaded_and_served() {
    on_both(|home| {
        home.run(&["generate-data", "--supplies", "300", "--bidders", "50", "--seed", "7"]).done();
        home.run(&[
            "generate-data",
            "-o",
            "again.json",
            "--supplies",
            "300",
            "--bidders",
            "50",
            "--seed",
            "7",
        ])
        .done();
        let [first, again] = ["data.json", "again.json"].map(|name| std::fs::read(home.path(name)).unwrap());
        assert!(first == again, "the same seed writes the same file");
        home.run(&["db", "upgrade"]).done();
        home.run(&["load-data"]).done();
        let file: serde_json::Value = serde_json::from_slice(&first).unwrap();
        let mut expected: Vec<String> = file["supplies"].as_object().unwrap().keys().cloned().collect();
        assert_eq!((expected.len(), file["bidders"].as_object().unwrap().len()), (300, 50));
        expected.sort();
        let server = home.serve();
        assert_eq!(server.supplies(), expected);
        let verdict = server.bid(bid_body(&expected[7], "192.0.2.1")).verdict();
        assert!(["200", "400 no_bids", "400 no_eligible_bidders"].contains(&verdict.as_str()), "{verdict}");
    });
}

#[test]
fn generated_data_is_10_supplies_and_12_bidders_unless_told_otherwise() {
    let home = Home::empty();
    home.run(&["generate-data"]).done();
    let file = |home: &Home| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(home.path("data.json")).unwrap()).unwrap()
    };
    let first = file(&home);
    assert_eq!(
        (first["supplies"].as_object().unwrap().len(), first["bidders"].as_object().unwrap().len()),
        (10, 12)
    );
    home.run(&["generate-data"]).done();
    assert_ne!(first, file(&home), "another seed each time");
    let refused = said(home.command(&["generate-data", "-o", "nowhere/data.json"]));
    assert!(refused.one_line_error().contains("nowhere/data.json"), "{refused:?}");
}

#[test]
fn a_bidder_that_leaves_a_supply_leaves_its_counts_behind() {
    let home = Home::empty().with(&constants(&[("old", 0, 0.5)]));
    let server = home.serve();
    assert_eq!(server.bid(any_bid()).sale(), Some(("old".to_owned(), 500_000)));
    server.home.load(&constants(&[("new", 0, 0.6)])).done();
    eventually("the new bidder wins", || server.bid(any_bid()).sale().unwrap().0 == "new");
    let stat = server.json("/stat");
    let bidders = stat["supply1"]["bidders"].as_object().unwrap();
    let wins: u64 = bidders.values().map(|bidder| bidder["wins"].as_u64().unwrap()).sum();
    assert_eq!(stat["supply1"]["total_reqs"], wins, "no win is lost: {stat}");
}
