//! The contract, checked from outside: every test starts the real program on port 0 and talks to it as a client does.
//!
//! * One module per door; `server`, `client`, `browser`, `catalogues`, `database`, `redis`, `clickhouse`, `kafka`,
//!   `nginx`, `prometheus`, `collector`, `fleet` and `ledger` are what they share.
//! * A test waits for a condition, never for a time; [`server::eventually`] is the only place that waits.
//! * What a test measures by the clock it measures alone: see [`server::Quiet`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod admin;
mod auction;
mod bid;
mod bid_json;
mod browser;
mod catalogue;
mod catalogues;
mod chaos;
mod check;
mod clickhouse;
mod clickhouse_sink;
mod client;
mod clock;
mod collector;
mod dashboard;
mod database;
mod docs;
mod events;
mod explain;
mod fleet;
mod health;
mod http_bounds;
mod http_faults;
mod http_framing;
mod instances;
mod journal_commands;
mod journal_damage;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_sink;
#[cfg(all(feature = "kafka", feature = "tls"))]
mod kafka_tls;
mod lake;
mod ledger;
mod lifecycle;
mod limiter;
mod logs;
mod manual;
mod metrics;
mod nginx;
mod observe;
mod outage;
mod pages;
mod programs;
mod prometheus;
mod proxy;
mod python;
mod redis;
mod repeat;
mod s3;
mod schema;
mod server;
mod settings;
mod shared_limit;
mod shared_stat;
mod shipped_nginx;
mod stat;
mod traces;
mod watching;
