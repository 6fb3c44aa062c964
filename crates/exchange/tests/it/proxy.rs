//! A way to a server that can fail: between a client and a server that both are well.

use crate::server::AtEnd;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// What the way does with what is sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Way {
    /// Nothing.
    Open,
    /// Every connection is cut.
    Cut,
    /// Nothing arrives and nothing answers, until this is over.
    Hanging,
    /// What is sent arrives; instead of the answer the connection is cut.
    Deaf,
    /// An HTTP server in between answers 503.
    Unavailable,
}

impl Way {
    pub(crate) const ALL: [Self; 5] = [Self::Open, Self::Cut, Self::Hanging, Self::Deaf, Self::Unavailable];
}

/// The way, as long as it is kept.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    way: AtomicU8,
    is_over: AtomicBool,
}

impl State {
    fn way(&self) -> Way {
        Way::ALL[usize::from(self.way.load(Ordering::SeqCst))]
    }
}

impl Proxy {
    /// Open at first.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (way, is_over) = (AtomicU8::new(0), AtomicBool::new(false));
        let state = Arc::new(State { server, way, is_over });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepting);
                thread::spawn(move || carry(&client, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn set(&self, way: Way) {
        self.state.way.store(way as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn carry(client: &TcpStream, state: &Arc<State>) {
    if state.way() == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(state.server) else { return };
    // Whoever is behind it acknowledges late what came in parts: 40 ms for each request.
    [client, &server].into_iter().for_each(|one| one.set_nodelay(true).unwrap());
    let both = [client, &server].map(|one| one.try_clone().unwrap());
    let end = AtEnd(move || both.iter().for_each(|one| _ = one.shutdown(Shutdown::Both)));
    let back = [&server, client].map(|one| one.try_clone().unwrap());
    let theirs = Arc::clone(state);
    let answering = thread::spawn(move || {
        let [from, to] = back;
        pump(&from, &to, &theirs, true);
        drop(end);
    });
    pump(client, &server, state, false);
    let _ = server.shutdown(Shutdown::Both);
    let _ = answering.join();
}

/// Carries bytes as long as the way lets them.
fn pump(mut from: &TcpStream, mut to: &TcpStream, state: &State, is_answer: bool) {
    // A way that is cut ends connections that say nothing, too.
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 16 << 10];
    while !state.is_over.load(Ordering::SeqCst) {
        if state.way() == Way::Cut {
            return;
        }
        let n = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => return,
        };
        match state.way() {
            Way::Cut => return,
            Way::Deaf if is_answer => return,
            Way::Hanging => {
                while state.way() == Way::Hanging && !state.is_over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(2));
                }
                return;
            }
            Way::Unavailable if !is_answer => {
                let _ = from
                    .write_all(b"HTTP/1.1 503 Gone away\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                return;
            }
            Way::Open | Way::Deaf | Way::Unavailable => {}
        }
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}
