//! Its listener, on the control thread.
//!
//! * Bounds: 64 connections, 503 beyond; a head has 10 s to arrive, which is also how long a connection may be idle.
//! * End: what is being answered is, within a second.

use super::guard::Peer;
use crate::http::connection::HEAD_MAX;
use crate::http::problem::{Code, Refusal};
use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tracing::warn;

const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(1);

/// A listener on `address`.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("admin.listen: cannot listen on {address}; choose another address with BOURSE_ADMIN_LISTEN")
    })
}

/// Serves until `stop` says so.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) if connections.len() >= CONNECTIONS_MAX => turn_away(&stream),
            Ok((stream, peer)) => _ = connections.spawn(one(stream, peer, router.clone(), stop.clone())),
            Err(error) => {
                warn!(%error, "connection to the admin API not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(END_MAX, ended).await;
}

fn turn_away(stream: &TcpStream) {
    let refusal = Refusal::new(Code::Overloaded, "too many connections to the admin API are open");
    // Into an empty socket buffer it fits at once; a client that cannot take it is only closed.
    let _ = stream.try_write(&refusal.retry_after_us(1_000_000).close().to_wire());
}

async fn one(stream: TcpStream, peer: SocketAddr, router: Router, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip()));
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // An error here is the client's: a reset, or bytes that are no request.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
