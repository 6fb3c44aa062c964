//! A record as bytes: what the journal holds of an auction, and how it is read back.
//!
//! * Two kinds of payload: a *supply* as it was in force with its bidders, and an *auction*, which says where its supply
//!   stands. So an auction names its bidders by slot, and what many auctions share is written once.
//! * Read back, an auction is the [`Record`] it was, but for the address, which is cut to /24 or /48 before it is
//!   written, and latencies, which are rounded up to whole microseconds: in time stays in time.
//! * Later versions may lengthen the head and the entries, whose lengths are written, and append to the payload: this
//!   code reads what it knows of them. What it cannot read it calls [`Fault`], and never guesses.
//! * Order: little-endian. `docs/records.md` is the page for people.

mod bytes;
mod supply;
#[cfg(test)]
mod tests;

pub use supply::{Terms, read_supply, supply_bytes, write_supply};

use crate::{
    Answer, Answers, AuctionId, AuctionType, Bid, Clearing, Country, Cpm, Fate, Imp, LossReason, NoSale,
    Opportunity, Record, Reply, Sale, Supply, invite, truncated,
};
use bytes::{Take, u16_at, u32_at, u64_at};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version that this code writes, and the newest that it reads.
pub const VERSION: u8 = 1;

const KIND_SUPPLY: u8 = 1;
const KIND_AUCTION: u8 = 2;

const HEAD_BYTES: usize = 48;
const IMP_BYTES: usize = 20;
const REPLY_BYTES: usize = 6;
const BID_BYTES: usize = 10;
/// A slot shares its word with an answer, or with an imp's place and a price.
const SLOT_BITS: u32 = 12;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const _: () = assert!(Supply::BIDDERS_MAX <= 1 << SLOT_BITS);
/// The most that an entry's word has room for.
const PRICE_BITS: u32 = 40;
const _: () = assert!(Cpm::MAX.micros() < 1 << PRICE_BITS);

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A supply, as it was in force from here on.
    Supply,
    /// An auction.
    Auction,
    /// Of a later version; nothing that this one needs.
    Other(u8),
}

impl Kind {
    /// Of this payload.
    pub fn of(payload: &[u8]) -> Self {
        match payload.first() {
            Some(&KIND_SUPPLY) => Self::Supply,
            Some(&KIND_AUCTION) => Self::Auction,
            other => Self::Other(other.copied().unwrap_or(0)),
        }
    }
}

