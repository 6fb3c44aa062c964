//! From the first start to the last answer.

use crate::catalogues::constants;
use crate::client::{Connection, JSON, bid_body, wire};
use crate::server::{Home, Server, eventually};
use serde_json::Value;

/// A server by the real clock, whose one bidder takes this long.
fn real(latency_ms: u64, drain_s: u32) -> Server {
    real_home(latency_ms, drain_s).serve_with(&["--workers", "2"])
}

fn real_home(latency_ms: u64, drain_s: u32) -> Home {
    let home = Home::empty().with(&constants(&[("b", latency_ms, 0.5)]));
    home.set("BOURSE_SIMULATION_CLOCK", "real").set("BOURSE_HTTP_DRAIN_TIMEOUT_S", &drain_s)
}

fn bid(tmax_ms: u32) -> String {
    bid_body("supply1", "192.0.2.1").replace('}', &format!(",\"tmax\":{tmax_ms}}}"))
}

/// A connection that waits for the rest of the body it has announced, and that rest.
fn half_sent(server: &Server, body: &str) -> (Connection, String) {
    let mut connection = server.connect();
    // Asked whether to send it, the server has seen the head once it says yes.
    let headers = [JSON[0], ("expect", "100-continue"), ("content-length", &body.len().to_string())];
    let head = wire("GET", "/bid", &headers, b"");
    connection.send([b"POST", &head[3..]].concat());
    assert_eq!(connection.next().unwrap().status, 100);
    (connection, body.to_owned())
}

#[test]
fn a_first_serve_makes_the_demo_catalogue_and_says_so_in_one_line() {
    let home = Home::empty();
    assert!(!home.data_dir().exists());
    let server = home.serve();
    assert!(
        server.ready.contains("demo") && server.ready.contains(&format!("http://{}", server.address)),
        "{}",
        server.ready
    );
    let supplies = server.supplies();
    assert!(supplies.contains(&"supply1".to_owned()), "{supplies:?}");
    let example = r#"{"supply_id":"supply1","ip":"192.168.1.100","country":"US","tmax":200}"#;
    assert!(["200", "400 no_bids"].contains(&server.bid(example).verdict().as_str()));
    let home = server.stop();
    assert!(home.data_dir().join("catalogue.sqlite").is_file());
    let again = home.serve();
    assert!(!again.ready.contains("demo"), "{}", again.ready);
    assert_eq!(again.supplies(), supplies);
}

