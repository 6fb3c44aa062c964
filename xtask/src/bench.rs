//! `cargo xtask bench NAME`: what a request costs, side by side with the least that it could cost.
//!
//! * A figure counts as a ratio measured in one run: sides take turns, A B C, then C B A, and each round's figures are
//!   paired. Nothing here is ever too slow; only a wrong answer is an error.
//! * Each server is pinned to core 0 with all its threads, the load generator to core 1. CPU is what the kernel counts
//!   for the server's threads (`schedstat`): the load generator runs out first, so requests per second hardly tell
//!   servers apart.
//! * Standard output has the tables; the same, the machine and every raw number go to `benches/runs/DATE-MACHINE`, a
//!   plot beside them.

mod bid;
mod catalogue;
mod check;
mod core;
mod generators;
mod growth;
mod lab;
mod latency;
mod machine;
mod memory;
mod plot;
mod report;
mod server;
mod sides;
mod start;
mod statistics;
mod stores;
mod streams;
mod subject;
mod turns;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

/// Which benchmark to run.
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cargo xtask bench bid                                            all sides, as published
  cargo xtask bench bid --sides floor,everything --rounds 3 --seconds 1 --profile release
                                                                   a first look
  cargo xtask bench bid --bourse bin/bourse --sides floor,everything,unprofiled
                                                                   a release beside what cargo builds"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    name: Name,
}

#[derive(Subcommand)]
enum Name {
    /// CPU per POST /bid: floor, bare hyper, Bourse with its parts switched on one by one
    Bid(bid::Options),
    /// Latency of POST /bid at fixed rates, by scheduled times
    Latency(latency::Options),
    /// CPU per POST /bid while bidders, supplies, addresses or time grow
    Growth(growth::Options),
    /// The parts of an auction by themselves: parse, limiter, invite, draws, clearing, record
    Core(core::Options),
    /// Time from start to first answer
    Start(start::Options),
    /// Memory at the start, for each address, and under load
    Memory(memory::Options),
    /// CPU of the streams with every sink on, and the latency of POST /bid beside them
    Streams(streams::Options),
}

/// What every benchmark takes.
#[derive(Args)]
pub(crate) struct Common {
    /// How the servers are built: dist is what is shipped, minutes to link; release is for trying
    #[arg(long, value_enum, default_value_t = Profile::Dist)]
    profile: Profile,
    /// Measure this program as Bourse, such as one that `cargo xtask dist` has built by a profile
    #[arg(long, value_name = "FILE")]
    bourse: Option<PathBuf>,
    /// Where the results go [default: benches/runs/DATE-MACHINE]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// A profile of Cargo's.
#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    /// Fat LTO, one codegen unit, abort on panic
    Dist,
    /// Built in a minute
    Release,
}

impl Profile {
    /// Its name, and that of its directory under the target directory.
    fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// Runs the benchmark asked for; an error if a server answers wrongly or there is something it needs.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.name {
        Name::Bid(options) => bid::run(options),
        Name::Latency(options) => latency::run(options),
        Name::Growth(options) => growth::run(options),
        Name::Core(options) => core::run(options),
        Name::Start(options) => start::run(options),
        Name::Memory(options) => memory::run(options),
        Name::Streams(options) => streams::run(options),
    }
}
