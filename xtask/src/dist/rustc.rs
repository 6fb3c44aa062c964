//! The compiler, and how it is given flags that cargo does not know of.
//!
//! Flags in `RUSTFLAGS` become part of every symbol's name, paths and all. So this program stands before rustc
//! (`RUSTC_WRAPPER`) and adds them itself, for what ends up in the release and not for build scripts.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::ask;

/// Flags to add, one a line; where it is set, this program is rustc.
pub(crate) const ADD: &str = "BOURSE_RUSTC_ADD";

/// The machine that the release is built on and for.
pub(crate) struct Host {
    pub(crate) triple: String,
    /// The compiler and its LLVM, as it says itself.
    pub(crate) version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    pub(crate) sysroot: PathBuf,
}

/// Asks rustc.
pub(crate) fn host() -> Result<Host> {
    let version = ask("rustc", &["-vV"]).context("there is no rustc in PATH")?;
    let field = |name: &str| {
        let value = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.with_context(|| format!("rustc -vV names no {name}"))
    };
    let llvm = field("LLVM version")?.split('.').next().and_then(|major| major.parse().ok());
    let sysroot = ask("rustc", &["--print", "sysroot"]).context("rustc has no sysroot")?;
    Ok(Host {
        triple: field("host")?.to_owned(),
        llvm: llvm.context("rustc has no LLVM version")?,
        sysroot: sysroot.into(),
        version,
    })
}

/// Becomes rustc, with `flags` added where the target is named: build scripts and macros have none.
pub(crate) fn become_rustc(flags: &OsString) -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next().unwrap_or_else(|| "rustc".into());
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(rustc);
    command.args(&arguments);
    if arguments.iter().any(|argument| argument == "--target") {
        command.args(flags.to_string_lossy().lines());
    }
    eprintln!("cannot run rustc: {}", command.exec());
    ExitCode::FAILURE
}
