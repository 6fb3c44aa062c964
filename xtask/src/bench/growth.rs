//! `cargo xtask bench growth`: what an auction costs while one thing grows: bidders asked, supplies, addresses, time.
//!
//! * The sizes of one thing are sides that take turns; time is one server under one long load.
//! * Bound: a whole run stays under a quarter of an hour.

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::Common;
use super::catalogue::Catalogue;
use super::lab::Lab;
use super::plot::{Axis, Lines, Plot};
use super::report::{Report, Table, raw, raw_table};
use super::sides::{ADDRESSES, Addresses, Program, Side, Spec};
use super::statistics::Summary;
use super::subject::{Load, Subject};
use super::turns::{progress, take_turns};
use crate::needed::WRK;

const HOW: &str = "\
CPU of the server's process per POST /bid (`schedstat`), one worker pinned to core 0 with all its threads, `wrk -t1 -c64`
on core 1; limiter, journal, counters and metrics on. The sizes of one thing take turns, A B C, then C B A; `× first` is
the median of each round's ratio to the smallest size.

- bidders: of each supply, all asked for each request
- supplies: of 12 bidders each; requests for one after the other
- addresses: known to the limiter when measuring begins, all within its window of a day; each request is another one's, so
  that the limiter learns some tens of thousands a second more meanwhile
- seconds: one server under load without a break
";

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; in each every size is measured once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of a measurement
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Minutes that the server is up for the last part
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// What grows [default: all]
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// Fewer and smaller sizes, one round of a second
    #[arg(long)]
    quick: bool,
}

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Bidders that are asked
    Bidders,
    /// Supplies of the catalogue
    Supplies,
    /// Addresses that the limiter knows
    Addresses,
    /// Seconds under load
    Seconds,
}

/// Into how many slices the time is cut.
const SLICES: u64 = 30;

/// One thing's figures by size.
struct Grown {
    what: What,
    /// Of each side; for time, of each slice.
    sizes: Vec<u64>,
    subjects: Vec<Subject>,
}

/// Measures, and publishes what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut lab = Lab::open(&options.common, &[WRK])?;
    let chosen = What::value_variants().iter().copied();
    let chosen = chosen.filter(|what| options.only.is_empty() || options.only.contains(what));
    let mut grown = Vec::new();
    for what in chosen {
        grown.push(if what == What::Seconds {
            slices(&mut lab, options)?
        } else {
            sizes(&mut lab, options, what)?
        });
    }
    let mut raw_figures = raw_table();
    for grown in &grown {
        raw(&mut raw_figures, "", &grown.subjects);
    }
    let report = Report {
        name: "growth",
        title: "What an auction costs while one thing grows".into(),
        how: format!("{HOW}\n{} rounds of {} s.", options.rounds(), options.seconds()),
        tables: grown.iter().map(|grown| (grown.what.title().to_owned(), grown.table())).collect(),
        raw: raw_figures,
        plots: grown.iter().map(Grown::plot).collect(),
    };
    report.publish(&lab)
}

impl Options {
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.into() }
    }

    fn seconds(&self) -> u64 {
        if self.quick { 1 } else { self.seconds }
    }
}

/// One thing's sizes as sides in turns; their servers end with it.
fn sizes(lab: &mut Lab, options: &Options, what: What) -> Result<Grown> {
    let all = what.sizes();
    let sizes = if options.quick { &all[..all.len() / 2 + 1] } else { all };
    let mut subjects: Vec<Subject> = sizes.iter().map(|size| Subject::new(what.spec(*size))).collect();
    let bar = bar(what, options.rounds() * subjects.len());
    take_turns(lab, &mut subjects, options.rounds(), Load::Closed { seconds: options.seconds() }, &bar)?;
    bar.finish_and_clear();
    Ok(Grown { what, sizes: sizes.to_vec(), subjects: subjects.iter_mut().map(Subject::set_aside).collect() })
}

