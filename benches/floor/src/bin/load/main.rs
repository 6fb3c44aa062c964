//! A load generator that does not wait for the server: requests leave at times fixed beforehand, and an answer is late
//! by the time that has passed since then, whether the request could leave in time or not (no coordinated omission).
//!
//! * One thread, keep-alive connections with one request each in flight; it never sleeps, so that waking it up adds
//!   nothing to a latency. Give it a core of its own.
//! * Without a rate it asks again as soon as it is answered.
//! * Every answer is checked; a wrong one is counted, and the first of them shown.
//! * Standard output is one line of JSON; times are in microseconds.

mod addresses;
mod client;
mod run;

use anyhow::{Result, ensure};
use clap::Parser;
use std::net::SocketAddr;

/// Sends POST /bid at scheduled times and tells how late the answers were
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The server
    target: SocketAddr,
    /// Requests per second; without it, as fast as answers come
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How many seconds long
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Ends after so many requests, if that is sooner
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Seconds at the beginning that do not count
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    warmup: f64,
    /// From how many addresses
    #[arg(long, value_name = "N", default_value_t = 1 << 24, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pool: u64,
    /// The number of the first request, which says from which address it comes
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// For how many supplies, supply1 and on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    supplies: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.seconds > options.warmup, "--warmup is as long as the whole run");
    let outcome = run::run(&options)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
