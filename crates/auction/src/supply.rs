//! Supplies and bidders, as the catalogue gives them: immutable, shared, ready for an auction.

use crate::{Country, Cpm, Id, Imp, Lot, Profile, chance};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

/// How the clearing price is found (OpenRTB 2.6 §3.2.1 `at`, with its numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum AuctionType {
    /// The winner pays its bid.
    #[default]
    FirstPrice = 1,
    /// The winner pays one cent more than the runner-up, at least the floor, never over its bid.
    SecondPrice = 2,
}

impl AuctionType {
    /// Its name in the catalogue.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstPrice => "first_price",
            Self::SecondPrice => "second_price",
        }
    }
}

impl fmt::Display for AuctionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AuctionType {
    type Err = UnknownAuctionType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::FirstPrice, Self::SecondPrice].into_iter().find(|a| a.name() == name).ok_or(UnknownAuctionType)
    }
}

/// The name is neither `first_price` nor `second_price`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAuctionType;

impl fmt::Display for UnknownAuctionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is neither \"first_price\" nor \"second_price\"")
    }
}

impl std::error::Error for UnknownAuctionType {}

/// Someone who bids.
#[derive(Debug, PartialEq, Eq)]
pub struct Bidder {
    /// Its id.
    pub id: Id,
    /// The country whose opportunities it buys.
    pub country: Country,
    /// How it answers.
    pub profile: Profile,
    /// The key of its random stream, from its id.
    pub key: u64,
}

impl Bidder {
    /// A bidder; its key follows from its id.
    pub fn new(id: Id, country: Country, profile: Profile) -> Self {
        let key = chance::bidder_key(id.as_str());
        Self { id, country, profile, key }
    }
}

/// A publisher's slot, and those who may bid for it.
///
/// A bidder's place in [`Supply::bidders`] is its *slot*: the number that stands for it within an auction of this
/// supply, in answers, bids and counters alike.
#[derive(Debug)]
pub struct Supply {
    /// Its id.
    pub id: Id,
    /// The clearing rule, unless an imp asks for another.
    pub auction: AuctionType,
    /// No bid below it wins.
    pub bid_floor: Cpm,
    bidders: Box<[Arc<Bidder>]>,
    /// Where each country's bidders stand in `bidders`, in order of country.
    countries: Box<[(Country, Range<u32>)]>,
}

impl Supply {
    /// How many bidders a supply may list: with ids of the greatest length, they and their answers still fit the
    /// journal's records.
    pub const BIDDERS_MAX: usize = 4096;

    /// A supply. The bidders are put in order of country, then id; one listed twice counts once.
    pub fn new(id: Id, auction: AuctionType, bid_floor: Cpm, mut bidders: Vec<Arc<Bidder>>) -> Self {
        bidders.sort_by(|a, b| (a.country, &a.id).cmp(&(b.country, &b.id)));
        bidders.dedup_by(|a, b| a.id == b.id && a.country == b.country);
        let mut countries: Vec<(Country, Range<u32>)> = Vec::new();
        for (slot, bidder) in (0u32..).zip(&bidders) {
            match countries.last_mut() {
                Some((country, slots)) if *country == bidder.country => slots.end = slot + 1,
                _ => countries.push((bidder.country, slot..slot + 1)),
            }
        }
        Self { id, auction, bid_floor, bidders: bidders.into(), countries: countries.into() }
    }

    /// Every bidder of the supply; a bidder's index is its slot.
    pub fn bidders(&self) -> &[Arc<Bidder>] {
        &self.bidders
    }

    /// The slots of the bidders that buy in `country`. The time does not depend on how many bidders there are.
    pub fn slots_in(&self, country: Country) -> Range<u32> {
        match self.countries.binary_search_by_key(&country, |(country, _)| *country) {
            Ok(found) => self.countries[found].1.clone(),
            Err(_) => 0..0,
        }
    }

    /// What is sold with `imp` here, and under which rule: the imp's own rule if it has one; the higher of both floors.
    pub fn lot(&self, imp: &Imp) -> Lot {
        Lot { auction: imp.auction.unwrap_or(self.auction), bid_floor: imp.bid_floor.max(self.bid_floor) }
    }
}

/// Equal if an auction cannot tell them apart.
impl PartialEq for Supply {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.auction == other.auction
            && self.bid_floor == other.bid_floor
            && self.bidders == other.bidders
    }
}
