//! Repeatable: a seed and an order of requests are the answers, whatever serves them.

use crate::client::{any_bid, bid_body};
use crate::server::{Home, Server};

const REQUESTS: usize = 400;

/// The answers to the same requests in the same order, over so many connections taken in turn.
fn answers(server: &Server, connections: usize) -> Vec<String> {
    let mut connections: Vec<_> = (0..connections).map(|_| server.connect()).collect();
    let n = connections.len();
    let body = |i: usize| match i % 10 {
        3 => bid_body("unknown", "192.0.2.1"),
        5 => bid_body("supply1", "192.0.2.1").replace("US", "DE"),
        7 => "{".to_owned(),
        _ => any_bid(),
    };
    let mut ask = |i: usize| connections[i * 7 % n].bid(body(i)).text().to_owned();
    (0..REQUESTS).map(&mut ask).collect()
}

fn seeded(seed: &str, workers: &str) -> Server {
    Home::empty().usual().serve_with(&["--seed", seed, "--workers", workers])
}

#[test]
fn the_same_seed_gives_the_same_answers_whatever_the_number_of_workers_and_connections() {
    let expected = answers(&seeded("7", "1"), 1);
    for (workers, connections) in [("1", 8), ("2", 1), ("2", 8), ("4", 16)] {
        let answers = answers(&seeded("7", workers), connections);
        assert_eq!(answers, expected, "{workers} workers, {connections} connections");
    }
}

#[test]
fn another_seed_gives_other_answers() {
    let expected = answers(&seeded("7", "2"), 1);
    for seed in ["0", "8", "18446744073709551615"] {
        assert_ne!(answers(&seeded(seed, "2"), 1), expected, "seed {seed}");
    }
}

#[test]
fn without_a_seed_it_is_random_and_the_logged_one_repeats_it() {
    let unseeded = || Home::empty().usual().serve();
    let server = unseeded();
    let first = answers(&server, 1);
    assert_ne!(first, answers(&unseeded(), 1));
    let log = server.log();
    let seed: String = log.split("seed=").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(answers(&seeded(&seed, "1"), 1), first, "seed {seed}");
}
