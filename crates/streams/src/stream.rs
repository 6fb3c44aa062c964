//! A stream: the thread that brings the journal to one sink.
//!
//! * One batch at a time, a core after the other: what the sink does not take waits in the journal, not in memory.
//! * A batch is due when it is large enough or its oldest auction has waited for long enough.
//! * A failure is tried again after a random part of a time that doubles, up to `retry_max`.
//! * Order: the batch's end on disk (with [`Sink::REPEATS`]), the delivery, the cursor on disk.
//! * Bound: when more than `retain_bytes` wait, the oldest segment is given up, counted and logged.

use crate::lane::Lane;
use crate::meters::{Meters, now_us};
use crate::plan::Plan;
use crate::{Batch, Sink};
use anyhow::{Context, Result, anyhow};
use journal::{Cursor, Journal, Offset};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Between looks for what is new.
const POLL: Duration = Duration::from_millis(50);
/// Between looks at how much waits, which lists files.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The first pause after a failure is at most so long.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// So long a reason is said once, counted from the first failure.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// How many reasons are said in that time: a sink may fail in two ways by turns, or in another way each time.
const REASONS_MAX: usize = 5;
/// Auctions come first, but a stream still gets a tenth of a core that is always busy.
const NICE: i32 = 10;
/// What an auction takes in the journal, before any was read.
const AUCTION_BYTES: u64 = 250;

/// Where events come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The journal, which this process writes.
    pub journal: Arc<Journal>,
    /// Its directory.
    pub dir: PathBuf,
}

/// When a batch is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// When it takes so many bytes in the journal.
    pub bytes: u64,
    /// When its oldest auction has waited for so long.
    pub age: Duration,
}

/// What holds for every stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many bytes of the journal may wait for a sink that is away or too slow.
    pub retain_bytes: u64,
    /// The longest pause between two attempts.
    pub retry_max: Duration,
    /// How long an attempt may take.
    pub timeout: Duration,
}

/// A stream that runs, until [`Stream::stop`].
#[derive(Debug)]
pub struct Stream {
    name: &'static str,
    meters: Arc<Meters>,
    stop: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a stream. Its name is its reader's, its thread's and its metrics'. `make` makes the sink on the stream's
/// thread, in its runtime; it checks settings and needs nobody to answer. A new reader begins at the oldest auction.
pub fn start<S: Sink>(
    name: &'static str,
    source: Source,
    pace: Pace,
    policy: Policy,
    make: impl FnOnce() -> Result<S> + Send + 'static,
) -> Result<Stream> {
    let meters = Arc::new(Meters::default());
    let (stop, stopped) = watch::channel(None);
    let (tell, told) = mpsc::channel();
    let reading = Reading::open(name, source, Arc::clone(&meters))?;
    let run = move || {
        // Without the right to it, it runs as everything else does.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // Whoever writes files for a sink is the stream's, too.
        let runtime = runtime.enable_all().thread_name(format!("stream-{name}")).build();
        let made = runtime.context("no runtime").and_then(|runtime| {
            let sink = runtime.block_on(async { make() })?;
            Ok((runtime, sink))
        });
        match made {
            Err(error) => drop(tell.send(Err(error))),
            Ok((runtime, sink)) => {
                let _ = tell.send(Ok(()));
                let runner =
                    Runner { name, sink, pace, policy, reading, held: None, failures: None, stopped };
                runtime.block_on(runner.run());
                runtime.shutdown_background();
            }
        }
    };
    let thread = thread::Builder::new().name(format!("stream-{name}")).spawn(run);
    let thread = thread.context("cannot start a thread")?;
    told.recv().context("a stream has ended at its start")??;
    Ok(Stream { name, meters, stop, thread: Some(thread) })
}

impl Stream {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is known of it.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Delivers what there is and ends, by the deadline in any case: the next start goes on from there.
    pub fn stop(&self, deadline: Instant) {
        // A thread that has ended already needs no word.
        let _ = self.stop.send(Some(deadline));
    }

    /// Waits for its end, after [`Stream::stop`].
    pub fn join(mut self) {
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            error!(stream = self.name, "a stream ended badly");
        }
    }
}

/// The journal's side of a stream.
struct Reading {
    name: &'static str,
    source: Source,
    lanes: Vec<Lane>,
    cursor: Cursor,
    plan: Plan,
    meters: Arc<Meters>,
    measured_at: Option<Instant>,
    /// Bytes and auctions that were read, for their mean.
    read: (u64, u64),
}

