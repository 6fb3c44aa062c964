//! What the doors are set to, whether they are open, and what each core keeps for itself.

use super::connection::Connections;
use super::express::Lane;
use super::problem::{Code, Refusal};
use crate::admin;
use crate::board::Board;
use crate::callout::Clock;
use crate::config::RateLimitKey;
use crate::hold::{Desk, Exchange};
use crate::metrics::Meters;
use crate::recorder::Recorder;
use axum::Router;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// What all cores share of the doors.
#[derive(Debug)]
pub struct Site {
    /// The exchange behind them.
    pub exchange: Arc<Exchange>,
    /// Open, or about to close.
    pub lifecycle: Lifecycle,
    /// What is shown to who watches.
    pub board: Board,
    /// One core's meters each.
    pub meters: Box<[Arc<Meters>]>,
    /// What the rate limit counts by.
    pub key: RateLimitKey,
    /// The longest body, in bytes.
    pub body_max_bytes: usize,
    /// The deepest nesting of a body.
    pub json_depth_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive, from its first byte.
    pub head_timeout: Duration,
    /// How long a connection may wait for a request, its first included.
    pub idle_timeout: Duration,
    /// How long an idle connection may still bring a request once a drain has begun.
    pub drain_idle: Duration,
    /// How many connections are kept open, over all cores.
    pub connections_max: usize,
    /// Whether cores never sleep.
    pub busy_poll: bool,
    /// Whether plain requests are answered without hyper.
    pub express: bool,
    /// Whether an answer waits until its record is on disk.
    pub sync_first: bool,
    /// Room for pages that take long to write.
    pub reports: Semaphore,
    /// What the admin API counts.
    pub admin: admin::Meters,
    /// What is known of each stream, by name.
    pub streams: Vec<(&'static str, Arc<streams::Meters>)>,
}

impl Site {
    /// Whether requests should be sent here, and if not, why.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.lifecycle.ready()?;
        let recorded = self.exchange.journal.as_ref().is_none_or(|journal| journal.status().available);
        if recorded { Ok(()) } else { Err(Code::JournalUnavailable.name()) }
    }
}

/// Whether the doors are open.
#[derive(Debug)]
pub struct Lifecycle {
    ready: AtomicBool,
    leaving: AtomicBool,
    draining: AtomicBool,
    /// How many cores still let new connections in.
    doors: watch::Sender<usize>,
    /// When draining must have ended, once it began.
    deadline: watch::Sender<Option<Instant>>,
    clock: Clock,
}

impl Lifecycle {
    /// Doors about to open, one for each core.
    pub fn new(clock: Clock, cores: usize) -> Self {
        Self {
            ready: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            doors: watch::Sender::new(cores),
            deadline: watch::Sender::new(None),
            clock,
        }
    }

    /// Every core listens.
    pub fn open(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.leaving.load(Ordering::Acquire) {
            Err("draining")
        } else if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("starting")
        }
    }

    /// Everybody is served as before, and told to go elsewhere.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Every core closes its door; what is in flight has until `deadline`.
    pub fn drain(&self, deadline: Instant) {
        self.leave();
        self.deadline.send_replace(Some(deadline));
    }

    /// A core has closed its door; returns when all have. Only then do connections learn of the drain: those who leave
    /// come back at once, and must find the doors closed, not about to close.
    pub async fn close_door(&self) {
        self.doors.send_modify(|open| {
            *open -= 1;
            // Before anybody is told: a core wakes its connections once, and they must see it then.
            if *open == 0 {
                self.draining.store(true, Ordering::Release);
            }
        });
        // The sender lives as long as this.
        let _ = self.doors.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Whether each answer is the last of its connection.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// To wait for the drain and its deadline.
    pub fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.deadline.subscribe()
    }

    /// Refuses an auction that could not end before the deadline; a virtual clock needs no time.
    pub fn time_for(&self, tmax_ms: u32) -> Result<(), Refusal> {
        if self.clock == Clock::Virtual {
            return Ok(());
        }
        let left = self.deadline.borrow().map(|at| at.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if left < Duration::from_millis(tmax_ms.into()) => {
                let detail = format!("the exchange stops before an auction of {tmax_ms} ms could end");
                Err(Refusal::new(Code::Draining, detail).retry_after_us(1_000_000).close())
            }
            _ => Ok(()),
        }
    }
}

/// What one core keeps for itself.
#[derive(Debug)]
pub struct Core {
    /// What it shares.
    pub site: Arc<Site>,
    /// Its end of the exchange.
    pub desk: Desk,
    /// What it counts.
    pub meters: Arc<Meters>,
    /// The connections it has accepted.
    pub connections: Connections,
    /// What the express lane works with.
    pub lane: Lane,
    /// How many connections it keeps open: its share of all.
    pub connections_max: usize,
    /// Every route but the hot path.
    pub pages: Router,
}

impl Core {
    /// What core number `core` keeps for itself.
    pub fn new(site: &Arc<Site>, core: usize, recorder: Option<Recorder>, pages: Router) -> Self {
        let (share, rest) =
            (site.connections_max / site.meters.len(), site.connections_max % site.meters.len());
        Self {
            site: Arc::clone(site),
            desk: Desk::new(&site.exchange, core, recorder, site.sync_first),
            meters: Arc::clone(&site.meters[core]),
            connections: Connections::default(),
            lane: Lane::default(),
            connections_max: share + usize::from(core < rest),
            pages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its connections are woken once, and sleep until the deadline if they see no drain then.
    #[test]
    fn a_core_that_has_closed_its_door_sees_the_drain() {
        for _ in 0..2_000 {
            let lifecycle = Lifecycle::new(Clock::Real, 2);
            let sees_it = || {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                    lifecycle.close_door().await;
                    lifecycle.is_draining()
                })
            };
            std::thread::scope(|scope| {
                let cores = [scope.spawn(sees_it), scope.spawn(sees_it)];
                assert!(cores.map(|core| core.join().unwrap()).into_iter().all(|sees_it| sees_it));
            });
        }
    }
}
