//! The profile: how often each branch of the program is taken under load, for the compiler to lay it out by.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::build;
use super::rustc::Host;
use super::train;
use crate::guard::Guard;
use crate::tools::{self, LlvmTools};
use crate::workspace::{Workspace, ask, run};

/// Which profile to use.
pub(super) enum Choice {
    None,
    Given(PathBuf),
    Trained,
}

/// The profile's file, if there is to be one and it can be had.
pub(super) fn provide(
    choice: Choice,
    workspace: &Workspace,
    host: &Host,
    guard: &mut Guard,
) -> Result<Option<PathBuf>> {
    match choice {
        Choice::None => Ok(None),
        Choice::Given(file) => {
            let file = std::path::absolute(&file)?;
            ensure!(file.is_file(), "--pgo: there is no file {}", file.display());
            Ok(Some(file))
        }
        Choice::Trained => {
            let Some(tools) = tools::provide_llvm(workspace, host, guard)? else {
                eprintln!(
                    "built WITHOUT a profile, some percent slower: there is no llvm-profdata of LLVM {}; \
                     `rustup component add llvm-tools` brings it",
                    host.llvm
                );
                return Ok(None);
            };
            trained(workspace, host, &tools, guard).map(Some)
        }
    }
}

/// The profile of these sources; trained unless it was before.
fn trained(workspace: &Workspace, host: &Host, tools: &LlvmTools, guard: &mut Guard) -> Result<PathBuf> {
    let dir = workspace.target.join("pgo");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let kept = sources(workspace, host).map(|name| dir.join(name).with_extension("profdata"));
    if let Some(kept) = kept.as_ref().filter(|kept| kept.is_file()) {
        eprintln!("the profile of these sources is there: {}", kept.display());
        return Ok(kept.clone());
    }
    let raw = dir.join("raw");
    let _ = fs::remove_dir_all(&raw);
    let flags = vec![format!("-Cprofile-generate={}", raw.display())];
    let program = build(workspace, host, "dist-trained", flags, guard)?;
    // What building and loading the catalogue did is no load.
    let _ = fs::remove_dir_all(&raw);
    train::train(&program, workspace, &raw, guard)?;
    let profile = kept.unwrap_or_else(|| dir.join("unnamed.profdata"));
    merge(tools, &raw, &profile, guard)?;
    Ok(profile)
}

fn merge(tools: &LlvmTools, raw: &Path, profile: &Path, guard: &mut Guard) -> Result<()> {
    let mut merge: Command = tools.command("llvm-profdata");
    merge.args(["merge", "--sparse", "--output"]).arg(profile);
    let files = fs::read_dir(raw).with_context(|| format!("training left nothing in {}", raw.display()))?;
    for file in files {
        merge.arg(file?.path());
    }
    run(&mut merge, guard)
}

/// A name for the sources and the compiler; none where something is not committed.
fn sources(workspace: &Workspace, host: &Host) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut all = vec!["-C", workspace.root.to_str()?];
        all.extend(arguments);
        ask("git", &all)
    };
    let tree = git(&["rev-parse", "HEAD^{tree}"])?;
    let is_clean = git(&["status", "--porcelain"])?.is_empty();
    let mut compiler = DefaultHasher::new();
    host.version.hash(&mut compiler);
    is_clean.then(|| format!("{tree}-{:016x}", compiler.finish()))
}
