//! An HTTP/1.1 client that sends exactly the bytes it is given and reads exactly one answer at a time.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes; a test that gets here hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The number of the header, in whole seconds from 1: what Retry-After must be.
    pub(crate) fn retry_after_s(&self) -> u64 {
        let seconds = self.header("retry-after").unwrap_or_else(|| panic!("no Retry-After: {self:?}"));
        let seconds = seconds.parse().expect("whole seconds");
        assert!(seconds >= 1, "{self:?}");
        seconds
    }

    /// The problem (RFC 9457), after checking that it is one, whole and in agreement with the status line.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        for member in ["type", "title", "detail", "code"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.trim().is_empty(), "{member} of {problem}");
        }
        assert_eq!(problem["status"], json!(self.status), "{problem}");
        assert!(self.body.iter().all(|&b| b >= b' ' && b != 0x7f), "unescaped: {problem}");
        problem
    }

    /// The problem's code.
    pub(crate) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap().to_owned()
    }

    /// Checks that it is this refusal.
    #[track_caller]
    pub(crate) fn is_refusal(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
    }

    /// `200`, or the refusal's status and code: what an answer means, without the luck of the draw.
    pub(crate) fn verdict(&self) -> String {
        if self.status == 200 { "200".to_owned() } else { format!("{} {}", self.status, self.code()) }
    }

    /// The winner and its price in micros, read from the text of the answer.
    pub(crate) fn sale(&self) -> Option<(String, u64)> {
        if self.status != 200 {
            return None;
        }
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&self.body).expect("an object");
        assert_eq!(members.keys().collect::<Vec<_>>(), ["price", "winner"], "{}", self.text());
        let winner = serde_json::from_str(members["winner"].get()).expect("a string");
        Some((winner, micros(members["price"].get())))
    }
}

/// Micros of USD that a plain decimal writes, exactly.
pub(crate) fn micros(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    assert!(is_plain(whole) && is_plain(fraction) && !whole.is_empty() && fraction.len() <= 6, "{text}");
    whole.parse::<u64>().unwrap() * 1_000_000 + format!("{fraction:0<6}").parse::<u64>().unwrap()
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("a connection")
    }

    pub(crate) fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("bytes taken");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// No more bytes will be sent.
    pub(crate) fn end(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// More bytes into `unread`; whether there were any. A reset is an end, too.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                n > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("no answer within {PATIENCE:?}: {error}"),
        }
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(self.fill(), "the connection ended within an answer: {:?}", self.unread);
        }
        self.unread.drain(..n).collect()
    }

    /// Up to and with the first `end`; None if the connection ended before any byte.
    fn take_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.take(at + end.len()));
            }
            if !self.fill() {
                let unread = String::from_utf8_lossy(&self.unread);
                assert!(self.unread.is_empty(), "the connection ended within an answer: {unread}");
                return None;
            }
        }
    }

    /// The next answer; None if the connection ends instead.
    pub(crate) fn next(&mut self) -> Option<Answer> {
        self.next_to("GET")
    }

    /// The head of the next answer, whose body is read by [`Connection::chunk`].
    pub(crate) fn head(&mut self) -> Answer {
        self.next_head().expect("an answer")
    }

    /// The next chunk of a body, empty at its end; None: the connection has ended.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = String::from_utf8(self.take_until(b"\r\n")?).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = self.take(size + 2);
        chunk.truncate(size);
        Some(chunk)
    }

    fn next_head(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.take_until(b"\r\n\r\n")?).expect("a head in ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line.strip_prefix("HTTP/1.1 ").or_else(|| status_line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest[..3].parse().ok()).expect(status_line);
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect(line);
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Some(Answer { status, headers: lines.map(header).collect(), body: Vec::new() })
    }

    fn next_to(&mut self, method: &str) -> Option<Answer> {
        let mut answer = self.next_head()?;
        let status = answer.status;
        let has_body = method != "HEAD" && status >= 200 && status != 204 && status != 304;
        if has_body && answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk().expect("a whole body");
                if chunk.is_empty() {
                    break;
                }
                answer.body.extend_from_slice(&chunk);
            }
        } else if has_body {
            let length = answer.header("content-length").expect("a length").parse().expect("a number");
            answer.body = self.take(length);
        }
        Some(answer)
    }

    /// Every further answer, until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Whether the server has ended the connection without another byte; waits for it.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    /// One request as a usual client sends it, and its answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_request(method, path, headers, body).expect("an answer")
    }

    /// The same; None if the connection ended instead.
    pub(crate) fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        self.try_send(wire(method, path, headers, body)).ok()?;
        self.next_to(method)
    }

    /// POST /bid with this body.
    pub(crate) fn bid(&mut self, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", "/bid", JSON, body.as_ref())
    }
}

/// The headers of a JSON body.
pub(crate) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A request as a usual client writes it.
pub(crate) fn wire(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut wire = format!("{method} {path} HTTP/1.1\r\nhost: bourse\r\n");
    headers.iter().for_each(|(name, value)| wire.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() || method == "POST" {
        wire.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    wire.push_str("\r\n");
    [wire.as_bytes(), body].concat()
}

/// The body of POST /bid for this supply and address, from the US, with the tmax of those who leave it out.
pub(crate) fn bid_body(supply_id: &str, ip: &str) -> String {
    json!({"supply_id": supply_id, "ip": ip, "country": "US"}).to_string()
}

/// A body that sells whenever somebody bids.
pub(crate) fn any_bid() -> String {
    bid_body("supply1", "192.0.2.1")
}
