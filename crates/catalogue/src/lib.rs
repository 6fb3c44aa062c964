//! Supplies and bidders: in SQL where people change them, in an immutable [`Snapshot`] where auctions read them.
//!
//! | module | what it does |
//! |---|---|
//! | [`database`] | where the catalogue lives: SQLite or PostgreSQL |
//! | [`schema`] | brings its tables to a revision, and writes new revisions |
//! | [`mod@file`] | checks a catalogue file |
//! | [`mod@load`] | brings the database to what a file says |
//! | [`edit`] | reads, changes and removes one supply or bidder, or all of them, on a condition |
//! | [`mod@generate`] | writes catalogue files of any size |
//! | [`mod@read`] | reads the database into a snapshot |
//! | [`mod@watch`] | keeps the snapshot in force what the database says |

mod build;
pub mod database;
pub mod edit;
pub mod file;
pub mod generate;
pub mod load;
pub mod read;
pub mod schema;
pub mod snapshot;
pub mod watch;

pub use database::{Database, Dialect};
pub use file::{File, Problems};
pub use generate::generate;
pub use load::{Loaded, load};
pub use read::read;
pub use snapshot::{Freshness, Live, Snapshot};
pub use watch::watch;

/// A small catalogue file to begin with.
pub const DEMO: &str = include_str!("../demo.json");
