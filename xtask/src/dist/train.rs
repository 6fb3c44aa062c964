//! What the profile is made of: auctions as a user of the program may hold them, and not what `cargo xtask bench` measures.
//!
//! A catalogue of its own with every kind of bidder; clients that ask one by one and in pipelines, plainly and in ways
//! that the HTTP library has to read, with mistakes and too often; and now and then each page.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::guard::Guard;
use crate::workspace::{Workspace, capture};

const CLIENTS: u32 = 4;
const REQUESTS: u32 = 40_000;
const SUPPLIES: u32 = 60;
const BIDDERS: u32 = 24;
/// Of bidders; in the last one nobody buys.
const COUNTRIES: [&str; 5] = ["US", "GB", "DEU", "fr", "AQ"];
const PAGES: [&str; 4] = ["/stat", "/metrics", "/supplies", "/"];

/// Runs the instrumented program under load; its counts are in `raw` afterwards.
pub(super) fn train(program: &Path, workspace: &Workspace, raw: &Path, guard: &mut Guard) -> Result<()> {
    let home = workspace.target.join("dist-training");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home)?;
    let ours = |arguments: &[&str]| {
        let mut command = workspace.command(program);
        command.args(arguments).current_dir(&home).env("LLVM_PROFILE_FILE", home.join("other.profraw"));
        command
    };
    fs::write(home.join("data.json"), catalogue())?;
    capture(&mut ours(&["load-data"]), guard)?;

    let mut serve = ours(&["serve", "--listen", "127.0.0.1:0", "--workers", "2", "--seed", "11"]);
    serve.env("LLVM_PROFILE_FILE", raw.join("serve-%p.profraw")).env("BOURSE_LOG_LEVEL", "warn");
    let mut server = guard.background(serve.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(server.child.stdout.take().context("no output")?).read_line(&mut line)?;
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.with_context(|| format!("the program does not serve: {line}"))?;

    eprintln!("training with {} requests", CLIENTS * REQUESTS);
    let answered: Result<Vec<u32>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || ask(address, client))).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")))
            .collect()
    });
    let sold: u32 = answered?.iter().sum();
    ensure!(sold > CLIENTS * REQUESTS / 2, "only {sold} auctions ended in a sale: that is no training");
    // It writes its counts when it has ended.
    drop(server);
    Ok(())
}

/// Sends one client's requests; gives how many were answered by 200.
fn ask(address: &str, client: u32) -> Result<u32> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut requests = stream;
    let at_once = if client == 1 { 8 } else { 1 };
    let mut sold = 0;
    for first in (0..REQUESTS).step_by(at_once) {
        let bytes: Vec<u8> =
            (first..first + at_once as u32).flat_map(|number| request(client, number)).collect();
        requests.write_all(&bytes)?;
        for _ in 0..at_once {
            sold += u32::from(read_answer(&mut answers)? == 200);
        }
    }
    Ok(sold)
}

/// Every kind of bidder and of auction.
fn catalogue() -> String {
    let bidder = |number: u32| {
        let simulation = match number % 6 {
            0 => r#""price": {"lognormal": {"median": 0.4, "sigma": 0.5}}"#,
            1 => r#""price": {"uniform": [0.2, 0.9]}, "no_bid_probability": 0.5"#,
            2 => r#""latency_ms": {"lognormal": {"median": 60, "sigma": 0.8}}"#,
            3 => r#""price": {"constant": 0.5}, "latency_ms": {"constant": 20}"#,
            _ => r#""no_bid_probability": 0.3"#,
        };
        let country = COUNTRIES[number as usize % 4].to_uppercase();
        format!(r#""b{number}": {{"country": "{country}", "simulation": {{{simulation}}}}}"#)
    };
    let all = (0..BIDDERS).map(|number| format!("\"b{number}\"")).collect::<Vec<_>>().join(", ");
    let supply = |number: u32| match number % 3 {
        0 => format!(r#""s{number}": {{"bidders": [{all}], "auction": "second_price", "bid_floor": 0.15}}"#),
        _ => format!(r#""s{number}": [{all}]"#),
    };
    let (supplies, bidders): (Vec<_>, Vec<_>) =
        ((0..SUPPLIES).map(supply).collect(), (0..BIDDERS).map(bidder).collect());
    format!(r#"{{"supplies": {{{}}}, "bidders": {{{}}}}}"#, supplies.join(", "), bidders.join(", "))
}

fn request(client: u32, number: u32) -> Vec<u8> {
    if client == 3 && number.is_multiple_of(4_000) {
        let page = PAGES[(number / 4_000) as usize % PAGES.len()];
        return format!("GET {page} HTTP/1.1\r\nhost: training\r\n\r\n").into_bytes();
    }
    let [_, b, c, d] = (client << 20 | number).to_be_bytes();
    let ip = match number % 16 {
        0 => format!("2001:db8:{b:x}{c:02x}::{d:x}"),
        1 => "203.0.113.7".to_owned(),
        _ => format!("10.{b}.{c}.{d}"),
    };
    let country = if number.is_multiple_of(40) { COUNTRIES[4] } else { COUNTRIES[(number / 7) as usize % 4] };
    let supply = (number * 37 + client) % SUPPLIES;
    let mut body = format!(
        r#"{{"supply_id":"s{supply}","ip":"{ip}","country":"{country}","tmax":{}}}"#,
        50 + number % 400
    );
    if number.is_multiple_of(50) {
        body.pop();
    }
    // What no plain request says, so that the HTTP library reads it.
    let kind = if client == 2 { "application/json; charset=utf-8" } else { "application/json" };
    let length = body.len();
    format!(
        "POST /bid HTTP/1.1\r\nhost: training\r\nuser-agent: training/1\r\naccept: */*\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Reads one answer and gives its status.
fn read_answer(answers: &mut BufReader<TcpStream>) -> Result<u16> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        ensure!(answers.read_line(&mut line)? > 0, "the server has closed the connection");
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest.get(..3).and_then(|digits| digits.parse().ok());
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("content-length")?;
        } else if line == "\r\n" {
            break;
        }
    }
    answers.take(length).read_to_end(&mut Vec::new())?;
    status.context("an answer has no status")
}
