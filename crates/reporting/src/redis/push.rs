//! Pushes what this instance has counted, supply by supply, for as long as it is asked to.
//!
//! * An error costs nothing but time: what was not confirmed is pushed again, and after any error all of it, because
//!   a failover may have lost what was confirmed.
//! * Once in a while every hash is looked at all the same: a Redis can come back with less than it had, unnoticed.

use super::state::State;
use super::{Endpoint, Link, SUPPLIES, explained, instance_field, key};
use crate::Statistics;
use ::redis::{RedisResult, Script};
use anyhow::{Context, Result};
use auction::Id;
use futures_util::{StreamExt, stream};
use hashbrown::HashMap;
use journal::Durations;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between two pushes.
const PAUSE: Duration = Duration::from_millis(10);
/// However long a push took.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// With nothing to push, Redis is asked this often whether it is there.
const PING_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to connect.
const RECONNECT_EVERY: Duration = Duration::from_millis(200);
/// After this many seconds every hash was looked at again.
const LOOK_AGAIN_S: usize = 30;
/// How long Redis may take for one script.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Scripts under way at once.
const AT_ONCE: usize = 64;

/// How the pushing is, for the metrics and for whoever reads the sums.
#[derive(Debug, Default)]
pub struct Standing {
    /// The connection, if there is one.
    link: Mutex<Option<Link>>,
    /// Supplies whose counts Redis did not have at the last look.
    pub waiting: AtomicU64,
    /// How long the pushing of all that waited took, each time.
    pub pushes: Durations,
    /// Hashes pushed.
    pub pushed: AtomicU64,
    /// Pushes that failed.
    pub failed: AtomicU64,
}

impl Standing {
    /// A connection, if Redis was there a moment ago.
    pub fn link(&self) -> Option<Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_link(&self, link: Option<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

/// Pushes one instance's statistics.
#[derive(Debug)]
pub struct Pusher {
    endpoint: Endpoint,
    statistics: Arc<Statistics>,
    standing: Arc<Standing>,
    field: String,
    script: Script,
    /// The mark that each supply's hash has of this instance, as far as known.
    confirmed: HashMap<Id, u64, foldhash::fast::RandomState>,
    /// Where among them the next look begins.
    look_at: usize,
    looked_at: Instant,
    answered_at: Instant,
    is_away: bool,
    /// Whether it was said that Redis knows more than we do.
    is_behind: bool,
}

impl Pusher {
    /// A pusher of what `instance` has counted.
    pub fn new(
        endpoint: Endpoint,
        statistics: Arc<Statistics>,
        instance: u64,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            endpoint,
            statistics,
            standing,
            field: instance_field(instance),
            script: Script::new(include_str!("move.lua")),
            confirmed: HashMap::default(),
            look_at: 0,
            looked_at: Instant::now(),
            answered_at: Instant::now(),
            is_away: false,
            is_behind: false,
        }
    }

    /// Pushes until `stop`, and then once more, if Redis is there.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let begun = Instant::now();
            let turned = self.turn().await;
            self.note(&turned);
            let pause = match turned {
                // Where a push takes long, Redis has others to serve, too.
                Ok(()) => (begun.elapsed() * 4).clamp(PAUSE, PAUSE_MAX),
                Err(_) => RECONNECT_EVERY,
            };
            if tokio::time::timeout(pause, stop.as_mut()).await.is_ok() {
                let last = self.turn().await;
                self.note(&last);
                return;
            }
        }
    }

    /// Everything counted before is in Redis when this returns without an error.
    async fn turn(&mut self) -> Result<()> {
        self.look_again();
        let mut link = self.link().await?;
        let marks = self.statistics.marks().into_iter();
        let changed: Vec<Id> =
            marks.filter(|(id, mark)| self.confirmed.get(id) != Some(mark)).map(|(id, _)| id).collect();
        self.standing.waiting.store(changed.len() as u64, Ordering::Relaxed);
        if !changed.is_empty() {
            let begun = Instant::now();
            self.push(link, changed).await?;
            self.standing.pushes.observe(begun.elapsed());
        } else if self.answered_at.elapsed() >= PING_EVERY {
            explained(::redis::cmd("PING").query_async::<()>(&mut link).await, "no answer")?;
        } else {
            return Ok(());
        }
        self.answered_at = Instant::now();
        Ok(())
    }

    async fn link(&self) -> Result<Link> {
        if let Some(link) = self.standing.link() {
            return Ok(link);
        }
        let connecting = tokio::time::timeout(2 * TIMEOUT, self.endpoint.connect(TIMEOUT)).await;
        let link = explained(connecting.context("no answer")?, "no connection")?;
        self.standing.set_link(Some(link.clone()));
        Ok(link)
    }

    async fn push(&mut self, link: Link, changed: Vec<Id>) -> Result<()> {
        let this = &*self;
        let pushes = stream::iter(changed).map(|id| this.push_one(link.clone(), id));
        let pushed: Vec<_> = pushes.buffer_unordered(AT_ONCE).collect().await;
        let mut failed = None;
        for pushed in pushed {
            match pushed {
                Ok((id, mark, stands)) => {
                    self.note_mark(&id, mark, &stands);
                    self.confirmed.insert(id, mark);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| explained(Err(error), "a push failed"))
    }

    /// Returns also our mark, and the one that the hash has now.
    async fn push_one(&self, mut link: Link, id: Id) -> RedisResult<(Id, u64, String)> {
        let (mark, totals) = self.statistics.supply(&id);
        let state = State::new(mark, &totals).to_json();
        let mut call = self.script.key(key(id.as_str()));
        let stands: String = call.arg(&self.field).arg(state).invoke_async(&mut link).await?;
        if !self.confirmed.contains_key(&id) {
            ::redis::cmd("SADD").arg(SUPPLIES).arg(id.as_str()).query_async::<()>(&mut link).await?;
        }
        self.standing.pushed.fetch_add(1, Ordering::Relaxed);
        Ok((id, mark, stands))
    }

    /// Whatever Redis may have forgotten without our noticing is pushed again.
    fn look_again(&mut self) {
        if self.looked_at.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.looked_at = Instant::now();
        let some = self.confirmed.len().div_ceil(LOOK_AGAIN_S);
        let chosen: Vec<Id> = self.confirmed.keys().skip(self.look_at).take(some).cloned().collect();
        self.look_at = if chosen.len() < some || some == 0 { 0 } else { self.look_at + some };
        for id in &chosen {
            self.confirmed.remove(id);
        }
    }

    fn note(&mut self, turned: &Result<()>) {
        match turned {
            Ok(()) if self.is_away => {
                self.is_away = false;
                info!("redis is back, statistics are pushed");
            }
            Ok(()) => {}
            Err(error) => {
                self.standing.failed.fetch_add(1, Ordering::Relaxed);
                // What was confirmed may be lost with the server that confirmed it.
                self.confirmed.clear();
                self.standing.set_link(None);
                if !self.is_away {
                    self.is_away = true;
                    let error = format!("{error:#}");
                    warn!(error, "redis is away, the journal holds the statistics until it is back");
                }
            }
        }
    }

    /// Says once if Redis has more from this instance than the journal: a power cut, or a data directory of old.
    fn note_mark(&mut self, supply: &Id, mark: u64, stands: &str) {
        if stands.parse::<u64>().is_ok_and(|stands| stands > mark) && !self.is_behind {
            self.is_behind = true;
            let supply = supply.as_str();
            warn!(
                supply,
                mark,
                stands,
                "redis has statistics of this instance that its journal has not: kept until it has more"
            );
        }
    }
}
