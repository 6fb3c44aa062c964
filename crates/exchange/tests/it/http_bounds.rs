//! The bounds of a connection: sizes, times and numbers, and what happens at each.

use crate::client::{Answer, Connection, JSON, any_bid, wire};
use crate::server::{Home, Server, eventually};

fn set(settings: &[(&str, &str)]) -> Server {
    let home = Home::empty().usual();
    settings.iter().fold(home, |home, (name, value)| home.set(name, value)).serve_with(&["--workers", "1"])
}

/// Sends `bytes` again and again until the server cuts the connection; what it answered before.
fn drip(mut connection: Connection, bytes: &[u8]) -> Vec<Answer> {
    let mut sent = 0u32;
    eventually("a dripping connection is cut", || {
        sent += 1;
        connection.try_send(bytes).is_err()
    });
    assert!(sent > 1);
    connection.rest()
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let server = Server::usual();
    for (length, expected) in [(65_537, 413), (104_857_600, 413), (u64::MAX / 2, 413)] {
        let mut connection = server.connect();
        let head = format!(
            "POST /bid HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
        );
        connection.send(head + "\r\n");
        let answer = connection.next().unwrap();
        assert_eq!(answer.status, expected, "{length}");
        answer.is_refusal(413, "body_too_large");
        assert!(connection.is_ended(), "{length}: what comes after is no request");
    }
}

#[test]
fn who_sends_a_body_over_the_limit_all_the_same_is_told_so() {
    let server = Server::usual();
    for length in [65_537, 200_000, 1 << 20, 10 << 20] {
        let mut connection = server.connect();
        let _ = connection.try_send(wire("POST", "/bid", JSON, &vec![b' '; length]));
        connection
            .next()
            .unwrap_or_else(|| panic!("no answer to {length} bytes"))
            .is_refusal(413, "body_too_large");
    }
}

#[test]
fn who_asks_first_whether_to_send_too_much_is_told_no() {
    let server = Server::usual();
    let mut connection = server.connect();
    let headers = [JSON[0], ("expect", "100-continue"), ("content-length", "104857600")];
    let head = wire("GET", "/bid", &headers, b"");
    connection.send([b"POST", &head[3..]].concat());
    connection.next().unwrap().is_refusal(413, "body_too_large");
}

#[test]
fn a_chunked_body_over_the_limit_is_refused_while_it_comes() {
    let server = Server::usual();
    let mut connection = server.connect();
    connection.send("POST /bid HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 32_768, " ".repeat(32_768));
    (0..3).for_each(|_| drop(connection.try_send(&chunk)));
    connection.next().unwrap().is_refusal(413, "body_too_large");
}

#[test]
fn a_body_of_64_kib_is_within_the_limit() {
    let server = Server::usual();
    let body = any_bid().replace("US", "DE");
    let body = body.clone() + &" ".repeat(65_536 - body.len());
    server.bid(&body).is_refusal(400, "no_eligible_bidders");
    server.bid(body + " ").is_refusal(413, "body_too_large");
}

#[test]
fn a_head_over_its_bound_is_a_problem() {
    let server = Server::usual();
    let long = "x".repeat(100_000);
    let many: String = (0..2_000).map(|i| format!("x-{i}: y\r\n")).collect();
    for head in [
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{long}: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        let mut connection = server.connect();
        let _ = connection.try_send(&head);
        let answer = connection.next().unwrap_or_else(|| panic!("no answer to {}…", &head[..40]));
        let verdict = answer.verdict();
        assert!(
            ["431 headers_too_large", "414 uri_too_long"].contains(&verdict.as_str()),
            "{}…: {verdict}",
            &head[..40]
        );
    }
}

#[test]
fn a_dripping_head_is_cut_after_2_seconds() {
    let server = set(&[]);
    assert_eq!(drip(server.connect(), b"x").len(), 0);
    let mut with_line = server.connect();
    with_line.send("GET / HTTP/1.1\r\n");
    assert!(drip(with_line, b"x: y\r\n").iter().all(|answer| answer.status == 431));
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn a_head_that_stops_is_cut_while_others_are_served() {
    let server = set(&[("BOURSE_HTTP_HEAD_TIMEOUT_MS", "500")]);
    let mut stopped = server.connect();
    stopped.send("POST /bid HTTP/1.1\r\nhost:");
    let mut good = server.connect();
    assert_eq!(good.request("GET", "/supplies", &[], b"").status, 200);
    assert!(stopped.rest().iter().all(|answer| answer.status == 408));
    assert_eq!(good.request("GET", "/supplies", &[], b"").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let server = set(&[("BOURSE_HTTP_BODY_TIMEOUT_MS", "200")]);
    let bytes = wire("POST", "/bid", JSON, any_bid().as_bytes());
    for sent in [&bytes[..bytes.len() - any_bid().len()], &bytes[..bytes.len() - 1]] {
        let mut connection = server.connect();
        connection.send(sent);
        connection.next().unwrap().is_refusal(408, "request_timeout");
        assert!(connection.is_ended());
    }
}

#[test]
fn a_dripping_body_is_408() {
    let server = set(&[("BOURSE_HTTP_BODY_TIMEOUT_MS", "300")]);
    let mut connection = server.connect();
    connection.send(
        "POST /bid HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n",
    );
    let mut dripping = Connection::open(server.address);
    std::mem::swap(&mut dripping, &mut connection);
    let answers = drip(dripping, b" ");
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [408]);
}

#[test]
fn an_idle_connection_is_cut() {
    let server = set(&[("BOURSE_HTTP_IDLE_TIMEOUT_S", "1")]);
    let mut used = server.connect();
    assert_eq!(used.request("GET", "/supplies", &[], b"").status, 200);
    let mut silent = server.connect();
    assert!(used.is_ended());
    assert!(silent.is_ended());
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn connections_over_the_bound_are_shed_and_others_take_the_place_of_closed_ones() {
    let server = set(&[("BOURSE_HTTP_CONNECTIONS_MAX", "4")]);
    let mut open: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
    open.iter_mut()
        .for_each(|connection| assert_eq!(connection.request("GET", "/supplies", &[], b"").status, 200));
    for _ in 0..20 {
        let mut shed = server.connect();
        let answer = shed.next().unwrap();
        answer.is_refusal(503, "overloaded");
        answer.retry_after_s();
        assert!(shed.is_ended());
    }
    open.iter_mut()
        .for_each(|connection| assert_eq!(connection.request("GET", "/supplies", &[], b"").status, 200));
    open.pop();
    eventually("the place is free", || {
        let mut connection = server.connect();
        connection.try_request("GET", "/supplies", &[], b"").is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn the_bound_of_connections_holds_whatever_the_number_of_workers() {
    let home = Home::empty().usual().set("BOURSE_HTTP_CONNECTIONS_MAX", &8);
    let server = home.serve_with(&["--workers", "3"]);
    let mut open: Vec<Connection> = (0..40).map(|_| server.connect()).collect();
    let ask = |connection: &mut Connection| connection.try_request("GET", "/supplies", &[], b"");
    let served = open.iter_mut().filter_map(ask).filter(|answer| answer.status == 200).count();
    assert!((1..=8).contains(&served), "{served} connections open, 8 are the bound");
}

#[test]
fn many_idle_connections_do_not_keep_others_from_being_served() {
    let server = Server::usual();
    let idle: Vec<Connection> = (0..500).map(|_| server.connect()).collect();
    assert_eq!(server.get("/supplies").status, 200);
    assert_eq!(idle.len(), 500);
}