#[test]
fn what_is_in_flight_at_sigterm_is_answered() {
    let mut server = real(700, 10);
    let mut connections: Vec<_> = (0..8).map(|_| server.connect()).collect();
    connections
        .iter_mut()
        .for_each(|connection| connection.send(wire("POST", "/bid", JSON, bid(3000).as_bytes())));
    server.signal("TERM");
    for connection in &mut connections {
        let answer = connection.next().expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
        assert!(connection.is_ended());
    }
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn after_sigterm_new_connections_are_refused_and_idle_ones_closed() {
    let mut server = real(5, 10);
    let (mut busy, rest) = half_sent(&server, &bid(100));
    let mut idle = server.connect();
    assert_eq!(idle.bid(bid(100)).status, 200);
    server.signal("TERM");
    assert!(idle.is_ended());
    eventually("connections are refused", || Connection::try_open(server.address).is_err());
    busy.send(rest);
    assert_eq!(busy.next().expect("an answer").status, 200);
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn an_idle_connection_may_still_bring_a_request_while_draining() {
    let home = Home::empty().usual().set("BOURSE_HTTP_DRAIN_IDLE_MS", &600_000);
    let mut server = home.set("BOURSE_HTTP_DRAIN_TIMEOUT_S", &600).serve_with(&["--workers", "1"]);
    let mut connections: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // One in the express lane, one that hyper has, one that never asked.
    assert!([200, 400].contains(&connections[0].bid(bid(100)).status));
    assert_eq!(connections[1].request("GET", "/health/live", &[], b"").status, 200);
    server.signal("TERM");
    eventually("connections are refused", || Connection::try_open(server.address).is_err());
    for connection in &mut connections {
        let answer = connection.bid(bid(100));
        assert!([200, 400].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_ended());
    }
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn an_auction_that_could_not_end_in_time_is_refused_while_draining() {
    // The rest of the body must come within the drain's four seconds, however slow this machine is.
    let home = real_home(5, 4).set("BOURSE_HTTP_DRAIN_IDLE_MS", &0);
    let mut server = home.serve_with(&["--workers", "2"]);
    let (mut busy, rest) = half_sent(&server, &bid(5000));
    let mut idle = server.connect();
    assert_eq!(idle.bid(bid(100)).status, 200);
    server.signal("TERM");
    assert!(idle.is_ended());
    busy.send(rest);
    let answer = busy.next().expect("an answer");
    answer.is_refusal(503, "draining");
    answer.retry_after_s();
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_client_that_hangs_is_cut_at_the_drain_deadline() {
    let mut server = real(5, 1);
    let (mut hanging, _) = half_sent(&server, &bid(100));
    server.signal("TERM");
    assert_eq!(server.exit().code(), Some(0), "{}", server.log());
    assert!(hanging.rest().iter().all(|answer| answer.status == 408 || answer.status == 503));
}

#[test]
fn a_second_signal_does_not_wait_for_the_drain() {
    // Nothing but the signal ends this server within a minute.
    let home = Home::empty().usual().set("BOURSE_HTTP_BODY_TIMEOUT_MS", &60_000);
    let mut server = home.set("BOURSE_HTTP_DRAIN_TIMEOUT_S", &600).serve();
    let (_hanging, _) = half_sent(&server, &bid(100));
    server.signal("TERM");
    eventually("the drain begins", || server.log().contains("draining"));
    server.signal("TERM");
    assert_eq!(server.exit().code(), Some(0), "{}", server.log());
    assert!(server.log().contains("second signal"), "{}", server.log());
}

#[test]
fn sigint_ends_it_as_sigterm_does() {
    let mut server = Server::usual();
    server.signal("INT");
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn under_load_sigterm_costs_no_answer() {
    let mut server = Home::empty().usual().serve_with(&["--workers", "2"]);
    let (address, body) = (server.address, bid(200));
    let client = || {
        let mut answered = 0u32;
        // Whatever was sent on a fresh connection is answered, or the connection is refused.
        while let Ok(mut connection) = Connection::try_open(address) {
            let request = wire("POST", "/bid", JSON, body.as_bytes());
            if connection.try_send(&request).is_err() {
                break;
            }
            match connection.next() {
                Some(answer) => answered += u32::from(answer.status == 200 || answer.status == 400),
                None => return Err(answered),
            }
        }
        Ok(answered)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        eventually("there is load", || server.json("/stat")["supply1"]["total_reqs"].as_u64() > Some(50));
        server.signal("TERM");
        for client in clients {
            assert!(client.join().unwrap().is_ok(), "a request was sent and not answered");
        }
    });
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_second_server_on_the_port_says_which_and_what_to_do() {
    let server = Server::usual();
    let listen = server.address.to_string();
    let home = Home::empty().usual();
    for flags in [&["serve", "--listen", &listen][..], &["serve", "--listen", &listen, "--workers", "2"]] {
        let second = home.run(flags);
        let line = second.one_line_error();
        assert!(line.contains(&server.address.port().to_string()) && line.contains("--listen"), "{line}");
    }
    assert_eq!(server.get("/health/ready").status, 200);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_one_line() {
    let home = Home::empty();
    home.write("file", "");
    for directory in ["file/data", "/proc/bourse-data"] {
        let home = Home::empty().set("BOURSE_DATA_DIR", home.path(directory).to_str().unwrap());
        let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(said.one_line_error().contains(directory), "{said:?}");
    }
}

#[test]
fn a_catalogue_file_that_is_no_database_is_one_line() {
    let home = Home::empty();
    std::fs::create_dir(home.data_dir()).unwrap();
    home.write(
        "bourse-data/catalogue.sqlite",
        "this is no database, but it is long enough to look at".repeat(50),
    );
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.one_line_error().contains("catalogue.sqlite"), "{said:?}");
}

#[test]
fn logs_can_be_read_by_programs() {
    let server = Home::empty().usual().set("BOURSE_LOG_FORMAT", "json").serve_with(&["--log-auctions"]);
    let hostile = "a\u{1b}[31m\"b\u{202e}";
    server.bid(bid_body("supply1", "192.0.2.1"));
    server.bid(serde_json::json!({"supply_id": hostile, "ip": "192.0.2.1", "country": "US"}).to_string());
    eventually("the auction is logged", || server.log().contains("auction held"));
    for line in server.log().lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|event| event["message"].is_string()),
            "{line}"
        );
    }
}
