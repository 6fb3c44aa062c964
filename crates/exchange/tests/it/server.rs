//! The program under test: a home of its own, the commands run in it, and the server started from it.

use crate::catalogues;
use crate::client::{Answer, Connection, JSON};
use crate::programs;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any condition takes to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for the condition; fails if it never comes true.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "never: {what}");
}

/// Whether the condition comes true in time; the only place that waits.
fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + time;
    while !condition() {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// How often a test repeats itself: `few` times, or for as long as `cargo xtask chaos` says.
pub(crate) fn rounds(few: usize) -> impl Iterator<Item = usize> {
    let seconds = std::env::var("BOURSE_TEST_CHAOS_SECONDS").ok();
    let until =
        seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.parse().expect("seconds")));
    (0..).take_while(move |round| until.map_or(*round < few, |until| Instant::now() < until))
}

/// How many homes there are; -1 while somebody has the machine alone.
static HOMES: Mutex<i32> = Mutex::new(0);
static HOMES_CHANGED: Condvar = Condvar::new();

fn homes() -> MutexGuard<'static, i32> {
    HOMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, no other test runs: for what is measured by the clock.
pub(crate) struct Quiet;

impl Quiet {
    pub(crate) fn wait() -> Self {
        let mut homes = HOMES_CHANGED.wait_while(homes(), |n| *n != 0).unwrap();
        *homes = -1;
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        *homes() = 0;
        HOMES_CHANGED.notify_all();
    }
}

/// Does it when dropped, so that other threads learn of the end of a test that fails, too.
pub(crate) struct AtEnd<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Its output, after checking that it did what it was asked.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert!(self.ok, "{self:?}");
        self.out
    }

    /// The one line of its error, after checking that it is one.
    #[track_caller]
    pub(crate) fn one_line_error(&self) -> &str {
        assert!(!self.ok, "{self:?}");
        assert_eq!(self.err.trim_end().lines().count(), 1, "{self:?}");
        self.err.trim_end()
    }
}

/// A directory with the settings of one test, and every command's working directory.
pub(crate) struct Home {
    dir: TempDir,
    variables: Vec<(String, String)>,
    counted: bool,
}

impl Home {
    /// A home without a catalogue.
    pub(crate) fn empty() -> Self {
        let mut homes = HOMES_CHANGED.wait_while(homes(), |n| *n < 0).unwrap();
        *homes += 1;
        Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new(), counted: true }
    }

    /// A home for somebody who has the machine alone.
    pub(crate) fn empty_in(_: &Quiet) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new(), counted: false }
    }

    /// With a setting of the environment.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// With this catalogue loaded.
    #[must_use]
    pub(crate) fn with(self, catalogue: &Value) -> Self {
        self.run(&["db", "upgrade"]).done();
        self.load(catalogue).done();
        self
    }

    /// With the usual catalogue.
    #[must_use]
    pub(crate) fn usual(self) -> Self {
        self.with(&catalogues::usual())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("bourse-data")
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with these arguments, in this home and with nothing of the caller's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_under(&[], args)
    }

    /// The same, run by a tool that takes the program and its arguments as its last ones.
    pub(crate) fn command_under(&self, tool: &[&str], args: &[&str]) -> Command {
        let words = [tool, &[env!("CARGO_BIN_EXE_bourse")], args].concat();
        let mut command = Command::new(words[0]);
        let foreign = std::env::vars_os().map(|(name, _)| name);
        foreign.filter(|name| name.to_string_lossy().starts_with("BOURSE_")).for_each(|name| {
            command.env_remove(name);
        });
        command.env("BOURSE_RATE_LIMIT_REQUESTS", "0").envs(self.variables.iter().cloned());
        command.args(&words[1..]).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        said(self.command(args))
    }

    /// Loads a catalogue.
    pub(crate) fn load(&self, catalogue: &Value) -> Said {
        let file = self.write("catalogue.json", catalogue.to_string());
        self.run(&["load-data", "-i", file.to_str().unwrap()])
    }

    /// Starts the server.
    pub(crate) fn serve(self) -> Server {
        self.serve_with(&[])
    }

    /// Starts the server with more flags.
    pub(crate) fn serve_with(self, flags: &[&str]) -> Server {
        self.serve_under(&[], flags).unwrap_or_else(|fallen| panic!("not started: {}", fallen.log))
    }

    /// Starts the server where another was.
    pub(crate) fn serve_at(self, address: SocketAddr, flags: &[&str]) -> Server {
        let started = self.start(&[], &address.to_string(), flags);
        started.unwrap_or_else(|fallen| panic!("not started: {}", fallen.log))
    }

    /// Starts the server by a tool, which must not stay between us and it; or says how it ended before it was ready.
    pub(crate) fn serve_under(self, tool: &[&str], flags: &[&str]) -> Result<Server, Fallen> {
        self.start(tool, "127.0.0.1:0", flags)
    }

    fn start(self, tool: &[&str], listen: &str, flags: &[&str]) -> Result<Server, Fallen> {
        let args = [&["serve", "--listen", listen], flags].concat();
        let program = tool.first().unwrap_or(&"the server");
        let mut child = self
            .command_under(tool, &args)
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs the program {program}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let logged = thread::spawn({
            let log = Arc::clone(&log);
            move || collect(stderr, &log)
        });
        let lines = lines_of(child.stdout.take().unwrap());
        let mut server =
            Server { child, home: self, address: ([127, 0, 0, 1], 0).into(), ready: String::new(), log };
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => server.ready = line,
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.exit();
                logged.join().unwrap();
                return Err(Fallen { status, log: server.log(), home: server.leave() });
            }
            Err(RecvTimeoutError::Timeout) => panic!("neither ready nor at an end: {}", server.log()),
        }
        let address = server.ready.split("http://").nth(1).and_then(|rest| rest.split([' ', '/']).next());
        server.address = address.and_then(|address| address.parse().ok()).expect(&server.ready);
        Ok(server)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.counted {
            *homes() -= 1;
            HOMES_CHANGED.notify_all();
        }
    }
}

