//! One exchange of HTTP/1.1: the bytes of a request in, the bytes of its answer out. No I/O.

use floor::{ANSWER, BidRequest};
use httparse::{EMPTY_HEADER, Request, Status};
use std::time::{SystemTime, UNIX_EPOCH};

/// As many as hyper takes by default.
const HEADERS_MAX: usize = 100;

/// What became of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A request of so many bytes was answered.
    Answered {
        /// Of head and body.
        bytes: usize,
        /// Whether the answer is the last of its connection.
        closes: bool,
    },
    /// The rest of the request is still to come.
    Partial,
}

/// The answers, ready to copy; made anew when the Date changes.
pub(crate) struct Answers {
    second: u64,
    sold: Vec<u8>,
    not_found: Vec<u8>,
    invalid: Vec<u8>,
    malformed: Vec<u8>,
    too_large: Vec<u8>,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let mut answers = Self {
            second: 0,
            sold: Vec::new(),
            not_found: Vec::new(),
            invalid: Vec::new(),
            malformed: Vec::new(),
            too_large: Vec::new(),
        };
        answers.tick();
        answers
    }

    /// Brings the Date up to date.
    pub(crate) fn tick(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::fmt_http_date(now);
        let answer = |status: &str, connection: &str, body: &str| {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 {connection}date: {date}\r\n\r\n{body}"
            );
            text.into_bytes()
        };
        let close = "connection: close\r\n";
        self.sold = answer("200 OK", "", ANSWER);
        self.not_found = answer("404 Not Found", "", "{}");
        self.invalid = answer("422 Unprocessable Content", "", "{}");
        self.malformed = answer("400 Bad Request", close, "{}");
        self.too_large = answer("413 Content Too Large", close, "{}");
    }

    /// Refuses a request that does not fit in the buffer.
    pub(crate) fn too_large(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.too_large);
    }
}

/// Answers the request that `input` begins with, if it is whole.
pub(crate) fn step(input: &[u8], answers: &Answers, output: &mut Vec<u8>) -> Step {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let refuse = |output: &mut Vec<u8>| {
        output.extend_from_slice(&answers.malformed);
        Step::Answered { bytes: input.len(), closes: true }
    };
    let head = match request.parse(input) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return Step::Partial,
        Err(_) => return refuse(output),
    };
    let Some(framing) = Framing::of(&request) else { return refuse(output) };
    let Some(bytes) = head.checked_add(framing.length) else { return refuse(output) };
    let Some(body) = input.get(head..bytes) else { return Step::Partial };
    let answer = match (request.method, request.path) {
        (Some("POST"), Some("/bid")) => match BidRequest::parse(body) {
            // Read, and used as little as the compiler may not leave out.
            Some(bid) => {
                std::hint::black_box(&bid);
                &answers.sold
            }
            None => &answers.invalid,
        },
        _ => &answers.not_found,
    };
    output.extend_from_slice(answer);
    Step::Answered { bytes, closes: framing.closes }
}

/// Where a request ends, and whether its connection does.
struct Framing {
    length: usize,
    closes: bool,
}

impl Framing {
    /// `None` for a request that is framed in a way that is not taken here.
    fn of(request: &Request<'_, '_>) -> Option<Self> {
        let mut length = None;
        let mut closes = request.version != Some(1);
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let value = std::str::from_utf8(header.value).ok()?;
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let value = value.parse().ok().filter(|_| digits)?;
                if length.replace(value).is_some() {
                    return None;
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return None;
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes |= header.value.eq_ignore_ascii_case(b"close");
            }
        }
        Some(Self { length: length.unwrap_or(0), closes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"supply_id":"supply1","ip":"192.0.2.1","country":"US","tmax":200}"#;

    fn request(line: &str, headers: &str, body: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn statuses(mut input: &[u8]) -> (Vec<String>, usize) {
        let answers = Answers::new();
        let mut statuses = Vec::new();
        loop {
            let mut output = Vec::new();
            let Step::Answered { bytes, closes } = step(input, &answers, &mut output) else { break };
            statuses.push(String::from_utf8(output[9..12].to_vec()).unwrap());
            input = &input[bytes..];
            if closes {
                statuses.push("end".to_owned());
                break;
            }
        }
        (statuses, input.len())
    }

    #[test]
    fn requests_are_answered_by_what_they_are() {
        let good = request("POST /bid", "", BODY);
        for (input, expected) in [
            (good.clone(), &["200"][..]),
            (format!("{good}{good}{}", request("GET /", "", "")), &["200", "200", "404"]),
            (request("POST /bid", "", "{}"), &["422"]),
            (request("POST /bid", "Connection: close\r\n", BODY), &["200", "end"]),
            (request("POST /bid", "Content-Length: 1\r\n", BODY), &["400", "end"]),
            (request("POST /bid", "Transfer-Encoding: chunked\r\n", BODY), &["400", "end"]),
            ("no request\r\n\r\n".to_owned(), &["400", "end"]),
        ] {
            assert_eq!(
                statuses(input.as_bytes()),
                (expected.iter().map(ToString::to_string).collect(), 0),
                "{input}"
            );
        }
    }

    #[test]
    fn a_request_is_answered_only_when_it_is_whole() {
        let two = request("POST /bid", "", BODY).repeat(2);
        let one = two.len() / 2;
        for cut in 0..two.len() {
            let whole = cut / one;
            assert_eq!(statuses(&two.as_bytes()[..cut]), (vec!["200".to_owned(); whole], cut % one), "{cut}");
        }
    }
}
