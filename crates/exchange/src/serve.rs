//! `bourse serve`: from settings to open doors, and back.
//!
//! * Start: sockets, then the catalogue, then the journal, then a thread per core; ready once every core listens.
//! * Threads: the data plane's, one per core, each with its own runtime; this one, which watches the catalogue, ages the
//!   limiter, keeps the ledger and waits for a signal.
//! * End: SIGTERM or SIGINT closes the sockets, if set so after a time for others to learn of it, lets what is in flight
//!   end, and exits 0 within the drain deadline; a second signal does not wait.

use crate::admin::{self, Admin};
use crate::board::{self, Board};
use crate::catalogue_commands::{self, Opened};
use crate::config::Config;
use crate::hold::Exchange;
use crate::http::site::{Lifecycle, Site};
use crate::http::{listen, pages};
use crate::ledger::Ledger;
use crate::limiter::Limiter;
use crate::log::{self, Threshold};
use crate::metrics::Meters;
use crate::recorder::Recorder;
use crate::streaming::Streams;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

/// Serves until a signal says otherwise.
pub fn run(config: &Config) -> Result<()> {
    let logs = log::start(config.log.level, config.log.format);
    raise_file_limit();
    let sockets = listen::bind(config.listen, config.workers)?;
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let served = control.block_on(serve(config, sockets, logs.level()));
    // Whatever still runs there is not waited for: the cores have ended, or a second signal said not to.
    control.shutdown_background();
    served
}

async fn serve(config: &Config, sockets: Vec<std::net::TcpListener>, level: Threshold) -> Result<()> {
    let address = sockets[0].local_addr().context("listen: the socket has no address")?;
    let admin_door = match &config.admin {
        Some(admin) => Some((admin, admin::listen::bind(admin.listen).await?)),
        None => None,
    };
    let opened = catalogue_commands::open(config).await?;
    let mut ledger = Ledger::open(config)?;
    let recorders = ledger.recorders();
    let streams = Streams::start(config, ledger.journal())?;
    let site = Arc::new(site(config, address, ledger.exchange(config, &opened.live)?, &streams));
    let mut signals = Signals::new()?;
    let drained = Arc::new(Notify::new());
    let admin = match admin_door {
        Some((admin, listener)) => {
            let database = opened.database.clone();
            let shared = Admin::new(config, admin, &site, database, level, Arc::clone(&drained))?;
            Some(AdminDoor::open(listener, &shared)?)
        }
        None => None,
    };
    let cores = start_cores(&site, sockets, recorders)?;
    site.lifecycle.open();
    announce(config, &site, &opened, address, admin.as_ref().map(|door| door.address));

    let mut watching =
        tokio::spawn(async move { catalogue::watch(opened.database, opened.schema, opened.live).await });
    let aging = tokio::spawn(age_limiter(Arc::clone(&site)));
    let following = tokio::spawn(follow_calendar(Arc::clone(&site)));
    let showing = tokio::spawn(board::keep(Arc::clone(&site)));
    let keeping = ledger.keep(config)?;
    tokio::select! {
        () = signals.next() => leave(&site, config.http.drain_delay, &mut signals).await,
        () = drained.notified() => leave(&site, config.http.drain_delay, &mut signals).await,
        ended = &mut watching => warn!(?ended, "the catalogue is watched no more"),
    }
    info!("draining");
    site.lifecycle.drain(Instant::now() + config.http.drain_timeout);
    watching.abort();
    aging.abort();
    following.abort();
    showing.abort();
    let joined = tokio::task::spawn_blocking(move || join(cores));
    tokio::select! {
        ended = joined => ended.context("the cores could not be awaited")??,
        () = signals.next() => warn!("stopped by a second signal"),
    }
    if let Some(door) = admin {
        door.close().await;
    }
    tokio::join!(keeping.finish(), streams.finish());
    if let Some(traces) = &site.exchange.traces {
        traces.finish(LAST_TRACES_MAX);
    }
    info!(auctions = site.exchange.auctions(), "stopped");
    Ok(())
}

/// Serves on while whoever sends requests here learns that they are to go elsewhere.
async fn leave(site: &Site, delay: Duration, signals: &mut Signals) {
    if delay.is_zero() {
        return;
    }
    info!(delay_ms = delay.as_millis(), "about to drain");
    site.lifecycle.leave();
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = signals.next() => warn!("a second signal, draining at once"),
    }
}

