//! The limit that all instances keep together: one script in Redis, by the clock of Redis.
//!
//! * Exact: the script decides for all instances, so that of any number of simultaneous requests exactly the limit
//!   passes, wherever they come in.
//! * Fast: an address that was refused is remembered until its time, and not asked for again; so is one that has had its
//!   requests here.
//! * Outage: Redis that answers not in time, or not at all, is left alone, and asked in the background whether it is
//!   back, so that no other request waits for it; meanwhile the local limiter decides, or everybody passes, or nobody.
//!   In a cluster that goes for each part of the keys by itself.
//! * Keys: `limit:` and the address that counts, in hexadecimal; gone when the window has passed.

use super::{Address, Limit, Limiter, Verdict};
use ::redis::{RedisResult, Script, cmd};
use anyhow::Result;
use futures_util::future::join_all;
use journal::Durations;
use reporting::redis::{Endpoint, Link};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long Redis is left alone after it did not answer.
const REST: Duration = Duration::from_millis(200);
/// So often in a row it is asked on one connection: that may be silent for ever, as of a host that lost its power, and a
/// cluster may have given the keys to another node meanwhile.
const RESTS_PER_CONNECTION: u32 = 5;
/// For a core to read the answers that have come.
const GRACE: Duration = Duration::from_millis(2);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a start waits for Redis.
const MEET_MAX: Duration = Duration::from_millis(500);
/// An outage is over when Redis has answered everybody for so long.
const BACK_AFTER: Duration = Duration::from_secs(2);
/// Parts of a cluster's keys: each is some 256 slots, and belongs to one node most of the time.
const PARTS: usize = 64;

/// Who decides while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This instance by itself.
    Local,
    /// Everybody passes.
    Allow,
    /// Nobody passes.
    Deny,
}

/// What all cores share of it.
#[derive(Debug)]
pub struct Shared {
    endpoint: Endpoint,
    timeout: Duration,
    fallback: Fallback,
    script: Script,
    /// How long Redis took for those it decided.
    answers: Durations,
    /// Requests that Redis did not decide.
    undecided: AtomicU64,
    is_away: AtomicBool,
    /// When a request was last not decided, in milliseconds since the start.
    away_ms: AtomicU64,
    started_at: Instant,
}

impl Shared {
    /// Asks this Redis, which has `timeout` to answer.
    pub fn new(endpoint: Endpoint, timeout: Duration, fallback: Fallback) -> Self {
        Self {
            endpoint,
            timeout,
            fallback,
            script: Script::new(include_str!("admit.lua")),
            answers: Durations::default(),
            undecided: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
            away_ms: AtomicU64::new(0),
            started_at: Instant::now(),
        }
    }

    /// How long Redis took for each request that it decided.
    pub fn answers(&self) -> &Durations {
        &self.answers
    }

    /// Requests that Redis did not decide.
    pub fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::Relaxed)
    }

    /// Whether Redis decides.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// How long ago, in microseconds, each request of this address in the window at hand passed, the latest first; over a
    /// connection of its own.
    pub async fn passed(&self, limit: Limit, ip: IpAddr) -> Result<Vec<u64>> {
        let mut link = self.endpoint.connect(CONNECT_MAX).await?;
        // One step, for the clock must be that of the node that has the key.
        let script = Script::new(
            "local time = redis.call('TIME')
             local ages = {}
             for i, at in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
                 ages[i] = time[1] * 1000000 + time[2] - at
             end
             return ages",
        );
        let ages: Vec<u64> = script.key(key(ip)).invoke_async(&mut link).await?;
        Ok(ages.into_iter().filter(|&age_us| age_us < limit.window_us).collect())
    }

    /// Forgets what passed of this address.
    pub async fn forget(&self, ip: IpAddr) -> Result<()> {
        let mut link = self.endpoint.connect(CONNECT_MAX).await?;
        Ok(cmd("DEL").arg(key(ip)).query_async(&mut link).await?)
    }

    fn now_ms(&self) -> u64 {
        self.started_at.elapsed().as_millis() as u64
    }

    fn note_away(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
        self.away_ms.store(self.now_ms(), Ordering::Relaxed);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            warn!(fallback = ?self.fallback, "redis is away, the rate limit falls back");
        }
    }

    fn note_answer(&self) {
        if self.is_away.load(Ordering::Relaxed)
            && self.now_ms() - self.away_ms.load(Ordering::Relaxed) > BACK_AFTER.as_millis() as u64
            && self.is_away.swap(false, Ordering::Relaxed)
        {
            info!("redis is back, the rate limit is shared again");
        }
    }
}

/// One core's way to ask.
#[derive(Debug)]
pub struct Asker {
    shared: Arc<Shared>,
    link: RefCell<Option<Link>>,
    /// The parts of the keys that Redis did not answer for.
    troubled: RefCell<BTreeMap<usize, Trouble>>,
    is_mending: Cell<bool>,
}

/// What is known of a part of the keys that Redis did not answer for.
#[derive(Debug)]
struct Trouble {
    /// A key of that part, to ask for.
    key: String,
    /// Whether it is left alone. If not, it is only known that an answer takes longer than some request had time for.
    is_away: bool,
}

