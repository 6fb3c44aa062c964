//! The bytes of saved statistics.
//!
//! Little-endian: magic, version, instance, number of cores; for each core its number, the offset up to which every
//! auction is counted, and its supplies, each with its own offset; CRC32C of all that.

use crate::statistics::Counted;
use crate::{BidderTotals, Statistics, SupplyTotals};
use auction::{Country, Cpm, Id};
use std::collections::BTreeMap;

const MAGIC: [u8; 8] = *b"bourse.t";
const VERSION: u32 = 1;

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

impl Saved {
    /// What is counted now.
    pub(super) fn of(instance: u64, statistics: &Statistics) -> Self {
        let cores = (0..statistics.cores()).map(|core| {
            // The offset first: what is counted meanwhile is in a supply whose own offset says so.
            let upto = statistics.upto(core);
            (core as u32, SavedCore { upto, counted: statistics.counted(core).collect() })
        });
        Self { instance, cores: cores.collect() }
    }

    /// By core, the offset up to which every auction is in.
    pub(super) fn upto(&self) -> Vec<u64> {
        self.cores.values().map(|core| core.upto).collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        to.extend(MAGIC);
        to.extend(VERSION.to_le_bytes());
        to.extend(self.instance.to_le_bytes());
        to.extend((self.cores.len() as u32).to_le_bytes());
        for (number, core) in &self.cores {
            to.extend(number.to_le_bytes());
            to.extend(core.upto.to_le_bytes());
            to.extend((core.counted.len() as u32).to_le_bytes());
            core.counted.iter().for_each(|counted| encode_counted(counted, &mut to));
        }
        to.extend(crc32c::crc32c(&to).to_le_bytes());
        to
    }

    /// None: not whole, or not of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut from = From(body);
        if from.array()? != MAGIC || from.u32()? != VERSION {
            return None;
        }
        let instance = from.u64()?;
        let mut cores = BTreeMap::new();
        for _ in 0..from.u32()? {
            let (number, upto) = (from.u32()?, from.u64()?);
            let counted = (0..from.u32()?).map(|_| from.counted()).collect::<Option<Vec<_>>>()?;
            cores.insert(number, SavedCore { upto, counted });
        }
        from.0.is_empty().then_some(Self { instance, cores })
    }
}

fn encode_counted(counted: &Counted, to: &mut Vec<u8>) {
    let Counted { supply, upto, totals } = counted;
    encode_id(supply, to);
    to.extend(upto.to_le_bytes());
    to.extend(totals.total_reqs.to_le_bytes());
    to.extend((totals.reqs_per_country.len() as u32).to_le_bytes());
    for (country, n) in &totals.reqs_per_country {
        to.extend(country.alpha2().as_bytes());
        to.extend(n.to_le_bytes());
    }
    to.extend((totals.bidders.len() as u32).to_le_bytes());
    for (id, BidderTotals { wins, revenue, no_bids, timeouts }) in &totals.bidders {
        encode_id(id, to);
        [*wins, revenue.micros(), *no_bids, *timeouts].iter().for_each(|n| to.extend(n.to_le_bytes()));
    }
}

fn encode_id(id: &Id, to: &mut Vec<u8>) {
    to.extend((id.as_str().len() as u16).to_le_bytes());
    to.extend(id.as_str().as_bytes());
}

/// What is left to read.
struct From<'a>(&'a [u8]);

impl<'a> From<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<Id> {
        let length = u16::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.bytes(length.into())?).ok()?;
        Id::new(text).ok()
    }

    fn counted(&mut self) -> Option<Counted> {
        let (supply, upto, total_reqs) = (self.id()?, self.u64()?, self.u64()?);
        let mut totals = SupplyTotals { total_reqs, ..SupplyTotals::default() };
        for _ in 0..self.u32()? {
            let country = Country::from_code(std::str::from_utf8(self.bytes(2)?).ok()?)?;
            totals.reqs_per_country.insert(country, self.u64()?);
        }
        for _ in 0..self.u32()? {
            let (id, wins, revenue) = (self.id()?, self.u64()?, Cpm::from_micros(self.u64()?));
            let (no_bids, timeouts) = (self.u64()?, self.u64()?);
            totals.bidders.insert(id, BidderTotals { wins, revenue, no_bids, timeouts });
        }
        Some(Counted { supply, upto, totals })
    }
}
