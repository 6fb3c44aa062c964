//! Prometheus of a test's own: the server that reads /metrics, and the tool that judges it.

use crate::client::Connection;
use crate::programs::{free_port, program};
use crate::server::{eventually, said};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The Debian package of both programs.
const PACKAGE: &str = "prometheus";

/// What `promtool check metrics` has to say of the page: nothing, if all is well.
pub(crate) fn complaints(page: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metrics");
    std::fs::write(&file, page).unwrap();
    let mut promtool = Command::new(program("promtool", PACKAGE));
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(file).unwrap());
    let said = said_by(promtool);
    said.out + &said.err + if said.ok { "" } else { "refused" }
}

fn said_by(mut command: Command) -> crate::server::Said {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    said(command)
}

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl Prometheus {
    /// It reads the metrics of this server a few times a second.
    pub(crate) fn of(server: SocketAddr) -> Self {
        (0..10).find_map(|_| Self::start(server)).expect("Prometheus on one of ten ports")
    }

    /// None: somebody else has its port.
    fn start(server: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = dir.path().join("prometheus.yml");
        let scrape = format!(
            "scrape_configs: [{{job_name: bourse, scrape_interval: 200ms, scrape_timeout: 200ms, \
             static_configs: [{{targets: ['{server}']}}]}}]"
        );
        std::fs::write(&config, scrape).unwrap();
        let mut prometheus = Command::new(program("prometheus", PACKAGE));
        prometheus.arg(format!("--config.file={}", config.display()));
        prometheus.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        prometheus.arg(format!("--web.listen-address={address}"));
        prometheus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = prometheus.spawn().expect("prometheus");
        let mut ended = false;
        eventually("Prometheus is ready", || {
            ended = process.try_wait().unwrap().is_some();
            ended
                || Connection::try_open(address).is_ok_and(|mut connection| {
                    connection
                        .try_request("GET", "/-/ready", &[], b"")
                        .is_some_and(|answer| answer.status == 200)
                })
        });
        (!ended).then_some(Self { address, process, _dir: dir })
    }

    fn get(&self, path: &str) -> Value {
        let answer = Connection::open(self.address).request("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()["data"].clone()
    }

    /// The value of a query that has one, as text.
    pub(crate) fn query(&self, query: &str) -> Option<String> {
        let result = &self.get(&format!("/api/v1/query?query={query}"))["result"];
        Some(result.as_array().filter(|series| series.len() == 1)?[0]["value"][1].as_str()?.to_owned())
    }

    /// Why it could not read the metrics, if so.
    pub(crate) fn trouble(&self) -> String {
        self.get("/api/v1/targets")["activeTargets"][0]["lastError"].to_string()
    }

    /// The kind of each metric that it has read, by name.
    pub(crate) fn kinds(&self) -> Vec<(String, String)> {
        let metadata = self.get("/api/v1/targets/metadata");
        let of = |entry: &Value| {
            let text = |member: &str| entry[member].as_str().unwrap().to_owned();
            (text("metric"), text("type"))
        };
        metadata.as_array().unwrap().iter().map(of).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
