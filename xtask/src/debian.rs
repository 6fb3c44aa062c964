//! Debian: installs packages where this program may, so that no freshly installed server starts by itself.
//!
//! It may when it is root on a machine with Debian's archive; anyone else is told to run [`command`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::guard::Guard;
use crate::workspace::{ask, run};

/// Debian asks this file whether a service may be started; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\nexit 101\n";

/// Whether packages come from Debian's archive here.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists()
}

/// Whether [`install`] may be called.
pub(crate) fn may_install() -> bool {
    is_debian() && is_root()
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> bool {
    ask("id", &["-u"]).as_deref() == Some("0")
}

/// The command that installs `packages`, for a person to run.
pub(crate) fn command(packages: &[&str]) -> String {
    format!("sudo apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// Installs `packages`, starting none of their services, and leaves the machine's own policy as it was.
pub(crate) fn install(packages: &[&str], guard: &mut Guard) -> Result<()> {
    guard.restore_policy(POLICY)?;
    forbid_autostart().with_context(|| format!("cannot write {POLICY}"))?;
    run(apt_get().arg("update"), guard)?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages), guard)
}

fn forbid_autostart() -> Result<()> {
    let before = format!("{POLICY}.before-xtask");
    // One that is already set aside is the machine's own: it was put there by a run that never got to end.
    if Path::new(POLICY).exists() && !Path::new(&before).exists() {
        fs::rename(POLICY, before)?;
    }
    fs::write(POLICY, POLICY_TEXT)?;
    Ok(fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // No terminal of its own: it runs in a background process group, which a change of terminal modes would
    // stop.
    command.args(["-q", "-o", "Dpkg::Use-Pty=0"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
