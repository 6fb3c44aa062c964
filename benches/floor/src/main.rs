//! The floor: HTTP/1.1 by hand over epoll. Nothing that speaks it to ordinary clients costs less here.
//!
//! * One thread per core, each with a socket of its own (SO_REUSEPORT); level-triggered; one `read` and one `write` for
//!   what has come, however many requests that is.
//! * A request is a head and a body by Content-Length. Anything else of HTTP/1.1 is refused and closes the connection.
//! * Bounds: head and body together fit in [`BUFFER`] bytes; a client that does not read its answers is not read from.

mod exchange;

use anyhow::{Context, Result};
use exchange::{Answers, Step, step};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

/// The longest request, in bytes.
const BUFFER: usize = 8 * 1024;

/// How many events are taken from the kernel at once.
const EVENTS: usize = 256;

/// The event of the listening socket; every other is a connection's place.
const LISTENER: u64 = u64::MAX;

fn main() -> Result<()> {
    floor::run("floor", |listener| serve(&listener))
}

/// One connection: what has come and is not answered yet, and what is not written yet.
struct Connection {
    stream: TcpStream,
    input: Box<[u8; BUFFER]>,
    filled: usize,
    output: Vec<u8>,
    closes: bool,
}

/// What a connection waits for.
#[derive(PartialEq, Eq)]
enum Waits {
    ToRead,
    ToWrite,
    Over,
}

fn serve(listener: &TcpListener) -> Result<()> {
    let poll = epoll::create(CreateFlags::CLOEXEC).context("no epoll")?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections = Slab::new();
    let mut answers = Answers::new();
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            waited => waited.context("cannot wait for events")?,
        };
        answers.tick();
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => accept(&poll, listener, &mut connections),
                place => turn(&poll, &mut connections, place as usize, event.flags, &answers),
            }
        }
    }
}

fn accept(poll: &OwnedFd, listener: &TcpListener, connections: &mut Slab<Connection>) {
    while let Ok((stream, _)) = listener.accept() {
        let entry = connections.vacant_entry();
        let data = EventData::new_u64(entry.key() as u64);
        let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        // A connection that cannot be set up is closed: its client sees it.
        if ready.is_ok() && epoll::add(poll, &stream, data, EventFlags::IN).is_ok() {
            let input = Box::new([0; BUFFER]);
            entry.insert(Connection { stream, input, filled: 0, output: Vec::new(), closes: false });
        }
    }
}

/// Lets the connection at `place` go on, and tells the kernel what it waits for then.
fn turn(
    poll: &OwnedFd,
    connections: &mut Slab<Connection>,
    place: usize,
    flags: EventFlags,
    answers: &Answers,
) {
    let Some(connection) = connections.get_mut(place) else { return };
    let before = if connection.output.is_empty() { Waits::ToRead } else { Waits::ToWrite };
    let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
    let after = connection.go_on(readable, answers).unwrap_or(Waits::Over);
    let wanted = match after {
        Waits::Over => {
            // Closing the descriptor takes it out of the epoll set.
            connections.remove(place);
            return;
        }
        _ if after == before => return,
        Waits::ToRead => EventFlags::IN,
        Waits::ToWrite => EventFlags::OUT,
    };
    let data = EventData::new_u64(place as u64);
    if epoll::modify(poll, connection.stream.as_fd(), data, wanted).is_err() {
        connections.remove(place);
    }
}

impl Connection {
    fn go_on(&mut self, readable: bool, answers: &Answers) -> io::Result<Waits> {
        if self.output.is_empty() && readable && !self.read()? {
            return Ok(Waits::Over);
        }
        loop {
            if !self.write()? {
                return Ok(Waits::ToWrite);
            }
            if self.closes {
                return Ok(Waits::Over);
            }
            self.answer(answers);
            if self.output.is_empty() {
                return Ok(Waits::ToRead);
            }
        }
    }

    /// Reads once; false at the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.filled += n;
                Ok(true)
            }
            Err(error) if is_passing(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Answers every request that is whole, and keeps the rest for the next read.
    fn answer(&mut self, answers: &Answers) {
        let mut answered = 0;
        while !self.closes {
            match step(&self.input[answered..self.filled], answers, &mut self.output) {
                Step::Answered { bytes, closes } => {
                    answered += bytes;
                    self.closes = closes;
                }
                Step::Partial if answered == 0 && self.filled == BUFFER => {
                    answers.too_large(&mut self.output);
                    self.closes = true;
                }
                Step::Partial => break,
            }
        }
        self.input.copy_within(answered..self.filled, 0);
        self.filled -= answered;
    }

    /// Writes what there is to write; false while the client's window is closed.
    fn write(&mut self) -> io::Result<bool> {
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(n) => written += n,
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..written);
        Ok(self.output.is_empty())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
