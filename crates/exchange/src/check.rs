//! `bourse check`: looks at all that a server needs, a line each: ok, or what to do.
//!
//! * It changes nothing: what is not there yet and would be made by the first start is ok. It may run beside a server.
//! * Order: settings, then what they name; settings that cannot be read end it.
//! * Errors: one, when any line is not ok.
//!
//! | module | what it looks at |
//! |---|---|
//! | `stores` | the catalogue's database and its replicas, Redis |
//! | `machine` | the data directory and its disk, who serves here, open files, the clock |

mod machine;
mod stores;

use crate::config::{Config, Settings};
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found; if it is not ok, what to do.
    detail: String,
}

impl Check {
    fn of(name: &'static str, found: Result<String>) -> Self {
        let ok = found.is_ok();
        Self { name, ok, detail: found.unwrap_or_else(|error| format!("{error:#}")) }
    }
}

/// All lines.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// Looks at everything and prints it.
pub fn run(settings: Result<Settings>, json: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let checks = runtime.block_on(look(settings));
    let wrong = checks.iter().filter(|check| !check.ok).count();
    let report = Report { ok: wrong == 0, checks };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for Check { name, ok, detail } in &report.checks {
            println!("{:<5}  {name:<9}  {detail}", if *ok { "ok" } else { "WRONG" });
        }
    }
    if wrong > 0 {
        bail!("{wrong} of {} checks found something wrong", report.checks.len());
    }
    Ok(())
}

async fn look(settings: Result<Settings>) -> Vec<Check> {
    let read = settings.and_then(|settings| Ok((Config::from(&settings)?, settings.counts())));
    let (config, (known, set)) = match read {
        Ok(read) => read,
        Err(error) => return vec![Check::of("settings", Err(error))],
    };
    let mut checks =
        vec![Check::of("settings", Ok(format!("{known} known, {set} set, the others as they are")))];
    checks.push(Check::of("database", stores::database(&config).await));
    checks.extend(stores::replicas(&config).await.into_iter().map(|found| Check::of("replica", found)));
    let redis = stores::redis(&config).await;
    let redis_clock_us = redis.as_ref().ok().and_then(|found| found.clock_us);
    checks.push(Check::of("redis", redis.map(|found| found.shown)));
    checks.push(Check::of("data", machine::data(&config)));
    checks.push(Check::of("server", machine::server(&config).await));
    checks.push(Check::of("files", machine::files(&config)));
    checks.push(Check::of("clock", machine::clock(&config, redis_clock_us)));
    checks
}
