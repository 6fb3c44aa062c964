//! The express lane against hyper alone: the same bytes, the same answers, whatever the bytes are.
//!
//! Two servers with the same seed get the same cases one after the other, so an auction that one of them holds and the
//! other does not shows in every answer after it, too.

use super::streams::{Dice, stream};
use crate::catalogues::constants;
use crate::client::{JSON, any_bid, wire};
use crate::server::{Home, Server, rounds};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What the server says to these pieces, up to where it closes the connection.
fn said(server: &Server, pieces: &[&[u8]], slowly: bool) -> String {
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut said = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        if slowly && i > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Who has closed does not listen.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // A reset is a close, too.
    let end = stream.read_to_end(&mut said);
    assert!(
        end.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true),
        "{end:?}"
    );
    timeless(&said)
}

/// Without the dates, and without what hyper may say last to bytes that are no request: it closes without a word if they
/// came in pieces.
fn timeless(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    let said = lines.join("\n");
    let bare =
        |answer: &str| answer.contains("no HTTP/1.1 request with") || answer.contains("headers_too_large");
    let last = said.rfind("HTTP/1.1 4").filter(|at| bare(&said[*at..]));
    said[..last.unwrap_or(said.len())].to_owned()
}

/// A server with the express lane, and one without.
fn pair(home: impl Fn() -> Home) -> [Server; 2] {
    let serve =
        |express| home().set("BOURSE_HTTP_EXPRESS", express).serve_with(&["--seed", "7", "--workers", "1"]);
    ["true", "false"].map(serve)
}

fn compare(servers: &[Server; 2], few: usize) {
    let seed = u64::from(std::process::id());
    let mut cases = 0;
    for round in rounds(few) {
        let mut dice = Dice(seed << 32 | round as u64);
        let bytes = stream(&mut dice);
        let cuts = if dice.one_in(4) { 1 + dice.below(4) } else { 0 };
        let mut at: Vec<usize> =
            (0..cuts).map(|_| dice.below(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let slowly = dice.one_in(10);
        let [one, other] = servers.each_ref().map(|server| said(server, &pieces, slowly));
        assert_eq!(one, other, "round {round} of seed {seed}: {}", bytes.escape_ascii());
        cases += 1;
    }
    println!("{cases} cases, seed {seed}");
    let [one, other] = servers.each_ref().map(|server| server.json("/stat"));
    assert_eq!(one, other);
    assert!(one["supply1"]["total_reqs"].as_u64() > Some(few as u64 / 20), "{one}");
}

#[test]
fn every_byte_means_the_same_with_and_without_the_express_lane() {
    // Prices are drawn: an answer tells which auction it was.
    compare(&pair(|| Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "0").usual()), 2_000);
}

#[test]
fn where_auctions_take_time_every_byte_means_the_same_too() {
    let catalogue = constants(&[("slow", 2, 0.5), ("fast", 0, 0.4)]);
    let home = || Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "0").set("BOURSE_SIMULATION_CLOCK", "real");
    compare(&pair(|| home().with(&catalogue)), 300);
}

#[test]
fn who_asks_too_often_is_told_the_same() {
    let wires = wire("POST", "/bid", JSON, any_bid().as_bytes()).repeat(5);
    let [one, other] = pair(|| Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "3").usual()).map(|server| {
        // How long to wait is the clock's.
        said(&server, &[&wires], false)
            .split_once("429")
            .map(|(before, refused)| (before.to_owned(), refused.replace(|c: char| c.is_ascii_digit(), "")))
    });
    assert!(one.is_some() && one == other, "{one:?}\n{other:?}");
}
