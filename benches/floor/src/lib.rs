//! What the servers of this package share: their command line, their sockets, the body they read, the answer they give.
//!
//! They stand in for an exchange that does nothing but speak HTTP: the body of POST /bid is read, as Bourse reads it,
//! into types that cannot be wrong; the answer has a fixed shape. What Bourse costs over them is what Bourse does.

use anyhow::{Context, Result};
use clap::Parser;
use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::thread;

/// The body of every answer to a good POST /bid.
pub const ANSWER: &str = r#"{"winner":"bidder2","price":0.83}"#;

const BACKLOG: i32 = 4096;

/// Where to serve, and with how many threads.
#[derive(Parser)]
#[command(version)]
pub struct Options {
    /// Where to listen; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// How many threads serve [default: one per core]
    #[arg(long)]
    pub workers: Option<NonZeroUsize>,
}

/// The members of the body of POST /bid; others are ignored.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct BidRequest<'a> {
    /// The supply asked for.
    #[serde(borrow)]
    pub supply_id: Cow<'a, str>,
    /// The user's address.
    pub ip: IpAddr,
    /// The user's country.
    #[serde(borrow)]
    pub country: Cow<'a, str>,
    /// Milliseconds the bidders have.
    #[serde(default = "tmax_default_ms")]
    pub tmax: u32,
}

fn tmax_default_ms() -> u32 {
    200
}

impl<'a> BidRequest<'a> {
    /// Reads a body; `None` if it is none.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
    }
}

/// Runs `serve` on a thread per worker, each with a socket of its own on one address, once a line has said which.
/// Returns when one of them ends.
pub fn run(name: &str, serve: fn(TcpListener) -> Result<()>) -> Result<()> {
    let options = Options::parse();
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let workers = options.workers.unwrap_or_else(cores).get();
    let first = listen(options.listen)?;
    let address = first.local_addr().context("the socket has no address")?;
    let others = (1..workers).map(|_| listen(address)).collect::<Result<Vec<_>>>()?;
    println!("{name} serves on http://{address} with {workers} workers");
    let others: Vec<_> = others.into_iter().map(|socket| thread::spawn(move || serve(socket))).collect();
    serve(first)?;
    others
        .into_iter()
        .try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a worker ended badly"))?)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    bound().with_context(|| format!("cannot listen on {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_without_copying_it() {
        let body = br#"{"supply_id":"supply1","ip":"192.168.1.100","country":"US","tmax":200,"more":[1]}"#;
        let request = BidRequest::parse(body).unwrap();
        assert!(matches!(request.supply_id, Cow::Borrowed("supply1")), "{request:?}");
        assert!(matches!(request.country, Cow::Borrowed("US")), "{request:?}");
        assert_eq!((request.ip, request.tmax), (IpAddr::from([192, 168, 1, 100]), 200));
        for bad in ["", "{}", r#"{"supply_id":"a","ip":"nowhere","country":"US"}"#, "[1]"] {
            assert_eq!(BidRequest::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
