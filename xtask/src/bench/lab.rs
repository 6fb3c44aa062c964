//! The laboratory: programs built, tools found, a place for data, and commands pinned to a core.
//!
//! * The server has core 0, the load generator and Redis core 1; a machine with fewer is refused.
//! * Data is on the disk of the target directory, because a journal in memory would cost nothing; it goes at the end.
//!   Logs stay, in `target/bench/logs`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, process, thread};

use anyhow::{Context, Result, ensure};

use super::Common;
use super::machine::Machine;
use crate::guard::Guard;
use crate::needed::{self, Program};
use crate::workspace::{Workspace, capture, run};

/// The core of the server that is measured.
pub(super) const SERVER_CORE: usize = 0;
/// The core of everything else.
pub(super) const LOAD_CORE: usize = 1;

/// What a benchmark works with.
pub(super) struct Lab {
    pub(super) guard: Guard,
    pub(super) workspace: Workspace,
    pub(super) machine: Machine,
    programs: PathBuf,
    /// The program that is measured in place of the one built here.
    bourse: Option<PathBuf>,
    scratch: PathBuf,
    logs: PathBuf,
    into: PathBuf,
}

impl Lab {
    /// Builds what is measured, and makes ready what measures.
    pub(super) fn open(common: &Common, tools: &[Program]) -> Result<Self> {
        Self::open_with(common, tools, &[])
    }

    /// The same with these features in Bourse, which one that is given must have.
    pub(super) fn open_with(common: &Common, tools: &[Program], features: &[&str]) -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        ensure!(
            cores > LOAD_CORE,
            "server and load generator need a core each, and this machine has {cores}"
        );
        let workspace = Workspace::find()?;
        let mut guard = Guard::start()?;
        let found = needed::provide_programs(tools, &mut guard)?;
        build(&workspace, common, features, &mut guard)?;
        let bourse = common.bourse.as_ref().map(fs::canonicalize).transpose().context("--bourse")?;
        let machine = Machine::describe(&workspace, common.profile, bourse.is_some(), &found);
        let (scratch, logs) = directories(&workspace, &mut guard)?;
        let into = common.into.as_ref().map(std::path::absolute).transpose()?;
        let into = into.unwrap_or_else(|| workspace.root.join("benches/runs").join(&machine.run));
        let programs = workspace.target.join(common.profile.name());
        Ok(Self { guard, workspace, machine, programs, bourse, scratch, logs, into })
    }

    /// The `bourse` that is measured.
    pub(super) fn bourse(&self) -> PathBuf {
        self.bourse.clone().unwrap_or_else(|| self.program("bourse"))
    }

    /// One of our programs as built here: `bourse`, `floor`, `bare-hyper` or `load`.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A command on this core, free of a developer's own settings.
    pub(super) fn pinned(&self, core: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.unpinned("taskset");
        command.arg("--cpu-list").arg(core.to_string()).arg(program);
        command
    }

    /// A command on any core, free of a developer's own settings.
    pub(super) fn unpinned(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.scratch).stdin(Stdio::null());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BOURSE_")) {
            command.env_remove(name);
        }
        command
    }

    /// A directory for data; made if it is not there.
    pub(super) fn place(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Where a server writes what it has to say.
    pub(super) fn log(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.logs.join(format!("{name}.log"));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok((path, file))
    }

    /// Whether `bourse` has a setting of this name.
    pub(super) fn bourse_knows(&mut self, setting: &str) -> Result<bool> {
        let mut show = self.pinned(LOAD_CORE, self.bourse());
        let settings = capture(show.args(["config", "show"]), &mut self.guard)?;
        Ok(settings.lines().any(|line| line.split(' ').next() == Some(setting)))
    }

    /// A file of the results, its directory made.
    pub(super) fn result(&self, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(&self.into).with_context(|| format!("cannot make {}", self.into.display()))?;
        Ok(self.into.join(name))
    }
}

/// One after the other: built together, each would be compiled with the features that the other asks for.
fn build(workspace: &Workspace, common: &Common, features: &[&str], guard: &mut Guard) -> Result<()> {
    let (profile, ours) = (common.profile, common.bourse.is_none().then_some(("exchange", features)));
    for (package, features) in ours.into_iter().chain([("floor", &[][..])]) {
        let build = ["build", "--locked", "--profile", profile.name(), "--package", package, "--bins"];
        let features = features.iter().flat_map(|feature| ["--features", feature]);
        let build = build.into_iter().chain(features);
        run(&mut workspace.cargo(build), guard)?;
    }
    Ok(())
}

fn directories(workspace: &Workspace, guard: &mut Guard) -> Result<(PathBuf, PathBuf)> {
    let home = workspace.target.join("bench");
    let (scratch, logs) = (home.join(process::id().to_string()), home.join("logs"));
    let make = |dir: &Path| fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()));
    make(&scratch)?;
    guard.remove_scratch(&scratch)?;
    make(&logs)?;
    Ok((scratch, logs))
}
