//! nginx as we ship it: which address counts, and what it does about an instance that is away.

use crate::client::{Answer, Connection, JSON, any_bid, bid_body, wire};
use crate::nginx::Nginx;
use crate::programs::free_port;
use crate::server::{Home, Server, eventually};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

fn asked(nginx: &Nginx, body: &str, forwarded: &str) -> Answer {
    let headers = [JSON[0], ("x-forwarded-for", forwarded)];
    Connection::open(nginx.address).request("POST", "/bid", &headers, body.as_bytes())
}

#[test]
fn who_calls_cannot_choose_the_address_that_the_limit_counts_by() {
    let home = Home::empty().usual().set("BOURSE_RATE_LIMIT_REQUESTS", &3);
    let server = home.set("BOURSE_RATE_LIMIT_KEY", "forwarded:1").serve();
    let nginx = Nginx::before(&[server.address]);
    for n in 0..3 {
        let answer = asked(&nginx, &bid_body("supply1", &format!("10.0.0.{n}")), &format!("10.1.0.{n}"));
        assert_ne!(answer.status, 429, "{answer:?}");
    }
    asked(&nginx, &bid_body("supply1", "10.0.0.9"), "10.1.0.9, 10.1.0.10").is_refusal(429, "rate_limited");
}

#[test]
fn an_instance_that_refuses_connections_is_passed_over() {
    let server = Server::usual();
    let away = |_| SocketAddr::from(([127, 0, 0, 1], free_port()));
    let instances = [away(0), server.address, away(1)];
    let nginx = Nginx::before(&instances);
    for _ in 0..20 {
        let answer = asked(&nginx, &any_bid(), "10.0.0.1");
        assert!([200, 400].contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn without_an_instance_the_refusal_is_a_problem_too() {
    let nginx = Nginx::before(&[SocketAddr::from(([127, 0, 0, 1], free_port()))]);
    let answer = asked(&nginx, &any_bid(), "10.0.0.1");
    answer.is_refusal(502, "overloaded");
    answer.retry_after_s();
}

/// An instance that reads requests and hangs up, as one does that is killed; it goes on until it was asked for the end.
fn hangs_up() -> (SocketAddr, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = move || {
        let mut posts = 0;
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            if buffer[..n].starts_with(b"GET /end") {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                break;
            }
            posts += usize::from(buffer[..n].starts_with(b"POST /bid"));
        }
        posts
    };
    (address, thread::spawn(count))
}

#[test]
fn a_post_that_was_sent_is_never_sent_again() {
    let instances: Vec<_> = (0..3).map(|_| hangs_up()).collect();
    let addresses: Vec<SocketAddr> = instances.iter().map(|(address, _)| *address).collect();
    let nginx = Nginx::before(&addresses);
    let asks = 5;
    for _ in 0..asks {
        assert_eq!(asked(&nginx, &any_bid(), "10.0.0.1").status, 502, "{}", nginx.log());
    }
    let end = wire("GET", "/end", &[], b"");
    addresses.iter().for_each(|address| Connection::open(*address).send(&end));
    let posts: usize = instances.into_iter().map(|(_, instance)| instance.join().unwrap()).sum();
    assert_eq!(posts, asks, "each was sent once");
}

#[test]
fn what_is_in_flight_at_sigterm_is_answered_through_nginx() {
    let slow = crate::catalogues::constants(&[("b", 700, 0.5)]);
    let mut server = Home::empty().with(&slow).set("BOURSE_SIMULATION_CLOCK", "real").serve();
    let nginx = Nginx::before(&[server.address]);
    let mut clients: Vec<Connection> = (0..8).map(|_| Connection::open(nginx.address)).collect();
    let body = any_bid().replace('}', ",\"tmax\":3000}");
    clients.iter_mut().for_each(|client| client.send(wire("POST", "/bid", JSON, body.as_bytes())));
    eventually("the auctions are held", || server.metric("bourse_connections_open") >= 8);
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.next().expect("an answer").status, 200, "{}", nginx.log());
    }
    assert_eq!(server.exit().code(), Some(0));
}

/// The number after these words, in milliseconds.
fn milliseconds(text: &str, words: &str) -> u64 {
    let after = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words} in {text}"));
    let number: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let unit = if after.trim_start()[number.len()..].starts_with("s;") { 1000 } else { 1 };
    number.parse::<u64>().expect("a number") * unit
}

#[test]
fn nginx_closes_an_idle_connection_before_a_draining_instance_does() {
    let nginx =
        milliseconds(include_str!("../../../../deploy/nginx/bourse.conf"), "\n    keepalive_timeout ");
    let instance = milliseconds(&Home::empty().run(&["config", "show"]).done(), "\nhttp.drain_idle_ms");
    assert!(nginx + 500 <= instance, "nginx after {nginx} ms, the instance after {instance} ms");
}
