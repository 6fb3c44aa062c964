//! `cargo xtask bench bid`: CPU per POST /bid, over the floor, with Bourse's parts switched on one by one.

use anyhow::Result;
use clap::Args;

use super::Common;
use super::lab::Lab;
use super::plot::{Bars, Plot};
use super::report::{Report, Table, raw, raw_table};
use super::sides::Side;
use super::statistics::Summary;
use super::subject::{Load, Subject};
use super::turns::{progress, take_turns};
use crate::needed::{Program, REDIS, WRK};

/// Every side of this comparison; busy polling spends a core whatever comes.
const SIDES: [Side; 8] = [
    Side::Floor,
    Side::Hyper,
    Side::Nothing,
    Side::Limiter,
    Side::Known,
    Side::Journal,
    Side::Everything,
    Side::Redis,
];

const HOW: &str = "\
One worker pinned to core 0 with all threads of its process, `wrk -t1 -c64` on core 1 (with Redis, if that is a side).
Each request comes from another address: any of 16 M in turn, or each of 1 M known ones at most three times. 10 supplies
of 12 bidders in the US, of which one always bids: every answer is a sale, or the run fails.

CPU is what the kernel counts for all threads of the server (`schedstat`), over the requests answered. Sides take turns,
A B C, then C B A. `× floor` is the median of each round's ratio, with its quartiles. Counters and metrics cannot be
switched off: every side of Bourse has them on.
";

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; in each every side is measured once
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of a measurement
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Which sides [default: all but busy-poll]
    #[arg(long, value_name = "SIDE", value_enum, value_delimiter = ',')]
    sides: Vec<Side>,
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let sides = if options.sides.is_empty() { SIDES.to_vec() } else { options.sides.clone() };
    let mut lab = Lab::open(&options.common, &tools(&sides))?;
    let mut subjects: Vec<Subject> = sides.iter().map(|side| Subject::new(side.spec())).collect();
    let rounds = usize::from(options.rounds);
    let bar = progress(rounds * subjects.len());
    take_turns(&mut lab, &mut subjects, rounds, Load::Closed { seconds: options.seconds }, &bar)?;
    bar.finish_and_clear();
    let how = format!("{HOW}\n{rounds} rounds of {} s.\n\n{}", options.seconds, list(&sides));
    let mut raw_figures = raw_table();
    raw(&mut raw_figures, "", &subjects);
    let report = Report {
        name: "bid",
        title: "POST /bid: CPU per request".into(),
        how,
        tables: vec![(String::new(), table(&subjects))],
        raw: raw_figures,
        plots: vec![Plot::Bars(bars(&subjects))],
    };
    report.publish(&lab)
}

/// What these sides need on the machine.
pub(super) fn tools(sides: &[Side]) -> Vec<Program> {
    let redis = sides.contains(&Side::Redis).then_some(REDIS);
    std::iter::once(WRK).chain(redis).collect()
}

/// What each side is.
pub(super) fn list(sides: &[Side]) -> String {
    sides.iter().map(|side| format!("- `{}`: {}\n", side.name(), side.what())).collect()
}

/// The first side is what the others are compared to: the floor, unless it was left out.
fn ratios(subject: &Subject, subjects: &[Subject]) -> Summary {
    let base = subjects.first().map(|base| base.all(|it| it.cpu_us)).unwrap_or_default();
    Summary::of_ratios(&subject.all(|it| it.cpu_us), &base)
}

fn table(subjects: &[Subject]) -> Table {
    let base = subjects.first().map_or("", |base| base.spec.name.as_str());
    let mut table = Table::new([
        "side".to_owned(),
        "µs CPU".into(),
        "min".into(),
        "max".into(),
        format!("× {base}"),
        "quartiles".into(),
        "req/s".into(),
        "min".into(),
        "max".into(),
        "p50 µs".into(),
        "p90 µs".into(),
        "p99 µs".into(),
        "MiB".into(),
    ]);
    for subject in subjects {
        let cpu = Summary::of(subject.all(|it| it.cpu_us));
        let ratio = ratios(subject, subjects);
        let rate = Summary::of(subject.all(|it| it.per_second));
        let median = |figures: Vec<f64>| Summary::of(figures).median;
        table.push(vec![
            subject.spec.name.clone(),
            format!("{:.2}", cpu.median),
            format!("{:.2}", cpu.min),
            format!("{:.2}", cpu.max),
            format!("{:.3}", ratio.median),
            format!("{:.3} to {:.3}", ratio.low_quartile, ratio.high_quartile),
            format!("{:.0}", rate.median),
            format!("{:.0}", rate.min),
            format!("{:.0}", rate.max),
            format!("{:.0}", median(subject.all(|it| it.p50_us))),
            format!("{:.0}", median(subject.all(|it| it.p90_us))),
            format!("{:.0}", median(subject.all(|it| it.p99_us))),
            format!("{:.0}", median(subject.all(|it| it.resident_mib))),
        ]);
    }
    table
}

fn bars(subjects: &[Subject]) -> Bars {
    let bar = |subject: &Subject| {
        let cpu = Summary::of(subject.all(|it| it.cpu_us));
        let note = format!("{:.2} µs, × {:.2}", cpu.median, ratios(subject, subjects).median);
        (subject.spec.name.clone(), cpu, note)
    };
    Bars { title: "CPU per POST /bid, median, min to max".into(), bars: subjects.iter().map(bar).collect() }
}
