//! `cargo xtask chaos`: the tests that break things, for as long as asked.
//!
//! They are ordinary tests of the exchange, in `tests/it/chaos`, and `cargo xtask test` runs them briefly.

use anyhow::{Result, ensure};
use clap::Args;

use crate::guard::Guard;
use crate::workspace::{Workspace, capture, run as run_command};
use crate::{needed, servers};

/// Tells the tests how long to go on.
const SECONDS: &str = "BOURSE_TEST_CHAOS_SECONDS";

/// Tells those that follow a stream how many answers there are between two kills.
const BURST: &str = "BOURSE_TEST_CHAOS_BURST";

/// What to break, and for how long.
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
NAME is one of these, or the beginning of a test's name in one, such as kill::under_load:
  kill          kill -9 under load: nothing answered is lost, nothing counts twice
  crash_points  the process ends at each of its writes, syncs and renames in turn
  redis         Redis goes and comes back, again and again: every sum is exact in the end
  cluster       the same with the masters of a Redis Cluster
  disk          the disk fills up, fails to write, fails to sync
  lake          kill -9 with a lake of Parquet in S3, which fails in every way: each auction is there once
  clickhouse    kill -9 of it and of ClickHouse, which hangs, too: its rows and its sums are what clients were told
  kafka         kill -9 with a broker that hangs, is cut off or answers nobody: each event is in the topic
  express       any bytes, to a server with the express lane and to one without: the same answers
  flips         every byte of the journal is flipped in turn
  limit         the limit that instances keep together, by a thousand requests at once
  rolling       three instances behind nginx are restarted one by one under load: no client notices
  all           everything

Examples:
  cargo xtask chaos kill --seconds 600
  cargo xtask chaos all --seconds 60 --release
  cargo xtask chaos lake --seconds 300 --burst 100000 --release      a million auctions"
)]
pub(crate) struct Options {
    /// What to break
    name: String,
    /// How long each test goes on
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// About so many answers at most between two kills, in lake, clickhouse and kafka
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    burst: Option<u32>,
    /// Break the optimised program
    #[arg(long)]
    release: bool,
}

/// Runs the tests asked for; an error unless there is one and all pass.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut guard = Guard::start()?;
    needed::provide(&workspace, &mut guard)?;
    let filter =
        if options.name == "all" { "chaos::".to_owned() } else { format!("chaos::{}", options.name) };
    let tests = || {
        let mut tests = servers::cargo_test(&workspace);
        tests
            .args(["-p", "exchange", "--test", "it", "--features", "kafka"])
            .args(options.release.then_some("--release"));
        tests
    };
    run_command(tests().arg("--no-run"), &mut guard)?;
    // A filter that no test passes would pass.
    let listed = capture(tests().args(["--", "--list", &filter]), &mut guard)?;
    let chosen = listed.lines().filter(|line| line.ends_with(": test")).count();
    ensure!(chosen > 0, "no test begins with {filter}; `cargo xtask chaos --help` says what there is");

    let mut tests = tests();
    tests.args(["--", "--nocapture", &filter]).env(SECONDS, options.seconds.to_string());
    tests.envs(options.burst.map(|burst| (BURST, burst.to_string())));
    let servers = servers::run_tests(&workspace, "chaos", &mut tests, &mut guard)?;
    eprintln!("{chosen} tests passed, {} s each, {servers}", options.seconds);
    Ok(())
}