fn site(config: &Config, address: SocketAddr, exchange: Exchange, streams: &Streams) -> Site {
    Site {
        exchange: Arc::new(exchange),
        lifecycle: Lifecycle::new(config.clock, config.workers),
        board: Board::new(address, config.http.subscribers_max),
        meters: (0..config.workers).map(|_| Arc::new(Meters::default())).collect(),
        key: config.rate_limit_key,
        body_max_bytes: config.http.body_max_bytes,
        json_depth_max: config.http.json_depth_max,
        body_timeout: config.http.body_timeout,
        head_timeout: config.http.head_timeout,
        idle_timeout: config.http.idle_timeout,
        drain_idle: config.http.drain_idle,
        connections_max: config.http.connections_max,
        busy_poll: config.busy_poll,
        express: config.http.express,
        sync_first: config.journal.as_ref().is_some_and(|journal| journal.sync_ms == 0),
        reports: Semaphore::new(REPORTS_MAX),
        admin: admin::Meters::default(),
        streams: streams.meters(),
    }
}

/// The admin API, open.
struct AdminDoor {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl AdminDoor {
    fn open(listener: TcpListener, admin: &Arc<Admin>) -> Result<Self> {
        let address = listener.local_addr().context("admin.listen: the socket has no address")?;
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(admin::listen::serve(listener, admin::router(admin), stopped));
        Ok(Self { address, stop, serving })
    }

    /// Whoever asked for the end still gets an answer.
    async fn close(self) {
        self.stop.send_replace(true);
        let _ = self.serving.await;
    }
}

/// How long an end waits for the collector of traces.
const LAST_TRACES_MAX: Duration = Duration::from_secs(2);

/// How many long pages are written at once; beyond it is a 503.
const REPORTS_MAX: usize = 4;

/// A thread per core, each listening when this returns; each is named after it, so that `top -H` shows who works.
fn start_cores(
    site: &Arc<Site>,
    sockets: Vec<std::net::TcpListener>,
    recorders: Vec<Option<Recorder>>,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let pages = pages::router(site);
    let (listens, listening) = std::sync::mpsc::channel();
    let start = |(core, (socket, recorder))| {
        let (site, pages, listens) = (Arc::clone(site), pages.clone(), listens.clone());
        std::thread::Builder::new()
            .name(format!("core-{core}"))
            .spawn(move || listen::run(&site, core, recorder, pages, socket, &listens))
            .context("a core's thread cannot be started")
    };
    let cores = sockets.into_iter().zip(recorders).enumerate().map(start).collect::<Result<Vec<_>>>()?;
    drop(listens);
    if listening.iter().take(cores.len()).count() < cores.len() {
        // One of them has ended: its error is the reason. The others end with the process.
        join(cores.into_iter().filter(JoinHandle::is_finished).collect())?;
        bail!("a core does not listen");
    }
    Ok(cores)
}

fn join(cores: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    cores.into_iter().try_for_each(|core| core.join().map_err(|_| anyhow!("a core ended badly"))?)
}

/// The one line of the start, with the address that port 0 became.
fn announce(config: &Config, site: &Site, opened: &Opened, address: SocketAddr, admin: Option<SocketAddr>) {
    let snapshot = site.exchange.catalogue.snapshot();
    let empty = if snapshot.supplies().is_empty() { "; load supplies with `bourse load-data`" } else { "" };
    let catalogue = if opened.is_demo { "the demo catalogue, new in" } else { "the catalogue of" };
    let admin = admin.map_or_else(String::new, |at| format!("; admin API: http://{at}/api/docs"));
    println!(
        "bourse {} serves {catalogue} {} ({} supplies, {} bidders) on http://{address} with {} workers; \
         try http://{address}/api/docs{empty}{admin}",
        env!("CARGO_PKG_VERSION"),
        opened.database.shown(),
        snapshot.supplies().len(),
        snapshot.bidders(),
        config.workers,
    );
    info!(seed = site.exchange.seed, revision = snapshot.revision_text(), "ready");
}

/// The signals that end a server; made once, so that none is lost between two waits.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Visits every shard once in ten seconds, a few at a time.
async fn age_limiter(site: Arc<Site>) {
    let Some(limiter) = &site.exchange.limiter else { return };
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let per_tick = Limiter::SWEEP_TURNS.div_ceil(200);
    for tick in 0.. {
        ticks.tick().await;
        let now_us = site.exchange.started_at.elapsed().as_micros() as u64;
        (0..per_tick).for_each(|turn| limiter.sweep(tick * per_tick + turn, now_us));
    }
}

async fn follow_calendar(site: Arc<Site>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        site.exchange.follow_calendar();
    }
}

/// As many open files as the system lets this process have: each connection is one.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays as it is: `http.connections_max` bounds what is tried.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
