//! The express lane: POST /bid in its plain form is read and answered here, without hyper.
//!
//! * Plain is a strict subset: a request of HTTP/1.1 that fits in one read, framed by a single Content-Length, with one
//!   Host, declared as JSON or not at all, and no header that changes how it is read or what follows it. Its rest may
//!   come a moment later, as from clients that send head and body apart.
//! * Anything else, at any point between two requests, goes to hyper with every byte that was read, and the connection
//!   stays there: so hyper alone says what is no request. Whole requests go through the same `sell` either way, and
//!   `http.express = false` leaves everything to hyper.
//! * All answers to what came in one read leave in one write, unless an auction takes time. Buffers are the core's: an
//!   idle connection has none.

use super::bid::{Asked, TRACEPARENT, forwarded_for, sell};
use super::connection::{Phase, Watch};
use super::site::Core;
use crate::config::RateLimitKey;
use crate::trace::Parent;
use futures_util::future::join;
use futures_util::poll;
use httparse::Status;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What is read at once: many plain requests, and little enough for every connection that waits for an auction.
const READ_BYTES: usize = 4096;
/// How long the rest of a request may take to come; hyper has the bounds for clients that are slow.
const REST_WITHIN: Duration = Duration::from_millis(50);
/// How a plain request begins.
const LINE: &[u8] = b"POST /bid HTTP/1.1\r\n";
/// A request with more headers is not plain.
const HEADERS_MAX: usize = 24;
/// How many idle buffers a core keeps.
const IDLE_MAX: usize = 64;
/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7)
const DATE_BYTES: usize = 29;

/// One core's buffers, and the date as its answers say it.
#[derive(Debug)]
pub struct Lane {
    idle: RefCell<Vec<Buffers>>,
    date: Cell<[u8; DATE_BYTES]>,
}

/// What the requests of one read need.
#[derive(Debug)]
struct Buffers {
    read: Box<[u8]>,
    sold: Vec<u8>,
    answers: Vec<u8>,
}

impl Default for Lane {
    fn default() -> Self {
        let lane = Self { idle: RefCell::default(), date: Cell::new([b' '; DATE_BYTES]) };
        lane.follow_calendar();
        lane
    }
}

impl Lane {
    /// To be called a few times a second.
    pub fn follow_calendar(&self) {
        let mut date = [b' '; DATE_BYTES];
        // It always has this length.
        let _ = write!(&mut date[..], "{}", httpdate::HttpDate::from(SystemTime::now()));
        self.date.set(date);
    }

    fn take(&self) -> Buffers {
        self.idle.borrow_mut().pop().unwrap_or_else(|| Buffers {
            read: vec![0; READ_BYTES].into(),
            sold: Vec::new(),
            answers: Vec::new(),
        })
    }

    fn give(&self, buffers: Buffers) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(buffers);
        }
    }
}

/// Serves plain requests until something else comes, or a drain begins. Returns the bytes that hyper is to read before
/// the stream's own; None if the connection has ended.
pub(super) async fn serve(
    core: &Core,
    watch: &Watch,
    stream: &mut TcpStream,
    peer: IpAddr,
) -> Option<Vec<u8>> {
    let mut begun = None;
    loop {
        let is_begun = begun.is_some();
        let read = read(core, watch, stream, &mut begun);
        let read = if is_begun { timeout(REST_WITHIN, read).await } else { Ok(read.await) };
        let Ok(Some((mut buffers, filled))) = read else {
            return Some(begun.map_or_else(Vec::new, |(buffers, filled)| buffers.read[..filled].to_vec()));
        };
        if filled == 0 {
            return None;
        }
        watch.enter(Phase::Busy);
        let (answered, rest) = answer(core, watch, stream, &mut buffers, filled, peer).await?;
        match rest {
            _ if answered == filled => core.lane.give(buffers),
            Unread::Begun if answered > 0 || filled < READ_BYTES => {
                buffers.read.copy_within(answered..filled, 0);
                watch.enter(Phase::Head);
                begun = Some((buffers, filled - answered));
            }
            _ => return Some(buffers.read[answered..filled].to_vec()),
        }
        if filled == READ_BYTES {
            // There is more, and others wait, too.
            tokio::task::yield_now().await;
        }
    }
}

/// What the client sends next, after the beginning that is there already. No bytes at all: the connection has ended.
/// None: hyper goes on, with what had begun.
async fn read(
    core: &Core,
    watch: &Watch,
    stream: &mut TcpStream,
    begun: &mut Option<(Buffers, usize)>,
) -> Option<(Buffers, usize)> {
    poll_fn(|cx| {
        watch.remember(cx);
        if core.site.lifecycle.is_draining() {
            return Poll::Ready(None);
        }
        let (mut buffers, before) = begun.take().unwrap_or_else(|| (core.lane.take(), 0));
        let mut buffer = ReadBuf::new(&mut buffers.read[before..]);
        let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
        let filled = before + buffer.filled().len();
        match read {
            Poll::Pending if before == 0 => {
                core.lane.give(buffers);
                Poll::Pending
            }
            // The end with half of a request, too, is hyper's to judge.
            Poll::Ready(Ok(())) if filled > before || before == 0 => Poll::Ready(Some((buffers, filled))),
            Poll::Ready(Err(_)) => Poll::Ready(Some((buffers, 0))),
            waits => {
                *begun = Some((buffers, before));
                waits.map(|_| None)
            }
        }
    })
    .await
}

