//! The bytes of saved statistics.
//!
//! Magic, version and instance, little-endian; the number of cores; for each core its number, the offset up to which every
//! auction is counted, and its supplies, each with its own offset behind a byte of 1, and a byte of 0; CRC32C of all that.
//! Numbers are LEB128, but for the length of an id: two bytes before it. A bidder is a number, by the order in which they
//! first come; one that comes for the first time is followed by its id. In version 1 every number had its whole length,
//! supplies were counted before the first, and bidders came by id.

use crate::leb128::{leb128, read_leb128};
use crate::statistics::{Block, Counted, Reading};
use crate::{BidderTotals, Statistics, SupplyTotals};
use auction::{Country, Cpm, Id};
use hashbrown::HashMap;
use std::collections::BTreeMap;

const MAGIC: [u8; 8] = *b"bourse.t";
const VERSION: u32 = 2;
/// The oldest that is still read.
const VERSION_MIN: u32 = 1;

/// What was counted, by core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) instance: u64,
    pub(super) cores: BTreeMap<u32, SavedCore>,
}

/// What one core has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SavedCore {
    /// Every auction below this offset is in.
    pub(super) upto: u64,
    pub(super) counted: Vec<Counted>,
}

/// By core, up to which offset every auction is counted: to be asked before the counts are, for what is counted meanwhile
/// is in a supply whose own offset says so.
pub(super) fn upto(statistics: &Statistics) -> Vec<u64> {
    (0..statistics.cores()).map(|core| statistics.upto(core)).collect()
}

/// What is counted now, complete up to these offsets.
pub(super) fn encode(instance: u64, upto: &[u64], statistics: &Statistics) -> Vec<u8> {
    let (mut bidders, mut reading) = (Numbers::default(), Reading::default());
    let mut to = Vec::new();
    to.extend(MAGIC);
    to.extend(VERSION.to_le_bytes());
    to.extend(instance.to_le_bytes());
    leb128(upto.len() as u64, &mut to);
    for (core, upto) in upto.iter().enumerate() {
        leb128(core as u64, &mut to);
        leb128(*upto, &mut to);
        for block in statistics.blocks(core) {
            to.push(ONE_MORE);
            block.read(&mut reading);
            encode_counted(&block, &reading, &mut bidders, &mut to);
        }
        to.push(NO_MORE);
    }
    to.extend(crc32c::crc32c(&to).to_le_bytes());
    to
}

impl Saved {
    /// None: not whole, or not of a version that is read.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut from = From { rest: body, version: VERSION, bidders: Vec::new() };
        if from.array()? != MAGIC {
            return None;
        }
        from.version = u32::from_le_bytes(from.array()?);
        if !(VERSION_MIN..=VERSION).contains(&from.version) {
            return None;
        }
        let instance = u64::from_le_bytes(from.array()?);
        let mut cores = BTreeMap::new();
        for _ in 0..from.count()? {
            let (number, upto) = (from.count()?, from.number()?);
            // There is a thread for each of them.
            if number as usize != cores.len() {
                return None;
            }
            cores.insert(number, SavedCore { upto, counted: from.all_counted()? });
        }
        from.rest.is_empty().then_some(Self { instance, cores })
    }
}

/// Whether a later version of this program has written these bytes.
pub(super) fn is_newer(bytes: &[u8]) -> bool {
    let head = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk::<4>());
    let whole = bytes
        .split_last_chunk::<4>()
        .is_some_and(|(body, crc)| crc32c::crc32c(body) == u32::from_le_bytes(*crc));
    whole && head.is_some_and(|version| u32::from_le_bytes(*version) > VERSION)
}

/// The numbers of bidders.
type Numbers = HashMap<Id, u64, foldhash::fast::RandomState>;

/// Before each supply of a core, and after the last.
const ONE_MORE: u8 = 1;
const NO_MORE: u8 = 0;

fn encode_counted(block: &Block, reading: &Reading, bidders: &mut Numbers, to: &mut Vec<u8>) {
    encode_id(block.id(), to);
    leb128(reading.upto, to);
    leb128(reading.total_reqs, to);
    leb128(reading.countries.len() as u64, to);
    for (country, n) in &reading.countries {
        to.extend(country.alpha2().as_bytes());
        leb128(*n, to);
    }
    let counted = || block.named(reading).filter(|(_, totals)| *totals != BidderTotals::default());
    leb128(counted().count() as u64, to);
    for (id, BidderTotals { wins, revenue, no_bids, timeouts }) in counted() {
        encode_bidder(id, bidders, to);
        [wins, revenue.micros(), no_bids, timeouts].iter().for_each(|n| leb128(*n, to));
    }
}

fn encode_bidder(id: &Id, bidders: &mut Numbers, to: &mut Vec<u8>) {
    let next = bidders.len() as u64;
    let number = *bidders.entry_ref(id).or_insert(next);
    leb128(number, to);
    if number == next {
        encode_id(id, to);
    }
}

fn encode_id(id: &Id, to: &mut Vec<u8>) {
    to.extend((id.as_str().len() as u16).to_le_bytes());
    to.extend(id.as_str().as_bytes());
}

/// What is left to read.
struct From<'a> {
    rest: &'a [u8],
    version: u32,
    /// By number.
    bidders: Vec<Id>,
}

impl<'a> From<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        if self.version == 1 { self.array().map(u64::from_le_bytes) } else { read_leb128(&mut self.rest) }
    }

    /// A number that had half the length in version 1.
    fn count(&mut self) -> Option<u32> {
        if self.version == 1 { self.array().map(u32::from_le_bytes) } else { self.number()?.try_into().ok() }
    }

    fn id(&mut self) -> Option<Id> {
        let length = u16::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.bytes(length.into())?).ok()?;
        Id::new(text).ok()
    }

    fn bidder(&mut self) -> Option<Id> {
        if self.version == 1 {
            return self.id();
        }
        let number = self.number()? as usize;
        if number == self.bidders.len() {
            let id = self.id()?;
            self.bidders.push(id);
        }
        self.bidders.get(number).cloned()
    }

    fn all_counted(&mut self) -> Option<Vec<Counted>> {
        if self.version == 1 {
            return (0..self.count()?).map(|_| self.counted()).collect();
        }
        let mut all = Vec::new();
        while self.array()? == [ONE_MORE] {
            all.push(self.counted()?);
        }
        Some(all)
    }

    fn counted(&mut self) -> Option<Counted> {
        let (supply, upto, total_reqs) = (self.id()?, self.number()?, self.number()?);
        let mut totals = SupplyTotals { total_reqs, ..SupplyTotals::default() };
        for _ in 0..self.count()? {
            let country = Country::from_code(std::str::from_utf8(self.bytes(2)?).ok()?)?;
            totals.reqs_per_country.insert(country, self.number()?);
        }
        for _ in 0..self.count()? {
            let id = self.bidder()?;
            let sum = totals.bidders.entry(id).or_default();
            sum.wins = sum.wins.checked_add(self.number()?)?;
            sum.revenue = Cpm::from_micros(sum.revenue.micros().checked_add(self.number()?)?);
            sum.no_bids = sum.no_bids.checked_add(self.number()?)?;
            sum.timeouts = sum.timeouts.checked_add(self.number()?)?;
        }
        Some(Counted { supply, upto, totals })
    }
}
