//! `cargo xtask bench streams`: what the streams cost with every sink on, and whether auctions notice.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::Args;

use super::Common;
use super::bid::list;
use super::lab::Lab;
use super::plot::{Axis, Lines, Plot};
use super::report::{Report, Table};
use super::sides::{KNOWN, Side, Spec};
use super::statistics::Summary;
use super::stores::{self, STREAMS, Stores};
use super::subject::{Figures, Load, Subject};
use super::turns::progress;
use crate::needed::{CLICKHOUSE_CLIENT, CLICKHOUSE_SERVER};

const HOW: &str = "\
An open loop at a fixed rate, as in `latency`: the server with all its threads on core 0, the load on core 1. The side
`streams` brings each auction to three real sinks, a batch each second: Parquet in a folder, ClickHouse, and a Kafka broker
(Tansu), which run on both cores at the lowest priority. Its CPU is counted until everything is delivered, by thread: a
stream's own, with librdkafka's under `kafka`; all others are `auctions`, in which the journal's are. Sides take turns.
`+ p50` is the median of each round's difference, with its quartiles. CPU in microseconds an auction.
";

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; in each both sides are measured once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of a measurement
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=60))]
    seconds: u64,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
}

/// What one measurement found.
struct Round {
    figures: Figures,
    /// Microseconds an auction, by who used them.
    cpu_us: BTreeMap<&'static str, f64>,
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (rounds, requests) = (usize::from(options.rounds), options.rate * options.seconds);
    ensure!(
        rounds as u64 * requests < KNOWN,
        "an address may ask three times: at most {KNOWN} requests in all; use fewer --rounds or --seconds"
    );
    let mut lab = Lab::open_with(&options.common, &[CLICKHOUSE_SERVER, CLICKHOUSE_CLIENT], &["kafka"])?;
    let stores = Stores::start(&mut lab)?;
    let off = Side::Everything.spec();
    let settings = off.settings.iter().cloned().chain(stores.settings()).collect();
    let on = Spec { name: "streams".into(), settings, ..off.clone() };
    let mut subjects = [Subject::new(off), Subject::new(on)];
    let mut found: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    let load = Load::Rate { per_second: options.rate, seconds: options.seconds };
    let bar = progress(rounds * 2);
    for round in 0..rounds {
        for turn in 0..2 {
            let side = if round % 2 == 0 { turn } else { 1 - turn };
            bar.set_message(format!("round {}: {}", round + 1, subjects[side].spec.name));
            found[side].push(measure(&mut lab, &mut subjects[side], load, requests)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    report(options, &found).publish(&lab)
}

fn measure(lab: &mut Lab, subject: &mut Subject, load: Load, requests: u64) -> Result<Round> {
    let server = subject.server(lab)?;
    // The addresses that it knows have had their auctions.
    stores::drain(server)?;
    let before = server.cpu_by_thread()?;
    let figures = subject.measure(lab, load)?;
    let server = subject.server(lab)?;
    stores::drain(server)?;
    let mut cpu_us = BTreeMap::new();
    for (thread, ns) in server.cpu_by_thread()? {
        let used = ns.saturating_sub(before.get(&thread).copied().unwrap_or(0));
        *cpu_us.entry(user(&thread)).or_insert(0.0) += used as f64 / 1e3 / requests as f64;
    }
    Ok(Round { figures, cpu_us })
}

/// Whose a thread is, by its name, of which the kernel keeps 15 characters.
fn user(thread: &str) -> &'static str {
    let of = thread.strip_prefix("stream-");
    let stream = STREAMS.into_iter().find(|stream| of.is_some_and(|of| stream.starts_with(of)));
    stream.unwrap_or(if thread.starts_with("rdk:") || thread.starts_with("producer ") {
        "kafka"
    } else {
        "auctions"
    })
}

fn report(options: &Options, found: &[Vec<Round>; 2]) -> Report {
    let names = ["off", "streams"];
    let mut latency = Table::new(["side", "p50", "+ p50", "quartiles", "p90", "p99", "p99.9"]);
    let mut cpu = Table::new(["side", "auctions", "lake", "clickhouse", "kafka", "all streams"]);
    let mut raw = Table::new([
        "side",
        "round",
        "p50_us",
        "p90_us",
        "p99_us",
        "p999_us",
        "auctions_us",
        "lake_us",
        "clickhouse_us",
        "kafka_us",
    ]);
    let p50 = |rounds: &[Round]| rounds.iter().map(|round| round.figures.p50_us).collect::<Vec<_>>();
    let base = p50(&found[0]);
    let used = |round: &Round, who: &str| round.cpu_us.get(who).copied().unwrap_or(0.0);
    let streams = |round: &Round| STREAMS.iter().map(|stream| used(round, stream)).sum::<f64>();
    for (name, rounds) in names.into_iter().zip(found) {
        let median = |figure: &dyn Fn(&Round) -> f64| Summary::of(rounds.iter().map(figure)).median;
        let over = Summary::of(p50(rounds).iter().zip(&base).map(|(p50, base)| p50 - base));
        let us = |figure: fn(&Figures) -> f64| format!("{:.1}", median(&|round| figure(&round.figures)));
        latency.push(vec![
            name.to_owned(),
            us(|it| it.p50_us),
            format!("{:.1}", over.median),
            format!("{:.1} to {:.1}", over.low_quartile, over.high_quartile),
            us(|it| it.p90_us),
            us(|it| it.p99_us),
            us(|it| it.p999_us),
        ]);
        let who = ["auctions", "lake", "clickhouse", "kafka"];
        let mut row = vec![name.to_owned()];
        row.extend(who.map(|who| format!("{:.2}", median(&|round| used(round, who)))));
        row.push(format!("{:.2}", median(&streams)));
        cpu.push(row);
        for (at, round) in rounds.iter().enumerate() {
            let Figures { p50_us, p90_us, p99_us, p999_us, .. } = round.figures;
            let latencies = [p50_us, p90_us, p99_us, p999_us].map(|us| format!("{us:.1}"));
            let cpu = who.map(|who| format!("{:.3}", used(round, who)));
            raw.push(
                [name.to_owned(), (at + 1).to_string()].into_iter().chain(latencies).chain(cpu).collect(),
            );
        }
    }
    let series = |name: &str, of: &dyn Fn(&Round) -> f64, rounds: &[Round]| {
        let points = rounds.iter().enumerate().map(|(at, round)| ((at + 1) as f64, Summary::of([of(round)])));
        (name.to_owned(), points.collect())
    };
    let plot = Lines {
        title: "CPU of an auction's streams".into(),
        x: Axis { label: "round", logarithmic: false },
        y: Axis { label: "µs", logarithmic: false },
        series: STREAMS.map(|stream| series(stream, &|round| used(round, stream), &found[1])).into(),
    };
    let (rounds, seconds, rate) = (options.rounds, options.seconds, options.rate);
    Report {
        name: "streams",
        title: "Streams: three sinks on, against none".into(),
        how: format!(
            "{HOW}\n{rounds} rounds of {seconds} s at {rate} requests per second.\n\n{}",
            list(&[Side::Everything])
        ),
        tables: vec![("Latency, in microseconds".into(), latency), ("CPU of an auction".into(), cpu)],
        raw,
        plots: vec![Plot::Lines(plot)],
    }
}
