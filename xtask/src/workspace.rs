//! The workspace: where its root and target directories are, and how a command is run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::guard::Guard;

const POLL_EVERY: Duration = Duration::from_millis(20);

/// Where the workspace is.
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    cargo: PathBuf,
}

impl Workspace {
    /// Finds the workspace by what `cargo run` tells the program it starts.
    pub(crate) fn find() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
        let root = Path::new(&package).parent().context("CARGO_MANIFEST_DIR has no parent")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir).context("CARGO_TARGET_DIR")?,
            None => root.join("target"),
        };
        let cargo = env::var_os("CARGO").context("start this as `cargo xtask`")?.into();
        Ok(Self { root, target, cargo })
    }

    /// A command that runs in the root of the workspace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs this program, with `arguments`.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command(&self.cargo);
        command.args(arguments);
        command
    }
}

/// Shows `command` and runs it with its output on the terminal; an error unless it succeeds.
pub(crate) fn run(command: &mut Command, guard: &mut Guard) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let child = guard.spawn(command.stdin(Stdio::null())).with_context(|| format!("cannot run `{line}`"))?;
    let output = guard.finish(child)?;
    ensure!(output.status.success(), "`{line}` failed ({})", output.status);
    Ok(())
}

/// Runs `command` silently and gives its standard output; its standard error becomes the error.
pub(crate) fn capture(command: &mut Command, guard: &mut Guard) -> Result<String> {
    capture_within(Duration::MAX, command, guard)
}

/// Like [`capture`], for what waits for a network: ends the command after `limit`, which is an error too.
pub(crate) fn capture_within(limit: Duration, command: &mut Command, guard: &mut Guard) -> Result<String> {
    let line = shown(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = guard.spawn(command).with_context(|| format!("cannot run `{line}`"))?;
    // A command without a limit is simply waited for: its output may be more than a pipe holds.
    if limit < Duration::MAX && !ends_within(limit, &mut child)? {
        ask("sh", &["-c", &format!("kill -TERM -{}", child.id())]);
    }
    let output = guard.finish(child)?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` did not print UTF-8"))
}

/// Whether the process ends within `limit`.
pub(crate) fn ends_within(limit: Duration, child: &mut Child) -> Result<bool> {
    let started_at = Instant::now();
    while child.try_wait()?.is_none() {
        if started_at.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(POLL_EVERY);
    }
    Ok(true)
}

/// What a short question such as `id -u` or `postgres --version` prints; `None` if it cannot be asked.
pub(crate) fn ask(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The command as a person would type it: the program without its directory.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(|word| {
        let word = word.to_string_lossy();
        if word.is_empty() || word.contains([' ', '*', '$', '\'', '"']) {
            format!("{word:?}")
        } else {
            word.into()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
