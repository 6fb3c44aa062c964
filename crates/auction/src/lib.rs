//! The auction, as a function: the same opportunity, supply, answers and seed give the same outcome, byte for byte,
//! on any machine.
//!
//! One auction walks through these rooms in order, and never back:
//!
//! | room | takes → gives |
//! |---|---|
//! | [`mod@invite`] | opportunity, supply → who is invited, and why each other bidder is not |
//! | [`profile`] | a simulated bidder, tmax, its draws → its answer (live bidders answer outside the core) |
//! | [`clearing`] | lots, answers, chance → the fate of each bid, the clearing price of each imp |
//! | [`record`] | all of the above, borrowed → what is written down |
//! | [`encoding`] | a record → bytes, and back |
//!
//! No clock, no I/O, no async, no randomness of its own: time, chance and order are arguments. `clippy.toml` beside
//! this crate refuses the rest.

pub mod answer;
pub mod chance;
pub mod clearing;
pub mod country;
pub mod decimal;
pub mod encoding;
pub mod id;
pub mod invite;
pub mod money;
pub mod opportunity;
pub mod profile;
pub mod record;
pub mod supply;

pub use answer::{Answer, Answers, Bid, Reply};
pub use chance::{Chance, Draws};
pub use clearing::{Clearing, Fate, LossReason, Lot, NoSale, PriceFrom, Sale, clear, outcome};
pub use country::Country;
pub use id::Id;
pub use invite::{Invitations, NotInvited, invite};
pub use money::Cpm;
pub use opportunity::{Imp, Opportunity};
pub use profile::{Profile, Shape};
pub use record::{AuctionId, NoAuctionId, Record, truncated};
pub use supply::{AuctionType, Bidder, Supply};
