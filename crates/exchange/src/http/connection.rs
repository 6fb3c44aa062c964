//! One connection: HTTP/1.1, kept in bounds.
//!
//! * Plain bid requests never come to hyper: [`express`] has them first.
//! * Time: no timer per connection. Each is in a phase; a sweeper per core ages them all every
//!   [`SWEEP`] and cuts those that stay in one too long.
//! * Framing: a chunked body is the last of its connection: hyper hides a Content-Length beside it, and RFC 9112 §6.1
//!   has such a connection closed.
//! * Refusals: what hyper answers by itself to bytes that are no request goes out as a problem, too.

use super::problem::{Code, Refusal};
use super::site::{Core, Lifecycle};
use super::{auctions, bid, express, pages};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// How often connections age.
pub const SWEEP: Duration = Duration::from_millis(250);

/// The longest head of a request, in bytes.
pub(crate) const HEAD_MAX: usize = 16 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for a request, or for the client to read its answer.
    Idle,
    /// Part of a head has come.
    Head,
    /// A request is being answered; the body and the auction have their own bounds.
    Busy,
    /// The last answer has gone out; what the client still sends is read and thrown away.
    Lingering,
}

/// A connection's phase, and for how many sweeps it has been in it.
#[derive(Debug)]
pub(super) struct Watch {
    phase: Cell<Phase>,
    sweeps: Cell<u32>,
    /// Whether the client may still be sending when the last answer goes out.
    lingers: Cell<bool>,
    /// Wakes its task.
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.sweeps.set(0);
    }

    /// To be woken when a drain begins: a waiter that all cores share would cost each of them a lock.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    async fn drain(&self, lifecycle: &Lifecycle) {
        let drained = |cx: &mut Context<'_>| {
            self.remember(cx);
            if lifecycle.is_draining() { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(drained).await;
    }
}

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<Slab<(Rc<Watch>, AbortHandle)>>,
}

impl Connections {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ages every connection by one sweep and cuts those that are too slow; gives how many it cut.
    pub fn sweep(&self, head_timeout: Duration, idle_timeout: Duration) -> usize {
        let sweeps = |bound: Duration| bound.as_millis().div_ceil(SWEEP.as_millis()) as u32;
        let (head_max, idle_max) = (sweeps(head_timeout), sweeps(idle_timeout));
        let too_slow = |watch: &Watch| {
            watch.sweeps.set(watch.sweeps.get() + 1);
            match watch.phase.get() {
                Phase::Head | Phase::Lingering => watch.sweeps.get() > head_max,
                Phase::Idle => watch.sweeps.get() > idle_max,
                Phase::Busy => false,
            }
        };
        let open = self.open.borrow();
        open.iter().filter(|(_, (watch, _))| too_slow(watch)).map(|(_, (_, task))| task.abort()).count()
    }

    /// Tells every connection that a drain has begun.
    pub fn wake(&self) {
        let open = self.open.borrow();
        let wakers = open.iter().filter_map(|(_, (watch, _))| watch.waker.borrow().clone());
        wakers.for_each(Waker::wake);
    }

    /// Cuts every connection.
    pub fn abort(&self) {
        self.open.borrow().iter().for_each(|(_, (_, task))| task.abort());
    }
}

/// Takes the place of an open connection until dropped, however its task ends.
struct Place {
    core: Rc<Core>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.connections.open.borrow_mut().remove(self.key);
        self.core.meters.closed.add(1);
    }
}

/// Serves a connection in a task of its own on this core.
pub fn spawn(core: &Rc<Core>, stream: TcpStream, peer: IpAddr) {
    let watch = Rc::new(Watch {
        phase: Cell::new(Phase::Idle),
        sweeps: Cell::new(0),
        lingers: Cell::new(false),
        waker: RefCell::default(),
    });
    let mut open = core.connections.open.borrow_mut();
    let entry = open.vacant_entry();
    let place = Place { core: Rc::clone(core), key: entry.key() };
    core.meters.opened.add(1);
    let task = tokio::task::spawn_local(serve(place, Rc::clone(&watch), stream, peer));
    entry.insert((watch, task.abort_handle()));
}

async fn serve(place: Place, watch: Rc<Watch>, mut stream: TcpStream, peer: IpAddr) {
    let core = &place.core;
    let unread = if core.site.express {
        express::serve(core, &watch, &mut stream, peer).await
    } else {
        Some(Vec::new())
    };
    let Some(unread) = unread else { return };
    // All are idle at once when a drain begins: those that stay so need no hyper to be closed.
    if unread.is_empty()
        && core.site.lifecycle.is_draining()
        && tokio::time::timeout(core.site.drain_idle, stream.readable()).await.is_err()
    {
        return;
    }
    // In a box of its own: most connections never need the room that hyper takes.
    Box::pin(serve_any(core, &watch, stream, unread, peer)).await;
}