/// Why a payload cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its lengths do not add up, or a number in it stands for nothing.
    Malformed(&'static str),
    /// Written by a later version of this program.
    Newer(u8),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "its {what} cannot be read"),
            Self::Newer(version) => {
                write!(f, "it has version {version}: read it with the release that wrote it")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// How many bytes [`write_auction`] writes for this record; None: it has more imps or bids than a record counts.
pub fn auction_bytes(record: &Record<'_>) -> Option<usize> {
    let (imps, answers) = (record.opportunity.imps.len(), record.answers);
    if imps > 1 << SLOT_BITS || answers.replies.len().max(answers.bids.len()) > usize::from(u16::MAX) {
        return None;
    }
    let entries = IMP_BYTES * imps + REPLY_BYTES * answers.replies.len() + BID_BYTES * answers.bids.len();
    Some(HEAD_BYTES + entries)
}

/// Writes an auction into its [`auction_bytes`]; its supply is written `supply_back` bytes before it.
pub fn write_auction(record: &Record<'_>, supply_back: u32, to: &mut [u8]) {
    let (opportunity, answers, clearing) = (record.opportunity, record.answers, record.clearing);
    let (head, rest) = to.split_at_mut(HEAD_BYTES);
    let lengths = [IMP_BYTES, REPLY_BYTES, BID_BYTES].map(|length| length as u8);
    head[..6].copy_from_slice(&[KIND_AUCTION, VERSION, HEAD_BYTES as u8, lengths[0], lengths[1], lengths[2]]);
    head[6..8].copy_from_slice(&(opportunity.imps.len() as u16).to_le_bytes());
    head[8..10].copy_from_slice(&(answers.replies.len() as u16).to_le_bytes());
    head[10..12].copy_from_slice(&(answers.bids.len() as u16).to_le_bytes());
    head[12..16].copy_from_slice(&supply_back.to_le_bytes());
    head[16..24].copy_from_slice(&record.id.sequence.to_le_bytes());
    head[24..32].copy_from_slice(&record.catalogue_revision.to_le_bytes());
    head[32..36].copy_from_slice(&opportunity.tmax_ms.to_le_bytes());
    head[36..38].copy_from_slice(opportunity.country.alpha2().as_bytes());
    head[38..46].copy_from_slice(&address_bytes(opportunity.ip));
    head[46..48].fill(0);

    let (imps, rest) = rest.split_at_mut(IMP_BYTES * opportunity.imps.len());
    let (replies, bids) = rest.split_at_mut(REPLY_BYTES * answers.replies.len());
    for ((imp, sale), to) in
        opportunity.imps.iter().zip(&clearing.sales).zip(imps.as_chunks_mut::<IMP_BYTES>().0)
    {
        write_imp(imp, *sale, to);
    }
    for (reply, to) in answers.replies.iter().zip(replies.as_chunks_mut::<REPLY_BYTES>().0) {
        let latency_us = u32::try_from(reply.latency_ns.div_ceil(1_000)).unwrap_or(u32::MAX);
        let word = reply.slot as u16 | answer_code(reply.answer) << SLOT_BITS;
        to[..2].copy_from_slice(&word.to_le_bytes());
        to[2..].copy_from_slice(&latency_us.to_le_bytes());
    }
    for ((bid, fate), to) in answers.bids.iter().zip(&clearing.fates).zip(bids.as_chunks_mut::<BID_BYTES>().0)
    {
        let fate = match fate {
            Fate::Won(_) => 0,
            Fate::Lost(reason) => *reason as u16,
        };
        let place = u64::from(bid.slot) | u64::from(bid.imp) << SLOT_BITS;
        let word = bid.price.micros() | place << PRICE_BITS;
        to[..8].copy_from_slice(&word.to_le_bytes());
        to[8..].copy_from_slice(&fate.to_le_bytes());
    }
}

fn write_imp(imp: &Imp, sale: Result<Sale, NoSale>, to: &mut [u8; IMP_BYTES]) {
    let (outcome, bid, price) = match sale {
        Ok(sale) => (0, sale.bid, sale.price),
        Err(reason) => (no_sale_code(reason), 0, Cpm::ZERO),
    };
    to[..8].copy_from_slice(&imp.bid_floor.micros().to_le_bytes());
    to[8..16].copy_from_slice(&price.micros().to_le_bytes());
    to[16..18].copy_from_slice(&(bid as u16).to_le_bytes());
    to[18..].copy_from_slice(&[imp.auction.map_or(0, |auction| auction as u8), outcome]);
}

/// Family, the prefix that may be written down, 3 bytes of IPv4 or 6 of IPv6, and zeros.
fn address_bytes(ip: IpAddr) -> [u8; 8] {
    let mut bytes = [0; 8];
    match truncated(ip) {
        IpAddr::V4(ip) => {
            bytes[0] = 4;
            bytes[1..4].copy_from_slice(&ip.octets()[..3]);
        }
        IpAddr::V6(ip) => {
            bytes[0] = 6;
            bytes[1..7].copy_from_slice(&ip.octets()[..6]);
        }
    }
    bytes
}

/// Where the supply of the auction at `offset` is written.
pub fn supply_at(offset: u64, payload: &[u8]) -> Result<u64, Fault> {
    offset.checked_sub(u64::from(u32_at(head(payload)?, 12))).ok_or(Fault::Malformed("supply"))
}

fn head(payload: &[u8]) -> Result<&[u8], Fault> {
    match payload {
        [KIND_AUCTION, VERSION, length, ..] if usize::from(*length) >= HEAD_BYTES => {
            payload.get(..usize::from(*length)).ok_or(Fault::Malformed("head"))
        }
        [KIND_AUCTION, version, ..] if *version > VERSION => Err(Fault::Newer(*version)),
        _ => Err(Fault::Malformed("head")),
    }
}

/// What an auction is read into. Kept between auctions, so that reading allocates nothing.
#[derive(Debug, Default)]
pub struct Papers {
    imps: Vec<Imp>,
    answers: Answers,
    clearing: Clearing,
}

impl Papers {
    /// Reads an auction and hands it to `use_it`. `received_at_us` is the time of its journal record, `terms`
    /// what [`read_supply`] gave.
    pub fn read_auction<T>(
        &mut self,
        payload: &[u8],
        received_at_us: u64,
        terms: &Terms,
        use_it: impl FnOnce(&Record<'_>) -> T,
    ) -> Result<T, Fault> {
        let supply = &*terms.supply;
        let head = head(payload)?;
        let mut rest = Take(&payload[head.len()..]);
        let [imp_bytes, reply_bytes, bid_bytes] = [head[3], head[4], head[5]].map(usize::from);
        if imp_bytes < IMP_BYTES || reply_bytes < REPLY_BYTES || bid_bytes < BID_BYTES {
            return Err(Fault::Malformed("entries"));
        }
        let imps = rest.entries(imp_bytes, usize::from(u16_at(head, 6)))?;
        let replies = rest.entries(reply_bytes, usize::from(u16_at(head, 8)))?;
        let bids = rest.entries(bid_bytes, usize::from(u16_at(head, 10)))?;
        self.read_imps(imps)?;
        self.read_replies(replies, supply)?;
        self.read_bids(bids, supply)?;
        self.settle()?;
        self.clearing.lots.clear();
        self.clearing.lots.extend(self.imps.iter().map(|imp| supply.lot(imp)));

        let country = std::str::from_utf8(&head[36..38]).ok().and_then(Country::from_code);
        let opportunity = Opportunity {
            supply_id: supply.id.as_str(),
            ip: read_address(&head[38..46])?,
            country: country.ok_or(Fault::Malformed("country"))?,
            tmax_ms: u32_at(head, 32),
            imps: &self.imps,
        };
        let record = Record {
            id: AuctionId { seed: terms.seed, sequence: u64_at(head, 16) },
            received_at_us,
            catalogue_revision: u64_at(head, 24),
            opportunity: &opportunity,
            supply,
            invitations: &invite(&opportunity, supply),
            answers: &self.answers,
            clearing: &self.clearing,
        };
        Ok(use_it(&record))
    }

    fn read_imps<'a>(&mut self, entries: impl Iterator<Item = &'a [u8]>) -> Result<(), Fault> {
        self.imps.clear();
        self.clearing.sales.clear();
        for entry in entries {
            let auction = match entry[18] {
                0 => None,
                code => Some(auction_type(code).ok_or(Fault::Malformed("clearing rule"))?),
            };
            self.imps.push(Imp { bid_floor: Cpm::from_micros(u64_at(entry, 0)), auction });
            self.clearing.sales.push(match entry[19] {
                0 => Ok(Sale {
                    slot: 0,
                    bid: u16_at(entry, 16).into(),
                    price: Cpm::from_micros(u64_at(entry, 8)),
                }),
                code => Err(no_sale(code).ok_or(Fault::Malformed("outcome"))?),
            });
        }
        Ok(())
    }

    fn read_replies<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a [u8]>,
        supply: &Supply,
    ) -> Result<(), Fault> {
        self.answers.replies.clear();
        for entry in entries {
            let word = u16_at(entry, 0);
            let slot = known_slot(word.into(), supply)?;
            let answer = answer(word >> SLOT_BITS).ok_or(Fault::Malformed("answer"))?;
            self.answers.replies.push(Reply {
                slot,
                answer,
                latency_ns: u64::from(u32_at(entry, 2)) * 1_000,
            });
        }
        Ok(())
    }

    fn read_bids<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a [u8]>,
        supply: &Supply,
    ) -> Result<(), Fault> {
        self.answers.bids.clear();
        self.clearing.fates.clear();
        for entry in entries {
            let word = u64_at(entry, 0);
            let place = word >> PRICE_BITS;
            let (slot, imp) = (known_slot(place, supply)?, (place >> SLOT_BITS) as u32);
            let price = Cpm::from_micros(word & ((1 << PRICE_BITS) - 1));
            self.answers.bids.push(Bid { slot, imp, price });
            self.clearing.fates.push(match u16_at(entry, 8) {
                0 => Fate::Won(Cpm::ZERO),
                code => Fate::Lost(loss_reason(code).ok_or(Fault::Malformed("loss reason"))?),
            });
        }
        Ok(())
    }

    /// A winning bid's price stands with its imp; every winner has one.
    fn settle(&mut self) -> Result<(), Fault> {
        let winners = self.clearing.fates.iter().filter(|fate| matches!(fate, Fate::Won(_))).count();
        if winners != self.clearing.sales.iter().flatten().count() {
            return Err(Fault::Malformed("winner"));
        }
        for (imp, sale) in self.clearing.sales.iter_mut().enumerate() {
            let Ok(sale) = sale else { continue };
            let at = sale.bid as usize;
            let (Some(bid), Some(fate @ Fate::Won(_))) =
                (self.answers.bids.get(at), self.clearing.fates.get_mut(at))
            else {
                return Err(Fault::Malformed("winner"));
            };
            if bid.imp as usize != imp {
                return Err(Fault::Malformed("winner"));
            }
            sale.slot = bid.slot;
            *fate = Fate::Won(sale.price);
        }
        Ok(())
    }
}

