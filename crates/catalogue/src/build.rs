//! From rows to a [`Snapshot`]: every row checked, everything indexed, nothing asked of the database.
//!
//! * Errors: one line that names the first row that is no part of a catalogue.
//! * What is as it was in the previous snapshot is shared with it, so that what hangs on a supply stays with it.

use crate::Snapshot;
use crate::file::profile_of;
use anyhow::{Result, anyhow, bail};
use auction::chance::bidder_key;
use auction::{AuctionType, Bidder, Country, Cpm, Id, Profile, Shape, Supply};
use hashbrown::{HashMap, HashSet};
use serde::Deserialize;
use std::sync::Arc;

type Index<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All rows of the catalogue at one moment.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) bidders: Vec<BidderRow>,
    pub(crate) supplies: Vec<SupplyRow>,
    /// A supply's number, and its bidders' numbers with commas.
    pub(crate) links: Vec<(i64, String)>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BidderRow {
    pub(crate) no: i64,
    pub(crate) id: String,
    pub(crate) country: String,
    pub(crate) simulation: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SupplyRow {
    pub(crate) no: i64,
    pub(crate) id: String,
    pub(crate) auction: String,
    pub(crate) bid_floor_micros: i64,
}

impl Rows {
    pub(crate) fn build(self, previous: Option<&Snapshot>) -> Result<Snapshot> {
        let known = previous.map(bidders_of).unwrap_or_default();
        let bidders = Bidders::new(self.bidders, &known)?;
        let mut links: Index<i64, String> = self.links.into_iter().collect();
        let mut supplies = Vec::with_capacity(self.supplies.len());
        for row in self.supplies {
            let ranks = bidders.ranks(&row.id, &links.remove(&row.no).unwrap_or_default())?;
            supplies.push(supply(row, &ranks, &bidders.ranked, previous)?);
        }
        if let Some(no) = links.keys().min() {
            bail!("supply_bidders: supply_no {no} is no supply; delete such rows, or add the supply");
        }
        supplies.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let revision = revision(&supplies, &bidders.ranked);
        Ok(Snapshot::new(revision, bidders.ranked.len(), supplies))
    }
}

/// Every bidder that a supply of `snapshot` lists.
fn bidders_of(snapshot: &Snapshot) -> Index<&str, &Arc<Bidder>> {
    let mut seen: HashSet<*const Bidder, foldhash::fast::RandomState> = HashSet::default();
    let listed = snapshot.supplies().iter().flat_map(|supply| supply.bidders());
    let distinct = listed.filter(|bidder| seen.insert(Arc::as_ptr(bidder)));
    distinct.map(|bidder| (bidder.id.as_str(), bidder)).collect()
}

/// Every bidder in the order in which supplies hold them, so that a bidder's place here is its rank there.
struct Bidders {
    ranked: Vec<Arc<Bidder>>,
    by_no: Index<i64, u32>,
}

impl Bidders {
    fn new(rows: Vec<BidderRow>, known: &Index<&str, &Arc<Bidder>>) -> Result<Self> {
        let mut bidders: Vec<(i64, Arc<Bidder>)> =
            rows.into_iter().map(|row| Ok((row.no, bidder(row, known)?))).collect::<Result<_>>()?;
        bidders.sort_unstable_by(|(_, a), (_, b)| (a.country, &a.id).cmp(&(b.country, &b.id)));
        let by_no = (0u32..).zip(&bidders).map(|(rank, (no, _))| (*no, rank)).collect();
        Ok(Self { ranked: bidders.into_iter().map(|(_, bidder)| bidder).collect(), by_no })
    }

    /// The ranks of the bidders whose numbers `list` gives, in order.
    fn ranks(&self, supply: &str, list: &str) -> Result<Vec<u32>> {
        let mut ranks = Vec::with_capacity(list.len() / 4);
        for (text, no) in numbers(list) {
            let rank = no.and_then(|no| self.by_no.get(&no)).ok_or_else(|| {
                anyhow!("supply_bidders: supply {supply:?} lists bidder_no {text}, which is no bidder; delete that row")
            })?;
            ranks.push(*rank);
        }
        ranks.sort_unstable();
        Ok(ranks)
    }
}

/// The texts between commas with the numbers they are, by hand: half a million of them are part of a start.
fn numbers(mut list: &str) -> impl Iterator<Item = (&str, Option<i64>)> {
    std::iter::from_fn(move || {
        let end = list.bytes().position(|b| b == b',').unwrap_or(list.len());
        let text = &list[..end];
        list = list.get(end + 1..).unwrap_or_default();
        let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
        let number = text.bytes().try_fold(0i64, |sum, b| sum.checked_mul(10)?.checked_add(digit(b)?));
        (!text.is_empty()).then_some((text, number))
    })
}

fn bidder(row: BidderRow, known: &Index<&str, &Arc<Bidder>>) -> Result<Arc<Bidder>> {
    let BidderRow { no, id, country, simulation } = row;
    let named = Id::new(&id).map_err(|error| anyhow!("bidders, no {no}: id {error}"))?;
    let code = Country::from_code(&country);
    let country =
        code.ok_or_else(|| anyhow!("bidders, id {id:?}: country {country:?} is no ISO 3166-1 code"))?;
    let profile = simulation.map_or(Ok(Profile::DEFAULT), |text| profile_of(&text));
    let profile = profile.map_err(|error| anyhow!("bidders, id {id:?}: simulation: {error}"))?;
    Ok(match known.get(&*id) {
        Some(&old) if old.country == country && old.profile == profile => Arc::clone(old),
        _ => Arc::new(Bidder::new(named, country, profile)),
    })
}

fn supply(
    row: SupplyRow,
    ranks: &[u32],
    bidders: &[Arc<Bidder>],
    previous: Option<&Snapshot>,
) -> Result<Arc<Supply>> {
    let SupplyRow { no, id, auction, bid_floor_micros } = row;
    let named = Id::new(&id).map_err(|error| anyhow!("supplies, no {no}: id {error}"))?;
    let auction: AuctionType =
        auction.parse().map_err(|error| anyhow!("supplies, id {id:?}: auction {auction:?} {error}"))?;
    let floor = u64::try_from(bid_floor_micros).ok().map(Cpm::from_micros).filter(|&floor| floor <= Cpm::MAX);
    let bid_floor = floor.ok_or_else(|| {
        anyhow!(
            "supplies, id {id:?}: bid_floor_micros {bid_floor_micros} is not from 0 to {}",
            Cpm::MAX.micros()
        )
    })?;
    if ranks.len() > Supply::BIDDERS_MAX {
        bail!(
            "supply_bidders: supply {id:?} lists {} bidders; it may list {}",
            ranks.len(),
            Supply::BIDDERS_MAX
        );
    }
    let listed = || ranks.iter().map(|&rank| &bidders[rank as usize]);
    if let Some(old) = previous.and_then(|previous| previous.supply(&id))
        && (old.auction, old.bid_floor) == (auction, bid_floor)
        && old.bidders().len() == ranks.len()
        && old.bidders().iter().zip(listed()).all(|(a, b)| Arc::ptr_eq(a, b))
    {
        return Ok(Arc::clone(old));
    }
    Ok(Arc::new(Supply::new(named, auction, bid_floor, listed().cloned().collect())))
}

/// A hash of all that an auction can tell apart. It is written down with auctions: its formula never changes.
fn revision(supplies: &[Arc<Supply>], bidders: &[Arc<Bidder>]) -> u64 {
    let mut digests: Index<*const Bidder, u64> = Index::default();
    let mut all = Digest::default();
    for bidder in bidders {
        let digest = bidder_digest(bidder);
        digests.insert(Arc::as_ptr(bidder), digest);
        all.add(digest);
    }
    for supply in supplies {
        all.add(bidder_key(supply.id.as_str()));
        all.add(supply.auction as u64);
        all.add(supply.bid_floor.micros());
        all.add(supply.bidders().len() as u64);
        for bidder in supply.bidders() {
            all.add(digests.get(&Arc::as_ptr(bidder)).copied().unwrap_or_default());
        }
    }
    all.0
}

fn bidder_digest(bidder: &Bidder) -> u64 {
    let mut digest = Digest::default();
    digest.add(bidder.key);
    digest.add(bidder_key(bidder.country.alpha2()));
    digest.add(u64::from(bidder.profile.no_bid_ppm));
    for shape in [bidder.profile.latency_ns, Some(bidder.profile.price)] {
        let parts = match shape {
            None => [0; 4],
            Some(Shape::Uniform { low, high, step }) => [1, low, high, step],
            Some(Shape::Lognormal { median, sigma_ppm, step }) => [2, median, sigma_ppm, step],
            Some(Shape::Constant(value)) => [3, value, 0, 0],
        };
        parts.into_iter().for_each(|part| digest.add(part));
    }
    digest.0
}

/// Numbers folded into one, their order included; the finaliser is that of SplitMix64.
#[derive(Default)]
struct Digest(u64);

impl Digest {
    fn add(&mut self, part: u64) {
        let mut x = self.0.rotate_left(23).wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = x ^ (x >> 31);
    }
}

#[cfg(test)]
mod tests;
