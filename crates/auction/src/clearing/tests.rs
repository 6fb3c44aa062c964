//! Clearing against tables and against a slow, obvious second implementation.

use super::*;
use proptest::prelude::*;

const FIRST: AuctionType = AuctionType::FirstPrice;
const SECOND: AuctionType = AuctionType::SecondPrice;

fn cpm(text: &str) -> Cpm {
    Cpm::from_decimal(text).unwrap()
}

fn clear_one(auction: AuctionType, bid_floor: Cpm, prices: &[Cpm], chance: Chance) -> Clearing {
    let mut outcome = Clearing { lots: vec![Lot { auction, bid_floor }], ..Clearing::default() };
    let bids: Vec<_> = (0..).zip(prices).map(|(slot, &price)| Bid { slot, imp: 0, price }).collect();
    clear(&mut outcome, &bids, chance);
    outcome
}

/// Each line: a bidder, its bid, its fate as `lost REASON` or `won at PRICE`.
fn check(auction: AuctionType, floor: &str, table: &str) {
    let rows: Vec<Vec<&str>> =
        table.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let prices: Vec<Cpm> = rows.iter().map(|row| cpm(row[1])).collect();
    let outcome = clear_one(auction, cpm(floor), &prices, Chance::new(1, 1));
    for (row, fate) in rows.iter().zip(&outcome.fates) {
        let shown = match fate {
            Fate::Won(price) => format!("won at {price}"),
            Fate::Lost(reason) => format!("lost {}", *reason as u16),
        };
        assert_eq!(shown, row[2..].join(" "), "{}", row[0]);
    }
}

#[test]
fn first_price_is_the_winning_bid() {
    check(
        FIRST,
        "0.50",
        "
        acme   0.60  lost 102
        birch  0.83  won at 0.83
        cedar  0.49  lost 100
        ",
    );
}

#[test]
fn second_price_is_one_cent_above_the_runner_up() {
    check(
        SECOND,
        "0.50",
        "
        acme   0.60  lost 102
        birch  0.83  won at 0.61
        cedar  0.59  lost 102
        ",
    );
}

#[test]
fn second_price_is_never_below_the_floor() {
    // OpenRTB 2.6 §4.4.1 gives 0.91 with the floor under the runner-up
    check(SECOND, "0.85", "a 1.00 won at 0.91\n b 0.90 lost 102\n c 0.80 lost 100");
    check(SECOND, "0.95", "a 1.00 won at 0.95\n b 0.90 lost 100\n c 0.80 lost 100");
}

#[test]
fn second_price_of_a_sole_bid_is_the_floor_or_a_cent() {
    check(SECOND, "0.30", "a 0.50 won at 0.30");
    check(SECOND, "0.00", "a 0.50 won at 0.01");
    check(SECOND, "0.00", "a 0.005 won at 0.005");
}

#[test]
fn second_price_never_exceeds_the_winning_bid() {
    check(SECOND, "0.00", "a 0.505 won at 0.505\n b 0.50 lost 102");
}

#[test]
fn a_bid_at_the_floor_wins() {
    check(FIRST, "0.50", "a 0.50 won at 0.50\n b 0.499999 lost 100");
}

#[test]
fn an_imp_without_a_winning_bid_says_why() {
    let chance = Chance::new(0, 0);
    assert_eq!(clear_one(FIRST, Cpm::ZERO, &[], chance).sales, [Err(NoSale::NoBids)]);
    assert_eq!(clear_one(FIRST, cpm("0.50"), &[cpm("0.10")], chance).sales, [Err(NoSale::BelowFloor)]);
}

#[test]
fn each_imp_is_cleared_on_its_own() {
    let lot = |auction, floor| Lot { auction, bid_floor: cpm(floor) };
    let bid = |slot, imp, price| Bid { slot, imp, price: cpm(price) };
    let lots = vec![lot(FIRST, "0.00"), lot(SECOND, "0.20"), lot(FIRST, "0.00")];
    let mut outcome = Clearing { lots, ..Clearing::default() };
    let bids =
        [bid(0, 0, "0.40"), bid(0, 1, "0.90"), bid(1, 1, "0.30"), bid(1, 9, "5.00"), bid(1, 0, "0.30")];
    clear(&mut outcome, &bids, Chance::new(0, 0));
    assert_eq!(
        outcome.sales,
        [
            Ok(Sale { slot: 0, bid: 0, price: cpm("0.40") }),
            Ok(Sale { slot: 0, bid: 1, price: cpm("0.31") }),
            Err(NoSale::NoBids),
        ]
    );
    assert_eq!(outcome.fates[3], Fate::Lost(LossReason::LostToHigherBid), "an imp that does not exist");
}

