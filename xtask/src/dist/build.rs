//! One build of the program, by profile `dist`, that tells nobody where it was built.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::rustc::{ADD, Host};
use super::{FEATURES, pack};
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
        let program = build(self.workspace, self.host, dir, flags.into_iter().collect(), guard)?;
        tells_nobody(&program, &self.workspace.root)?;
        Ok(program)
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
    // Of several that match the last holds.
    let hidden = [
        (workspace.root.as_path(), "/bourse"),
        (target.as_path(), "/target"),
        (cargo_home.as_path(), "/cargo"),
        (host.sysroot.as_path(), "/rust"),
    ];
    flags.extend(hidden.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    let c_flags = hidden.map(|(from, to)| format!("'-ffile-prefix-map={}={to}'", from.display())).join(" ");
    let compilers = compilers(&workspace.target.join("dist-tools"), &c_flags)?;

    let xtask = env::current_exe().context("this program does not know where it is")?;
    let mut cargo = workspace.cargo(["build", "--locked", "--profile", "dist", "--package", "exchange"]);
    cargo.args(["--bin", "bourse", "--features", FEATURES, "--target", &host.triple, "--target-dir"]);
    cargo.arg(&target).env("RUSTC_WRAPPER", xtask).env(ADD, flags.join("\n"));
    cargo.envs(COMPILERS.map(|(variable, _, name)| (variable, name))).env("PATH", compilers);
    // OpenSSL keeps when it was built, too.
    cargo.env("GNUMAKEFLAGS", OPENSSL_DIRS).env("SOURCE_DATE_EPOCH", pack::date(workspace).to_string());
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo, guard)?;
    Ok(target.join(&host.triple).join("dist/bourse"))
}

/// An error if the program has this directory's path in it.
fn tells_nobody(program: &Path, dir: &Path) -> Result<()> {
    let (bytes, path) = (fs::read(program)?, format!("{}/", dir.display()));
    let mut found = bytes.windows(path.len()).enumerate().filter(|(_, window)| *window == path.as_bytes());
    let Some((at, _)) = found.next() else { return Ok(()) };
    let text: Vec<u8> = bytes[at..].iter().copied().take_while(u8::is_ascii_graphic).take(200).collect();
    bail!("the program says where it was built: {}", String::from_utf8_lossy(&text))
}

/// Compilers of C and C++: the variable that names one, what it is unless that says otherwise, and what it is here.
const COMPILERS: [(&str, &str, &str); 2] = [("CC", "cc", "bourse-cc"), ("CXX", "c++", "bourse-c++")];

/// OpenSSL keeps where it would look for engines and modules, which is where it was built. There are none.
const OPENSSL_DIRS: &str = "ENGINESDIR=/nonexistent MODULESDIR=/nonexistent";

/// Makes compilers that add these flags by themselves: OpenSSL keeps the flags that it is told. Returns a PATH with them.
fn compilers(dir: &Path, flags: &str) -> Result<OsString> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (variable, compiler, name) in COMPILERS {
        let compiler = env::var(variable).unwrap_or_else(|_| compiler.to_owned());
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {compiler} {flags} \"$@\"\n"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [dir.to_owned()].into_iter().chain(env::split_paths(&path));
    env::join_paths(dirs).context("PATH")
}

fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    home.context("neither CARGO_HOME nor HOME is set")
}
