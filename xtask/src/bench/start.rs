//! `cargo xtask bench start`: from the start of the process to its first right answer.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::Common;
use super::catalogue::Catalogue;
use super::lab::{LOAD_CORE, Lab};
use super::plot::{Bars, Plot};
use super::report::{Report, Table};
use super::server::free_port;
use super::statistics::Summary;
use super::turns::progress;
use crate::workspace::capture;

const HOW: &str = "\
From just before the process is made to the first answer to a POST /bid, a sale or a `no_bids`, asked again and again
every 0.2 ms. Nothing is pinned: a start uses the cores there are, and has a worker on each. Sides take turns, A B C, then
C B A; milliseconds.

- `first`: an empty data directory: the catalogue's database is made and the demo loaded
- `again`: that data directory the next time
- `large`: a catalogue of 1,000 supplies that list 500 bidders each, 500,000 links in SQLite
- `floor`: the hand-written epoll loop, for what the kernel takes
";

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_micros(200);

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; in each every side starts once
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

/// A side: its name, and what it starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Floor,
    First,
    Again,
    Large,
}

const SIDES: [Side; 4] = [Side::Floor, Side::First, Side::Again, Side::Large];

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::First => "first",
            Self::Again => "again",
            Self::Large => "large",
        }
    }
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lab = Lab::open(&options.common, &[])?;
    load_large(&mut lab)?;
    let rounds = usize::from(options.rounds);
    let bar = progress(rounds * SIDES.len());
    let mut took_ms = [const { Vec::new() }; SIDES.len()];
    // What `again` starts with has to be made first.
    start(&mut lab, Side::Again)?;
    for round in 0..rounds {
        for turn in 0..SIDES.len() {
            let place = if round % 2 == 0 { turn } else { SIDES.len() - 1 - turn };
            bar.set_message(SIDES[place].name());
            took_ms[place].push(start(&mut lab, SIDES[place])?.as_secs_f64() * 1e3);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    report(rounds, &took_ms).publish(&lab)
}

fn report(rounds: usize, took_ms: &[Vec<f64>]) -> Report {
    let mut table = Table::new(["side", "ms", "quartiles", "min", "max"]);
    let mut raw = Table::new(["side", "round", "ms"]);
    let mut bars = Vec::new();
    for (side, took_ms) in SIDES.iter().zip(took_ms) {
        let summary = Summary::of(took_ms.iter().copied());
        table.push(vec![
            side.name().into(),
            format!("{:.1}", summary.median),
            format!("{:.1} to {:.1}", summary.low_quartile, summary.high_quartile),
            format!("{:.1}", summary.min),
            format!("{:.1}", summary.max),
        ]);
        for (round, ms) in took_ms.iter().enumerate() {
            raw.push(vec![side.name().into(), (round + 1).to_string(), format!("{ms:.2}")]);
        }
        bars.push((side.name().to_owned(), summary, format!("{:.1} ms", summary.median)));
    }
    Report {
        name: "start",
        title: "From start to first answer".into(),
        how: format!("{HOW}\n{rounds} rounds."),
        tables: vec![(String::new(), table)],
        raw,
        plots: vec![Plot::Bars(Bars {
            title: "From start to first answer, median, min to max".into(),
            bars,
        })],
    }
}

fn load_large(lab: &mut Lab) -> Result<()> {
    let place = lab.place("large")?;
    let file = place.join("catalogue.json");
    let large = Catalogue { supplies: 1_000, bidders: 500 };
    fs::write(&file, large.json()).context("cannot write the catalogue")?;
    let mut load = lab.pinned(LOAD_CORE, lab.bourse());
    load.arg("load-data").arg("--input").arg(&file).arg("--data-dir").arg(&place);
    capture(&mut load, &mut lab.guard).map(drop)
}

/// Starts one and tells how long its first answer took; it has ended when this returns.
fn start(lab: &mut Lab, side: Side) -> Result<Duration> {
    let place = lab.place(side.name())?;
    if side == Side::First {
        empty(&place)?;
    }
    let port = free_port()?;
    let (path, log) = lab.log(&format!("start-{}", side.name()))?;
    let program = if side == Side::Floor { lab.program("floor") } else { lab.bourse() };
    let mut command = lab.unpinned(program);
    if side != Side::Floor {
        command.arg("serve").arg("--data-dir").arg(&place).env("BOURSE_LOG_LEVEL", "warn");
        // Each start asks from one address.
        command.env("BOURSE_RATE_LIMIT_REQUESTS", "1000");
    }
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let started_at = Instant::now();
    let process = lab.guard.background(command.stdout(Stdio::null()).stderr(log));
    let _process = process.context("cannot start the server")?;
    loop {
        if let Some(answer) = ask(port) {
            let took = started_at.elapsed();
            let right = answer.contains(r#""winner":"#) || answer.contains(r#""no_bids""#);
            ensure!(right, "{} answered {answer}", side.name());
            return Ok(took);
        }
        ensure!(started_at.elapsed() < START_MAX, "it does not answer; its log: {}", path.display());
        thread::sleep(ASK_EVERY);
    }
}

fn empty(place: &Path) -> Result<()> {
    fs::remove_dir_all(place).and_then(|()| fs::create_dir(place)).context("cannot empty the data directory")
}

/// The answer, unless nobody listens yet.
fn ask(port: u16) -> Option<String> {
    let body = r#"{"supply_id":"supply1","ip":"192.0.2.1","country":"US"}"#;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let length = body.len();
    let request = format!(
        "POST /bid HTTP/1.1\r\nHost: bourse\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.set_read_timeout(Some(START_MAX)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}