#[test]
fn equal_bids_win_equally_often_wherever_they_stand() {
    let prices = ["0.50", "0.70", "0.10", "0.70", "0.70"].map(cpm);
    let (mut wins, n) = ([0u64; 5], 30_000);
    for sequence in 0..n {
        if let Ok(sale) = clear_one(FIRST, Cpm::ZERO, &prices, Chance::new(7, sequence)).sales[0] {
            wins[sale.slot as usize] += 1;
        }
    }
    assert_eq!((wins[0], wins[2]), (0, 0));
    for place in [1, 3, 4] {
        // five deviations of a third of 30,000 are 408
        assert!(wins[place].abs_diff(n / 3) < 410, "{wins:?}");
    }
}

/// The oracle: sorts, and asks of the result only what the rules say.
fn assert_follows_the_rules(auction: AuctionType, floor: Cpm, prices: &[Cpm], outcome: &Clearing) {
    let mut valid: Vec<Cpm> = prices.iter().copied().filter(|&price| price >= floor).collect();
    valid.sort_unstable_by(|a, b| b.cmp(a));
    let context = || format!("{auction} floor {floor} prices {prices:?}: {outcome:?}");

    let Some(&highest) = valid.first() else {
        let reason = if prices.is_empty() { NoSale::NoBids } else { NoSale::BelowFloor };
        assert_eq!(outcome.sales, [Err(reason)], "{}", context());
        return;
    };
    let expected = match (auction, valid.get(1)) {
        (AuctionType::FirstPrice, _) => highest,
        (_, Some(&second)) => highest.min(floor.max(second.plus(Cpm::CENT))),
        (_, None) => highest.min(floor.max(Cpm::CENT)),
    };
    let Ok(sale) = outcome.sales[0] else { panic!("no sale: {}", context()) };
    assert_eq!(prices[sale.slot as usize], highest, "the winner bid the most: {}", context());
    assert_eq!(sale.price, expected, "{}", context());
    let bids: Vec<_> = (0..).zip(prices).map(|(slot, &price)| Bid { slot, imp: 0, price }).collect();
    let (runner_up, from) = outcome.account(&bids, &sale);
    assert_eq!(runner_up, valid.get(1).copied().unwrap_or(Cpm::ZERO), "{}", context());
    let accounted = match from {
        PriceFrom::OwnBid => highest,
        PriceFrom::RunnerUp => runner_up.plus(Cpm::CENT),
        PriceFrom::Floor => floor,
        PriceFrom::Cent => Cpm::CENT,
    };
    assert_eq!(accounted, sale.price, "{from:?}: {}", context());
    for (at, (fate, &price)) in outcome.fates.iter().zip(prices).enumerate() {
        let expected = match () {
            () if at as u32 == sale.bid => Fate::Won(sale.price),
            () if price < floor => Fate::Lost(LossReason::BelowFloor),
            () => Fate::Lost(LossReason::LostToHigherBid),
        };
        assert_eq!(*fate, expected, "bid {at}: {}", context());
    }
}

/// A small world, completely: up to 3 bids × 5 prices × 5 floors × both rules.
#[test]
fn every_small_auction_follows_the_rules() {
    let steps: Vec<Cpm> = ["0.00", "0.01", "0.02", "0.025", "1.00"].map(cpm).to_vec();
    let mut worlds: Vec<Vec<Cpm>> = vec![vec![]];
    for size in 1..=3 {
        let shorter: Vec<_> = worlds.iter().filter(|world| world.len() == size - 1).cloned().collect();
        worlds.extend(shorter.iter().flat_map(|world| {
            steps.iter().map(move |&price| world.iter().copied().chain([price]).collect::<Vec<_>>())
        }));
    }
    assert_eq!(worlds.len(), 1 + 5 + 25 + 125);
    for prices in &worlds {
        for &floor in &steps {
            for auction in [FIRST, SECOND] {
                let outcome = clear_one(auction, floor, prices, Chance::new(3, prices.len() as u64));
                assert_follows_the_rules(auction, floor, prices, &outcome);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_large_auction_follows_the_rules(
        cents in proptest::collection::vec(0u64..50, 0..200), floor in 0u64..60, second: bool, seed: u64,
    ) {
        let prices: Vec<Cpm> = cents.iter().map(|cent| Cpm::from_micros(cent * 10_000)).collect();
        let auction = if second { SECOND } else { FIRST };
        let floor = Cpm::from_micros(floor * 10_000);
        let outcome = clear_one(auction, floor, &prices, Chance::new(seed, 0));
        assert_follows_the_rules(auction, floor, &prices, &outcome);
    }
}
