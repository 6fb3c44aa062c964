//! `cargo xtask servers`: the servers of the tests, for as long as a person wants them.

use std::io::Write;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result};
use clap::Args;

use crate::debian;
use crate::guard::Guard;
use crate::postgres::{self, Pair, Postgres};
use crate::workspace::Workspace;

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
    if Postgres::find().is_none() && debian::may_install() {
        debian::install(&[postgres::PACKAGE], &mut guard)?;
    }
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

/// Starts the servers that tests use; `purpose` keeps the logs of two uses at once apart.
pub(crate) fn start(workspace: &Workspace, purpose: &str, guard: &mut Guard) -> Result<Pair> {
    let logs = workspace.target.join("servers").join(purpose);
    let pair = Postgres::find().with_context(Postgres::missing)?.start(&logs, guard)?;
    eprintln!("PostgreSQL {}, a primary and a replica; logs in {}", pair.version, logs.display());
    Ok(pair)
}
