//! The limit that all instances keep together: one script in Redis, by the clock of Redis.
//!
//! * Exact: the script decides for all instances, so that of any number of simultaneous requests exactly the limit
//!   passes, wherever they come in.
//! * Fast: an address that was refused is remembered until its time, and not asked for again; so is one that has had its
//!   requests here.
//! * Outage: Redis that answers not in time, or not at all, is left alone until it answers the question, put every 200 ms,
//!   whether it is back; meanwhile the local limiter decides, or everybody passes, or nobody, and no request waits. In a
//!   cluster that goes for each part of the keys by itself.
//! * Keys: `limit:` and the address that counts, in hexadecimal; gone when the window has passed.

use super::{Address, Limit, Limiter, Verdict};
use ::redis::{RedisResult, Script};
use reporting::redis::{Endpoint, Link};
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::{info, warn};

/// Between two questions whether Redis is back.
const REST: Duration = Duration::from_millis(200);
/// How long a start waits for Redis.
const CONNECT_MAX: Duration = Duration::from_secs(1);
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
            undecided: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
            away_ms: AtomicU64::new(0),
            started_at: Instant::now(),
        }
    }

    /// Requests that Redis did not decide.
    pub fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::Relaxed)
    }

    /// Whether Redis decides.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
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
    is_connecting: Cell<bool>,
    connected: Notify,
    /// Which parts of the keys are left alone.
    resting: [Cell<bool>; PARTS],
}

impl Asker {
    /// Asks for one core, on whose runtime this must be called.
    pub fn new(shared: &Arc<Shared>) -> Rc<Self> {
        let asker = Rc::new(Self {
            shared: Arc::clone(shared),
            link: RefCell::default(),
            is_connecting: Cell::new(false),
            connected: Notify::new(),
            resting: [const { Cell::new(false) }; PARTS],
        });
        asker.connect();
        asker
    }

    /// Returns when Redis can be asked, or is not there soon: before the first request, which would fall back.
    pub async fn connected(&self) {
        let connected = self.connected.notified();
        if self.link.borrow().is_none() {
            let _ = tokio::time::timeout(CONNECT_MAX, connected).await;
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
        let link = self.link.borrow().clone()?;
        let key = key(ip);
        let part = if link.is_cluster() { part(&key) } else { 0 };
        if self.resting[part].get() {
            return None;
        }
        let now = Instant::now();
        let until = deadline.min(now + self.shared.timeout);
        match tokio::time::timeout_at(until.into(), self.call(link, &key, limit)).await {
            Ok(Ok(wait_us)) => {
                self.shared.note_answer();
                return Some(wait_us);
            }
            Ok(Err(error)) if error.is_unrecoverable_error() => {
                self.link.take();
                self.connect();
            }
            Ok(Err(_)) => self.leave_alone(part, key),
            // A request that had little time says nothing about Redis.
            Err(_) if now + self.shared.timeout > until => {}
            Err(_) => self.leave_alone(part, key),
        }
        None
    }

    /// Until Redis answers again for a key of this part.
    fn leave_alone(self: &Rc<Self>, part: usize, key: String) {
        if self.resting[part].replace(true) {
            return;
        }
        let asker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Set free also by a new connection.
            while asker.resting[part].get() {
                tokio::time::sleep(REST).await;
                let Some(mut link) = asker.link.borrow().clone() else { continue };
                let is_there = ::redis::cmd("EXISTS").arg(&key).query_async::<()>(&mut link).await;
                if is_there.is_ok() {
                    asker.resting[part].set(false);
                }
            }
        });
    }

    async fn call(&self, mut link: Link, key: &str, limit: Limit) -> RedisResult<u64> {
        let mut call = self.shared.script.key(key);
        call.arg(limit.requests).arg(limit.window_us).invoke_async(&mut link).await
    }

    /// Connects in the background, for as long as it takes.
    fn connect(self: &Rc<Self>) {
        if self.is_connecting.replace(true) {
            return;
        }
        let asker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let timeout = asker.shared.timeout;
            while asker.link.borrow().is_none() {
                let connecting = asker.shared.endpoint.connect(timeout);
                match tokio::time::timeout(Duration::from_secs(2), connecting).await {
                    Ok(Ok(link)) => {
                        asker.resting.iter().for_each(|part| part.set(false));
                        *asker.link.borrow_mut() = Some(link);
                        asker.connected.notify_waiters();
                    }
                    _ => tokio::time::sleep(REST).await,
                }
            }
            asker.is_connecting.set(false);
        });
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
