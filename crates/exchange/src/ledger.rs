//! The ledger: what was recorded and counted before, and what keeps it from now on.
//!
//! * Start: the journal is opened and recovered, the statistics are brought to where it ends.
//! * While serving: statistics are saved every five seconds, and pushed to Redis if there is one.
//! * Once a day all of the journal is read, slowly, to know of damage before somebody needs what is lost.
//! * End: both once more, after the last answer. Whatever fails then, the journal has it.

use crate::callout::Simulated;
use crate::config::Config;
use crate::hold::{Exchange, unix_us};
use crate::limiter::Limiter;
use crate::limiter::shared::Shared;
use crate::recorder::Recorder;
use crate::trace::Traces;
use anyhow::{Context, Result};
use catalogue::Live;
use futures_util::FutureExt;
use journal::{Journal, Writer};
use reporting::redis::{Others, Pusher, Standing};
use reporting::scrub::{Damage, scrub};
use reporting::{Found, Restored, Saver, Statistics};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;

/// How much of the journal a start has to read at most.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How often all of the journal is looked at for damage, the first time at the start.
const SCRUB_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long an end waits for Redis.
const LAST_PUSH_MAX: Duration = Duration::from_secs(2);

/// What is known of the past.
pub struct Ledger {
    seed: u64,
    journal: Option<Arc<Journal>>,
    writers: Vec<Writer>,
    statistics: Arc<Statistics>,
    saver: Option<SharedSaver>,
    found: Found,
    damage: Arc<Damage>,
    standing: Arc<Standing>,
    pusher: Option<Pusher>,
    workers: usize,
}

type SharedSaver = Arc<Mutex<Saver>>;

impl Ledger {
    /// Opens what `config` names; locks the data directory.
    pub fn open(config: &Config) -> Result<Self> {
        let mut ledger = Self {
            seed: config.seed.unwrap_or_else(|| RandomState::new().hash_one(SystemTime::now())),
            journal: None,
            writers: Vec::new(),
            statistics: Arc::new(Statistics::new(config.workers)),
            saver: None,
            found: Found::default(),
            damage: Arc::default(),
            standing: Arc::default(),
            pusher: None,
            workers: config.workers,
        };
        let Some(settings) = &config.journal else { return Ok(ledger) };
        let (journal, writers) = Journal::open(settings.clone())?;
        let restored =
            reporting::restore(&config.data_dir, &settings.dir, journal.instance(), config.workers);
        let Restored { statistics, saver, found } = restored?;
        ledger.statistics = Arc::new(statistics);
        ledger.pusher = config.redis.as_ref().map(|redis| {
            let (statistics, standing) = (Arc::clone(&ledger.statistics), Arc::clone(&ledger.standing));
            Pusher::new(redis.endpoint.clone(), statistics, journal.instance(), standing)
        });
        (ledger.journal, ledger.writers) = (Some(Arc::new(journal)), writers);
        (ledger.saver, ledger.found) = (Some(Arc::new(Mutex::new(saver))), found);
        Ok(ledger)
    }

