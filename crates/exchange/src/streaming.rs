//! The streams that are set: every sink there is is named here once.
//!
//! * They start before the doors open, so that a bad setting stops the start; a sink that is away does not.
//! * At the end each delivers what there is, for three seconds; the next start goes on from there.

use crate::config::Config;
use anyhow::Result;
use journal::Journal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
#[cfg(feature = "clickhouse")]
use streams::clickhouse::ClickHouse;
#[cfg(feature = "kafka")]
use streams::kafka::Kafka;
#[cfg(feature = "lake")]
use streams::lake::Lake;
use streams::{Meters, Source, Stream};
use tracing::warn;

/// How long an end waits for sinks.
const LAST_DELIVERY_MAX: Duration = Duration::from_secs(3);

/// Every name that a stream's reader of the journal can have.
pub const NAMES: [&str; 3] = ["clickhouse", "kafka", "lake"];

/// The streams that run.
#[derive(Debug, Default)]
pub struct Streams(Vec<Stream>);

impl Streams {
    /// Starts those that are set.
    pub fn start(config: &Config, journal: Option<&Arc<Journal>>) -> Result<Self> {
        let mut streams = Self::default();
        let (Some(journal), Some(settings)) = (journal, &config.journal) else { return Ok(streams) };
        let source = Source { journal: Arc::clone(journal), dir: settings.dir.clone() };
        #[cfg(feature = "lake")]
        if let Some((lake, pace)) = config.streams.lake.clone() {
            let (source, policy) = (source.clone(), config.streams.policy);
            streams.0.push(streams::start("lake", source, pace, policy, move || Lake::open(&lake))?);
        }
        #[cfg(feature = "clickhouse")]
        if let Some((settings, pace)) = config.streams.clickhouse.clone() {
            let (source, policy) = (source.clone(), config.streams.policy);
            let make = move || ClickHouse::open(settings);
            streams.0.push(streams::start("clickhouse", source, pace, policy, make)?);
        }
        #[cfg(feature = "kafka")]
        if let Some((settings, pace)) = config.streams.kafka.clone() {
            let (source, policy) = (source.clone(), config.streams.policy);
            streams.0.push(streams::start("kafka", source, pace, policy, move || Kafka::open(settings))?);
        }
        streams.warn_of_others(&source.dir)?;
        Ok(streams)
    }

    /// What is known of each, by name.
    pub fn meters(&self) -> Vec<(&'static str, Arc<Meters>)> {
        self.0.iter().map(|stream| (stream.name(), Arc::clone(stream.meters()))).collect()
    }

    /// A reader that does not come any more keeps the journal from being cleared.
    fn warn_of_others(&self, dir: &Path) -> Result<()> {
        for name in journal::reader_names(dir)? {
            let name = name.as_str();
            if NAMES.contains(&name) && !self.0.iter().any(|stream| stream.name() == name) {
                warn!(
                    stream = name,
                    "the journal is kept for a stream that is not set; `bourse events offsets forget {name}` ends that"
                );
            }
        }
        Ok(())
    }

    /// Lets them deliver what there is, and ends them.
    pub async fn finish(self) {
        let deadline = Instant::now() + LAST_DELIVERY_MAX;
        self.0.iter().for_each(|stream| stream.stop(deadline));
        // A thread that hangs is not waited for.
        let joined = tokio::task::spawn_blocking(move || self.0.into_iter().for_each(Stream::join));
        let _ = tokio::time::timeout_at((deadline + Duration::from_secs(1)).into(), joined).await;
    }
}
