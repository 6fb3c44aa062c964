//! Reads what all other instances have counted.
//!
//! * Freshness: every auction that another instance answered before the question is in the answer, as long as that
//!   instance reaches Redis: the reading begins 30 ms after the question.
//! * Outage: what was read last serves, and says how old it is.

use super::push::Standing;
use super::state::State;
use super::{Link, SUPPLIES, instance_field, key};
use crate::SupplyTotals;
use ::redis::{RedisResult, cmd};
use auction::Id;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Longer than an instance takes to push what it has counted.
const SETTLE: Duration = Duration::from_millis(30);
/// How long Redis may take to say that it is there.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Hashes asked for at once.
const AT_ONCE: usize = 64;

/// What the other instances have counted, as far as Redis knows.
#[derive(Debug)]
pub struct Others {
    standing: Arc<Standing>,
    field: String,
    last: Mutex<Read>,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// By supply, without this instance's own part.
    pub totals: Arc<BTreeMap<Id, SupplyTotals>>,
    /// When the last attempt to read began; None: never.
    pub begun: Option<Instant>,
    /// Whether Redis was there for the last question.
    pub is_fresh: bool,
}

impl Others {
    /// The others of `instance`.
    pub fn new(standing: Arc<Standing>, instance: u64) -> Self {
        Self { standing, field: instance_field(instance), last: Mutex::default() }
    }

    /// What this instance is called.
    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// How this instance's own part gets there.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What they had counted when this was asked.
    pub async fn read(&self) -> Read {
        let asked = Instant::now();
        tokio::time::sleep(SETTLE).await;
        // Questions that come while another is answered share the next answer.
        let mut last = self.last.lock().await;
        if last.begun.is_none_or(|begun| begun < asked + SETTLE) {
            last.begun = Some(Instant::now());
            let read = self.ask().await;
            last.is_fresh = read.is_some();
            if let Some(totals) = read {
                last.totals = Arc::new(totals);
            }
        }
        last.clone()
    }

    async fn ask(&self) -> Option<BTreeMap<Id, SupplyTotals>> {
        let link = self.standing.link()?;
        // A Redis that hangs must not make every question wait as long as a large answer may take.
        let ping = cmd("PING");
        tokio::time::timeout(PATIENCE, ping.query_async::<()>(&mut link.clone())).await.ok()?.ok()?;
        let mut totals = BTreeMap::new();
        let mut cursor = 0u64;
        loop {
            let (next, page): (u64, Vec<String>) = cmd("SSCAN")
                .arg(SUPPLIES)
                .arg(cursor)
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut link.clone())
                .await
                .ok()?;
            let ids = page.into_iter().filter_map(|id| Id::new(&id).ok());
            let hashes = stream::iter(ids).map(|id| self.ask_one(link.clone(), id)).buffer_unordered(AT_ONCE);
            // A page may name a supply that another has named.
            let read: Vec<_> = hashes.try_collect().await.ok()?;
            totals.extend(read.into_iter().filter(|(_, counts)| counts.total_reqs > 0));
            cursor = next;
            if cursor == 0 {
                return Some(totals);
            }
        }
    }

    async fn ask_one(&self, mut link: Link, id: Id) -> RedisResult<(Id, SupplyTotals)> {
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            cmd("HGETALL").arg(key(id.as_str())).query_async(&mut link).await?;
        Ok((id, State::others(&fields, &self.field)))
    }
}
