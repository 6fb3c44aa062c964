//! `cargo xtask bench memory`: what the exchange holds at the start, for each address it limits, and after a while of load.

use anyhow::Result;
use clap::Args;

use super::Common;
use super::catalogue::Catalogue;
use super::generators::{self, Walk};
use super::lab::Lab;
use super::plot::{Axis, Lines, Plot};
use super::report::{Report, Table};
use super::server::Memory;
use super::sides::{ADDRESSES, Addresses, Program, Side, Spec};
use super::statistics::Summary;
use super::subject::{Load, Subject};
use super::turns::progress;
use crate::needed::WRK;

const HOW: &str = "\
Resident memory of the process as the kernel tells it (`VmRSS`), and what of it is not pages of files (`RssAnon`): the
mapped journal is memory that the kernel takes back when it needs it. One worker.

- Start: the demo's size, 10 supplies of 12 bidders, limiter and journal on, nothing asked yet.
- Addresses: a limiter with a window of a day, asked once from each of so many addresses; `bytes` is what was added to
  the anonymous memory of the start, for each address.
- Load: limiter with a window of 1 s and journal, `wrk` with 64 connections, the memory after each slice of time.
";

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Seconds of load
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: u64,
    /// A small one: 100 k addresses, 10 s of load
    #[arg(long)]
    quick: bool,
}

/// Into how many slices the load is cut.
const SLICES: u64 = 30;

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lab = Lab::open(&options.common, &[WRK])?;
    let steps: Vec<u64> = if options.quick {
        vec![0, 50_000, 100_000]
    } else {
        vec![0, 250_000, 500_000, 1_000_000, 1_500_000, 2_000_000]
    };
    let seconds = if options.quick { 10 } else { options.seconds };
    let slices = SLICES.min(seconds);
    let bar = progress(steps.len() + slices as usize);
    bar.set_message("addresses");
    let addresses = addresses(&mut lab, &steps, &bar)?;
    bar.set_message("load");
    let loaded = loaded(&mut lab, slices, seconds / slices, &bar)?;
    bar.finish_and_clear();
    report(&addresses, &loaded).publish(&lab)
}

/// The memory with so many addresses known.
fn addresses(lab: &mut Lab, steps: &[u64], bar: &indicatif::ProgressBar) -> Result<Vec<(f64, Memory)>> {
    let settings = vec![
        ("BOURSE_RATE_LIMIT_WINDOW_S", "86400".to_owned()),
        ("BOURSE_RATE_LIMIT_ADDRESSES_MAX", "4000000".to_owned()),
        ("BOURSE_JOURNAL_ENABLED", "false".to_owned()),
    ];
    let mut subject = Subject::new(Spec {
        name: "addresses".into(),
        program: Program::Bourse,
        settings,
        catalogue: Catalogue::USUAL,
        addresses: Addresses::Scattered,
        redis: false,
    });
    let mut found = Vec::new();
    let mut known = 0;
    for &step in steps {
        // Started here, asked nothing yet.
        subject.server(lab)?;
        if step > known {
            let walk = Walk { first: known, pool: ADDRESSES, supplies: Catalogue::USUAL.supplies };
            subject.ask(lab, |lab, server| generators::count(lab, server, walk, step - known))?;
            known = step;
        }
        found.push((step as f64, subject.server(lab)?.memory()?));
        bar.inc(1);
    }
    Ok(found)
}

/// The memory at the start, at zero seconds, and after each slice.
fn loaded(
    lab: &mut Lab,
    slices: u64,
    seconds: u64,
    bar: &indicatif::ProgressBar,
) -> Result<Vec<(f64, Memory)>> {
    let mut settings = Side::Limiter.spec().settings;
    settings.retain(|(name, _)| *name != "BOURSE_JOURNAL_ENABLED");
    let mut subject = Subject::new(Spec { name: "load".into(), settings, ..Side::Limiter.spec() });
    let mut found = vec![(0.0, subject.server(lab)?.memory()?)];
    for slice in 1..=slices {
        subject.measure(lab, Load::Closed { seconds })?;
        found.push(((slice * seconds) as f64, subject.server(lab)?.memory()?));
        bar.inc(1);
    }
    Ok(found)
}

fn report(addresses: &[(f64, Memory)], loaded: &[(f64, Memory)]) -> Report {
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let mut start = Table::new(["", "resident MiB", "anonymous MiB"]);
    if let Some((_, memory)) = loaded.first() {
        start.push(vec!["at start".into(), mib(memory.resident), mib(memory.anonymous)]);
    }
    let mut by_address = Table::new(["addresses", "resident MiB", "anonymous MiB", "bytes"]);
    for (known, memory) in addresses {
        let bytes = |first: &(f64, Memory)| {
            memory.anonymous.saturating_sub(first.1.anonymous) as f64 * 1024.0 / known
        };
        let bytes = addresses.first().filter(|_| *known > 0.0).map(|first| format!("{:.1}", bytes(first)));
        by_address.push(vec![
            format!("{known}"),
            mib(memory.resident),
            mib(memory.anonymous),
            bytes.unwrap_or_else(|| "-".into()),
        ]);
    }
    let mut raw = Table::new(["series", "x", "resident_kib", "anonymous_kib"]);
    for (series, points) in [("addresses", addresses), ("seconds", loaded)] {
        for (x, memory) in points {
            raw.push(vec![
                series.into(),
                format!("{x}"),
                memory.resident.to_string(),
                memory.anonymous.to_string(),
            ]);
        }
    }
    Report {
        name: "memory",
        title: "Memory".into(),
        how: HOW.into(),
        tables: vec![
            ("At the start".into(), start),
            ("For each address".into(), by_address),
            ("Under load".into(), under_load(loaded)),
        ],
        raw,
        plots: vec![plot("addresses known", addresses), plot("seconds of load", loaded)],
    }
}

/// The second half of the load in four parts: what still grows there grows for ever.
fn under_load(loaded: &[(f64, Memory)]) -> Table {
    let mut table = Table::new(["seconds", "resident MiB", "anonymous MiB"]);
    let quarter = (loaded.len() / 8).max(1);
    let shown = loaded.iter().skip(loaded.len() / 2).step_by(quarter).chain(loaded.last());
    let mut last = None;
    for (seconds, memory) in shown {
        if last.replace(*seconds) != Some(*seconds) {
            let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
            table.push(vec![format!("{seconds}"), mib(memory.resident), mib(memory.anonymous)]);
        }
    }
    table
}

fn plot(label: &'static str, points: &[(f64, Memory)]) -> Plot {
    let series = |name: &str, kib: fn(&Memory) -> u64| {
        let point = |(x, memory): &(f64, Memory)| (*x, Summary::of([kib(memory) as f64 / 1024.0]));
        (name.to_owned(), points.iter().map(point).collect())
    };
    Plot::Lines(Lines {
        title: format!("Memory by {label}"),
        x: Axis { label, logarithmic: false },
        y: Axis { label: "MiB", logarithmic: false },
        series: vec![series("resident", |it| it.resident), series("anonymous", |it| it.anonymous)],
    })
}
