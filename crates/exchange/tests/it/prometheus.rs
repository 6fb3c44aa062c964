//! Prometheus of a test's own: with our alert rules, it scrapes an instance every second.

use crate::programs::{free_port, program};
use crate::server::{Said, eventually, said};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Where what we ship lies.
pub(crate) fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// What promtool says to this.
pub(crate) fn promtool(words: &[&str], file: &Path) -> Said {
    let mut promtool = Command::new(program("promtool", "prometheus"));
    promtool.args(words).arg(file);
    promtool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    said(promtool)
}

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl Prometheus {
    pub(crate) fn watching(instance: SocketAddr) -> Self {
        (0..10).find_map(|_| Self::start(instance)).expect("Prometheus on one of ten ports")
    }

    /// None: somebody else has its port.
    fn start(instance: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let rules = deploy("prometheus/bourse.rules.yml").canonicalize().unwrap();
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{}']
scrape_configs: [{{job_name: bourse, static_configs: [{{targets: ['{instance}']}}]}}]",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut prometheus = Command::new(program("prometheus", "prometheus"));
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

    /// What an expression gives now: as many results as it has.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let asked =
            ureq::get(format!("http://{}/api/v1/query", self.address)).query("query", expression).call();
        let mut answer = asked.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let answer: Value = answer.body_mut().read_json().expect("JSON");
        answer["data"]["result"].as_array().expect("results").clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