impl Reading {
    fn open(name: &'static str, source: Source, meters: Arc<Meters>) -> Result<Self> {
        let dir = &source.dir;
        let mut cursor = Cursor::open(dir, name)?;
        let cores = journal::cores(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        let instance = source.journal.instance();
        let mut lanes = Vec::new();
        for core in cores {
            if cursor.offset(core) == Offset::new(0) {
                // What was removed before it came is not missing.
                cursor.set(core, journal::oldest(dir, core)?);
            }
            lanes.push(Lane::open(dir, core, instance, cursor.offset(core))?);
        }
        cursor.save()?;
        let plan = Plan::open(dir, name)?;
        let read = (AUCTION_BYTES, 1);
        let mut reading = Self { name, source, lanes, cursor, plan, meters, measured_at: None, read };
        // Known before anybody looks.
        reading.measure();
        Ok(reading)
    }

    /// Where a core's journal ends now; one that nobody writes ends somewhere before.
    fn end(&self, core: u32) -> Offset {
        let cores = self.source.journal.status().cores;
        cores.iter().find(|own| own.core == core).map_or(Offset::new(u64::MAX), |own| own.end)
    }

    /// Whether a lane's next batch is to be delivered now.
    fn is_due(&mut self, at: usize, pace: Pace, stopping: bool) -> bool {
        let lane = &self.lanes[at];
        let end = self.end(lane.core);
        if lane.dry_at == Some(end) {
            return false;
        }
        let is_planned = self.plan.until(lane.core, lane.done).is_some();
        let is_large = end.get().saturating_sub(lane.offset().get()) >= pace.bytes;
        let since = *self.lanes[at].waiting_since.get_or_insert_with(Instant::now);
        stopping || is_planned || is_large || since.elapsed() >= pace.age
    }

    /// Whether everything is delivered.
    fn is_done(&self) -> bool {
        self.lanes.iter().all(|lane| !lane.is_held && lane.dry_at == Some(self.end(lane.core)))
    }

    /// Measures how far the stream is behind. Returns how many bytes wait.
    fn measure(&mut self) -> u64 {
        let waiting: Vec<(usize, Offset)> = (0..self.lanes.len())
            .map(|at| (at, self.end(self.lanes[at].core)))
            .filter(|(at, end)| self.lanes[*at].is_held || self.lanes[*at].dry_at != Some(*end))
            .collect();
        let now_us = now_us();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if !waiting.iter().any(|(waits, _)| *waits == at) {
                lane.since_us = now_us;
            }
        }
        if waiting.is_empty() {
            self.meters.set_lag(0, 0, now_us);
        } else if self.measured_at.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            self.measured_at = Some(Instant::now());
            let behind = |(at, end): &(usize, Offset)| {
                let lane = &self.lanes[*at];
                // A file that is gone meanwhile waits for nobody.
                journal::behind_bytes(&self.source.dir, lane.core, lane.done, *end).unwrap_or(0)
            };
            let bytes: u64 = waiting.iter().map(behind).sum();
            let since_us = waiting.iter().map(|(at, _)| self.lanes[*at].since_us).min();
            let auctions = bytes.saturating_mul(self.read.1) / self.read.0;
            self.meters.set_lag(bytes, auctions, since_us.unwrap_or(now_us));
        }
        self.meters.lag_bytes()
    }

    /// Puts on disk that a batch is delivered.
    fn done(&mut self, at: usize, batch: &Batch) -> Result<()> {
        self.cursor.set(batch.core, batch.to);
        self.cursor.save()?;
        self.lanes[at].set_done(batch);
        self.read = (self.read.0 + batch.to.get() - batch.from.get(), self.read.1 + batch.auctions);
        self.meters.delivered.fetch_add(batch.auctions, Ordering::Relaxed);
        self.meters.batches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives up the segment whose auctions have waited longest, but none that is being written.
    fn give_up(&mut self) -> Result<()> {
        let mut order: Vec<usize> = (0..self.lanes.len()).collect();
        order.sort_by_key(|at| self.lanes[*at].since_us);
        for at in order {
            let Some(auctions) = self.lanes[at].give_up()? else { continue };
            let Lane { core, done, .. } = self.lanes[at];
            self.cursor.set(core, done);
            self.cursor.save()?;
            self.meters.dropped.fetch_add(auctions, Ordering::Relaxed);
            self.measured_at = None;
            let stream = self.name;
            warn!(stream, core, auctions, to = done.get(), "auctions given up: too many wait for their sink");
            return Ok(());
        }
        Ok(())
    }
}

/// A row of failures.
struct Failures {
    count: u32,
    /// What was said of them since then.
    said: Vec<String>,
    since: Instant,
}

struct Runner<S> {
    name: &'static str,
    sink: S,
    pace: Pace,
    policy: Policy,
    reading: Reading,
    /// What is in the sink, and whose lane's.
    held: Option<(usize, Batch)>,
    failures: Option<Failures>,
    stopped: watch::Receiver<Option<Instant>>,
}

