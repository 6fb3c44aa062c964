//! PostgreSQL for the tests: the newest one installed, as a primary and a streaming replica of it on private
//! ports.
//!
//! * Both listen on 127.0.0.1 only, trust everyone, have no Unix socket, and keep nothing: fsync is off,
//!   their data directories go with the guard.
//! * They hold the user and the database `postgres`; a test makes databases of its own.
//! * Servers refuse to run as root: for root they run as the system user `postgres`.
//! * Errors: a server that does not come up is an error that names its log, which outlives it.

use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Display, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::debian;
use crate::guard::Guard;
use crate::workspace::{ask, capture};

/// The Debian package that holds the servers.
pub(crate) const PACKAGE: &str = "postgresql";

const NEEDED: [&str; 5] = ["initdb", "pg_basebackup", "pg_isready", "postgres", "psql"];
const MAJOR_MIN: u32 = 13;
const START_MAX: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A replica refuses to start with a smaller `max_connections` than its primary: both get all of these.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "wal_level=replica",
    "max_wal_senders=4",
    "hot_standby=on",
    // Without it a vacuum on the primary may cancel a test's query on the replica.
    "hot_standby_feedback=on",
];

/// An installed PostgreSQL.
pub(crate) struct Postgres {
    binaries: PathBuf,
    major: u32,
    version: String,
}

/// A running primary and its replica, stopped by the guard.
pub(crate) struct Pair {
    /// Of both servers, such as `15.14`.
    pub(crate) version: String,
    /// Takes reads and writes.
    pub(crate) primary: Server,
    /// Follows the primary; takes reads.
    pub(crate) replica: Server,
}

/// One running server.
pub(crate) struct Server {
    port: u16,
    log: PathBuf,
    process: Child,
}

impl Postgres {
    /// The newest PostgreSQL on this machine.
    pub(crate) fn find() -> Option<Self> {
        candidates().into_iter().filter_map(Self::in_dir).max_by_key(|found| found.major)
    }

    /// What is missing when [`Postgres::find`] finds none.
    pub(crate) fn wanted() -> String {
        format!("PostgreSQL {MAJOR_MIN} or newer ({})", NEEDED.join(", "))
    }

    fn in_dir(binaries: PathBuf) -> Option<Self> {
        if !NEEDED.iter().all(|name| binaries.join(name).is_file()) {
            return None;
        }
        // Such as "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
        let version = ask(binaries.join("postgres"), &["--version"])?.split(' ').nth(2)?.to_owned();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        let major = digits.parse().ok().filter(|major| *major >= MAJOR_MIN)?;
        Some(Self { binaries, major, version })
    }

    /// Starts the pair, its logs in the directory `logs`, and returns once the replica follows.
    pub(crate) fn start(self, logs: &Path, guard: &mut Guard) -> Result<Pair> {
        fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let owner = owner()?;
        let scratch = scratch(owner, guard)?;
        let cluster = Cluster { postgres: &self, scratch, owner, logs };
        let primary = cluster.start_primary(guard)?;
        let replica = cluster.start_replica(&primary, guard)?;
        Ok(Pair { version: self.version, primary, replica })
    }
}

impl Pair {
    /// The environment by which the tests find the pair.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("BOURSE_TEST_POSTGRES_URL", self.primary.url()),
            ("BOURSE_TEST_POSTGRES_REPLICA_URL", self.replica.url()),
        ]
    }

    /// An error once one of the two has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.primary.check()?;
        self.replica.check()
    }
}

impl Server {
    /// An error, with the path of its log, once the server has ended by itself.
    fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("PostgreSQL ended by itself ({status}); its log: {}", self.log.display()),
            None => Ok(()),
        }
    }

    /// Where the server writes what it has to say.
    pub(crate) fn log(&self) -> Display<'_> {
        self.log.display()
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// The place of one pair, and what every command in it shares.
struct Cluster<'a> {
    postgres: &'a Postgres,
    scratch: PathBuf,
    owner: Option<(u32, u32)>,
    logs: &'a Path,
}

