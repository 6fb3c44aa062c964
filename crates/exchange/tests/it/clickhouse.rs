//! ClickHouse of a test's own: on a free port, in a directory of its own, with the tables that the program prints.

use crate::programs::{free_port, program, signal};
use crate::server::{Home, eventually, said};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// One server; killed when dropped.
pub(crate) struct ClickHouse {
    port: u16,
    dir: TempDir,
    process: Option<Child>,
}

impl ClickHouse {
    /// With no tables.
    pub(crate) fn start() -> Self {
        let mut server = Self { port: free_port(), dir: tempfile::tempdir().unwrap(), process: None };
        for _ in 0..10 {
            if server.launch() {
                return server;
            }
            server.port = free_port();
        }
        panic!("no ClickHouse on any of ten ports: {}", server.log());
    }

    /// With the tables.
    pub(crate) fn with_tables() -> Self {
        let server = Self::start();
        server.create_tables();
        server
    }

    pub(crate) fn create_tables(&self) {
        let home = Home::empty();
        let version = self.ask("SELECT version()").unwrap();
        let sql = home.run(&["events", "schema", "clickhouse", "--server", &version]).done();
        let mut client = Command::new(program("clickhouse-client", "clickhouse-client"));
        client.args(["--multiquery", "--port", &(self.port + 10_000).to_string()]);
        client.stdin(std::fs::File::open(home.write("tables.sql", sql)).unwrap());
        client.stdout(Stdio::piped()).stderr(Stdio::piped());
        said(client).done();
    }

    /// Whether it answers in the end; if not, somebody else has its port.
    fn launch(&mut self) -> bool {
        let path = self.dir.path();
        let config = CONFIG
            .replace("{dir}", path.to_str().unwrap())
            .replace("{tcp}", &(self.port + 10_000).to_string())
            .replace("{http}", &self.port.to_string());
        std::fs::write(path.join("config.xml"), config).unwrap();
        let mut server = Command::new(program("clickhouse-server", "clickhouse-server clickhouse-client"));
        server.arg("--config-file=config.xml").current_dir(path);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = server.spawn().expect("clickhouse-server");
        let mut ended = false;
        eventually("ClickHouse answers", || {
            ended = process.try_wait().unwrap().is_some();
            ended || self.ask("SELECT 1").is_ok()
        });
        self.process = (!ended).then_some(process);
        !ended
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// On the same port, with what it had on disk.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "ClickHouse does not come back: {}", self.log());
    }

    /// It hangs: it is there, and answers nobody.
    pub(crate) fn pause(&self) {
        signal(self.pid(), "STOP");
    }

    pub(crate) fn resume(&self) {
        signal(self.pid(), "CONT");
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running ClickHouse").id()
    }

    fn ask(&self, sql: &str) -> Result<String, String> {
        let answer = ureq::post(&self.url()).config().http_status_as_error(false).build().send(sql);
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().with_config().limit(1 << 32).read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(text.trim_end_matches('\n').to_owned()) } else { Err(text) }
    }

    /// What it answers, a row a line and tabs between.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> String {
        self.ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same, as objects; numbers are texts.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Value> {
        let rows = self.query(&format!("{sql} FORMAT JSONEachRow"));
        rows.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str = include_str!("clickhouse.xml");
