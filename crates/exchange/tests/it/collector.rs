//! An OpenTelemetry collector of a test's own: takes traces by OTLP over HTTP, or behaves as badly as it is told to.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Says this status to every request.
    Says(u16),
    /// Takes a request, but for one span.
    RefusesOne,
    /// Reads and never answers.
    Hangs,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    /// Of each request, whatever came of it.
    heads: Mutex<Vec<BTreeMap<String, String>>>,
}

/// Listens until the test ends.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner: Mutex::new(Manner::Takes),
            requests: Mutex::default(),
            heads: Mutex::default(),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                    thread::spawn(move || converse(&stream, &shared));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// How many requests were made of it.
    pub(crate) fn asked(&self) -> usize {
        self.shared.heads.lock().unwrap().len()
    }

    /// The head of every request, by lowercase name; the first line is `""`.
    pub(crate) fn heads(&self) -> Vec<BTreeMap<String, String>> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Every span it took, in order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.shared.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|spans| &spans.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Who said so, of each request.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let requests = self.shared.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.map(|spans| spans.resource.clone().expect("a resource")).collect()
    }
}

/// Answers requests on one connection until it ends.
fn converse(stream: &TcpStream, shared: &Shared) {
    let mut from = BufReader::new(stream);
    while let Some((head, body)) = request(&mut from) {
        shared.heads.lock().unwrap().push(head);
        let manner = *shared.manner.lock().unwrap();
        let mut said = ExportTraceServiceResponse::default();
        let status = match manner {
            Manner::Hangs => {
                // Until the client gives up.
                let _ = from.read(&mut [0]);
                return;
            }
            Manner::Says(status) => status,
            Manner::Takes | Manner::RefusesOne => {
                shared
                    .requests
                    .lock()
                    .unwrap()
                    .push(ExportTraceServiceRequest::decode(&*body).expect("OTLP"));
                200
            }
        };
        if manner == Manner::RefusesOne {
            let error_message = "no room".to_owned();
            said.partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message });
        }
        let said = said.encode_to_vec();
        let head = format!(
            "HTTP/1.1 {status} As Told\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            said.len()
        );
        let mut to = stream;
        if to.write_all(&[head.as_bytes(), &said].concat()).is_err() {
            return;
        }
    }
}

fn request(from: &mut impl BufRead) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut head = BTreeMap::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            first if head.is_empty() => head.insert(String::new(), first.to_owned()),
            line => {
                let (name, value) = line.split_once(':').expect("a header");
                head.insert(name.to_ascii_lowercase(), value.trim().to_owned())
            }
        };
    }
    let mut body = vec![0; head.get("content-length").expect("a length").parse().expect("a number")];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}
