//! The data directory and its disk, who serves here, open files, the clock.

use crate::config::{Config, JOURNAL_DIR};
use crate::health;
use crate::hold::unix_us;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::SystemTime;

const MIB: u64 = 1 << 20;

/// Whether the data directory can be written, and its disk has room for what the journal may keep.
pub(super) fn data(config: &Config) -> Result<String> {
    let dir = &config.data_dir;
    let shown = dir.display();
    let there = dir.ancestors().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let there = there.into_iter().find(|dir| dir.exists()).context("data_dir: it has no directory")?;
    ensure!(there.is_dir(), "data_dir: {} is a file; choose a directory with --data-dir", there.display());
    let written = probe(there).and_then(|()| {
        let journal = dir.join(JOURNAL_DIR);
        if journal.is_dir() { probe(&journal) } else { Ok(()) }
    });
    written.with_context(|| {
        format!(
            "data_dir: {shown} cannot be written; give it to this user, or choose another with --data-dir"
        )
    })?;
    let made = if there == dir { "can be written" } else { "can be made" };
    let Some(journal) = &config.journal else { return Ok(format!("{shown} {made}; nothing is recorded")) };
    let disk = statvfs(there).with_context(|| format!("data_dir: the disk of {shown} says no size"))?;
    let free = disk.f_bavail * disk.f_frsize;
    let kept: u64 = match config.data_dir.join(JOURNAL_DIR) {
        dir if dir.is_dir() => journal::list(&dir)?.iter().map(|segment| segment.file_bytes).sum(),
        _ => 0,
    };
    let retain = journal.retain_bytes.unwrap_or(u64::MAX);
    // A segment of each core comes before retention can remove another.
    let wanted =
        retain.saturating_add(u64::from(journal.cores) * journal.segment_bytes_most()).saturating_sub(kept);
    ensure!(
        free >= wanted,
        "{shown} has {} MiB free, and the journal may still grow by {} MiB: free space, or lower journal.retain_mib",
        free / MIB,
        wanted / MIB
    );
    Ok(format!("{shown} {made}, {} MiB free; the journal may still grow by {} MiB", free / MIB, wanted / MIB))
}

/// Writes a byte, to a file that is gone again.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".bourse-check-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(b"?")?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Whether a server here is well, or one could start.
pub(super) async fn server(config: &Config) -> Result<String> {
    let dir = config.data_dir.join(JOURNAL_DIR);
    let holder = journal::holder(&dir);
    let holder = holder.with_context(|| format!("{} cannot be read: check its owner", dir.display()))?;
    let listen = config.listen;
    if let Some(process) = holder {
        let process = if process.is_empty() { "a process".to_owned() } else { format!("process {process}") };
        let asked = async { health::ask(&health::url_of(listen)?).await }.await;
        let answer = asked.with_context(|| format!("{process} is using {}", dir.display()))?;
        ensure!(answer.is_ready, "{process} serves on {listen} and says {}", answer.status);
        return Ok(format!("{process} serves on {listen} and is ready"));
    }
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("none runs, {listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("{listen} is in use by another program: stop it, or choose another address with listen")
        }
        Err(error) => {
            Err(anyhow!("{listen} cannot be listened on: {error}; choose another address with listen"))
        }
    }
}

/// Whether as many files can be open as `http.connections_max` has connections; some dozens of others hardly count.
pub(super) fn files(config: &Config) -> Result<String> {
    let wanted = config.http.connections_max as u64;
    // A server raises its own limit to the hard one.
    let Some(limit) = getrlimit(Resource::Nofile).maximum else {
        return Ok(format!("any number may be open, {wanted} of them connections"));
    };
    ensure!(
        limit >= wanted,
        "{limit} may be open, and http.connections_max is {wanted}: raise it with `ulimit -Hn`, LimitNOFILE= or \
         --ulimit nofile, or lower http.connections_max"
    );
    Ok(format!("{limit} may be open, {wanted} of them connections"))
}

/// The beginning of 2026 in UTC: no machine that runs this has a clock before.
const EARLIEST_US: u64 = 1_767_225_600_000_000;
/// How far clocks may be apart before times of instances stop making sense together.
const APART_MAX_US: i64 = 1_000_000;

/// Whether the clock is one: not in the past, not before what was recorded by it, not far from that of Redis.
pub(super) fn clock(config: &Config, redis_us: Option<i64>) -> Result<String> {
    let now_us = unix_us(SystemTime::now());
    let advice = "set it, best by NTP";
    ensure!(now_us >= EARLIEST_US, "the clock is in a year before this program was written: {advice}");
    let dir = config.data_dir.join(JOURNAL_DIR);
    let segments = if dir.is_dir() { journal::list(&dir)? } else { Vec::new() };
    let recorded_us = segments.iter().filter_map(|segment| segment.first_time_us).max().unwrap_or(0);
    ensure!(
        now_us + journal::TIME_SLACK_US >= recorded_us,
        "the clock is {} s before what is in the journal: {advice}",
        (recorded_us - now_us) / 1_000_000
    );
    let Some(apart_us) = redis_us else { return Ok("it goes on from what is recorded".to_owned()) };
    let apart_ms = apart_us / 1000;
    ensure!(
        apart_us.abs() <= APART_MAX_US,
        "that of Redis is {apart_ms} ms ahead of this machine's: {advice} on both"
    );
    Ok(format!("that of Redis is {apart_ms} ms ahead"))
}
