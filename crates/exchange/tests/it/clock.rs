//! Two clocks: the virtual one waits for nobody, the real one as long as it must and never past tmax.

use crate::catalogues::constants;
use crate::client::{Answer, JSON, any_bid, bid_body, wire};
use crate::server::{Home, Quiet, Server, eventually};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

fn real(quiet: &Quiet, catalogue: &Value) -> Server {
    let home = Home::empty_in(quiet).with(catalogue);
    home.set("BOURSE_SIMULATION_CLOCK", "real").serve_with(&["--workers", "2"])
}

/// The answers to `n` requests at once, each with the time it took by the client's clock.
fn at_once(server: &Server, n: usize, tmax_ms: u64) -> Vec<(Duration, Answer)> {
    let body =
        json!({"supply_id": "supply1", "ip": "192.0.2.1", "country": "US", "tmax": tmax_ms}).to_string();
    let barrier = Barrier::new(n);
    let ask = || {
        let mut connection = server.connect();
        barrier.wait();
        let asked_at = Instant::now();
        let answer = connection.bid(&body);
        (asked_at.elapsed(), answer)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..n).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn the_virtual_clock_waits_for_nobody() {
    let server = Server::usual();
    let mut connection = server.connect();
    let asked_at = Instant::now();
    for _ in 0..50 {
        connection.bid(bid_body("supply1", "192.0.2.1").replace('}', ",\"tmax\":5000}"));
    }
    assert!(asked_at.elapsed() < Duration::from_secs(5), "50 auctions took longer than one tmax");
}

#[test]
fn the_real_clock_answers_when_the_last_bidder_in_time_has() {
    let quiet = Quiet::wait();
    let server = real(&quiet, &constants(&[("slow", 60, 0.5), ("fast", 5, 0.4)]));
    for (took, answer) in at_once(&server, 10, 500) {
        assert_eq!(answer.sale(), Some(("slow".to_owned(), 500_000)));
        assert!(took >= Duration::from_millis(60) && took < Duration::from_millis(300), "{took:?}");
    }
}

#[test]
fn bidders_are_awaited_side_by_side() {
    let quiet = Quiet::wait();
    let ids: Vec<String> = (0..10).map(|i| format!("b{i}")).collect();
    let bidders: Vec<_> = ids.iter().map(|id| (id.as_str(), 100, 0.5)).collect();
    let server = real(&quiet, &constants(&bidders));
    for (took, answer) in at_once(&server, 5, 2000) {
        assert_eq!(answer.status, 200);
        assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(500), "{took:?}");
    }
}

#[test]
fn with_a_timeout_the_real_clock_answers_at_tmax_and_never_later() {
    let quiet = Quiet::wait();
    let server = real(&quiet, &constants(&[("in_time", 20, 0.5), ("late", 60_000, 0.9)]));
    for tmax_ms in [300, 100, 50] {
        let tmax = Duration::from_millis(tmax_ms);
        // A busy machine wakes anyone late now and then; a server that is late is so in every round.
        let in_time = (0..30).any(|_| {
            let answers = at_once(&server, 8, tmax_ms);
            for (took, answer) in &answers {
                assert_eq!(answer.sale(), Some(("in_time".to_owned(), 500_000)));
                assert!(*took >= tmax * 4 / 5, "early: {took:?} of {tmax:?}");
            }
            answers.iter().all(|(took, _)| *took <= tmax)
        });
        assert!(in_time, "one of 8 answers was later than {tmax:?} in each of 30 rounds");
    }
}

#[test]
fn an_answer_at_tmax_does_not_wait_for_the_auction_behind_it() {
    let quiet = Quiet::wait();
    let server = real(&quiet, &constants(&[("late", 60_000, 0.9)]));
    let body = |tmax_ms| {
        json!({"supply_id": "supply1", "ip": "192.0.2.1", "country": "US", "tmax": tmax_ms}).to_string()
    };
    let [short, long] = [100, 2000].map(|tmax_ms| wire("POST", "/bid", JSON, body(tmax_ms).as_bytes()));
    let wires = [short, long].concat();
    // As above: late once may be the machine.
    let in_time = (0..30).any(|_| {
        let mut connection = server.connect();
        let asked_at = Instant::now();
        connection.send(wires.clone());
        connection.next().expect("an answer").is_refusal(400, "no_bids");
        asked_at.elapsed() <= Duration::from_millis(100)
    });
    assert!(in_time, "later than 100 ms in each of 30 rounds");
}

/// Behind nearly every answer that has to be written stands an auction that has begun.
#[test]
fn an_auction_ends_although_its_client_does_not_read_the_answers_before_it() {
    let home = Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "0").set("BOURSE_SIMULATION_CLOCK", "real");
    let server = home.with(&constants(&[("b", 1, 0.5)])).serve_with(&["--workers", "1"]);
    println!("LOG");
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    client.connect(&server.address.into()).unwrap();
    let mut client = TcpStream::from(client);
    client.set_nonblocking(true).unwrap();
    let mut wires = wire("POST", "/bid", JSON, b"{").repeat(3);
    wires.extend(wire("POST", "/bid", JSON, any_bid().as_bytes()));
    let (mut sent, mut begun, mut still) = (0, 0, 0);
    eventually("every auction that began is in the books when no answer goes through any more", || {
        while let Ok(written) = client.write(&wires[sent..]) {
            sent = (sent + written) % wires.len();
        }
        let before = std::mem::replace(&mut begun, server.json("/")["auctions"].as_u64().unwrap());
        still = if begun == before { still + 1 } else { 0 };
        still > 20 && begun > 10 && server.json("/stat")["supply1"]["total_reqs"] == begun
    });
    assert_eq!(server.metric("bourse_connections_cut_total"), 0, "it ended only with its connection");
}

#[test]
fn a_pass_is_an_answer_and_a_timeout_is_judged_alike_on_both_clocks() {
    let quiet = Quiet::wait();
    let catalogue = crate::catalogues::usual();
    let home = || Home::empty_in(&quiet).with(&catalogue);
    let flags = ["--seed", "7", "--workers", "1"];
    let (real, virtually) =
        (home().set("BOURSE_SIMULATION_CLOCK", "real").serve_with(&flags), home().serve_with(&flags));
    let body = bid_body("supply1", "192.0.2.1").replace('}', ",\"tmax\":20}");
    for i in 0..30 {
        assert_eq!(real.bid(&body).text(), virtually.bid(&body).text(), "auction {i}");
    }
}
