//! Programs besides the exchange that tests start: where they are, a port for each, a signal to one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where Debian keeps servers; not in everybody's PATH.
const SERVER_DIRS: [&str; 2] = ["/usr/local/sbin", "/usr/sbin"];

/// Where the program is; without it the test fails with the command that installs it.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(SERVER_DIRS.map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("there is no {name}: sudo apt-get install -y --no-install-recommends {package}")
    })
}

/// A port of 127.0.0.1 that was free a moment ago, and so was the one 10,000 above it. Clients are given none of either:
/// theirs begin at 32,768.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    // Test programs that run at once begin at places of their own.
    let next = || process::id() * 101 + TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut ports = std::iter::repeat_with(|| 10_000 + (next() % 10_000) as u16).take(10_000);
    ports.find(|port| is_free(port) && is_free(&(port + 10_000))).expect("a free port")
}

/// Sends the signal of this name.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill").success());
}
