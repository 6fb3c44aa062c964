//! What the system says of this process, under the names that all Prometheus clients use.
//!
//! * Source: `/proc`; where there is none, there are no such metrics.

use super::scrape::{counter_f64, gauge};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::fs::{read_dir, read_to_string};

/// This process.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        if let Some(stat) = Stat::read() {
            let help = "CPU time of the process, of user and system";
            counter_f64(to, "process_cpu", help, Some(&Unit::Seconds), stat.cpu_s)?;
            let help = "memory that the process has in RAM";
            gauge(to, "process_resident_memory", help, Some(&Unit::Bytes), stat.resident_bytes)?;
            let help = "address space of the process, reserved or used";
            gauge(to, "process_virtual_memory", help, Some(&Unit::Bytes), stat.virtual_bytes)?;
            gauge(to, "process_threads", "threads of the process", None, stat.threads)?;
            if let Some(booted_s) = booted_s() {
                let help = "when the process started, since 1970 (UTC)";
                gauge(to, "process_start_time", help, Some(&Unit::Seconds), booted_s + stat.since_boot_s)?;
            }
        }
        if let Ok(open) = read_dir("/proc/self/fd") {
            gauge(to, "process_open_fds", "files and sockets open", None, open.count() as f64)?;
        }
        // No limit is the largest number.
        let files_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        gauge(to, "process_max_fds", "files and sockets that may be open", None, files_max as f64)
    }
}

/// What `/proc/self/stat` says (proc_pid_stat(5)).
struct Stat {
    cpu_s: f64,
    threads: f64,
    since_boot_s: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = read_to_string("/proc/self/stat").ok()?;
        // The name before may have spaces and parentheses. What follows begins with field 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks_per_second = clock_ticks_per_second() as f64;
        Some(Self {
            cpu_s: (field(14)? + field(15)?) / ticks_per_second,
            threads: field(20)?,
            since_boot_s: field(22)? / ticks_per_second,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size() as f64,
        })
    }
}

/// When the system started, in seconds since 1970 (UTC).
fn booted_s() -> Option<f64> {
    read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}
