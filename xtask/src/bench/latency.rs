//! `cargo xtask bench latency`: how late answers are when requests come by a clock, whoever is ready for them.

use anyhow::Result;
use clap::Args;

use super::bid::list;
use super::lab::Lab;
use super::plot::{Axis, Lines, Plot};
use super::report::{Report, Table, raw, raw_table};
use super::sides::Side;
use super::statistics::Summary;
use super::subject::{Figures, Load, Subject};
use super::turns::{progress, take_turns};
use super::{Common, bid};

/// The setting that a side needs which not every Bourse has.
const BUSY_POLL: &str = "busy_poll";

const HOW: &str = "\
An open loop: requests leave at fixed times, 64 connections, and an answer is late by the time since its request should
have left, whether it could or not. One worker pinned to core 0 with all threads of its process; on core 1 one thread
that never sleeps, so that waking it adds nothing. The first tenth of each measurement does not count. Sides take turns,
A B C, then C B A. Figures are medians over the rounds, in microseconds; `+ p50` is the median of each round's difference
to the first side, with its quartiles. 10 supplies of 12 bidders; 1 M addresses known to the limiter of Bourse.
";

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; in each every side is measured once at each rate
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of a measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Requests per second
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [5_000, 10_000, 20_000, 40_000],
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rates: Vec<u64>,
    /// Which sides [default: floor, everything, and busy-poll if Bourse can do that]
    #[arg(long, value_name = "SIDE", value_enum, value_delimiter = ',')]
    sides: Vec<Side>,
}

/// The sides at one rate.
struct AtRate {
    per_second: u64,
    subjects: Vec<Subject>,
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lab = Lab::open(&options.common, &bid::tools(&options.sides))?;
    let sides = sides(options, &mut lab)?;
    let rounds = usize::from(options.rounds);
    let bar = progress(rounds * sides.len() * options.rates.len());
    // The servers stay the same from rate to rate, and only their figures are set aside.
    let mut subjects: Vec<Subject> = sides.iter().map(|side| Subject::new(side.spec())).collect();
    let mut found = Vec::new();
    for &per_second in &options.rates {
        bar.println(format!("{per_second} requests per second"));
        take_turns(
            &mut lab,
            &mut subjects,
            rounds,
            Load::Rate { per_second, seconds: options.seconds },
            &bar,
        )?;
        found.push(AtRate { per_second, subjects: subjects.iter_mut().map(Subject::set_aside).collect() });
    }
    bar.finish_and_clear();
    let mut raw_figures = raw_table();
    for at in &found {
        raw(&mut raw_figures, &format!("{}/", at.per_second), &at.subjects);
    }
    let report = Report {
        name: "latency",
        title: "POST /bid: latency by scheduled times".into(),
        how: format!("{HOW}\n{rounds} rounds of {} s.\n\n{}", options.seconds, list(&sides)),
        tables: vec![(String::new(), table(&found))],
        raw: raw_figures,
        plots: vec![plot("p50", &found, |it| it.p50_us), plot("p99", &found, |it| it.p99_us)],
    };
    report.publish(&lab)
}

fn sides(options: &Options, lab: &mut Lab) -> Result<Vec<Side>> {
    if !options.sides.is_empty() {
        return Ok(options.sides.clone());
    }
    let mut sides = vec![Side::Floor, Side::Everything];
    if lab.bourse_knows(BUSY_POLL)? {
        sides.push(Side::BusyPoll);
    } else {
        eprintln!("no side busy-poll: this Bourse has no setting {BUSY_POLL}");
    }
    Ok(sides)
}

fn table(found: &[AtRate]) -> Table {
    let mut table = Table::new([
        "req/s",
        "side",
        "p50",
        "min",
        "max",
        "+ p50",
        "quartiles",
        "p90",
        "p99",
        "p99.9",
        "µs CPU",
    ]);
    for at in found {
        let base = at.subjects.first().map(|base| base.all(|it| it.p50_us)).unwrap_or_default();
        for subject in &at.subjects {
            let p50 = subject.all(|it| it.p50_us);
            let over = Summary::of(p50.iter().zip(&base).map(|(p50, base)| p50 - base));
            let p50 = Summary::of(p50);
            let median =
                |figure: fn(&Figures) -> f64| format!("{:.1}", Summary::of(subject.all(figure)).median);
            table.push(vec![
                at.per_second.to_string(),
                subject.spec.name.clone(),
                format!("{:.1}", p50.median),
                format!("{:.1}", p50.min),
                format!("{:.1}", p50.max),
                format!("{:.1}", over.median),
                format!("{:.1} to {:.1}", over.low_quartile, over.high_quartile),
                median(|it| it.p90_us),
                median(|it| it.p99_us),
                median(|it| it.p999_us),
                median(|it| it.cpu_us),
            ]);
        }
    }
    table
}

fn plot(name: &str, found: &[AtRate], figure: fn(&Figures) -> f64) -> Plot {
    let sides = found.first().map_or(0, |at| at.subjects.len());
    let series = (0..sides).map(|side| {
        let point = |at: &AtRate| (at.per_second as f64, Summary::of(at.subjects[side].all(figure)));
        (found[0].subjects[side].spec.name.clone(), found.iter().map(point).collect())
    });
    Plot::Lines(Lines {
        title: format!("{name} of POST /bid by scheduled times, median, min to max"),
        x: Axis { label: "requests per second", logarithmic: false },
        y: Axis { label: "microseconds", logarithmic: true },
        series: series.collect(),
    })
}