    /// The journal, if auctions are recorded.
    pub fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.as_ref()
    }

    /// Each core's pen, once.
    pub fn recorders(&mut self) -> Vec<Option<Recorder>> {
        let writers = std::mem::take(&mut self.writers).into_iter();
        let mut recorders: Vec<_> = writers.map(|writer| Some(Recorder::new(writer, self.seed))).collect();
        recorders.resize_with(self.workers, || None);
        recorders
    }

    /// The exchange that goes on from here.
    pub fn exchange(&self, config: &Config, live: &Arc<Live>) -> Result<Exchange> {
        let shared = |redis: &crate::config::RedisConfig| {
            Arc::new(Shared::new(redis.endpoint.clone(), redis.timeout, redis.fallback))
        };
        let others = |journal: &Arc<Journal>| Others::new(Arc::clone(&self.standing), journal.instance());
        let instance = self.journal.as_ref().map_or(self.seed, |journal| journal.instance());
        let traces = |traces| Traces::start(traces, &format!("{instance:016x}"));
        Ok(Exchange {
            catalogue: Arc::clone(live),
            limiter: config.rate_limit.map(Limiter::new),
            shared_limit: config.redis.as_ref().map(shared),
            others: self.journal.as_ref().filter(|_| config.redis.is_some()).map(others),
            callout: Simulated { clock: config.clock },
            statistics: Arc::clone(&self.statistics),
            bidders_max: config.metrics_bidders_max,
            journal: self.journal.clone(),
            damaged_at_start: self.found.damaged + self.found.unreadable,
            damage: Arc::clone(&self.damage),
            seed: self.seed,
            log_one_in: config.log.auctions.into(),
            traces: config.traces.as_ref().map(traces).transpose().context("cannot start a thread")?,
            started_at: Instant::now(),
            started_at_us: AtomicU64::new(unix_us(SystemTime::now())),
            next: AtomicU64::new(0).into(),
        })
    }

    /// Keeps the ledger in the background from now on.
    pub fn keep(self, config: &Config) -> Result<Keeping> {
        let scrubbing = match &config.journal {
            Some(settings) => Some(Scrubbing::start(settings.dir.clone(), self.damage)?),
            None => None,
        };
        let (stop_pushing, stopped) = oneshot::channel::<()>();
        let pushing = self.pusher.map(|pusher| tokio::spawn(pusher.run(stopped.map(drop))));
        let (saver, statistics) = (self.saver, self.statistics);
        let saving = saver.clone().map(|saver| tokio::spawn(save_often(saver, Arc::clone(&statistics))));
        Ok(Keeping { saver, statistics, saving, pushing, stop_pushing, _scrubbing: scrubbing })
    }
}

/// A thread that looks for damage, until dropped.
struct Scrubbing {
    thread: Thread,
    stop: Arc<AtomicBool>,
}

impl Scrubbing {
    fn start(journal: PathBuf, damage: Arc<Damage>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let rest = move |time: Duration| {
            let until = Instant::now() + time;
            while !told.load(Ordering::Acquire) && Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
            !told.load(Ordering::Acquire)
        };
        let look = move || loop {
            if let Err(error) = scrub(&journal, &damage, &rest) {
                warn!(error = format!("{error:#}"), "the journal could not be looked at for damage");
            }
            if damage.places() > 0 {
                let places = damage.places();
                warn!(places, "the journal is damaged, `bourse journal verify` shows where");
            }
            if !rest(SCRUB_EVERY) {
                break;
            }
        };
        let thread = std::thread::Builder::new().name("journal-scrub".to_owned()).spawn(look);
        Ok(Self { thread: thread.context("cannot start a thread")?.thread().clone(), stop })
    }
}

impl Drop for Scrubbing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// A ledger that is being kept.
pub struct Keeping {
    saver: Option<SharedSaver>,
    statistics: Arc<Statistics>,
    saving: Option<JoinHandle<()>>,
    pushing: Option<JoinHandle<()>>,
    stop_pushing: oneshot::Sender<()>,
    _scrubbing: Option<Scrubbing>,
}

impl Keeping {
    /// Saves and pushes once more.
    pub async fn finish(self) {
        self.saving.inspect(JoinHandle::abort);
        drop(self.stop_pushing);
        if let Some(pushing) = self.pushing {
            // Redis may be away: the journal holds what it lacks.
            let _ = tokio::time::timeout(LAST_PUSH_MAX, pushing).await;
        }
        if let Some(saver) = self.saver
            && let Err(error) = save(&saver, &self.statistics)
        {
            warn!(error = format!("{error:#}"), "statistics not saved, the journal has them");
        }
    }
}

async fn save_often(saver: SharedSaver, statistics: Arc<Statistics>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let (saver, statistics) = (Arc::clone(&saver), Arc::clone(&statistics));
        let saved = tokio::task::spawn_blocking(move || save(&saver, &statistics)).await;
        match saved.context("the thread that saves has failed").flatten() {
            Err(error) if !failing => {
                failing = true;
                warn!(error = format!("{error:#}"), "statistics not saved, the journal has them");
            }
            Err(_) => {}
            Ok(()) => failing = false,
        }
    }
}

fn save(saver: &SharedSaver, statistics: &Statistics) -> Result<()> {
    saver.lock().unwrap_or_else(PoisonError::into_inner).save(statistics)
}
