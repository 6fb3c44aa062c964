//! What a supply offers: one opportunity of one or more imps.

use crate::{AuctionType, Country, Cpm};
use std::net::IpAddr;

/// A request for bids, parsed and valid, borrowed from the door it came in by.
#[derive(Debug, Clone, Copy)]
pub struct Opportunity<'a> {
    /// The supply that offers it.
    pub supply_id: &'a str,
    /// The user's address.
    pub ip: IpAddr,
    /// The user's country.
    pub country: Country,
    /// Milliseconds a bidder has to answer, the network included (OpenRTB 2.6 §3.2.1 `tmax`).
    pub tmax_ms: u32,
    /// What is for sale, in the order of the request; the simple API offers [`Imp::PLAIN`].
    pub imps: &'a [Imp],
}

/// One thing for sale (OpenRTB 2.6 §3.2.4), with what it asks beyond the supply's own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imp {
    /// Its own floor; the supply's holds too.
    pub bid_floor: Cpm,
    /// Its own clearing rule, instead of the supply's.
    pub auction: Option<AuctionType>,
}

impl Imp {
    /// An imp that asks for nothing beyond the supply's rules.
    pub const PLAIN: Self = Self { bid_floor: Cpm::ZERO, auction: None };
}
