//! What is made of the auctions: views of the journal, any of which can be thrown away and made again.
//!
//! | module | what it does |
//! |---|---|
//! | [`activity`] | what happened since the start, for those who watch |
//! | [`auctions`] | reads auctions back from one core's journal |
//! | [`leb128`] | numbers as bytes, the small ones short |
//! | [`statistics`] | counts them while they are held |
//! | [`prefetch`](mod@prefetch) | memory asked for before it is read |
//! | [`redis`] | adds them up over all instances |
//! | [`scrub`] | looks for damage before somebody needs what is lost |
//! | [`saved`] | keeps the counts over a restart: what was saved, and the journal's tail |

pub mod activity;
pub mod auctions;
#[cfg(test)]
mod held;
pub mod leb128;
pub mod prefetch;
pub mod redis;
pub mod saved;
pub mod scrub;
pub mod statistics;

pub use auctions::{Auctions, Event};
pub use saved::{Found, Restored, Saver, restore};
pub use statistics::{BidderTotals, Counter, Seat, Statistics, SupplyTotals, Tally};
