//! The two load generators: `wrk`, which asks again as soon as it is answered, and our own `load`, which asks by
//! scheduled times. Both ask POST /bid on the same walk through a pool of addresses.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::lab::{LOAD_CORE, Lab};
use super::server::Server;
use crate::needed::WRK;
use crate::workspace::capture;

const SCRIPT: &str = include_str!("bid.lua");
/// How many connections each opens, with a request in flight on each.
pub(super) const CONNECTIONS: u64 = 64;
/// As in `benches/floor/src/bin/load/addresses.rs`.
const STRIDE: u64 = 648_059;

/// Which requests to send.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    /// The number of the first request.
    pub(super) first: u64,
    /// From how many addresses.
    pub(super) pool: u64,
    pub(super) supplies: u32,
}

impl Walk {
    /// The body of this request; what both generators send.
    pub(super) fn body(self, number: u64) -> String {
        let [_, a, b, c] = ((number % self.pool * STRIDE % self.pool) as u32).to_be_bytes();
        let supply = number % u64::from(self.supplies) + 1;
        format!(r#"{{"supply_id":"supply{supply}","ip":"10.{a}.{b}.{c}","country":"US","tmax":200}}"#)
    }
}

/// What came back.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Answered {
    #[serde(rename = "asked")]
    pub(super) requests: u64,
    pub(super) wrong: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    /// Only from `load`.
    #[serde(default)]
    pub(super) p999_us: f64,
}

/// Asks for so many seconds, as fast as answers come.
pub(super) fn wrk(lab: &mut Lab, server: &Server, walk: Walk, seconds: u64) -> Result<Answered> {
    let script = lab.place("wrk")?.join("bid.lua");
    fs::write(&script, SCRIPT).context("cannot write the script of wrk")?;
    let mut wrk = lab.pinned(LOAD_CORE, WRK.find().context("there is no wrk")?);
    wrk.args([
        "--threads",
        "1",
        "--connections",
        &CONNECTIONS.to_string(),
        "--duration",
        &format!("{seconds}s"),
    ]);
    wrk.arg("--script").arg(script).arg(format!("http://{}", server.address)).arg("--");
    wrk.args([walk.first, walk.pool, walk.supplies.into()].map(|number| number.to_string()));
    let said = capture(&mut wrk, &mut lab.guard)?;
    answered(&said).with_context(|| format!("wrk said: {said}"))
}

/// What the script's last line says.
fn answered(said: &str) -> Result<Answered> {
    let line = said.lines().find_map(|line| line.strip_prefix("bench ")).context("there is no last line")?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let &[requests, took_us, p50, p90, p99, refused, failed] = numbers.as_slice() else {
        bail!("the last line is {line}")
    };
    ensure!(failed == 0, "{failed} requests failed");
    let us = |number: u64| number as f64;
    Ok(Answered {
        requests,
        wrong: refused,
        seconds: us(took_us) / 1e6,
        p50_us: us(p50),
        p90_us: us(p90),
        p99_us: us(p99),
        p999_us: 0.0,
    })
}

/// Asks at this rate by scheduled times; a tenth of it, at the beginning, does not count.
pub(super) fn at_rate(
    lab: &mut Lab,
    server: &Server,
    walk: Walk,
    rate: u64,
    seconds: u64,
) -> Result<Answered> {
    let warmup = seconds as f64 / 10.0;
    load(
        lab,
        server,
        walk,
        &["--rate", &rate.to_string(), "--seconds", &seconds.to_string(), "--warmup", &warmup.to_string()],
    )
}

/// Asks so many times, as fast as answers come.
pub(super) fn count(lab: &mut Lab, server: &Server, walk: Walk, requests: u64) -> Result<Answered> {
    load(lab, server, walk, &["--requests", &requests.to_string(), "--seconds", "3600"])
}

fn load(lab: &mut Lab, server: &Server, walk: Walk, arguments: &[&str]) -> Result<Answered> {
    let mut load = lab.pinned(LOAD_CORE, lab.program("load"));
    load.arg(server.address.to_string()).args(["--connections", &CONNECTIONS.to_string()]).args(arguments);
    load.args(["--first", &walk.first.to_string(), "--pool", &walk.pool.to_string()]);
    load.args(["--supplies", &walk.supplies.to_string()]);
    let said = capture(&mut load, &mut lab.guard)?;
    serde_json::from_str(&said).with_context(|| format!("load said: {said}"))
}

#[cfg(test)]
mod tests {
    use super::answered;

    #[test]
    fn the_scripts_line_is_read_among_what_wrk_says() {
        let said = "Running 1s test\n  1 threads\nbench 60000 1000000 500 900 2000 0 0\n";
        let read = answered(said).unwrap();
        assert_eq!((read.requests, read.wrong), (60_000, 0));
        assert!((read.p99_us - 2000.0).abs() < 1e-9 && (read.seconds - 1.0).abs() < 1e-9);
        assert!(answered("bench 1 2 3").is_err() && answered("bench 1 1 1 1 1 0 3").is_err());
    }
}