/// Serves whatever comes, first what was read already.
async fn serve_any(core: &Rc<Core>, watch: &Rc<Watch>, stream: TcpStream, unread: Vec<u8>, peer: IpAddr) {
    let io =
        TokioIo::new(Watched { stream, unread: unread.into(), watch: Rc::clone(watch), instead: Vec::new() });
    let service = service_fn(|request| {
        let watch = Rc::clone(watch);
        async move {
            watch.enter(Phase::Busy);
            let mut response = answer(core, peer, request).await;
            watch.lingers.set(response.headers().contains_key(CONNECTION));
            if core.site.lifecycle.is_draining() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            watch.enter(Phase::Idle);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_header_size(HEAD_MAX)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // An error here is the client's: a reset, or bytes that were refused.
        _ = connection.as_mut() => return,
        () = watch.drain(&core.site.lifecycle) => {}
    }
    // From here each answer is the last of its connection; one that is idle is closed, but not in the face of a request
    // that is on its way.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(core.site.drain_idle) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    core: &Rc<Core>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Either<Full<Bytes>, Body>> {
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let mut response = if let Err(refusal) = one_host(&request) {
        refusal.into_response().map(Either::Left)
    } else if request.method() == Method::POST && request.uri().path() == "/bid" {
        bid::bid(core, peer, request).await.map(Either::Left)
    } else if request.method() == Method::POST && request.uri().path() == "/auctions" {
        auctions::auction(core, peer, request).await.map(Either::Left)
    } else {
        pages::page(core, request).await.map(Either::Right)
    };
    if chunked {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// RFC 9112 §3.2: a request of HTTP/1.1 without a Host, or with two, is answered 400.
fn one_host(request: &Request<Incoming>) -> Result<(), Refusal> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && request.version() != Version::HTTP_11) {
        return Ok(());
    }
    Err(Refusal::new(Code::MalformedRequest, format!("the request has {hosts} Host headers; it needs one"))
        .close())
}

/// A stream that notes when a head begins to come and when an answer goes out, and turns hyper's own bare refusals into
/// problems.
struct Watched {
    stream: TcpStream,
    /// What was read from it before.
    unread: Bytes,
    watch: Rc<Watch>,
    /// What is still to be written in place of a bare refusal.
    instead: Vec<u8>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let bytes = buf.remaining().min(self.unread.len());
            buf.put_slice(&self.unread.split_to(bytes));
        }
        if buf.filled().len() > before && self.watch.phase.get() == Phase::Idle {
            self.watch.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_empty() {
            match bare_refusal(buf) {
                Some(refusal) => {
                    self.instead = refusal.close().to_wire();
                    self.watch.lingers.set(true);
                }
                None => {
                    let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
                    self.watch.sweeps.set(0);
                    return Poll::Ready(Ok(written));
                }
            }
        }
        let this = &mut *self;
        while !this.instead.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.instead))?;
            this.instead.drain(..written);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// A socket that is closed with unread bytes resets the connection, and the client loses the answer that says why.
    /// So the client is told that nothing more comes, and heard out; the sweeper cuts who goes on for too long.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.phase.get() != Phase::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.watch.lingers.get() {
                return Poll::Ready(Ok(()));
            }
            self.watch.enter(Phase::Lingering);
        }
        let mut scrap = [0; 8 * 1024];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scrap))?;
            if scrap.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The refusal that says what hyper's own means, where `buf` is one head and nothing else. Ours always have a body;
/// hyper's, for bytes that are no request, never.
fn bare_refusal(buf: &[u8]) -> Option<Refusal> {
    let status = buf.strip_prefix(b"HTTP/1.1 4").or_else(|| buf.strip_prefix(b"HTTP/1.0 4"))?;
    let head = buf.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    if head != buf.len() || !buf.windows(21).any(|window| window == b"\r\ncontent-length: 0\r\n") {
        return None;
    }
    Some(match status.get(..2)? {
        b"31" => {
            Refusal::new(Code::HeadersTooLarge, format!("the headers are over {HEAD_MAX} bytes or 100 lines"))
        }
        _ => Refusal::new(Code::MalformedRequest, "the bytes sent are no HTTP/1.1 request with one meaning"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_without_a_body_is_replaced() {
        let status = |buf: &[u8]| bare_refusal(buf).map(|refusal| refusal.code.status().as_u16());
        for (buf, expected) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: x\r\n\r\n", Some(400)),
            ("HTTP/1.1 431 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", Some(431)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 120\r\n\r\n{}", None),
            ("HTTP/1.1 4", None),
            // two answers in one write
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 303 x\r\ncontent-length: 0\r\n\r\n",
                None,
            ),
        ] {
            assert_eq!(status(buf.as_bytes()), expected, "{buf}");
        }
    }
}
