//! The catalogue's database and its replicas, and Redis.

use crate::catalogue_commands;
use crate::config::Config;
use crate::hold::unix_us;
use anyhow::{Context, Result, anyhow, ensure};
use catalogue::schema::{self, Migrations};
use catalogue::{Database, Dialect};
use redis::{Script, cmd};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long Redis may take here; a request waits less.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);

/// Whether the database can be reached, is at the right revision and holds a whole catalogue.
pub(super) async fn database(config: &Config) -> Result<String> {
    if let Some(path) = config.database.url.strip_prefix("sqlite:")
        && !Path::new(path.strip_prefix("//").unwrap_or(path)).exists()
    {
        return Ok(format!("{path} is not there yet, the first start makes it"));
    }
    let (database, migrations) = opened(config).await?;
    let state = schema::state(&database, &migrations).await?;
    if database.dialect() == Dialect::Postgres || matches!(state, schema::State::Ahead(_)) {
        catalogue_commands::at_head(&database, &migrations, state)?;
    }
    if !matches!(state, schema::State::Head(_)) {
        return Ok(format!("{} is at revision {state}, the next start upgrades it", database.shown()));
    }
    let snapshot = catalogue::read(&database, None).await?;
    let (supplies, bidders) = (snapshot.supplies().len(), snapshot.bidders());
    Ok(format!("{} is at revision {state}, with {supplies} supplies and {bidders} bidders", database.shown()))
}

/// The same of each replica. A database that cannot be opened has said so already.
pub(super) async fn replicas(config: &Config) -> Vec<Result<String>> {
    let Ok((database, migrations)) = opened(config).await else { return Vec::new() };
    let mut found = Vec::new();
    for replica in database.each_replica() {
        let state = schema::state(&replica, &migrations).await;
        let state = state.and_then(|state| catalogue_commands::at_head(&replica, &migrations, state));
        found.push(state.map(|at| format!("{} is at revision {at}", replica.shown())));
    }
    found
}

async fn opened(config: &Config) -> Result<(Database, Migrations)> {
    let migrations = Migrations::load(Some(&config.database.migrations_dir))?;
    Ok((Database::connect(&config.database.url, &config.database.replica_urls).await?, migrations))
}

/// What Redis says of itself.
pub(super) struct Found {
    pub(super) shown: String,
    /// How far its clock is before ours, in microseconds.
    pub(super) clock_us: Option<i64>,
}

/// Whether Redis answers, runs scripts and, if it is a cluster, has a node for every key.
pub(super) async fn redis(config: &Config) -> Result<Found> {
    let Some(redis) = &config.redis else {
        return Ok(Found { shown: "not set, this instance counts alone".to_owned(), clock_us: None });
    };
    let advice = "check redis.url and that Redis runs";
    let mut link = redis.endpoint.connect(REDIS_PATIENCE).await.context(advice)?;
    // As the limiter asks it; the clock of Redis is the one that the shared limit goes by.
    let script = Script::new("local now = redis.call('TIME') return {now[1], now[2]}");
    let asked = SystemTime::now();
    let answer: redis::RedisResult<(i64, i64)> = script.key("limit:check").invoke_async(&mut link).await;
    let (s, us) = answer.map_err(|error| anyhow!("a script cannot be run: {error}; {advice}"))?;
    let between = unix_us(asked).midpoint(unix_us(SystemTime::now()));
    let clock_us = s * 1_000_000 + us - between as i64;
    if !link.is_cluster() {
        return Ok(Found { shown: "one Redis answers".to_owned(), clock_us: Some(clock_us) });
    }
    let about: String = cmd("CLUSTER").arg("INFO").query_async(&mut link).await.context(advice)?;
    let says = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let state = says("cluster_state:").unwrap_or("unknown");
    ensure!(state == "ok", "the cluster is in state {state}: see `redis-cli --cluster check`");
    let nodes = says("cluster_size:").unwrap_or("?");
    Ok(Found { shown: format!("a cluster of {nodes} masters answers"), clock_us: Some(clock_us) })
}
