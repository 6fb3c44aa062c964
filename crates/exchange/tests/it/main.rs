//! The contract, checked from outside: every test starts the real program on port 0 and talks to it as a client does.
//!
//! * One module per door; `server`, `client`, `catalogues` and `database` are what they share.
//! * A test waits for a condition, never for a time; [`server::eventually`] is the only place that waits.
//! * What a test measures by the clock it measures alone: see [`server::Quiet`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod auction;
mod bid;
mod bid_json;
mod catalogue;
mod catalogues;
mod chaos;
mod client;
mod clock;
mod database;
mod docs;
mod http_bounds;
mod http_framing;
mod lifecycle;
mod limiter;
mod outage;
mod pages;
mod repeat;
mod schema;
mod server;
mod settings;
mod stat;