/// Answers the plain requests at the beginning of what was read, and gives where the first other one begins and what it
/// is. None: the connection has ended.
async fn answer(
    core: &Core,
    watch: &Watch,
    stream: &mut TcpStream,
    buffers: &mut Buffers,
    filled: usize,
    peer: IpAddr,
) -> Option<(usize, Unread)> {
    let Buffers { read, sold, answers } = buffers;
    answers.clear();
    let (mut at, mut is_last, mut rest) = (0, false, Unread::Other);
    while !is_last && !core.site.lifecycle.is_draining() {
        let wanted = Wanted { key: core.site.key, parent: core.desk.is_traced() };
        let plain = match Plain::read(&read[at..filled], wanted, core.site.body_max_bytes) {
            Ok(plain) => plain,
            Err(unread) => {
                rest = unread;
                break;
            }
        };
        at += plain.bytes;
        sold.clear();
        let Plain { body, forwarded, parent, .. } = plain;
        let asked = Asked { body, peer, forwarded, parent, received_at: Instant::now() };
        let outcome = {
            let mut sale = pin!(sell(core, asked, sold));
            match poll!(sale.as_mut()) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // An auction that takes time does not hold back the answers before it, nor does a client that does
                    // not read them hold back the auction.
                    let (written, outcome) = join(write(watch, stream, answers), sale).await;
                    written.ok()?;
                    answers.clear();
                    watch.enter(Phase::Busy);
                    outcome
                }
            }
        };
        let date = core.lane.date.get();
        is_last = core.site.lifecycle.is_draining();
        match outcome {
            Ok(()) => write_sold(sold, is_last, &date, answers),
            Err(refusal) => {
                let refusal = if is_last && !refusal.closes() { refusal.close() } else { refusal };
                is_last = refusal.closes();
                refusal.write(Some(&date), sold, answers);
            }
        }
    }
    write(watch, stream, answers).await.ok()?;
    if is_last {
        Box::pin(linger(watch, stream)).await;
        return None;
    }
    Some((at, rest))
}

/// Tells the client that nothing more comes and hears it out, or a reset would take the last answer from it; the sweeper
/// cuts who goes on for too long.
async fn linger(watch: &Watch, stream: &mut TcpStream) {
    if stream.shutdown().await.is_ok() {
        watch.enter(Phase::Lingering);
        let mut scrap = [0; 1024];
        while let Ok(1..) = stream.read(&mut scrap).await {}
    }
}

async fn write(watch: &Watch, stream: &mut TcpStream, mut answers: &[u8]) -> std::io::Result<()> {
    watch.enter(Phase::Idle);
    while !answers.is_empty() {
        let written = stream.write(answers).await?;
        answers = &answers[written..];
        watch.enter(Phase::Idle);
    }
    Ok(())
}

fn write_sold(body: &[u8], is_last: bool, date: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    if is_last {
        to.extend_from_slice(b"connection: close\r\n");
    }
    to.extend_from_slice(b"content-length: ");
    to.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    to.extend_from_slice(b"\r\ndate: ");
    to.extend_from_slice(date);
    to.extend_from_slice(b"\r\n\r\n");
    to.extend_from_slice(body);
}

/// A whole request in its plain form.
#[derive(Debug, PartialEq, Eq)]
struct Plain<'b> {
    body: &'b [u8],
    /// Of head and body.
    bytes: usize,
    /// The address that a trusted proxy was called from, where that counts.
    forwarded: Option<IpAddr>,
    /// The caller's span, where that counts.
    parent: Option<Parent>,
}

/// What is looked for among a request's headers besides what makes it plain.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// The address, if the rate limit counts by one of theirs.
    key: RateLimitKey,
    /// The caller's span.
    parent: bool,
}

/// What is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// The beginning of a request that may be plain.
    Begun,
    /// Another request, or none.
    Other,
}

/// Headers that change how a request is read, or what becomes of its connection.
const NOT_PLAIN: [&str; 5] = ["transfer-encoding", "expect", "upgrade", "content-encoding", "trailer"];

impl<'b> Plain<'b> {
    /// The request that `read` begins with, if it is plain and all there.
    fn read(read: &'b [u8], wanted: Wanted, body_max_bytes: usize) -> Result<Self, Unread> {
        if !read.starts_with(LINE) {
            return Err(if LINE.starts_with(read) { Unread::Begun } else { Unread::Other });
        }
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let head = match request.parse_with_uninit_headers(read, &mut headers) {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) => return Err(Unread::Begun),
            Err(_) => return Err(Unread::Other),
        };
        let (mut hosts, mut length) = (0, None);
        for header in &*request.headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let says = |value: &str| header.value.eq_ignore_ascii_case(value.as_bytes());
            if is("host") {
                hosts += 1;
            } else if is("content-length") {
                if length.replace(decimal(header.value).ok_or(Unread::Other)?).is_some() {
                    return Err(Unread::Other);
                }
            } else if (is("content-type") && !says("application/json"))
                || (is("connection") && !says("keep-alive"))
                || NOT_PLAIN.into_iter().any(is)
            {
                return Err(Unread::Other);
            }
        }
        let plain = |length: &usize| hosts == 1 && *length <= body_max_bytes;
        let length = length.filter(plain).ok_or(Unread::Other)?;
        let headers = &*request.headers;
        let named = |name: &'static str| {
            let headers = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
            headers.map(|header| header.value)
        };
        let forwarded = match wanted.key {
            RateLimitKey::Forwarded(hops) => forwarded_for(named("x-forwarded-for"), hops),
            _ => None,
        };
        let parent = if wanted.parent { Parent::only(named(TRACEPARENT)) } else { None };
        let bytes = head + length;
        let unread = if bytes > READ_BYTES { Unread::Other } else { Unread::Begun };
        let body = read.get(head..bytes).ok_or(unread)?;
        Ok(Self { body, bytes, forwarded, parent })
    }
}

/// Up to six digits and nothing else.
fn decimal(digits: &[u8]) -> Option<usize> {
    let plain = (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
