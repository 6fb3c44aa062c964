//! Who is there: each instance says once a second how it is, and reads what the others have said.
//!
//! * Keys: the set `instances` of all that were ever there, and for each a string `instance:ID` that expires.
//! * An instance that is killed or cut off is not seen any more [`EXPIRES`] later.

use super::read::{Others, PATIENCE};
use ::redis::{RedisResult, cmd};
use futures_util::future::join_all;
use std::time::Duration;

/// All instances.
const INSTANCES: &str = "instances";
/// How long what an instance said of itself counts.
const EXPIRES: Duration = Duration::from_secs(5);

impl Others {
    /// Says `own` of this instance, and gives what each other one has said of itself. None: Redis is away.
    pub async fn meet(&self, own: &str) -> Option<Vec<String>> {
        tokio::time::timeout(PATIENCE, self.tell_and_hear(own)).await.ok()?.ok()
    }

    async fn tell_and_hear(&self, own: &str) -> RedisResult<Vec<String>> {
        let Some(link) = self.standing().link() else { return Ok(Vec::new()) };
        let mut told = cmd("SET");
        told.arg(self.field()).arg(own).arg("PX").arg(EXPIRES.as_millis() as u64);
        told.query_async::<()>(&mut link.clone()).await?;
        cmd("SADD").arg(INSTANCES).arg(self.field()).query_async::<()>(&mut link.clone()).await?;
        let mut all: Vec<String> = cmd("SMEMBERS").arg(INSTANCES).query_async(&mut link.clone()).await?;
        all.sort_unstable();
        let others = all.iter().filter(|instance| *instance != self.field());
        let heard = join_all(others.map(|instance| {
            let mut link = link.clone();
            async move {
                let said: Option<String> = cmd("GET").arg(instance).query_async(&mut link).await?;
                if said.is_none() {
                    // It comes back by saying something.
                    cmd("SREM").arg(INSTANCES).arg(instance).query_async::<()>(&mut link).await?;
                }
                Ok(said)
            }
        }));
        let heard: RedisResult<Vec<Option<String>>> = heard.await.into_iter().collect();
        Ok(heard?.into_iter().flatten().collect())
    }
}
