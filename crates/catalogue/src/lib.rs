//! Supplies and bidders: in SQL where people change them, in an immutable [`Snapshot`] where auctions read them.

pub mod snapshot;

pub use snapshot::{Freshness, Live, Snapshot};