impl<S: Sink> Runner<S> {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        let deadline = async move {
            let told = stopped.wait_for(Option::is_some).await.ok().and_then(|told| *told);
            tokio::time::sleep_until(told.unwrap_or_else(Instant::now).into()).await;
        };
        tokio::select! {
            () = self.work() => {}
            () = deadline => {}
        }
    }

    async fn work(&mut self) {
        loop {
            let stopping = self.stopped.borrow().is_some();
            let mut rests = true;
            for at in 0..self.reading.lanes.len() {
                if self.reading.is_due(at, self.pace, stopping) {
                    self.batch(at).await;
                    rests = false;
                }
            }
            self.keep_within_bound();
            if stopping && self.reading.is_done() {
                return;
            }
            if rests {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    _ = self.stopped.changed() => {}
                }
            }
        }
    }

    /// Delivers a lane's next batch, however long that takes, unless it is given up.
    async fn batch(&mut self, at: usize) {
        while let Err(error) = self.attempt(at).await {
            self.failed(&error);
            self.rest().await;
            self.keep_within_bound();
            // Its segment may be what was given up.
            if self.held.is_some() && !self.reading.lanes[at].is_held {
                self.held = None;
                return;
            }
        }
        if let Some(failures) = self.failures.take() {
            info!(stream = self.name, failures = failures.count, "the stream goes on");
        }
        self.reading.meters.is_failing.store(false, Ordering::Relaxed);
    }

    fn keep_within_bound(&mut self) {
        if self.reading.measure() > self.policy.retain_bytes
            && let Err(error) = self.reading.give_up()
        {
            self.failed(&error);
        }
    }

    async fn attempt(&mut self, at: usize) -> Result<()> {
        let Self { sink, reading, held, .. } = self;
        if held.is_none() {
            let end = reading.end(reading.lanes[at].core);
            let lane = &mut reading.lanes[at];
            let until = reading.plan.until(lane.core, lane.done);
            *held = lane.fill(sink, end, until, self.pace.bytes, &reading.meters)?.map(|batch| (at, batch));
        }
        let Some((at, batch)) = &*held else { return Ok(()) };
        sink.prepare(batch)?;
        if S::REPEATS {
            let from = reading.lanes[*at].done;
            reading.plan.set(batch.core, from, batch.to)?;
        }
        deliver(sink, batch, reading, self.policy.timeout).await?;
        reading.done(*at, batch)?;
        *held = None;
        Ok(())
    }

    /// Says that an attempt failed, if that is news.
    fn failed(&mut self, error: &anyhow::Error) {
        let (stream, error) = (self.name, format!("{error:#}"));
        let meters = &self.reading.meters;
        meters.failures.fetch_add(1, Ordering::Relaxed);
        meters.is_failing.store(true, Ordering::Relaxed);
        let new = || Failures { count: 0, said: Vec::new(), since: Instant::now() };
        let failures = self.failures.get_or_insert_with(new);
        failures.count += 1;
        if failures.since.elapsed() >= REMIND_EVERY {
            (failures.said, failures.since) = (Vec::new(), Instant::now());
        }
        if failures.said.len() < REASONS_MAX && !failures.said.contains(&error) {
            warn!(stream, failures = failures.count, error, "a stream waits, the journal has what it lacks");
            failures.said.push(error);
        }
    }

    /// Pauses after a failure: exponential, with full jitter, shortly at the end.
    async fn rest(&mut self) {
        let count = self.failures.as_ref().map_or(0, |failures| failures.count.saturating_sub(1));
        let longest = RETRY_MIN.saturating_mul(1 << count.min(16)).min(self.policy.retry_max);
        let random = RandomState::new().hash_one(count);
        let pause = longest.mul_f64(random as f64 / u64::MAX as f64);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.stopped.wait_for(Option::is_some) => tokio::time::sleep(pause.min(RETRY_MIN)).await,
        }
    }
}

/// One delivery, within its time; how far the stream is behind is measured meanwhile.
async fn deliver(
    sink: &mut impl Sink,
    batch: &Batch,
    reading: &mut Reading,
    timeout: Duration,
) -> Result<()> {
    let mut delivery = std::pin::pin!(tokio::time::timeout(timeout, sink.deliver(batch)));
    let delivered = loop {
        tokio::select! {
            delivered = &mut delivery => break delivered,
            () = tokio::time::sleep(MEASURE_EVERY) => drop(reading.measure()),
        }
    };
    delivered.map_err(|_| anyhow!("no answer within {} s", timeout.as_secs_f32()))?
}
