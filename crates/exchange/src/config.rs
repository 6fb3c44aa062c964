//! Settings: one table of names, four sources, and a type that cannot be wrong.
//!
//! * Order: a flag wins over the environment, the environment over `.env`, that over the TOML file, that over the
//!   default.
//! * Names: `rate_limit.window_s` in TOML is `BOURSE_RATE_LIMIT_WINDOW_S` in the environment.
//! * Errors: one line that names the setting, where it came from and what it takes; an unknown one stops the start.

mod sources;
mod streams;
mod table;

pub use sources::{Settings, ShownSetting};
pub use streams::StreamsConfig;

use crate::admin::token::Digest;
use crate::callout::Clock;
use crate::limiter::shared::Fallback;
use crate::limiter::{Limit, WhenFull};
use crate::log;
use crate::trace::TraceConfig;
use anyhow::{Result, anyhow, bail};
use hyper::Uri;
use reporting::redis::Endpoint;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// What the rate limit counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitKey {
    /// The body's `ip`.
    Body,
    /// The address that the connection comes from.
    Peer,
    /// The entry of X-Forwarded-For that this many trusted proxies, counted from us, vouch for.
    Forwarded(usize),
}

/// Everything the program is set to.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where data is kept.
    pub data_dir: PathBuf,
    /// How many cores serve.
    pub workers: usize,
    /// Whether they never sleep.
    pub busy_poll: bool,
    /// None: drawn at the start.
    pub seed: Option<u64>,
    /// The catalogue's database.
    pub database: DatabaseConfig,
    /// None: no limit.
    pub rate_limit: Option<Limit>,
    /// Where instances keep limit and statistics together; None: nowhere.
    pub redis: Option<RedisConfig>,
    /// What it counts by.
    pub rate_limit_key: RateLimitKey,
    /// Whether simulated latencies are waited for.
    pub clock: Clock,
    /// Where auctions are recorded; None: nowhere.
    pub journal: Option<journal::Settings>,
    /// Where they go from there.
    pub streams: StreamsConfig,
    /// What is logged.
    pub log: LogConfig,
    /// How many bidders may have series of their own on /metrics.
    pub metrics_bidders_max: usize,
    /// Where some auctions are told as traces; None: nowhere.
    pub traces: Option<TraceConfig>,
    /// The bounds of the doors.
    pub http: HttpConfig,
    /// The admin API; None: there is none.
    pub admin: Option<AdminConfig>,
    /// Every setting as it may be shown.
    pub shown: Vec<ShownSetting>,
}

/// Where the catalogue is.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// PostgreSQL replicas that the catalogue may be read from.
    pub replica_urls: Vec<String>,
    /// Migrations beside those in the binary.
    pub migrations_dir: PathBuf,
}

/// Who may change the running server, and where.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The tokens it takes, at least one.
    pub tokens: Vec<Digest>,
}

/// What is logged.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// One auction in so many; 0 is none.
    pub auctions: u32,
    /// Nothing below it.
    pub level: LevelFilter,
    /// For people or for programs.
    pub format: log::Format,
}

/// Where instances meet.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where it is.
    pub endpoint: Endpoint,
    /// How long a request waits for the shared limiter.
    pub timeout: Duration,
    /// Who decides without it.
    pub fallback: Fallback,
}

/// The bounds of the doors.
#[derive(Debug, Clone, Copy)]
pub struct HttpConfig {
    /// The longest body.
    pub body_max_bytes: usize,
    /// Its deepest nesting.
    pub json_depth_max: usize,
    /// Open connections, over all cores.
    pub connections_max: usize,
    /// For the head of a request to arrive.
    pub head_timeout: Duration,
    /// For a body to arrive.
    pub body_timeout: Duration,
    /// For a connection to wait for its next request.
    pub idle_timeout: Duration,
    /// For others to learn that this instance is about to drain.
    pub drain_delay: Duration,
    /// For clients to close their idle connections, once it drains.
    pub drain_idle: Duration,
    /// For what is in flight to end then.
    pub drain_timeout: Duration,
    /// Whether plain requests are answered without hyper.
    pub express: bool,
    /// How many may watch the dashboard at once.
    pub subscribers_max: usize,
}

