//! The command line, told to a shell and to `man`.

use crate::cli::Cli;
use anyhow::{Context, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io::Write as _;
use std::path::Path;

/// Writes what `shell` completes `bourse` by to standard output.
pub fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bourse", &mut script);
    std::io::stdout().write_all(&script).context("standard output")
}

/// Writes a manual page for each command into the directory.
pub fn pages(into: &Path) -> Result<()> {
    clap_mangen::generate_to(Cli::command(), into).with_context(|| {
        format!("cannot write manual pages into {}: it must be a directory that is there", into.display())
    })
}
