//! A server that is measured: started, asked what it has used, stopped when dropped.
//!
//! Units: CPU in nanoseconds, memory in KiB.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::lab::{LOAD_CORE, Lab};
use crate::guard::Background;
use crate::needed::REDIS;

const START_MAX: Duration = Duration::from_secs(30);

/// A running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    process: Background,
    /// Kept open: a server that finds nobody to tell something may end.
    _output: BufReader<ChildStdout>,
}

/// What a process holds, in KiB.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    /// All of it that is in memory.
    pub(super) resident: u64,
    /// Without pages of files, such as the mapped journal.
    pub(super) anonymous: u64,
}

impl Server {
    /// Starts a server and waits for the line that says where it listens.
    pub(super) fn start(lab: &mut Lab, name: &str, command: &mut Command) -> Result<Self> {
        let (path, log) = lab.log(name)?;
        let mut process = lab.guard.background(command.stdout(Stdio::piped()).stderr(log))?;
        let output = process.child.stdout.take().context("the server has no output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let address = address
            .with_context(|| format!("{name} does not say where it listens; its log: {}", path.display()))?;
        Ok(Self { address, process, _output: output })
    }

    /// CPU used so far by all threads there are.
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        Ok(self.cpu_by_thread()?.values().sum())
    }

    /// The same by the threads' names.
    pub(super) fn cpu_by_thread(&self) -> Result<BTreeMap<String, u64>> {
        let tasks = fs::read_dir(self.proc("task")).context("the server has ended")?;
        let mut used = BTreeMap::new();
        for task in tasks.filter_map(|task| Some(task.ok()?.path())) {
            // One that has just ended is no error.
            let read = |file| fs::read_to_string(task.join(file)).ok();
            let (Some(name), Some(text)) = (read("comm"), read("schedstat")) else { continue };
            let ns = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
            *used.entry(name.trim_end().to_owned()).or_insert(0) += ns.unwrap_or(0);
        }
        Ok(used)
    }

    /// What it holds now.
    pub(super) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(self.proc("status")).context("the server has ended")?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Memory { resident: kib("VmRSS:"), anonymous: kib("RssAnon:") })
    }

    /// Sends it a signal: STOP, or CONT after that.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let told = Command::new("kill").args(["-s", name, &self.process.child.id().to_string()]).status()?;
        ensure!(told.success(), "the server has ended");
        Ok(())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.child.id()))
    }
}

/// A Redis that keeps nothing on disk, on the load generator's core.
pub(super) struct Redis {
    port: u16,
    _process: Background,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub(super) fn start(lab: &mut Lab) -> Result<Self> {
        let (path, log) = lab.log("redis")?;
        let port = free_port()?;
        let program = REDIS.find().context("there is no redis-server")?;
        let mut command = lab.pinned(LOAD_CORE, program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        let process = lab.guard.background(command.arg(port.to_string()).stdout(log))?;
        let started_at = Instant::now();
        while !answers(port) {
            ensure!(started_at.elapsed() < START_MAX, "Redis does not answer; its log: {}", path.display());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { port, _process: process })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ping().is_ok_and(|answer| &answer == b"+PONG")
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()) {
        Ok(address) => Ok(address.port()),
        Err(error) => bail!("no free port on 127.0.0.1: {error}"),
    }
}
