//! A small disk that a test has for itself. The tests of the exchange use this file, too.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A file system of 4 MiB in memory; unmounted however the test ends.
pub(crate) struct Tiny(TempDir);

impl Tiny {
    /// None: this user may not mount.
    pub(crate) fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(dir.path());
        let mounted = mount.output().expect("this test needs the program mount");
        mounted.status.success().then(|| Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: after a failed assertion files may still be open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Runs the test of this name where whoever runs it is root: in a namespace of users and mounts of its own.
pub(crate) fn again_as_root(test: &str) {
    const INSIDE: &str = "BOURSE_TEST_INSIDE";
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "this test must mount a tmpfs, and may not even in its own namespace"
    );
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    again.args(["--exact", test]);
    let said = again.env(INSIDE, "1").output().expect("this test needs root, or the program unshare");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.contains("1 passed"), "{out}{err}");
}
