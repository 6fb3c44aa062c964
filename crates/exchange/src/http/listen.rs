//! Listening: a socket per core on one address (SO_REUSEPORT), so that a request stays on the core that accepted it.
//!
//! * Bound: `connections_max`; a connection over it is answered 503 `overloaded` and closed.
//! * Drain: a core takes what the kernel has already accepted for it, then closes its socket; when all have, connections
//!   finish the request they are in, and whatever is left at the deadline is cut.

use super::connection::{self, SWEEP};
use super::problem::{Code, Refusal};
use super::site::{Core, Site};
use crate::recorder::Recorder;
use anyhow::{Context, Result};
use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

const BACKLOG: i32 = 4096;

/// A socket per core on `address`; port 0 is one free port for all of them. None of them accepts yet, so that an
/// address in use is known before anything has started.
pub fn bind(address: SocketAddr, cores: usize) -> Result<Vec<std::net::TcpListener>> {
    let first = socket(address, false).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "listen: {address} is in use; stop what listens there or choose another address with --listen"
        ),
        io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!("listen: {address} is not an address of this machine; choose one with --listen")
        }
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "listen: port {} needs more rights than this user has; choose one from 1024 with --listen",
            address.port()
        ),
        _ => anyhow::Error::new(error).context(format!("listen: cannot listen on {address}")),
    })?;
    let address = first.local_addr().context("listen: the socket has no address")?;
    // Only now may others share the port: a second exchange on it must fail, a second core must not.
    share(&first).context("listen: the port cannot be shared by the cores")?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(socket(address, true).with_context(|| format!("listen: cannot listen on {address}"))?);
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn share(listener: &std::net::TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).set_reuse_port(true)
}

/// One core's life: a runtime of its own, until the drain has ended. Blocks the thread; says `listens` once it does.
pub fn run(
    site: &Arc<Site>,
    core: usize,
    recorder: Option<Recorder>,
    pages: Router,
    listener: std::net::TcpListener,
    listens: &mpsc::Sender<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a core has no runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let core = Rc::new(Core::new(site, core, recorder, pages));
        let listener = TcpListener::from_std(listener).context("listen: the socket is not usable")?;
        core.desk.meet().await;
        // Who waited for it may have given up on another core.
        let _ = listens.send(());
        let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&core)));
        if site.busy_poll {
            tokio::task::spawn_local(stay_awake());
        }
        let mut drain = site.lifecycle.watch();
        tokio::select! {
            () = accept(&core, &listener) => {}
            _ = drain.wait_for(Option::is_some) => {}
        }
        let deadline = drain.borrow().unwrap_or_else(Instant::now);
        take_accepted(&core, listener).await;
        // A core that has ended badly never does.
        let _ = tokio::time::timeout_at(deadline.into(), site.lifecycle.close_door()).await;
        core.connections.wake();
        finish(&core, deadline).await;
        sweeper.abort();
        Ok(())
    })
}

/// Something is always to be done, so the runtime looks for requests without ever waiting for one: to be woken takes
/// longer than to answer.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn accept(core: &Rc<Core>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(core, stream, peer),
            Err(error) => {
                // Out of file descriptors, most likely: connections in the kernel's queue wait until some are closed.
                core.meters.accept_errors.add(1);
                warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(core: &Rc<Core>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    if core.connections.count() >= core.connections_max {
        core.meters.shed.add(1);
        let refusal =
            Refusal::new(Code::Overloaded, "too many connections are open").retry_after_us(1_000_000).close();
        // Into an empty socket buffer it fits at once; a client that cannot take it is only closed.
        let _ = stream.try_write(&refusal.to_wire());
        return;
    }
    connection::spawn(core, stream, peer.ip());
}

/// Takes the connections that the kernel completed before the socket closes: their clients believe they are served.
/// First nobody new is let in, or somebody would come between the last look and the close; whoever knocks meanwhile
/// finds the socket closed when the client's kernel tries again.
async fn take_accepted(core: &Rc<Core>, listener: TcpListener) {
    #[cfg(target_os = "linux")]
    drop_new(&listener);
    // Long enough for handshakes that have begun.
    while let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await
    {
        admit(core, stream, peer);
    }
}

/// A socket filter: a segment with SYN set is dropped, any other taken.
#[cfg(target_os = "linux")]
fn drop_new(listener: &TcpListener) {
    let step = socket2::SockFilter::new;
    let (load_flags, if_syn, drop_it, take_it) =
        (step(0x30, 0, 0, 13), step(0x45, 0, 1, 2), step(0x06, 0, 0, 0), step(0x06, 0, 0, u32::MAX));
    // Without it the close is only less clean.
    let _ = socket2::SockRef::from(listener).attach_filter(&[load_flags, if_syn, drop_it, take_it]);
}

async fn finish(core: &Core, deadline: Instant) {
    while core.connections.count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if core.connections.count() > 0 {
        warn!(connections = core.connections.count(), "connections cut at the drain deadline");
        core.connections.abort();
    }
}

async fn sweep(core: Rc<Core>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let cut = core.connections.sweep(core.site.head_timeout, core.site.idle_timeout);
        core.meters.cut.add(cut as u64);
        core.desk.rest();
        core.lane.follow_calendar();
    }
}
