//! One connection with at most one request in flight.

use anyhow::{Context, Result, bail, ensure};
use httparse::{EMPTY_HEADER, Response, Status};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// The longest answer, in bytes.
const ANSWER_MAX: usize = 8 * 1024;

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// When the request in flight should have left.
    pub(crate) due: Instant,
    input: Box<[u8; ANSWER_MAX]>,
    filled: usize,
}

/// An answer that has come.
pub(crate) enum Answer {
    Right,
    /// With its text.
    Wrong(String),
}

impl Client {
    /// Connects.
    pub(crate) fn new(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, due: Instant::now(), input: Box::new([0; ANSWER_MAX]), filled: 0 })
    }

    /// Sends a request that is due at `due`.
    pub(crate) fn send(&mut self, due: Instant, request: &str) -> Result<()> {
        self.due = due;
        // It fits into an empty socket buffer, or something is wrong.
        let written = self.stream.write(request.as_bytes()).context("cannot send")?;
        ensure!(written == request.len(), "a request did not fit into the socket's buffer");
        Ok(())
    }

    /// Reads once; the answer if it is whole then.
    pub(crate) fn receive(&mut self) -> Result<Option<Answer>> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the server closed a connection that waited for an answer"),
            Ok(n) => self.filled += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot receive"),
        }
        let input = &self.input[..self.filled];
        let Some((status, body)) = whole(input)? else { return Ok(None) };
        let right = status == 200 && is_sale(&input[body..]);
        let answer =
            if right { Answer::Right } else { Answer::Wrong(String::from_utf8_lossy(input).into_owned()) };
        self.filled = 0;
        Ok(Some(answer))
    }
}

/// The status of the answer that `input` is, and where its body begins; `None` until it is whole.
fn whole(input: &[u8]) -> Result<Option<(u16, usize)>> {
    let mut headers = [EMPTY_HEADER; 32];
    let mut response = Response::new(&mut headers);
    let Status::Complete(head) = response.parse(input).context("the answer is not HTTP/1.1")? else {
        ensure!(input.len() < ANSWER_MAX, "an answer is over {ANSWER_MAX} bytes");
        return Ok(None);
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer has no Content-Length")?;
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    ensure!(head + length <= ANSWER_MAX, "an answer is over {ANSWER_MAX} bytes");
    ensure!(input.len() <= head + length, "more was answered than was asked");
    Ok((input.len() == head + length).then_some((response.code.unwrap_or(0), head)))
}

/// Whether a body names a winner and a price; `cargo xtask bench` parses some of them besides.
fn is_sale(body: &[u8]) -> bool {
    let rest = body.strip_prefix(br#"{"winner":""#);
    rest.is_some_and(|rest| rest.ends_with(b"}") && rest.windows(10).any(|window| window == br#"","price":"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_only_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"winner\":\"bidder2\",\"price\":0.83}";
        for cut in 0..text.len() {
            assert_eq!(whole(&text[..cut]).unwrap(), None, "{cut}");
        }
        let (status, body) = whole(text).unwrap().unwrap();
        assert!(status == 200 && is_sale(&text[body..]));
        for other in [r#"{"code":"no_bids"}"#, r#"{"winner":"a"}"#, r#"{"winner":"a","price":0.1"#] {
            assert!(!is_sale(other.as_bytes()), "{other}");
        }
    }
}
