//! nginx of a test's own: before the instances, as an operator would put it there.

use crate::programs::{free_port, program};
use crate::server::eventually;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running nginx; killed when dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl Nginx {
    /// It hands each request to the next of these; one that may have been begun it does not hand on to another.
    pub(crate) fn before(instances: &[SocketAddr]) -> Self {
        (0..10).find_map(|_| Self::start(instances)).expect("nginx on one of ten ports")
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
        (!ended).then_some(Self { address, process, _dir: dir })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process, so that to kill it leaves nothing behind.
fn configuration(address: SocketAddr, instances: &[SocketAddr]) -> String {
    let servers: String = instances.iter().map(|instance| format!("server {instance};\n")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|purpose| format!("{purpose}_temp_path {purpose};\n"))
        .concat();
    format!(
        "daemon off; master_process off;
        pid nginx.pid; error_log error.log;
        events {{ worker_connections 8192; }}
        http {{
            access_log off;
            {temporary}
            keepalive_requests 1000000;
            upstream instances {{
                {servers}
                keepalive 256; keepalive_requests 1000000;
            }}
            server {{
                listen {address} backlog=4096;
                location / {{
                    proxy_pass http://instances;
                    proxy_http_version 1.1;
                    proxy_set_header Connection '';
                    proxy_set_header Host $host;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_next_upstream error timeout;
                }}
            }}
        }}"
    )
}
