//! Supplies and bidders: in SQL where people change them, in an immutable [`Snapshot`] where auctions read them.

pub mod database;
pub mod schema;
pub mod snapshot;

pub use database::{Database, Dialect};
pub use snapshot::{Freshness, Live, Snapshot};
