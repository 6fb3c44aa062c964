//! Redis of a test's own, alone or as a cluster: on free ports, in a directory of its own, empty at every start.

use crate::programs::{free_port, program, signal};
use crate::server::{Said, eventually, said};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// One server; killed when dropped.
pub(crate) struct Redis {
    port: u16,
    flags: &'static [&'static str],
    dir: TempDir,
    process: Option<Child>,
    hangs: AtomicBool,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut redis = Self { port: free_port(), flags, dir, process: None, hangs: AtomicBool::new(false) };
        for _ in 0..10 {
            if redis.launch() {
                return redis;
            }
            redis.port = free_port();
        }
        panic!("no Redis on any of ten ports: {}", redis.log());
    }

    /// Whether it answers in the end; if not, somebody else has its port.
    fn launch(&mut self) -> bool {
        let mut server = Command::new(program("redis-server", "redis-server"));
        server.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        server.args(["--appendonly", "no", "--logfile", "redis.log"]).args(self.flags);
        server.current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = server.spawn().expect("redis-server");
        let itself = format!("process_id:{}\r", process.id());
        let mut ended = false;
        eventually("Redis answers", || {
            ended = process.try_wait().unwrap().is_some();
            ended || self.ask(&["INFO", "server"]).out.contains(&itself)
        });
        self.process = (!ended).then_some(process);
        !ended
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        *self.hangs.get_mut() = false;
    }

    /// On the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "Redis does not come back: {}", self.log());
    }

    /// It hangs: it is there, and answers nobody.
    pub(crate) fn pause(&self) {
        let pid = self.process.as_ref().expect("a running Redis").id();
        self.hangs.store(true, Ordering::SeqCst);
        signal(pid, "STOP");
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        eventually("Redis hangs", || stat().contains(") T "));
    }

    pub(crate) fn resume(&self) {
        signal(self.process.as_ref().expect("a hanging Redis").id(), "CONT");
        self.hangs.store(false, Ordering::SeqCst);
    }

    /// What redis-cli says to this.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.ask(words).done().trim_end().to_owned()
    }

    /// The hash, whole.
    pub(crate) fn hgetall(&self, key: &str) -> BTreeMap<String, String> {
        pairs(&self.command(&["HGETALL", key]))
    }

    fn ask(&self, words: &[&str]) -> Said {
        let mut cli = cli();
        cli.args(["-e", "-p", &self.port.to_string()]).args(words);
        said(cli)
    }

    fn answers(&self) -> bool {
        self.process.is_some() && !self.hangs.load(Ordering::SeqCst)
    }

    fn log(&self) -> String {
        log_in(self.dir.path())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three masters that share the keys, each with no replica or one.
pub(crate) struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start(replicas: usize) -> Self {
        const FLAGS: &[&str] = &[
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "nodes.conf",
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
            // A replica does not wait for others that might want the same copy.
            "--repl-diskless-sync-delay",
            "0",
        ];
        let nodes: Vec<Redis> = (0..3 * (1 + replicas)).map(|_| Redis::start_with(FLAGS)).collect();
        let mut create = cli();
        create
            .args(["--cluster", "create"])
            .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        create.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        said(create).done();
        let cluster = Self { nodes };
        cluster.settled();
        cluster
    }

    /// Waits until every node that answers finds all keys served, and every replica follows its master.
    pub(crate) fn settled(&self) {
        for node in self.answering() {
            eventually("the cluster is well", || {
                let about = [["CLUSTER", "INFO"], ["INFO", "replication"]].map(|words| node.command(&words));
                let follows = about[1].contains("role:master") || about[1].contains("master_link_status:up");
                about[0].contains("cluster_state:ok")
                    && about[0].contains("cluster_slots_ok:16384")
                    && follows
            });
        }
    }

    /// All nodes, with commas.
    pub(crate) fn urls(&self) -> String {
        self.nodes.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }

    /// SIGKILL of one node.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// On the same port, empty; it knows its cluster and what it was there.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// The node hangs, as if its host had lost its power.
    pub(crate) fn pause(&self, node: usize) {
        self.nodes[node].pause();
    }

    pub(crate) fn resume(&self, node: usize) {
        self.nodes[node].resume();
    }

    /// Which nodes have keys now, in the eyes of one that answers.
    pub(crate) fn masters(&self) -> Vec<usize> {
        let seen = self.answering().next().expect("a node that answers").command(&["CLUSTER", "NODES"]);
        let has_keys = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let flags: Vec<&str> = words[2].split(',').collect();
            flags.contains(&"master") && !flags.contains(&"fail") && words.len() > 8
        };
        let masters: Vec<&str> = seen.lines().filter(has_keys).collect();
        let is_master =
            |node: &Redis| masters.iter().any(|line| line.contains(&format!("127.0.0.1:{}@", node.port)));
        (0..self.nodes.len()).filter(|&node| is_master(&self.nodes[node])).collect()
    }

    /// The master that this key belongs to.
    pub(crate) fn master_of(&self, key: &str) -> usize {
        let knows = |&node: &usize| self.nodes[node].ask(&["EXISTS", key]).ok;
        self.masters().into_iter().find(knows).expect("a master for every key")
    }

    /// Waits until others have taken the place of a master that is gone.
    pub(crate) fn has_replaced(&self, master: usize) {
        eventually("a replica is made master", || !self.masters().contains(&master));
        self.settled();
    }

    /// The hash, whole, from whichever node has it.
    pub(crate) fn hgetall(&self, key: &str) -> BTreeMap<String, String> {
        let port = self.answering().next().expect("a node that answers").port;
        let mut cli = cli();
        cli.args(["-c", "-e", "-p", &port.to_string(), "HGETALL", key]);
        pairs(said(cli).done().trim_end())
    }

    fn answering(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.answers())
    }
}

fn cli() -> Command {
    let mut cli = Command::new(program("redis-cli", "redis-tools"));
    cli.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cli
}

/// A field a line, and its value on the next.
fn pairs(lines: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = lines.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn log_in(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("redis.log")).unwrap_or_default()
}
