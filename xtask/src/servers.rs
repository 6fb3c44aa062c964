//! The servers of the tests: for a run of the tests, or by `cargo xtask servers` for as long as a person wants.

use std::io::Write;
use std::process::Command;
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, Result};
use clap::Args;

use crate::guard::Guard;
use crate::needed;
use crate::postgres::{Pair, Postgres};
use crate::workspace::{Workspace, run as run_command};

const WATCH_EVERY: Duration = Duration::from_millis(500);

/// How to start the servers.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask servers                        start them; paste the printed lines into another shell
  cargo test -p exchange --test it postgres  then runs there against them, as often as you like")]
pub(crate) struct Options {}

/// Starts the servers, prints their environment, and returns only if a server ends by itself.
pub(crate) fn run(_: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut guard = Guard::start()?;
    needed::provide(&workspace, &mut guard)?;
    let mut pair = start(&workspace, "servers", &mut guard)?;
    let mut out = io::stdout().lock();
    for (name, value) in pair.environment() {
        writeln!(out, "export {name}={value}")?;
    }
    out.flush()?;
    eprintln!("Ctrl-C stops them.");
    loop {
        pair.check()?;
        thread::sleep(WATCH_EVERY);
    }
}

/// A `cargo test` that a developer's own settings do not reach.
pub(crate) fn cargo_test(workspace: &Workspace) -> Command {
    let mut test = workspace.cargo(["test", "--locked"]);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BOURSE_")) {
        test.env_remove(name);
    }
    test
}

/// Runs `tests` with servers to test against, which [`needed::provide`] has found; says which they were.
pub(crate) fn run_tests(
    workspace: &Workspace,
    purpose: &str,
    tests: &mut Command,
    guard: &mut Guard,
) -> Result<String> {
    let mut pair = start(workspace, purpose, guard)?;
    let passed = run_command(tests.envs(pair.environment()), guard);
    passed.with_context(|| format!("the servers' logs: {}, {}", pair.primary.log(), pair.replica.log()))?;
    pair.check().context("a server ended during the tests")?;
    Ok(format!("with PostgreSQL {}, primary and replica", pair.version))
}

/// Starts the servers that tests use; `purpose` keeps the logs of two uses at once apart.
fn start(workspace: &Workspace, purpose: &str, guard: &mut Guard) -> Result<Pair> {
    let logs = workspace.target.join("servers").join(purpose);
    let pair = Postgres::find().context("there is no PostgreSQL")?.start(&logs, guard)?;
    eprintln!("PostgreSQL {}, a primary and a replica; logs in {}", pair.version, logs.display());
    Ok(pair)
}
