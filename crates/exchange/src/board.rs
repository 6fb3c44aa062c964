//! The board: what the dashboard shows, made once a second for everybody who watches.
//!
//! * The data plane only adds to counters that it has anyway; one task on the control thread reads them. Rates and
//!   quantiles come from the difference between two readings.
//! * One event is encoded for all subscribers. Who reads slowly misses events; nothing queues for anybody.
//! * Tables take time in proportion to the catalogue: they are made on a thread of their own, only while somebody
//!   watches, and for a tenth of the time at most.
//! * Bounds: `http.subscribers_max`; the longest rows shown of each table.
//!
//! | module | what it has |
//! |---|---|
//! | [`samples`] | readings, rates, quantiles, the last two minutes |
//! | [`tables`] | every supply, bidder and country, and which of them are shown |
//! | [`event`] | one moment of all of it, as JSON |

pub mod event;
pub mod samples;
pub mod tables;

use crate::http::site::Site;
use bytes::Bytes;
use event::{InstanceNow, Moment};
use futures_util::future::OptionFuture;
use samples::{History, Sample};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tables::Tables;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Between two events.
const EVERY: Duration = Duration::from_secs(1);
/// Making tables takes one part of so many of the time.
const REST: u32 = 10;
/// How long tables are made for somebody who has asked once.
const INTEREST: Duration = Duration::from_secs(5);

/// Where watchers find it.
#[derive(Debug)]
pub struct Board {
    /// Where this instance listens.
    pub address: SocketAddr,
    /// As it goes over the wire; empty before the first one.
    event: watch::Sender<Bytes>,
    tables: watch::Sender<Option<Arc<Tables>>>,
    seats: Arc<Semaphore>,
    seats_max: usize,
    asked_at: Mutex<Option<Instant>>,
    wanted: Notify,
    /// Whether what is there was made for who watches now.
    is_current: AtomicBool,
}

/// A place among the subscribers, and the newest event.
#[derive(Debug)]
pub struct Subscription {
    /// What to wait for.
    pub events: watch::Receiver<Bytes>,
    _seat: OwnedSemaphorePermit,
}

impl Board {
    /// An empty board of the instance at `address`.
    pub fn new(address: SocketAddr, seats_max: usize) -> Self {
        Self {
            address,
            event: watch::Sender::default(),
            tables: watch::Sender::default(),
            seats: Arc::new(Semaphore::new(seats_max)),
            seats_max,
            asked_at: Mutex::default(),
            wanted: Notify::new(),
            is_current: AtomicBool::new(false),
        }
    }

    /// A place among the subscribers; None: all are taken.
    pub fn subscribe(&self) -> Option<Subscription> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        let mut events = self.event.subscribe();
        if self.is_current.load(Ordering::Acquire) {
            // The newest event at once, not only the next.
            events.mark_changed();
        }
        self.wanted.notify_one();
        Some(Subscription { events, _seat: seat })
    }

    /// The newest tables; waits for them if nobody has looked lately.
    pub async fn tables(&self) -> Option<Arc<Tables>> {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut tables = self.tables.subscribe();
        self.wanted.notify_one();
        tables.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn is_watched(&self) -> bool {
        let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.seats.available_permits() < self.seats_max || asked_at.is_some_and(|at| at.elapsed() < INTEREST)
    }

    fn show(&self, event: Bytes) {
        self.event.send_replace(event);
        self.is_current.store(true, Ordering::Release);
    }

    /// Nobody watches: what is there gets old. Tables go as soon as others may be made.
    fn leave(&self, due: Instant) {
        self.is_current.store(false, Ordering::Release);
        if Instant::now() >= due {
            self.tables.send_replace(None);
        }
    }
}

/// Keeps the board for as long as it runs.
pub async fn keep(site: Arc<Site>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut history = History::new(Sample::of(&site));
    let mut others = Vec::new();
    let mut making: Option<JoinHandle<Option<Tables>>> = None;
    let (mut begun, mut due) = (Instant::now(), Instant::now());
    let board = &site.board;
    loop {
        tokio::select! {
            biased;
            Some(made) = OptionFuture::from(making.as_mut()) => {
                making = None;
                due = Instant::now() + begun.elapsed() * REST;
                if let Ok(Some(made)) = made {
                    board.tables.send_replace(Some(Arc::new(made)));
                    show(&site, &history, &others);
                }
                continue;
            }
            _ = ticks.tick() => {
                history.push(Sample::of(&site));
                others = met(&site, &history).await;
            }
            () = board.wanted.notified() => {
                if board.tables.borrow().is_some() {
                    continue;
                }
            }
        }
        if !board.is_watched() {
            board.leave(due);
        } else if making.is_none() && Instant::now() >= due {
            begun = Instant::now();
            making = Some(tokio::spawn(Tables::make(Arc::clone(&site.exchange))));
        } else {
            show(&site, &history, &others);
        }
    }
}

/// Encodes one event for everybody, once there are tables.
fn show(site: &Site, history: &History, others: &[InstanceNow]) {
    let Some(tables) = site.board.tables.borrow().clone() else { return };
    site.board.show(Moment::of(site, history, others, &tables).to_wire());
}

/// Tells the other instances how this one is, and what they said.
async fn met(site: &Site, history: &History) -> Vec<InstanceNow> {
    let Some(others) = &site.exchange.others else { return Vec::new() };
    let own = serde_json::to_string(&InstanceNow::of(site, history)).unwrap_or_default();
    let met = others.meet(&own).await.unwrap_or_default();
    met.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}