impl Cluster<'_> {
    fn start_primary(&self, guard: &mut Guard) -> Result<Server> {
        let mut initdb = self.command("initdb");
        initdb.args([
            "-D",
            "primary",
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-locale",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        capture(&mut initdb, guard)?;
        let mut primary = self.start("primary", guard)?;
        self.wait_for("the primary", &mut primary, guard, Self::accepts)?;
        Ok(primary)
    }

    fn start_replica(&self, primary: &Server, guard: &mut Guard) -> Result<Server> {
        let port = primary.port.to_string();
        let mut backup = self.command("pg_basebackup");
        backup.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-D", "replica", "-R"]);
        capture(backup.args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"]), guard)?;
        let mut replica = self.start("replica", guard)?;
        self.wait_for("the replica", &mut replica, guard, Self::follows)?;
        Ok(replica)
    }

    fn start(&self, name: &str, guard: &mut Guard) -> Result<Server> {
        let log = self.logs.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let port = free_port()?;
        let mut server = self.command("postgres");
        server.args(["-D", name, "-p", &port.to_string()]);
        server.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        server.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = guard.spawn_server(&mut server).context("cannot start postgres")?;
        Ok(Server { port, log, process })
    }

    fn wait_for(
        &self,
        what: &str,
        server: &mut Server,
        guard: &mut Guard,
        ready: impl Fn(&Self, &Server, &mut Guard) -> bool,
    ) -> Result<()> {
        let started_at = Instant::now();
        while !ready(self, server, guard) {
            server.check().with_context(|| format!("{what} did not start"))?;
            ensure!(
                started_at.elapsed() < START_MAX,
                "{what} was not ready after {} s; its log: {}",
                START_MAX.as_secs(),
                server.log.display()
            );
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    fn accepts(&self, server: &Server, guard: &mut Guard) -> bool {
        capture(self.command("pg_isready").args(["-q", "-d", &server.url()]), guard).is_ok()
    }

    fn follows(&self, server: &Server, guard: &mut Guard) -> bool {
        let mut query = self.command("psql");
        query.args(["-X", "-At", "-d", &server.url(), "-c", "SELECT status FROM pg_stat_wal_receiver"]);
        capture(&mut query, guard).is_ok_and(|status| status.trim() == "streaming")
    }

    /// A command in the scratch directory, as the servers' user, free of the caller's PG… variables and
    /// locale.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.postgres.binaries.join(program));
        command.current_dir(&self.scratch).env_clear();
        command.env("HOME", &self.scratch).env("LC_ALL", "C").env("TZ", "UTC");
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Where PostgreSQL's binaries may be: Debian keeps them out of PATH, one directory for each major version.
fn candidates() -> Vec<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|major| major.path().join("bin"));
    let configured = ask("pg_config", &["--bindir"]).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    debian.chain(configured).chain(env::split_paths(&path)).collect()
}

/// The user and group ids that the servers take; `None` to stay who we are.
fn owner() -> Result<Option<(u32, u32)>> {
    if !debian::is_root() {
        return Ok(None);
    }
    let id = |flag| ask("id", &[flag, "postgres"])?.parse().ok();
    let ids = id("-u").zip(id("-g"));
    ids.map(Some).context("there is no system user to run the servers as: useradd -r postgres")
}

/// A fresh directory, private to the servers, that the guard removes.
fn scratch(owner: Option<(u32, u32)>, guard: &mut Guard) -> Result<PathBuf> {
    let dir = env::temp_dir().join(format!("bourse-test-{}", process::id()));
    let made = DirBuilder::new().mode(0o700).create(&dir);
    made.with_context(|| format!("cannot make {}", dir.display()))?;
    guard.remove_scratch(&dir)?;
    if let Some((user, group)) = owner {
        chown(&dir, Some(user), Some(group))
            .with_context(|| format!("cannot give away {}", dir.display()))?;
    }
    Ok(dir)
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
