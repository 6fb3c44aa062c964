//! The rate limit: exact under concurrency, by the address it says, over the window it says.

use crate::catalogues::constants;
use crate::client::{Answer, Connection, JSON, bid_body};
use crate::server::{Home, Server, eventually};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// A server with a limit and a bidder that always bids; the last setting of a name is the one that counts.
fn limited(settings: &[(&str, &str)]) -> Server {
    let home = Home::empty().with(&constants(&[("b", 0, 0.5)])).set("BOURSE_RATE_LIMIT_REQUESTS", &3);
    settings.iter().fold(home, |home, (name, value)| home.set(name, value)).serve_with(&["--workers", "2"])
}

/// How many of `n` requests from this address pass, one after another.
fn passed(connection: &mut Connection, ip: &str, n: usize) -> usize {
    (0..n).filter(|_| connection.bid(bid_body("supply1", ip)).status == 200).count()
}

#[test]
fn of_20_simultaneous_requests_exactly_3_pass() {
    const ROUNDS: usize = 100;
    let server = limited(&[]);
    let barrier = Barrier::new(20);
    let client = |_| {
        let mut connection = server.connect();
        let ask = |round: usize| {
            barrier.wait();
            connection.bid(bid_body("supply1", &format!("192.0.2.{round}"))).verdict()
        };
        (0..ROUNDS).map(ask).collect::<Vec<_>>()
    };
    let verdicts: Vec<Vec<String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|i| scope.spawn(move || client(i))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for round in 0..ROUNDS {
        let of_round = || verdicts.iter().map(|client| client[round].as_str());
        assert_eq!(of_round().filter(|v| *v == "200").count(), 3, "round {round}");
        assert_eq!(of_round().filter(|v| *v == "429 rate_limited").count(), 17, "round {round}");
    }
    let stat = server.json("/stat");
    assert_eq!(stat["supply1"]["total_reqs"], 3 * ROUNDS, "a limited request is counted nowhere");
    assert_eq!(stat["supply1"]["reqs_per_country"]["US"], 3 * ROUNDS);
    assert_eq!(stat["supply1"]["bidders"]["b"]["wins"], 3 * ROUNDS);
}

#[test]
fn a_429_says_when_to_come_back() {
    let server = limited(&[]);
    let mut connection = server.connect();
    assert_eq!(passed(&mut connection, "192.0.2.1", 3), 3);
    let answer = connection.bid(bid_body("supply1", "192.0.2.1"));
    answer.is_refusal(429, "rate_limited");
    assert!((1..=60).contains(&answer.retry_after_s()), "{answer:?}");
    // draft-ietf-httpapi-ratelimit-headers: a quota of 3 in a window of 60, none remaining
    assert!(answer.header("ratelimit-policy").unwrap().contains("q=3;w=60"), "{answer:?}");
    assert!(answer.header("ratelimit").unwrap().contains("r=0"), "{answer:?}");
}

#[test]
fn one_client_is_one_address_however_it_is_written() {
    let server = limited(&[]);
    let mut connection = server.connect();
    for (same, together) in [
        (&["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"][..], 3),
        (&["::FFFF:192.0.2.2", "192.0.2.2"], 3),
        (&["2001:db8::1", "2001:db8::2", "2001:0db8:0:0:ffff:ffff:ffff:ffff"], 3),
        (&["2001:db8:0:1::1", "2001:db8:0:2::1"], 6),
        (&["192.0.2.3", "192.0.2.4"], 6),
        (&["198.51.100.1", "::198.51.100.1"], 6),
    ] {
        let each = same.iter().cycle().take(4 * same.len());
        let passed: usize = each.map(|ip| passed(&mut connection, ip, 1)).sum();
        assert_eq!(passed, together, "{same:?}");
    }
}

#[test]
fn the_limit_is_checked_before_the_supply_is_looked_up() {
    let server = limited(&[]);
    let mut connection = server.connect();
    let unknown = bid_body("unknown", "192.0.2.1");
    for _ in 0..3 {
        connection.bid(&unknown).is_refusal(400, "unknown_supply");
    }
    connection.bid(&unknown).is_refusal(429, "rate_limited");
    connection.bid(bid_body("supply1", "192.0.2.1")).is_refusal(429, "rate_limited");
    assert_eq!(
        server.json("/stat"),
        serde_json::json!({}),
        "neither an unknown supply nor a limited request counts"
    );
}

