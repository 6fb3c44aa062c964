//! Clearing: which bid takes an imp, and the price it pays.
//!
//! * Units: every price is a [`Cpm`], whole micros of USD per thousand impressions.
//! * Errors: none; a bid that cannot win is an ordinary [`Fate::Lost`] with its reason.
//! * Order: of equal bids the auction's random stream picks one, whatever their order.
//! * Source: OpenRTB 2.6 §3.2.4 `bidfloor`, §3.2.1 `at`, §4.4.1; reasons from the OpenRTB 3.0 loss reason list.

use crate::{AuctionType, Bid, Chance, Cpm};

/// What is sold with one imp, and under which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// The clearing rule.
    pub auction: AuctionType,
    /// No bid below it wins.
    pub bid_floor: Cpm,
}

/// Why a bid lost, with the numbers of the OpenRTB 3.0 loss reason list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum LossReason {
    /// The bid was below the auction floor.
    BelowFloor = 100,
    /// Another bid was higher, or as high and drawn.
    LostToHigherBid = 102,
}

/// What became of a bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It took its imp at this price.
    Won(Cpm),
    /// It did not.
    Lost(LossReason),
}

/// An imp that was sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// The winner's slot.
    pub slot: u32,
    /// The winning bid's place among the bids.
    pub bid: u32,
    /// What it pays.
    pub price: Cpm,
}

/// Where a clearing price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceFrom {
    /// The winner pays what it bid: by the rule, or because anything else would be more.
    OwnBid,
    /// One cent over the runner-up.
    RunnerUp,
    /// The floor.
    Floor,
    /// One cent: nobody else bid, and there is no floor.
    Cent,
}

impl PriceFrom {
    /// Its name in the account of an auction.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnBid => "own_bid",
            Self::RunnerUp => "runner_up",
            Self::Floor => "floor",
            Self::Cent => "cent",
        }
    }
}

/// Why an imp was not sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSale {
    /// Nobody was invited.
    NoEligibleBidders,
    /// Nobody bid for it: all passed or timed out.
    NoBids,
    /// Every bid was below the floor.
    BelowFloor,
}

impl NoSale {
    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEligibleBidders => "no_eligible_bidders",
            Self::NoBids => "no_bids",
            Self::BelowFloor => "below_floor",
        }
    }
}

/// An auction's outcome in logs: sold if any imp is, else why the first is not.
pub fn outcome(sales: &[Result<Sale, NoSale>]) -> &'static str {
    match sales.first() {
        Some(Err(reason)) if sales.iter().all(Result::is_err) => reason.name(),
        Some(_) => "sold",
        None => NoSale::NoBids.name(),
    }
}

/// The outcome of one auction. Kept between auctions and cleared, so that an auction allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Clearing {
    /// What was for sale, one per imp.
    pub lots: Vec<Lot>,
    /// The fate of each bid, in the order of the bids.
    pub fates: Vec<Fate>,
    /// What became of each imp.
    pub sales: Vec<Result<Sale, NoSale>>,
}

impl Clearing {
    /// How the price of this sale came about: the highest bid that it beat, or zero, and what the price comes from.
    pub fn account(&self, bids: &[Bid], sale: &Sale) -> (Cpm, PriceFrom) {
        let winning = bids[sale.bid as usize];
        let lot = &self.lots[winning.imp as usize];
        let beaten = bids.iter().enumerate().filter(|(at, bid)| {
            *at != sale.bid as usize && bid.imp == winning.imp && bid.price >= lot.bid_floor
        });
        let runner_up = beaten.map(|(_, bid)| bid.price).max().unwrap_or(Cpm::ZERO);
        (runner_up, price(lot, winning.price, runner_up).1)
    }
}

/// What the highest bid pays for the lot; a runner-up of zero is none.
fn price(lot: &Lot, highest: Cpm, runner_up: Cpm) -> (Cpm, PriceFrom) {
    if lot.auction == AuctionType::FirstPrice {
        return (highest, PriceFrom::OwnBid);
    }
    let over = runner_up.plus(Cpm::CENT);
    let (price, from) = match runner_up {
        _ if over < lot.bid_floor => (lot.bid_floor, PriceFrom::Floor),
        Cpm::ZERO if lot.bid_floor == over => (over, PriceFrom::Floor),
        Cpm::ZERO => (over, PriceFrom::Cent),
        _ => (over, PriceFrom::RunnerUp),
    };
    if price > highest { (highest, PriceFrom::OwnBid) } else { (price, from) }
}

/// Clears every lot in `outcome.lots` with `bids`; a lot's place is its imp's. Bids for an imp that does not exist lose.
pub fn clear(outcome: &mut Clearing, bids: &[Bid], chance: Chance) {
    outcome.fates.clear();
    outcome.fates.resize(bids.len(), Fate::Lost(LossReason::LostToHigherBid));
    outcome.sales.clear();
    for (imp, lot) in outcome.lots.iter().enumerate() {
        outcome.sales.push(clear_lot(imp, lot, bids, &mut outcome.fates, chance));
    }
}

fn clear_lot(
    imp: usize,
    lot: &Lot,
    bids: &[Bid],
    fates: &mut [Fate],
    chance: Chance,
) -> Result<Sale, NoSale> {
    let mut top: Option<(usize, Cpm)> = None;
    let (mut runner_up, mut as_high, mut any) = (Cpm::ZERO, 0u64, false);
    let mut tie = None;
    for (at, bid) in bids.iter().enumerate().filter(|(_, bid)| bid.imp as usize == imp) {
        any = true;
        if bid.price < lot.bid_floor {
            fates[at] = Fate::Lost(LossReason::BelowFloor);
            continue;
        }
        match top {
            Some((_, highest)) if bid.price < highest => runner_up = runner_up.max(bid.price),
            Some((_, highest)) if bid.price == highest => {
                // Each of the first n equal bids is kept with chance 1/n.
                as_high += 1;
                runner_up = highest;
                if tie.get_or_insert_with(|| chance.tie(imp)).below(as_high) == 0 {
                    top = Some((at, highest));
                }
            }
            _ => {
                runner_up = top.map_or(Cpm::ZERO, |(_, beaten)| beaten);
                top = Some((at, bid.price));
                as_high = 1;
            }
        }
    }
    let Some((at, highest)) = top else {
        return Err(if any { NoSale::BelowFloor } else { NoSale::NoBids });
    };
    let (price, _) = price(lot, highest, runner_up);
    fates[at] = Fate::Won(price);
    Ok(Sale { slot: bids[at].slot, bid: at as u32, price })
}

#[cfg(test)]
mod tests;
