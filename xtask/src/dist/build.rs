//! One build of the program, by profile `dist`, that tells nobody where it was built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::FEATURES;
use super::rustc::{ADD, Host};
use crate::guard::Guard;
use crate::workspace::{Workspace, run};

/// What is built.
pub(super) struct Build<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) host: &'a Host,
    /// What the compiler is told of how the program is used.
    pub(super) profile: Option<&'a Path>,
}

impl Build<'_> {
    /// Builds from nothing in this directory under the target directory; gives the program.
    pub(super) fn run(&self, dir: &str, guard: &mut Guard) -> Result<PathBuf> {
        // A function that the profile does not know is one that training did not come to.
        let flags = self.profile.map(|profile| format!("-Cprofile-use={}", profile.display()));
        build(self.workspace, self.host, dir, flags.into_iter().collect(), guard)
    }
}

/// Builds with these flags for rustc.
pub(super) fn build(
    workspace: &Workspace,
    host: &Host,
    dir: &str,
    mut flags: Vec<String>,
    guard: &mut Guard,
) -> Result<PathBuf> {
    let target = workspace.target.join(dir);
    // What an earlier run left was given other flags, which cargo does not know of.
    let _ = fs::remove_dir_all(&target);
    let cargo_home = cargo_home()?;
    let hidden = [
        (target.as_path(), "/target"),
        (workspace.root.as_path(), "/bourse"),
        (cargo_home.as_path(), "/cargo"),
        (host.sysroot.as_path(), "/rust"),
    ];
    flags.extend(hidden.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    let c_flags = hidden.map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).join(" ");

    let xtask = env::current_exe().context("this program does not know where it is")?;
    let mut cargo = workspace.cargo(["build", "--locked", "--profile", "dist", "--package", "exchange"]);
    cargo.args(["--bin", "bourse", "--features", FEATURES, "--target", &host.triple, "--target-dir"]);
    cargo.arg(&target).env("RUSTC_WRAPPER", xtask).env(ADD, flags.join("\n")).env("CFLAGS", c_flags);
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo, guard)?;
    Ok(target.join(&host.triple).join("dist/bourse"))
}

fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    home.context("neither CARGO_HOME nor HOME is set")
}
