//! Redis or Redis Cluster, where the statistics of all instances add up.
//!
//! * Layout: a hash `stats:SUPPLY` for each supply, with the fields `total_reqs`, `country:US`, `bidder:ID:wins`,
//!   `bidder:ID:revenue_micros`, `bidder:ID:no_bids` and `bidder:ID:timeouts`, each the sum over all instances; a set
//!   `stats` of all supplies.
//! * Exactly once: a hash also has a field `instance:HEX` for each instance, with all that this instance has ever counted
//!   for it, and up to where. One script moves the sums by the difference and that field together. So a push that comes
//!   twice changes nothing, and one after an outage, a failover that lost writes or a Redis that came back empty makes
//!   up for all of it. See ADR 10.
//! * Presence: a set `instances`, and a string `instance:HEX` for each that is there now, gone five seconds after its last
//!   word.
//! * Bounds: an instance pushes what has changed some 10 ms after it did, and works at most a fifth of the time.

mod presence;
mod push;
mod read;
mod state;

pub use push::{Pusher, Standing};
pub use read::{Others, Read};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, RedisFuture, RedisResult, Value,
};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// Where Redis is.
#[derive(Clone)]
pub struct Endpoint {
    nodes: Vec<String>,
}

/// Without the passwords that may be in it.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({} nodes)", self.nodes.len())
    }
}

impl Endpoint {
    /// One `redis://…`, or several nodes of a cluster with commas.
    pub fn parse(urls: &str) -> Result<Self> {
        let nodes: Vec<String> =
            urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
        ensure!(!nodes.is_empty(), "names no Redis: redis://HOST:PORT");
        for node in &nodes {
            // The message names no part of the URL: there may be a password in it.
            node.as_str().into_connection_info().map_err(|error| {
                anyhow::anyhow!("is no redis://[USER:PASSWORD@]HOST[:PORT][/DB]: {}", error.category())
            })?;
        }
        Ok(Self { nodes })
    }

    /// Opens a connection that answers within `timeout`, or fails. It may be cloned, and is shared then.
    pub async fn connect(&self, timeout: Duration) -> RedisResult<Link> {
        if let [node] = &self.nodes[..] {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(timeout));
            let client = Client::open(node.as_str())?;
            let mut one = client.get_multiplexed_async_connection_with_config(&config).await?;
            // One node of a cluster knows the others.
            let about: String = ::redis::cmd("INFO").arg("cluster").query_async(&mut one).await?;
            if !about.contains("cluster_enabled:1") {
                return Ok(Link::One(one));
            }
        }
        let client = ClusterClient::builder(self.nodes.iter().map(String::as_str))
            .retries(1)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(timeout)
            .build()?;
        client.get_async_connection().await.map(Link::Cluster)
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to one Redis, or to a cluster of them.
#[derive(Clone)]
pub enum Link {
    /// To one.
    One(MultiplexedConnection),
    /// To whichever node has the key.
    Cluster(ClusterConnection),
}

impl Link {
    /// Whether keys live on different nodes.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_cluster() { "Link::Cluster" } else { "Link::One" })
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// The set of all supplies that have a hash.
const SUPPLIES: &str = "stats";

/// The hash of a supply.
fn key(supply: &str) -> String {
    format!("stats:{supply}")
}

/// The field of an instance.
fn instance_field(instance: u64) -> String {
    format!("instance:{instance:016x}")
}

/// For messages of Redis, which may be long.
fn explained<T>(result: RedisResult<T>, what: &str) -> Result<T> {
    result.with_context(|| what.to_owned())
}
