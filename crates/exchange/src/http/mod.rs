//! The doors: where requests come in and answers go out.
//!
//! [`listen`] accepts on every core, [`connection`] reads HTTP/1.1 and keeps slow clients in bounds, [`express`] takes the
//! plain POST /bid past hyper, [`bid`] is the hot path, [`auctions`] explains one, [`dashboard`] shows them all, [`pages`] is every other route. [`problem`] has the one table of refusals.

pub mod auctions;
pub mod bid;
pub mod connection;
pub mod dashboard;
pub mod docs;
pub mod express;
pub mod listen;
pub mod pages;
pub mod problem;
pub mod request;
pub mod site;