/// The slot in the lowest bits.
fn known_slot(word: u64, supply: &Supply) -> Result<u32, Fault> {
    let slot = (word & SLOT_MASK) as u32;
    if (slot as usize) < supply.bidders().len() { Ok(slot) } else { Err(Fault::Malformed("slot")) }
}

fn read_address(bytes: &[u8]) -> Result<IpAddr, Fault> {
    match bytes {
        [4, a, b, c, ..] => Ok(Ipv4Addr::new(*a, *b, *c, 0).into()),
        [6, prefix @ ..] => {
            let mut octets = [0; 16];
            octets[..6].copy_from_slice(&prefix[..6]);
            Ok(Ipv6Addr::from(octets).into())
        }
        _ => Err(Fault::Malformed("address")),
    }
}

const fn answer_code(answer: Answer) -> u16 {
    match answer {
        Answer::Bid => 1,
        Answer::NoBid => 2,
        Answer::Timeout => 3,
    }
}

fn answer(code: u16) -> Option<Answer> {
    [Answer::Bid, Answer::NoBid, Answer::Timeout].into_iter().find(|answer| answer_code(*answer) == code)
}

const fn no_sale_code(reason: NoSale) -> u8 {
    match reason {
        NoSale::NoEligibleBidders => 1,
        NoSale::NoBids => 2,
        NoSale::BelowFloor => 3,
    }
}

fn no_sale(code: u8) -> Option<NoSale> {
    [NoSale::NoEligibleBidders, NoSale::NoBids, NoSale::BelowFloor]
        .into_iter()
        .find(|reason| no_sale_code(*reason) == code)
}

fn loss_reason(code: u16) -> Option<LossReason> {
    [LossReason::BelowFloor, LossReason::LostToHigherBid].into_iter().find(|reason| *reason as u16 == code)
}

fn auction_type(code: u8) -> Option<AuctionType> {
    [AuctionType::FirstPrice, AuctionType::SecondPrice].into_iter().find(|auction| *auction as u8 == code)
}
