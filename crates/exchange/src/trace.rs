//! Traces: some auctions are told to an OpenTelemetry collector, each as a span with its bidders as children.
//!
//! * Which: one in `otlp.sample` of each core's auctions, the first included. A request that says by `traceparent` (W3C
//!   Trace Context) whether its trace is sampled is believed, and its span becomes the auction's parent.
//! * Cost: an auction that is not traced counts down to the next that is. One that is traced is copied and handed to the
//!   exporter's thread.
//! * Bound: a queue of `QUEUE_AUCTIONS_MAX`; what finds it full is dropped and counted, no auction waits.

mod export;
mod parent;
mod spans;

pub use parent::Parent;

use auction::{Answers, AuctionId, Clearing, Country, Imp, Opportunity, Record, Supply, invite, truncated};
use export::Exporter;
use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What waits for the exporter at most.
const QUEUE_AUCTIONS_MAX: usize = 512;

/// Where traces go, and how many.
#[derive(Debug, Clone)]
pub struct TraceConfig {
    /// The collector's address for traces: `http://HOST:PORT/v1/traces`.
    pub endpoint: String,
    /// One auction in this many.
    pub sample: u64,
}

/// The way to the exporter, and what it has done.
#[derive(Debug)]
pub struct Traces {
    sample: u64,
    /// None once the exchange ends.
    queue: Mutex<Option<SyncSender<Traced>>>,
    counts: Arc<Counts>,
    ended: Mutex<Receiver<()>>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Traces {
    /// Starts the exporter; `instance` tells this exchange from others.
    pub fn start(config: &TraceConfig, instance: &str) -> io::Result<Self> {
        let (queue, traced) = sync_channel(QUEUE_AUCTIONS_MAX);
        let (end, ended) = channel::<()>();
        let counts = Arc::new(Counts::default());
        let exporter = Exporter::new(&config.endpoint, instance, traced, Arc::clone(&counts));
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            exporter.run();
            drop(end);
        })?;
        let (queue, ended) = (Mutex::new(Some(queue)), Mutex::new(ended));
        Ok(Self { sample: config.sample, queue, counts, ended })
    }

    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Ordering::Relaxed)
    }

    /// Spans that it did not get.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// One core's end; None once the exchange ends.
    pub fn tracer(&self) -> Option<Tracer> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Tracer { sample: self.sample, left: Cell::new(0), queue, counts: Arc::clone(&self.counts) })
    }

    /// Lets the exporter send what it has, for so long at most. To be called when the cores have ended.
    pub fn finish(&self, at_most: Duration) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(at_most);
        if ended == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the collector takes no traces, the last ones are dropped");
        }
    }
}

/// Chooses one core's auctions, and hands them over.
#[derive(Debug)]
pub struct Tracer {
    sample: u64,
    /// Auctions before the next that is traced.
    left: Cell<u64>,
    queue: SyncSender<Traced>,
    counts: Arc<Counts>,
}

impl Tracer {
    /// To be called with every auction, at its end.
    pub fn look(
        &self,
        supply: &Arc<Supply>,
        record: &Record<'_>,
        parent: Option<Parent>,
        received_at: Instant,
    ) {
        let is_chosen = match parent {
            Some(parent) => parent.is_sampled,
            None => self.is_turn(),
        };
        if is_chosen {
            self.hand_over(supply, record, parent, received_at);
        }
    }

    fn is_turn(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.checked_sub(1).unwrap_or(self.sample - 1));
        left == 0
    }

    #[cold]
    fn hand_over(
        &self,
        supply: &Arc<Supply>,
        record: &Record<'_>,
        parent: Option<Parent>,
        received_at: Instant,
    ) {
        let traced = Traced::new(supply, record, parent, received_at.elapsed());
        if let Err(full) = self.queue.try_send(traced) {
            let (std::sync::mpsc::TrySendError::Full(lost)
            | std::sync::mpsc::TrySendError::Disconnected(lost)) = full;
            self.counts.dropped.fetch_add(lost.spans() as u64, Ordering::Relaxed);
        }
    }
}

/// An auction that is traced, with all that its core will use again copied.
#[derive(Debug)]
struct Traced {
    parent: Option<Parent>,
    /// From the request read to the answer made.
    duration: Duration,
    id: AuctionId,
    received_at_us: u64,
    catalogue_revision: u64,
    ip: IpAddr,
    country: Country,
    tmax_ms: u32,
    imps: Vec<Imp>,
    supply: Arc<Supply>,
    answers: Answers,
    clearing: Clearing,
}

impl Traced {
    fn new(supply: &Arc<Supply>, record: &Record<'_>, parent: Option<Parent>, duration: Duration) -> Self {
        let opportunity = record.opportunity;
        Self {
            parent,
            duration,
            id: record.id,
            received_at_us: record.received_at_us,
            catalogue_revision: record.catalogue_revision,
            ip: truncated(opportunity.ip),
            country: opportunity.country,
            tmax_ms: opportunity.tmax_ms,
            imps: opportunity.imps.to_vec(),
            supply: Arc::clone(supply),
            answers: record.answers.clone(),
            clearing: record.clearing.clone(),
        }
    }

    /// How many spans it makes.
    fn spans(&self) -> usize {
        1 + self.answers.replies.len()
    }

    /// Its record, as it was.
    fn with<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let opportunity = Opportunity {
            supply_id: self.supply.id.as_str(),
            ip: self.ip,
            country: self.country,
            tmax_ms: self.tmax_ms,
            imps: &self.imps,
        };
        use_it(&Record {
            id: self.id,
            received_at_us: self.received_at_us,
            catalogue_revision: self.catalogue_revision,
            opportunity: &opportunity,
            supply: &self.supply,
            invitations: &invite(&opportunity, &self.supply),
            answers: &self.answers,
            clearing: &self.clearing,
        })
    }
}
