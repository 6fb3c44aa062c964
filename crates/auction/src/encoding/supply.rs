//! A supply as bytes, with every bidder and its profile: what the auctions that follow were held under.

use super::bytes::{Take, u16_at, u32_at, u64_at};
use super::{Fault, KIND_SUPPLY, VERSION, auction_type};
use crate::{Bidder, Country, Cpm, Id, Profile, Shape, Supply};
use std::sync::Arc;

const HEAD_BYTES: usize = 40;
/// Its length, that of its id, country, and which profile.
const BIDDER_BYTES: usize = 2 + 2 + 2 + 1;
/// Kind and three numbers.
const SHAPE_BYTES: usize = 1 + 3 * 8;

const PROFILE_DEFAULT: u8 = 0;
const PROFILE_GIVEN: u8 = 1;

const SHAPE_NONE: u8 = 0;
const SHAPE_UNIFORM: u8 = 1;
const SHAPE_LOGNORMAL: u8 = 2;
const SHAPE_CONSTANT: u8 = 3;

/// What auctions were held under.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The seed of the process.
    pub seed: u64,
    /// Where this is written: what [`supply_at`](super::supply_at) of its auctions says.
    pub at: u64,
    /// The supply, as it was.
    pub supply: Arc<Supply>,
}

/// The payload, to be written at `at`, that says how `supply` was when auctions of the process with this seed were held
/// for it. It is written twice, so that no one damaged record takes others with it.
pub fn write_supply(seed: u64, at: u64, supply: &Supply) -> Vec<u8> {
    let id = supply.id.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(supply_bytes(supply));
    bytes.extend([KIND_SUPPLY, VERSION]);
    bytes.extend((HEAD_BYTES as u16).to_le_bytes());
    bytes.extend((supply.bidders().len() as u32).to_le_bytes());
    bytes.extend(seed.to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend(supply.bid_floor.micros().to_le_bytes());
    bytes.extend((id.len() as u16).to_le_bytes());
    bytes.extend([supply.auction as u8, 0, 0, 0, 0, 0]);
    bytes.extend(id);
    for bidder in supply.bidders() {
        write_bidder(bidder, &mut bytes);
    }
    bytes
}

/// How long that payload is.
pub fn supply_bytes(supply: &Supply) -> usize {
    let bidder = |bidder: &Arc<Bidder>| {
        let profile = if bidder.profile == Profile::DEFAULT { 0 } else { 2 * SHAPE_BYTES + 4 };
        BIDDER_BYTES + bidder.id.as_str().len() + profile
    };
    HEAD_BYTES + supply.id.as_str().len() + supply.bidders().iter().map(bidder).sum::<usize>()
}

fn write_bidder(bidder: &Bidder, to: &mut Vec<u8>) {
    let begin = to.len();
    let id = bidder.id.as_str().as_bytes();
    to.extend([0, 0]);
    to.extend((id.len() as u16).to_le_bytes());
    to.extend(bidder.country.alpha2().as_bytes());
    to.extend(id);
    if bidder.profile == Profile::DEFAULT {
        to.push(PROFILE_DEFAULT);
    } else {
        to.push(PROFILE_GIVEN);
        write_shape(bidder.profile.latency_ns, to);
        to.extend(bidder.profile.no_bid_ppm.to_le_bytes());
        write_shape(Some(bidder.profile.price), to);
    }
    let length = (to.len() - begin) as u16;
    to[begin..begin + 2].copy_from_slice(&length.to_le_bytes());
}

fn write_shape(shape: Option<Shape>, to: &mut Vec<u8>) {
    let (kind, numbers) = match shape {
        None => (SHAPE_NONE, [0; 3]),
        Some(Shape::Uniform { low, high, step }) => (SHAPE_UNIFORM, [low, high, step]),
        Some(Shape::Lognormal { median, sigma_ppm, step }) => (SHAPE_LOGNORMAL, [median, sigma_ppm, step]),
        Some(Shape::Constant(value)) => (SHAPE_CONSTANT, [value, 0, 0]),
    };
    to.push(kind);
    numbers.iter().for_each(|number| to.extend(number.to_le_bytes()));
}

/// What this payload says.
pub fn read_supply(payload: &[u8]) -> Result<Terms, Fault> {
    match payload {
        [KIND_SUPPLY, VERSION, ..] => {}
        [KIND_SUPPLY, version, ..] if *version > VERSION => return Err(Fault::Newer(*version)),
        _ => return Err(Fault::Malformed("head")),
    }
    let mut rest = Take(payload);
    let head_bytes = usize::from(u16_at(payload.get(2..4).ok_or(Fault::Malformed("head"))?, 0));
    if head_bytes < HEAD_BYTES {
        return Err(Fault::Malformed("head"));
    }
    let head = rest.bytes(head_bytes)?;
    let id = read_id(rest.bytes(usize::from(u16_at(head, 32)))?)?;
    let auction = auction_type(head[34]).ok_or(Fault::Malformed("clearing rule"))?;
    let count = u32_at(head, 4) as usize;
    let mut bidders = Vec::new();
    for _ in 0..count {
        bidders.push(Arc::new(read_bidder(&mut rest)?));
    }
    let written: Vec<_> = bidders.iter().map(Arc::as_ptr).collect();
    let supply = Supply::new(id, auction, Cpm::from_micros(u64_at(head, 24)), bidders);
    // A slot is a place in the order that was written.
    if !supply.bidders().iter().map(Arc::as_ptr).eq(written) {
        return Err(Fault::Malformed("bidders"));
    }
    Ok(Terms { seed: u64_at(head, 8), at: u64_at(head, 16), supply: Arc::new(supply) })
}

fn read_bidder(rest: &mut Take<'_>) -> Result<Bidder, Fault> {
    let length = usize::from(rest.u16()?);
    let mut entry = Take(rest.bytes(length.checked_sub(2).ok_or(Fault::Malformed("bidder"))?)?);
    let id_bytes = usize::from(entry.u16()?);
    let country = std::str::from_utf8(entry.bytes(2)?).ok().and_then(Country::from_code);
    let country = country.ok_or(Fault::Malformed("country"))?;
    let id = read_id(entry.bytes(id_bytes)?)?;
    let profile = match entry.bytes(1)? {
        [PROFILE_DEFAULT] => Profile::DEFAULT,
        [PROFILE_GIVEN] => Profile {
            latency_ns: read_shape(&mut entry)?,
            no_bid_ppm: entry.u32()?,
            price: read_shape(&mut entry)?.ok_or(Fault::Malformed("price"))?,
        },
        _ => return Err(Fault::Malformed("profile")),
    };
    Ok(Bidder::new(id, country, profile))
}

fn read_id(bytes: &[u8]) -> Result<Id, Fault> {
    std::str::from_utf8(bytes).ok().and_then(|text| Id::new(text).ok()).ok_or(Fault::Malformed("id"))
}

fn read_shape(from: &mut Take<'_>) -> Result<Option<Shape>, Fault> {
    let kind = from.bytes(1)?[0];
    let numbers = [from.u64()?, from.u64()?, from.u64()?];
    match (kind, numbers) {
        (SHAPE_NONE, _) => Ok(None),
        (SHAPE_UNIFORM, [low, high, step]) => Ok(Some(Shape::Uniform { low, high, step })),
        (SHAPE_LOGNORMAL, [median, sigma_ppm, step]) => {
            Ok(Some(Shape::Lognormal { median, sigma_ppm, step }))
        }
        (SHAPE_CONSTANT, [value, ..]) => Ok(Some(Shape::Constant(value))),
        _ => Err(Fault::Malformed("distribution")),
    }
}