/// One server for as long as asked.
fn slices(lab: &mut Lab, options: &Options) -> Result<Grown> {
    let (slices, seconds) =
        if options.quick { (6, 1) } else { (SLICES, (options.minutes * 60).div_ceil(SLICES)) };
    let mut subject = Subject::new(What::Seconds.spec(0));
    let bar = bar(What::Seconds, slices as usize);
    for _ in 0..slices {
        subject.measure(lab, Load::Closed { seconds })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let sizes = (1..=slices).map(|slice| slice * seconds).collect();
    Ok(Grown { what: What::Seconds, sizes, subjects: vec![subject.set_aside()] })
}

fn bar(what: What, measurements: usize) -> ProgressBar {
    let bar = progress(measurements);
    bar.println(what.title());
    bar
}

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::Bidders => "Bidders asked",
            Self::Supplies => "Supplies",
            Self::Addresses => "Addresses known",
            Self::Seconds => "Seconds under load",
        }
    }

    const fn sizes(self) -> &'static [u64] {
        match self {
            Self::Bidders => &[3, 10, 30, 100, 300, 1_000],
            Self::Supplies => &[10, 100, 1_000, 10_000, 100_000],
            Self::Addresses => &[0, 10_000, 100_000, 1_000_000, 10_000_000],
            Self::Seconds => &[],
        }
    }

    /// A side of this size; in all else as usual, everything on.
    fn spec(self, size: u64) -> Spec {
        let mut settings = Side::Everything.spec().settings;
        settings.retain(|(name, _)| *name != "BOURSE_RATE_LIMIT_WINDOW_S");
        let window_s = if self == Self::Addresses { 86_400 } else { 1 };
        settings.push(("BOURSE_RATE_LIMIT_WINDOW_S", window_s.to_string()));
        settings.push(("BOURSE_RATE_LIMIT_ADDRESSES_MAX", ADDRESSES.to_string()));
        let count = u32::try_from(size).unwrap_or(u32::MAX);
        let catalogue = match self {
            Self::Bidders => Catalogue { bidders: count, ..Catalogue::USUAL },
            Self::Supplies => Catalogue { supplies: count, ..Catalogue::USUAL },
            Self::Addresses | Self::Seconds => Catalogue::USUAL,
        };
        let addresses =
            if self == Self::Addresses { Addresses::NewAfter(size) } else { Addresses::Scattered };
        let name = match self {
            Self::Seconds => "seconds".to_owned(),
            _ => format!("{size} {}", self.title().split(' ').next().unwrap_or_default().to_lowercase()),
        };
        Spec { name, program: Program::Bourse, settings, catalogue, addresses, redis: false }
    }
}

impl Grown {
    /// Size and CPU per request.
    fn points(&self) -> Vec<(f64, Summary)> {
        let sizes = self.sizes.iter().map(|size| *size as f64);
        if self.what == What::Seconds {
            let slices = self.subjects.iter().flat_map(|subject| subject.all(|it| it.cpu_us));
            return sizes.zip(slices.map(|cpu_us| Summary::of([cpu_us]))).collect();
        }
        sizes.zip(self.subjects.iter().map(|subject| Summary::of(subject.all(|it| it.cpu_us)))).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new([self.what.title(), "µs CPU", "min", "max", "× first", "MiB"]);
        let base = self.subjects.first().map(|first| first.all(|it| it.cpu_us)).unwrap_or_default();
        for (place, (size, cpu)) in self.points().into_iter().enumerate() {
            // Slices of time are compared to the first of them, sizes round by round.
            let (ratio, mib) = match (self.what, self.subjects.get(place), self.subjects.first()) {
                (What::Seconds, _, Some(all)) => (cpu.median / base[0], all.figures[place].resident_mib),
                (_, Some(subject), _) => (
                    Summary::of_ratios(&subject.all(|it| it.cpu_us), &base).median,
                    Summary::of(subject.all(|it| it.resident_mib)).median,
                ),
                _ => continue,
            };
            table.push(vec![
                format!("{size}"),
                format!("{:.2}", cpu.median),
                format!("{:.2}", cpu.min),
                format!("{:.2}", cpu.max),
                format!("{ratio:.3}"),
                format!("{mib:.0}"),
            ]);
        }
        table
    }

    fn plot(&self) -> Plot {
        let logarithmic = self.what != What::Seconds;
        // Nothing is left of the first power of ten.
        let least = if self.what == What::Addresses { 1_000.0 } else { 1.0 };
        let points = self.points().into_iter().map(|(size, cpu)| (size.max(least), cpu)).collect();
        Plot::Lines(Lines {
            title: format!("CPU per request by {}, median, min to max", self.what.title().to_lowercase()),
            x: Axis {
                label: if self.what == What::Addresses {
                    "addresses known (none is drawn at 1000)"
                } else {
                    self.what.title()
                },
                logarithmic,
            },
            y: Axis { label: "microseconds", logarithmic: false },
            series: vec![(self.what.title().to_owned(), points)],
        })
    }
}
