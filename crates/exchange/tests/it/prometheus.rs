//! Prometheus of a test's own: the server that reads /metrics by our alert rules, and the tool that judges both.

use crate::programs::{free_port, program};
use crate::server::{Said, eventually, said};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The Debian package of both programs.
const PACKAGE: &str = "prometheus";

/// Where what we ship lies.
pub(crate) fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// What promtool says to this.
pub(crate) fn promtool(words: &[&str], file: &Path) -> Said {
    let mut promtool = Command::new(program("promtool", PACKAGE));
    promtool.args(words).arg(file);
    promtool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    said(promtool)
}

/// What `promtool check metrics` has to say of the page: nothing, if all is well.
pub(crate) fn complaints(page: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metrics");
    std::fs::write(&file, page).unwrap();
    let mut promtool = Command::new(program("promtool", PACKAGE));
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(file).unwrap());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = said(promtool);
    said.out + &said.err + if said.ok { "" } else { "refused" }
}

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl Prometheus {
    /// It reads the metrics of this server every second.
    pub(crate) fn of(server: SocketAddr) -> Self {
        (0..10).find_map(|_| Self::start(server)).expect("Prometheus on one of ten ports")
    }

    /// None: somebody else has its port.
    fn start(server: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = dir.path().join("prometheus.yml");
        let rules = deploy("prometheus/bourse.rules.yml").canonicalize().unwrap();
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: bourse, static_configs: [{{targets: ['{server}']}}]}}]",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut prometheus = Command::new(program("prometheus", PACKAGE));
        prometheus.arg(format!("--config.file={}", config.display()));
        prometheus.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        prometheus.arg(format!("--web.listen-address={address}"));
        prometheus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = prometheus.spawn().expect("prometheus");
        let mut ended = false;
        eventually("Prometheus is ready", || {
            ended = process.try_wait().unwrap().is_some();
            ended || ureq::get(format!("http://{address}/-/ready")).call().is_ok()
        });
        (!ended).then_some(Self { address, process, _dir: dir })
    }

    fn get(&self, path: &str, query: &str) -> Value {
        let asked = ureq::get(format!("http://{}{path}", self.address)).query("query", query).call();
        let mut answer = asked.unwrap_or_else(|error| panic!("{path} {query}: {error}"));
        let answer: Value = answer.body_mut().read_json().expect("JSON");
        answer["data"].clone()
    }

    /// What an expression gives now: as many results as it has.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        self.get("/api/v1/query", expression)["result"].as_array().expect("results").clone()
    }

    /// The value of an expression that has one, as text.
    pub(crate) fn value(&self, expression: &str) -> Option<String> {
        let results = self.query(expression);
        Some(results.first().filter(|_| results.len() == 1)?["value"][1].as_str()?.to_owned())
    }

    /// Why it could not read the metrics, if so.
    pub(crate) fn trouble(&self) -> String {
        self.get("/api/v1/targets", "")["activeTargets"][0]["lastError"].to_string()
    }

    /// The kind of each metric that it has read, by name.
    pub(crate) fn kinds(&self) -> Vec<(String, String)> {
        let metadata = self.get("/api/v1/targets/metadata", "");
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