/// Runs a command to its end; one that does not end is killed, and fails.
pub(crate) fn said(command: Command) -> Said {
    said_within(PATIENCE, command)
}

/// The same for one that has much to read, such as a million auctions.
pub(crate) fn said_of_much(command: Command) -> Said {
    said_within(PATIENCE * 20, command)
}

fn said_within(time: Duration, mut command: Command) -> Said {
    let mut child = command.spawn().expect("a process");
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let [out, err] = [text_of(out), text_of(err)];
    let ended = within(time, || child.try_wait().unwrap().is_some());
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let said = Said { ok: status.success(), out: out.join().unwrap(), err: err.join().unwrap() };
    assert!(ended, "it does not end: {said:?}");
    said
}

fn text_of(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

fn collect(mut from: impl Read, into: &Mutex<String>) {
    let mut buffer = [0; 8192];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

pub(crate) fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Lines nobody waits for are read all the same, so that the server can write them.
        BufReader::new(from).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    receiver
}

/// How a server ended that was never ready.
pub(crate) struct Fallen {
    pub(crate) home: Home,
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) home: Home,
    pub(crate) address: SocketAddr,
    /// The line it said when it was ready.
    pub(crate) ready: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// A server with the usual catalogue and no rate limit.
    pub(crate) fn usual() -> Self {
        Home::empty().usual().serve()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().request(method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// The page's JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(crate) fn bid(&self, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", "/bid", JSON, body.as_ref())
    }

    /// Ids of /supplies, in its order.
    pub(crate) fn supplies(&self) -> Vec<String> {
        let supplies = self.json("/supplies");
        supplies.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The whole number of this name on /metrics.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let value = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} on {}", page.text()));
        value.strip_suffix(".0").unwrap_or(value).parse().expect("a whole number")
    }

    /// Waits until nothing waits for this stream's sink, however long that takes while it goes on.
    #[track_caller]
    pub(crate) fn drained(&self, stream: &str) {
        let metric = |name: &str| self.metric(&format!("bourse_stream_{name}{{stream=\"{stream}\"}}"));
        let (mut lag, delivered) = (1, || metric("delivered_auctions_total"));
        while lag > 0 {
            let before = delivered();
            eventually("the stream goes on", || {
                lag = metric("lag_bytes");
                lag == 0 || delivered() > before
            });
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        programs::signal(self.pid(), name);
    }

    /// How it ended; waits for it.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it by SIGTERM and gives its home back.
    pub(crate) fn stop(mut self) -> Home {
        self.signal("TERM");
        assert_eq!(self.exit().code(), Some(0), "{}", self.log());
        self.leave()
    }

    /// Ends it by SIGKILL and gives its home back.
    pub(crate) fn killed(mut self) -> Home {
        self.kill();
        self.leave()
    }

    /// How it ended, which is waited for, and its home.
    pub(crate) fn fall(mut self) -> Fallen {
        let status = self.exit();
        Fallen { status, log: self.log(), home: self.leave() }
    }

    fn leave(&mut self) -> Home {
        std::mem::replace(
            &mut self.home,
            Home { dir: tempfile::tempdir().unwrap(), variables: Vec::new(), counted: false },
        )
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the server's log, up to its last lines:\n{}", tail(&self.log()));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Every file under `dir`, whole.
pub(crate) fn files_under(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_under(&path)
            } else {
                vec![(path.clone(), std::fs::read(&path).unwrap_or_default())]
            }
        })
        .collect()
}
