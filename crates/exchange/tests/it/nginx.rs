//! nginx of a test's own: before the instances, with the configuration that we ship.

use crate::programs::{free_port, program};
use crate::server::eventually;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running nginx; killed when dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    process: Child,
    dir: TempDir,
}

impl Nginx {
    /// It hands each request to the next of these; one that may have been begun it does not hand on to another.
    pub(crate) fn before(instances: &[SocketAddr]) -> Self {
        (0..10).find_map(|_| Self::start(instances)).expect("nginx on one of ten ports")
    }

    /// What it has complained of.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    /// None: somebody else has its port.
    fn start(instances: &[SocketAddr]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, configuration(address, instances)).unwrap();
        let mut nginx = Command::new(program("nginx", "nginx-light"));
        nginx.arg("-p").arg(dir.path()).arg("-c").arg(&config);
        // It may warn of a log file that only root can write; its own is in the directory.
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = nginx.spawn().expect("nginx");
        let mut ended = false;
        eventually("nginx listens", || {
            ended = process.try_wait().unwrap().is_some();
            // Written once it does.
            ended || dir.path().join("nginx.pid").exists()
        });
        (!ended).then_some(Self { address, process, dir })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The file that we ship, with these addresses in place of those of its example.
fn shipped(address: SocketAddr, instances: &[SocketAddr]) -> String {
    let mut shipped = include_str!("../../../../deploy/nginx/bourse.conf").to_owned();
    let mut replace = |from: &str, to: &str| {
        assert!(shipped.contains(from), "there is no {from} in {shipped}");
        shipped = shipped.replace(from, to);
    };
    replace("listen 8080", &format!("listen {address}"));
    for n in 0..EXAMPLE_INSTANCES {
        // Fewer instances than in the example: one stands there twice.
        let instance = instances[n % instances.len()];
        replace(&format!("server app-{}:8000 ", n + 1), &format!("server {instance} "));
    }
    assert!(instances.len() <= EXAMPLE_INSTANCES, "the example has no place for {instances:?}");
    shipped
}

/// How many instances the shipped file names.
const EXAMPLE_INSTANCES: usize = 3;

/// One process, so that to kill it leaves nothing behind.
fn configuration(address: SocketAddr, instances: &[SocketAddr]) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|purpose| format!("{purpose}_temp_path {purpose};\n"))
        .concat();
    let shipped = shipped(address, instances);
    format!(
        "daemon off; master_process off;
        pid nginx.pid; error_log error.log;
        events {{ worker_connections 8192; }}
        http {{
            access_log off;
            {temporary}
            {shipped}
        }}"
    )
}
