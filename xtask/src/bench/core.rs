//! `cargo xtask bench core`: the parts of an auction by themselves, measured by criterion in
//! `crates/exchange/benches/core.rs`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use super::Common;
use super::lab::{Lab, SERVER_CORE};
use super::plot::{Bars, Plot};
use super::report::{Report, Table};
use super::statistics::Summary;
use crate::workspace::run as run_command;

/// In the order of a request's walk, and what each is.
const PARTS: [(&str, &str); 8] = [
    ("parse", "the body of POST /bid, 70 bytes, into types that cannot be wrong"),
    ("limiter_known", "a request let through of an address among 1 M known ones"),
    ("limiter_new", "the same of an address not seen in the window, while as many others leave it"),
    ("invite", "12 eligible bidders of a supply, by country, and a walk through them"),
    ("draws", "invite, and the latency and price of each of the 12"),
    ("clearing", "12 bids, second price"),
    ("record", "writing the auction's record into memory"),
    ("auction", "invite, draws, clearing and record together"),
];

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Seconds for each part
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// What criterion estimates, in nanoseconds.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lab = Lab::open(&options.common, &[])?;
    let home = lab.place("criterion")?;
    let profile = options.common.profile.name();
    let bench = ["bench", "--locked", "--profile", profile, "--package", "exchange", "--bench", "core"];
    run_command(lab.workspace.cargo(bench).arg("--no-run"), &mut lab.guard)?;
    let seconds = options.seconds.to_string();
    let mut pinned = lab.workspace.command("taskset");
    pinned.args(["--cpu-list", &SERVER_CORE.to_string()]).arg(lab.workspace.cargo(bench).get_program());
    pinned.args(bench).args(["--", "--warm-up-time", "1", "--measurement-time", &seconds, "--noplot"]);
    run_command(pinned.env("CRITERION_HOME", &home), &mut lab.guard)?;

    let found = PARTS.iter().map(|(part, _)| estimate(&home, part)).collect::<Result<Vec<_>>>()?;
    report(&found, options.seconds).publish(&lab)
}

/// The median with the bounds of its confidence interval as least and most.
fn estimate(home: &Path, part: &str) -> Result<Summary> {
    let path = home.join(part).join("new/estimates.json");
    let text = fs::read_to_string(&path).with_context(|| format!("criterion says nothing of {part}"))?;
    let Estimate { point_estimate: median, confidence_interval } =
        serde_json::from_str::<Estimates>(&text)?.median;
    let Interval { lower_bound: min, upper_bound: max } = confidence_interval;
    ensure!(median > 0.0, "{part} takes no time at all: the compiler has left it out");
    Ok(Summary { min, low_quartile: min, median, high_quartile: max, max })
}

fn report(found: &[Summary], seconds: u64) -> Report {
    let mut table = Table::new(["part", "ns", "95% from", "to"]);
    let mut raw = Table::new(["part", "ns", "from", "to"]);
    let mut bars = Vec::new();
    for ((part, _), ns) in PARTS.iter().zip(found) {
        let figures =
            |digits: usize| [ns.median, ns.min, ns.max].map(|figure| format!("{figure:.digits$}")).to_vec();
        table.push([vec![(*part).to_owned()], figures(1)].concat());
        raw.push([vec![(*part).to_owned()], figures(4)].concat());
        bars.push(((*part).to_owned(), *ns, format!("{:.1} ns", ns.median)));
    }
    let list: String = PARTS.iter().map(|(part, what)| format!("- `{part}`: {what}\n")).collect();
    Report {
        name: "core",
        title: "The parts of an auction by themselves".into(),
        how: format!(
            "By criterion (`crates/exchange/benches/core.rs`), pinned to core 0, {seconds} s each: the median of a call in \
             nanoseconds, with its 95% confidence interval. Everything is in the cache that a request would find cold.\n\n{list}"
        ),
        tables: vec![(String::new(), table)],
        raw,
        plots: vec![Plot::Bars(Bars { title: "Nanoseconds of a call, median".into(), bars })],
    }
}