#[test]
fn a_request_without_a_valid_body_uses_nothing_up() {
    let server = limited(&[]);
    let mut connection = server.connect();
    for _ in 0..5 {
        connection.bid("{").is_refusal(400, "malformed_json");
        connection.bid(r#"{"supply_id":"supply1","ip":"192.0.2.1"}"#).is_refusal(422, "invalid_request");
    }
    assert_eq!(passed(&mut connection, "192.0.2.1", 5), 3);
}

#[test]
fn a_limit_of_0_is_none() {
    let server = limited(&[("BOURSE_RATE_LIMIT_REQUESTS", "0")]);
    assert_eq!(passed(&mut server.connect(), "192.0.2.1", 50), 50);
}

#[test]
fn the_limit_is_a_setting() {
    let server = limited(&[("BOURSE_RATE_LIMIT_REQUESTS", "7")]);
    assert_eq!(passed(&mut server.connect(), "192.0.2.1", 20), 7);
}

#[test]
fn by_peer_the_body_does_not_matter() {
    let server = limited(&[("BOURSE_RATE_LIMIT_KEY", "peer")]);
    let each = (0..10).map(|i| passed(&mut server.connect(), &format!("192.0.2.{i}"), 1));
    assert_eq!(each.sum::<usize>(), 3);
}

#[test]
fn by_forwarded_1_it_is_the_entry_that_the_last_proxy_wrote() {
    let server = limited(&[("BOURSE_RATE_LIMIT_KEY", "forwarded:1")]);
    let mut connection = server.connect();
    let mut bid = |forwarded: &[&str]| -> Answer {
        let lists = forwarded.iter().map(|list| ("x-forwarded-for", *list));
        let headers: Vec<_> = JSON.iter().copied().chain(lists).collect();
        connection.request("POST", "/bid", &headers, bid_body("supply1", "192.0.2.1").as_bytes())
    };
    for spoofed in 0..3 {
        assert_eq!(bid(&[&format!("203.0.113.{spoofed}, 198.51.100.1")]).status, 200);
    }
    for forwarded in [
        &["198.51.100.1"][..],
        &["203.0.113.9,198.51.100.1"],
        &["203.0.113.9", "198.51.100.1"],
        &["::ffff:198.51.100.1"],
        &["unknown, 198.51.100.1 "],
    ] {
        bid(forwarded).is_refusal(429, "rate_limited");
    }
    assert_eq!(bid(&["198.51.100.1, 198.51.100.2"]).status, 200, "another client");
}

#[test]
fn the_window_rolls() {
    let server = limited(&[("BOURSE_RATE_LIMIT_WINDOW_S", "1")]);
    let mut connection = server.connect();
    let mut passes: Vec<(Instant, Instant)> = Vec::new();
    eventually("9 requests have passed", || {
        let asked_at = Instant::now();
        let answer = connection.bid(bid_body("supply1", "192.0.2.1"));
        if answer.status == 200 {
            passes.push((asked_at, Instant::now()));
        } else {
            answer.is_refusal(429, "rate_limited");
            assert_eq!(answer.retry_after_s(), 1);
        }
        passes.len() == 9
    });
    for (first, fourth) in passes.iter().zip(&passes[3..]) {
        let apart = fourth.1 - first.0;
        assert!(apart >= Duration::from_secs(1), "4 passed within {apart:?}");
    }
}

#[test]
fn who_waits_as_long_as_told_gets_through() {
    let server = limited(&[("BOURSE_RATE_LIMIT_REQUESTS", "1"), ("BOURSE_RATE_LIMIT_WINDOW_S", "1")]);
    let mut connection = server.connect();
    assert_eq!(passed(&mut connection, "192.0.2.1", 1), 1);
    let until = Instant::now()
        + Duration::from_secs(connection.bid(bid_body("supply1", "192.0.2.1")).retry_after_s());
    eventually("the time told", || Instant::now() >= until);
    assert_eq!(passed(&mut connection, "192.0.2.1", 1), 1);
}

/// What 4,096 addresses are told, three requests each.
fn crowd(address: SocketAddr) -> Vec<Vec<Answer>> {
    let mut connection = Connection::open(address);
    let ip = |i: usize| format!("10.0.{}.{}", i / 256, i % 256);
    (0..4096).map(|i| (0..4).map(|_| connection.bid(bid_body("supply1", &ip(i)))).collect()).collect()
}

#[test]
fn beyond_the_addresses_it_remembers_it_denies_by_503_and_stays_exact() {
    let server =
        limited(&[("BOURSE_RATE_LIMIT_ADDRESSES_MAX", "1024"), ("BOURSE_RATE_LIMIT_WHEN_FULL", "deny")]);
    let mut remembered = 0;
    for answers in crowd(server.address) {
        let verdicts: Vec<String> = answers.iter().map(Answer::verdict).collect();
        if verdicts[0] == "200" {
            remembered += 1;
            assert_eq!(verdicts[1..], ["200", "200", "429 rate_limited"]);
        } else {
            assert_eq!(verdicts, ["503 overloaded"; 4]);
            assert!(answers[0].retry_after_s() <= 60);
        }
    }
    assert!((512..=1024).contains(&remembered), "{remembered} addresses remembered");
    assert_eq!(server.json("/stat")["supply1"]["total_reqs"], 3 * remembered);
}

#[test]
fn beyond_the_addresses_it_remembers_it_may_allow_the_rest() {
    let server =
        limited(&[("BOURSE_RATE_LIMIT_ADDRESSES_MAX", "1024"), ("BOURSE_RATE_LIMIT_WHEN_FULL", "allow")]);
    let mut remembered = 0;
    for answers in crowd(server.address) {
        let verdicts: Vec<String> = answers.iter().map(Answer::verdict).collect();
        assert_eq!(verdicts[..3], ["200", "200", "200"]);
        assert!(["200", "429 rate_limited"].contains(&verdicts[3].as_str()));
        remembered += usize::from(verdicts[3] != "200");
    }
    assert!((512..=1024).contains(&remembered), "{remembered} addresses remembered");
}
