//! A way to an HTTP server that breaks when it is told to, at the request it is told.

use crate::server::eventually;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never reaches the server.
    Lost,
    /// It reaches the server, whole, and the connection is cut before the answer comes back.
    AnswerLost,
    /// Half of it reaches the server.
    Half,
    /// The server says this instead.
    Refused(&'static str),
    /// It reaches the server at [`Proxy::release`]; the client has given it up by then.
    Late,
}

/// The proxy; its threads end with the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    /// The next faults: what is in the request, and what becomes of it.
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    /// Requests that are held back, and how many late ones the server has answered.
    late: Mutex<(bool, usize, usize)>,
    released: Condvar,
}

impl Proxy {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (faults, late) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { server, faults, late, released: Condvar::new() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // An end of either side is the end of both.
                thread::spawn(move || state.carry(client));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// This becomes of the next request that has these bytes in its head.
    pub(crate) fn break_next(&self, has: &'static str, fault: Fault) {
        *self.state.late.lock().unwrap() = Default::default();
        self.state.faults.lock().unwrap().push_back((has, fault));
    }

    /// Waits until it has happened.
    #[track_caller]
    pub(crate) fn has_broken(&self) {
        eventually("the request comes", || self.state.faults.lock().unwrap().is_empty());
    }

    /// Lets go on what came late, and waits for the server's answer.
    #[track_caller]
    pub(crate) fn release(&self) {
        self.state.late.lock().unwrap().0 = true;
        self.state.released.notify_all();
        eventually("the server answers what came late", || {
            let (_, held, answered) = *self.state.late.lock().unwrap();
            held == answered
        });
    }
}

impl State {
    fn carry(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut server = TcpStream::connect(self.server)?;
        let (mut back, mut forth) = (server.try_clone()?, client.try_clone()?);
        let breaks = Arc::new(AtomicBool::new(false));
        let is_broken = Arc::clone(&breaks);
        thread::spawn(move || {
            let _ = std::io::copy(&mut back, &mut forth);
            // With a fault the client keeps its connection until that has happened.
            if !is_broken.load(Ordering::SeqCst) {
                let _ = forth.shutdown(Shutdown::Both);
            }
        });
        let mut bytes = vec![0; 256 << 10];
        loop {
            let read = client.read(&mut bytes)?;
            let bytes = &bytes[..read];
            if bytes.is_empty() {
                return server.shutdown(Shutdown::Both);
            }
            if let Some(fault) = self.next(bytes) {
                breaks.store(true, Ordering::SeqCst);
                let _ = server.shutdown(Shutdown::Both);
                return self.apply(fault, client, bytes);
            }
            server.write_all(bytes)?;
        }
    }

    /// The fault, if there is one for this.
    fn next(&self, bytes: &[u8]) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let has = faults.front()?.0.as_bytes();
        let is_it = bytes.windows(has.len()).any(|window| window == has);
        if is_it { faults.pop_front().map(|(_, fault)| fault) } else { None }
    }

    fn apply(&self, fault: Fault, mut client: TcpStream, begin: &[u8]) -> std::io::Result<()> {
        let mut request = begin.to_vec();
        match fault {
            Fault::Lost => {}
            Fault::Refused(text) => {
                let length = text.len();
                write!(
                    client,
                    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
                )?;
            }
            Fault::Half => {
                rest(&mut client, &mut request)?;
                let mut server = TcpStream::connect(self.server)?;
                server.write_all(&request[..request.len() - body_of(&request).len() / 2])?;
                server.shutdown(Shutdown::Write)?;
                // Whatever it makes of that, it is done with it.
                let _ = server.read_to_end(&mut Vec::new());
            }
            Fault::AnswerLost => {
                rest(&mut client, &mut request)?;
                self.send(&request)?;
            }
            Fault::Late => {
                rest(&mut client, &mut request)?;
                self.late.lock().unwrap().1 += 1;
                // Until the client has given it up.
                while client.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
                drop(self.released.wait_while(self.late.lock().unwrap(), |(released, ..)| !*released));
                self.send(&request)?;
                self.late.lock().unwrap().2 += 1;
            }
        }
        client.shutdown(Shutdown::Both)
    }

    /// Sends a request and waits for the first bytes of its answer.
    fn send(&self, request: &[u8]) -> std::io::Result<()> {
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(request)?;
        server.read(&mut [0; 1024]).map(drop)
    }
}

/// Reads the request to its end.
fn rest(client: &mut TcpStream, request: &mut Vec<u8>) -> std::io::Result<()> {
    let mut bytes = vec![0; 256 << 10];
    while length_of(request).is_none_or(|length| body_of(request).len() < length) {
        let read = client.read(&mut bytes)?;
        assert!(read > 0, "the client ended within its request");
        request.extend_from_slice(&bytes[..read]);
    }
    Ok(())
}

const END: &[u8] = b"\r\n\r\n";

fn body_of(request: &[u8]) -> &[u8] {
    let head = request.windows(END.len()).position(|window| window == END);
    head.map_or(&[], |at| &request[at + END.len()..])
}

/// What its head says; None: that has not come yet.
fn length_of(request: &[u8]) -> Option<usize> {
    let head = request.windows(END.len()).position(|window| window == END)?;
    let head = String::from_utf8_lossy(&request[..head]).to_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}
