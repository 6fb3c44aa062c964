//! The guard: whatever way `cargo xtask` ends, what it started is stopped and what it made is removed.
//!
//! A small shell process of its own group reads from a pipe what there is to clean up, and does so when the
//! pipe closes. The kernel closes it even after `kill -9`, so no signal needs handling here and there is one
//! way to clean up, used after success, failure and Ctrl-C alike.
//!
//! * Every command runs in a process group of its own, which the guard ends with its owner: Ctrl-C leaves no
//!   test behind.
//! * [`Drop`] waits until the guard has finished.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::workspace::{ask, ends_within};

/// How long what runs beside this program may take to end by itself.
const END_MAX: Duration = Duration::from_secs(15);

const SCRIPT: &str = include_str!("guard.sh");

/// A running guard; dropping it cleans up.
pub(crate) struct Guard {
    process: Child,
    orders: Option<Rc<ChildStdin>>,
}

/// What runs beside this program until it is dropped.
pub(crate) struct Background {
    /// The first process of its group.
    pub(crate) child: Child,
    orders: Weak<ChildStdin>,
}

impl Drop for Background {
    fn drop(&mut self) {
        let group = self.child.id();
        for signal in ["TERM", "KILL"] {
            ask("kill", &["-s", signal, "--", &format!("-{group}")]);
            if ends_within(END_MAX, &mut self.child).unwrap_or(true) {
                break;
            }
        }
        // Its number may soon be somebody else's.
        if let Some(orders) = self.orders.upgrade() {
            let _ = writeln!(&*orders, "ended {group}");
        }
    }
}

impl Guard {
    /// Starts a guard with nothing to clean up.
    pub(crate) fn start() -> Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT])
            .current_dir("/")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let orders = process.stdin.take().map(Rc::new);
        Ok(Self { process, orders })
    }

    /// Starts `command` as the one group that ends with this program; [`Guard::finish`] waits for it.
    pub(crate) fn spawn(&mut self, command: &mut Command) -> Result<Child> {
        let child = command.process_group(0).spawn()?;
        self.order(&format!("group {}", child.id()))?;
        Ok(child)
    }

    /// Waits for what [`Guard::spawn`] started.
    pub(crate) fn finish(&mut self, child: Child) -> Result<Output> {
        let output = child.wait_with_output()?;
        self.order("idle")?;
        Ok(output)
    }

    /// Starts a PostgreSQL server whose data directory is in the scratch directory; it is stopped at the end.
    pub(crate) fn spawn_server(&mut self, command: &mut Command) -> Result<Child> {
        let child = command.process_group(0).spawn()?;
        self.order(&format!("server {}", child.id()))?;
        Ok(child)
    }

    /// Starts `command` in a group of its own, which ends when the [`Background`] is dropped or with this program.
    pub(crate) fn background(&mut self, command: &mut Command) -> Result<Background> {
        let child = command.process_group(0).spawn()?;
        self.order(&format!("background {}", child.id()))?;
        let orders = self.orders.as_ref().map(Rc::downgrade).unwrap_or_default();
        Ok(Background { child, orders })
    }

    /// Removes this directory at the end, once the servers in it have stopped.
    pub(crate) fn remove_scratch(&mut self, dir: &Path) -> Result<()> {
        self.order(&format!("scratch {}", dir.display()))
    }

    /// At the end puts back what was at `path` before: the file `{path}.before-xtask`, or nothing.
    pub(crate) fn restore_policy(&mut self, path: &str) -> Result<()> {
        self.order(&format!("policy {path}"))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        let orders = self.orders.as_ref().context("the guard has been told to finish")?;
        writeln!(&**orders, "{line}").context("the guard is gone")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Err(error) = self.process.wait() {
            eprintln!("warning: cannot wait for the guard to clean up: {error}");
        }
    }
}
