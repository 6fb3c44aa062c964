//! Settings of the auction stream: what holds for every sink, and each sink's own.

use super::Settings;
use anyhow::Result;
use std::time::Duration;
use streams::Policy;

/// Where auctions go beside the journal.
#[derive(Debug, Clone)]
pub struct StreamsConfig {
    /// What holds for every sink.
    pub policy: Policy,
}

impl StreamsConfig {
    pub(super) fn from(settings: &Settings) -> Result<Self> {
        let policy = Policy {
            retain_bytes: settings.number::<u64>("streams.retain_mib")? << 20,
            retry_max: Duration::from_millis(settings.number("streams.retry_max_ms")?),
            timeout: Duration::from_millis(settings.number("streams.timeout_ms")?),
        };
        Ok(Self { policy })
    }
}