impl Config {
    /// The settings as values, each within its range.
    pub fn from(settings: &Settings) -> Result<Self> {
        let data_dir = PathBuf::from(settings.text("data_dir"));
        let workers = match settings.text("workers") {
            "auto" => std::thread::available_parallelism().map_or(1, usize::from),
            _ => settings.number("workers")?,
        };
        Ok(Self {
            listen: settings.parse("listen", address)?,
            workers,
            busy_poll: settings.choice("busy_poll", &[("false", false), ("true", true)])?,
            seed: match settings.text("seed") {
                "random" => None,
                _ => Some(settings.number("seed")?),
            },
            database: database(settings, &data_dir)?,
            rate_limit: rate_limit(settings)?,
            redis: redis(settings)?,
            rate_limit_key: settings.parse("rate_limit.key", rate_limit_key)?,
            clock: settings
                .choice("simulation.clock", &[("virtual", Clock::Virtual), ("real", Clock::Real)])?,
            journal: journal(settings, &data_dir, workers)?,
            streams: StreamsConfig::from(settings)?,
            log: LogConfig {
                auctions: settings.parse("log.auctions", log::one_in)?,
                level: settings.parse("log.level", |level| LevelFilter::from_str(level).ok())?,
                format: settings.parse("log.format", |format| format.parse().ok())?,
            },
            metrics_bidders_max: settings.number("metrics.bidders_max")?,
            traces: traces(settings)?,
            http: HttpConfig {
                body_max_bytes: settings.number("http.body_max_bytes")?,
                json_depth_max: settings.number("http.json_depth_max")?,
                connections_max: settings.number("http.connections_max")?,
                head_timeout: Duration::from_millis(settings.number("http.head_timeout_ms")?),
                body_timeout: Duration::from_millis(settings.number("http.body_timeout_ms")?),
                idle_timeout: Duration::from_secs(settings.number("http.idle_timeout_s")?),
                drain_delay: Duration::from_millis(settings.number("http.drain_delay_ms")?),
                drain_idle: Duration::from_millis(settings.number("http.drain_idle_ms")?),
                drain_timeout: Duration::from_secs(settings.number("http.drain_timeout_s")?),
                express: settings.choice("http.express", &[("true", true), ("false", false)])?,
                subscribers_max: settings.number("http.subscribers_max")?,
            },
            admin: admin(settings)?,
            shown: settings.shown(),
            data_dir,
        })
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.to_socket_addrs().ok()?.next())
}

fn admin(settings: &Settings) -> Result<Option<AdminConfig>> {
    let listen = settings.parse("admin.listen", address)?;
    let allow_remote = settings.choice("admin.allow_remote", &[("false", false), ("true", true)])?;
    let digests = |text: &str| text.split(',').map(|digest| digest.trim().parse().ok()).collect();
    if settings.text("admin.token_sha256").is_empty() {
        return Ok(None);
    }
    let tokens = settings.parse("admin.token_sha256", digests)?;
    if !listen.ip().is_loopback() && !allow_remote {
        bail!(
            "{}: {listen} can be reached from other machines, and a token be read on the way; listen on 127.0.0.1, \
             or put TLS in front and set admin.allow_remote = true",
            settings.named("admin.listen")
        );
    }
    Ok(Some(AdminConfig { listen, tokens }))
}

fn database(settings: &Settings, data_dir: &Path) -> Result<DatabaseConfig> {
    let inside = |key| settings.text(key).replace("{data_dir}", &data_dir.to_string_lossy());
    let replicas = settings.text("database.replica_urls");
    Ok(DatabaseConfig {
        url: inside("database.url"),
        replica_urls: replicas
            .split(',')
            .map(str::trim)
            .filter(|u| !u.is_empty())
            .map(str::to_owned)
            .collect(),
        migrations_dir: inside("database.migrations_dir").into(),
    })
}