impl Asker {
    /// Asks for one core.
    pub fn new(shared: &Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            shared: Arc::clone(shared),
            link: RefCell::default(),
            troubled: RefCell::default(),
            is_mending: Cell::new(false),
        })
    }

    /// Connects on this core's runtime, so that the limit is exact from the first request. Redis that is not there is
    /// looked for in the background.
    pub async fn meet(self: &Rc<Self>) {
        let _ = tokio::time::timeout(MEET_MAX, self.connect()).await;
        if self.link().is_none() {
            self.mend();
        }
    }

    /// Whether a request of `ip` at `now_us`, which may wait until `deadline`, may go on. None: Redis is away, and then
    /// nobody passes.
    pub async fn admit(
        self: &Rc<Self>,
        local: &Limiter,
        ip: IpAddr,
        now_us: u64,
        deadline: Instant,
    ) -> Option<Verdict> {
        if let Some(retry_after_us) = local.limited(ip, now_us) {
            return Some(Verdict::Limited { retry_after_us });
        }
        match self.ask(local.limit(), ip, deadline).await {
            Some(0) => {
                // So that an outage finds the local limiter informed; what it thinks does not matter here.
                local.admit(ip, now_us);
                Some(Verdict::Admitted)
            }
            Some(retry_after_us) => {
                local.refuse(ip, now_us, retry_after_us);
                Some(Verdict::Limited { retry_after_us })
            }
            None => {
                self.shared.note_away();
                match self.shared.fallback {
                    Fallback::Local => Some(local.admit(ip, now_us)),
                    Fallback::Allow => Some(Verdict::Admitted),
                    Fallback::Deny => None,
                }
            }
        }
    }

    /// 0, or how long to wait; None: Redis did not say.
    async fn ask(self: &Rc<Self>, limit: Limit, ip: IpAddr, deadline: Instant) -> Option<u64> {
        let link = self.link()?;
        let key = key(ip);
        let part = if link.is_cluster() { part(&key) } else { 0 };
        if self.troubled.borrow().get(&part).is_some_and(|trouble| trouble.is_away) {
            return None;
        }
        let now = Instant::now();
        let until = deadline.min(now + self.shared.timeout);
        let mut call = pin!(self.call(link, &key, limit));
        let mut called = tokio::time::timeout_at(until.into(), call.as_mut()).await;
        if called.is_err() {
            // A busy core may have been late itself, and the answer be there.
            called = tokio::time::timeout(GRACE, call).await;
        }
        match called {
            Ok(Ok(wait_us)) => {
                self.shared.note_answer();
                self.shared.answers.observe(now.elapsed());
                Some(wait_us)
            }
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.link.take();
                }
                self.note_trouble(part, &key, true);
                None
            }
            Err(_) => {
                // A request that had little time says little about Redis.
                self.note_trouble(part, &key, now + self.shared.timeout <= until);
                None
            }
        }
    }

    async fn call(&self, mut link: Link, key: &str, limit: Limit) -> RedisResult<u64> {
        let mut call = self.shared.script.key(key);
        call.arg(limit.requests).arg(limit.window_us).invoke_async(&mut link).await
    }

    fn link(&self) -> Option<Link> {
        self.link.borrow().clone()
    }

    async fn connect(&self) {
        // Longer than anybody here waits: what is late is for us to judge.
        let connecting = self.shared.endpoint.connect(self.shared.timeout * 2 + GRACE);
        if let Ok(Ok(link)) = tokio::time::timeout(CONNECT_MAX, connecting).await {
            self.link.replace(Some(link));
        }
    }

    fn note_trouble(self: &Rc<Self>, part: usize, key: &str, is_away: bool) {
        let mut troubled = self.troubled.borrow_mut();
        let new = || Trouble { key: key.to_owned(), is_away: false };
        troubled.entry(part).or_insert_with(new).is_away |= is_away;
        drop(troubled);
        self.mend();
    }

    /// Looks for Redis in the background until it answers for every part of the keys.
    fn mend(self: &Rc<Self>) {
        if self.is_mending.replace(true) {
            return;
        }
        let asker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if asker.link().is_some() && asker.troubled.borrow().values().any(|trouble| trouble.is_away) {
                tokio::time::sleep(REST).await;
            }
            for turn in 1.. {
                if asker.link().is_none() || turn % RESTS_PER_CONNECTION == 0 {
                    asker.connect().await;
                }
                if asker.is_mended().await {
                    break;
                }
                tokio::time::sleep(REST).await;
            }
            asker.is_mending.set(false);
        });
    }

    /// Asks for every part in trouble; whether none is left.
    async fn is_mended(&self) -> bool {
        let Some(link) = self.link() else { return false };
        let ask_for =
            |(part, trouble): (&usize, &Trouble)| self.ask_for(link.clone(), *part, trouble.key.clone());
        let asked: Vec<_> = self.troubled.borrow().iter().map(ask_for).collect();
        join_all(asked).await;
        self.link.borrow().is_some() && self.troubled.borrow().is_empty()
    }

    async fn ask_for(&self, mut link: Link, part: usize, key: String) {
        let mut exists = cmd("EXISTS");
        let asked = exists.arg(key).query_async::<()>(&mut link);
        match tokio::time::timeout(self.shared.timeout, asked).await {
            Ok(Ok(())) => _ = self.troubled.borrow_mut().remove(&part),
            Ok(Err(error)) if error.is_unrecoverable_error() => _ = self.link.take(),
            _ => {
                if let Some(trouble) = self.troubled.borrow_mut().get_mut(&part) {
                    trouble.is_away = true;
                }
            }
        }
    }
}

fn key(ip: IpAddr) -> String {
    let Address { prefix, v4 } = Address::of(ip);
    let mut key = String::with_capacity(22);
    // Writing to a string cannot fail.
    let _ = if v4 { write!(key, "limit:{prefix:08x}") } else { write!(key, "limit:{prefix:016x}") };
    key
}

/// Which part of a cluster's keys this one is in.
fn part(key: &str) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % 16_384) * PARTS / 16_384
}
