//! The machine a run was made on: without it no number means anything.

use std::{fs, thread};

use super::Profile;
use crate::workspace::{Workspace, ask};

/// What is written above every result.
pub(super) struct Machine {
    /// Such as `2026-11-24-2core`.
    pub(super) run: String,
    lines: Vec<String>,
}

impl Machine {
    /// Describes this machine, and what runs on it.
    pub(super) fn describe(workspace: &Workspace, profile: Profile, is_release: bool, tools: &str) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let date = ask("date", &["-u", "+%F"]).unwrap_or_else(|| "undated".into());
        let said = |program, arguments: &[&str]| ask(program, arguments).unwrap_or_else(|| "unknown".into());
        let field = |file: &str, name: &str, separator| field(file, name, separator).unwrap_or_default();
        let memory_kib: u64 = field("/proc/meminfo", "MemTotal", ':')
            .split(' ')
            .find_map(|word| word.parse().ok())
            .unwrap_or(0);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Vec<&str> = load.split(' ').take(3).collect();
        let lines = vec![
            format!("{date}, commit {}", commit(workspace)),
            format!(
                "{cores} cores, {}, {:.0} GiB",
                field("/proc/cpuinfo", "model name", ':'),
                memory_kib as f64 / 1_048_576.0
            ),
            format!(
                "{}, kernel {}",
                field("/etc/os-release", "PRETTY_NAME", '=').trim_matches('"'),
                said("uname", &["-r"])
            ),
            format!(
                "{}, profile {}{}",
                said("rustc", &["-V"]),
                profile.name(),
                if is_release { "; Bourse as given by --bourse" } else { "" }
            ),
            format!("{tools}; load average before the run {}", load.join(" ")),
        ];
        Self { run: format!("{date}-{cores}core"), lines }
    }

    /// As a list in Markdown.
    pub(super) fn list(&self) -> String {
        self.lines.iter().map(|line| format!("- {line}\n")).collect()
    }
}

/// The commit that was measured, and whether the tree had more than that.
fn commit(workspace: &Workspace) -> String {
    let git = |arguments: &[&str]| {
        let output = workspace.command("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|it| !it.is_empty());
    if changed { format!("{commit} with changes") } else { commit }
}

/// What a file of lines of the form `name separator value` says of the first of that name.
fn field(file: &str, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}