fn redis(settings: &Settings) -> Result<Option<RedisConfig>> {
    let timeout = Duration::from_millis(settings.number("redis.timeout_ms")?);
    let fallbacks = [("local", Fallback::Local), ("allow", Fallback::Allow), ("deny", Fallback::Deny)];
    let fallback = settings.choice("rate_limit.fallback", &fallbacks)?;
    let urls = settings.text("redis.url");
    if urls.is_empty() {
        return Ok(None);
    }
    let endpoint =
        Endpoint::parse(urls).map_err(|error| anyhow!("{} {error}", settings.named("redis.url")))?;
    if settings.text("journal.enabled") == "false" {
        bail!(
            "{}: what Redis has is what the journal has; leave one of redis.url and journal.enabled = false out",
            settings.named("redis.url")
        );
    }
    Ok(Some(RedisConfig { endpoint, timeout, fallback }))
}

fn traces(settings: &Settings) -> Result<Option<TraceConfig>> {
    let sample = settings.number("otlp.sample")?;
    if settings.text("otlp.endpoint").is_empty() {
        return Ok(None);
    }
    Ok(Some(TraceConfig { endpoint: settings.parse("otlp.endpoint", traces_endpoint)?, sample }))
}

/// Where a collector takes traces: at this path, unless the address has one.
fn traces_endpoint(text: &str) -> Option<String> {
    let address: Uri = text.parse().ok().filter(|_| text.starts_with("http://"))?;
    address.host().filter(|host| !host.is_empty())?;
    let path = if address.path() == "/" { "/v1/traces" } else { "" };
    Some(format!("{}{path}", text.trim_end_matches('/')))
}

fn journal(settings: &Settings, data_dir: &Path, workers: usize) -> Result<Option<journal::Settings>> {
    let segment_bytes = settings.number::<u64>("journal.segment_mib")? << 20;
    let defaults = journal::Settings::new(data_dir.join(JOURNAL_DIR), workers as u32);
    // A stream, too, gives up whole segments.
    let streamed = (settings.number::<u64>("streams.retain_mib")? << 20) / (8 * workers as u64);
    let journal = journal::Settings {
        sync_ms: settings.number("journal.sync_ms")?,
        segment_bytes,
        segment_bytes_max: (settings.number::<u64>("journal.segment_max_mib")? << 20).min(streamed),
        segment_age_s: settings.number("journal.segment_age_s")?,
        ahead_bytes: defaults.ahead_bytes.min(segment_bytes),
        retain_bytes: Some(settings.number::<u64>("journal.retain_mib")? << 20),
        retain_hours: Some(settings.number("journal.retain_hours")?),
        ..defaults
    };
    Ok(settings.choice("journal.enabled", &[("true", true), ("false", false)])?.then_some(journal))
}

/// Where the journal lies in the data directory.
pub const JOURNAL_DIR: &str = "journal";

fn rate_limit(settings: &Settings) -> Result<Option<Limit>> {
    let limit = Limit {
        requests: settings.number("rate_limit.requests")?,
        window_us: settings.number::<u64>("rate_limit.window_s")? * 1_000_000,
        addresses_max: settings.number("rate_limit.addresses_max")?,
        when_full: settings
            .choice("rate_limit.when_full", &[("deny", WhenFull::Deny), ("allow", WhenFull::Allow)])?,
    };
    Ok((limit.requests > 0).then_some(limit))
}

fn rate_limit_key(text: &str) -> Option<RateLimitKey> {
    match text {
        "body" => Some(RateLimitKey::Body),
        "peer" => Some(RateLimitKey::Peer),
        _ => {
            let hops = text.strip_prefix("forwarded:")?.parse().ok()?;
            (1..=16).contains(&hops).then_some(RateLimitKey::Forwarded(hops))
        }
    }
}

#[cfg(test)]
mod tests;
