//! The counters against a plain sum, over cores and over changes of the catalogue.

use super::*;
use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Imp, Lot, Opportunity, Profile,
    Record, Reply, Supply, clear, invite,
};
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

fn supply(id: &str, bidders: &[&str]) -> Arc<Supply> {
    let us = Country::from_code("US").unwrap();
    let bidder = |id: &&str| Arc::new(Bidder::new(Id::new(id).unwrap(), us, Profile::DEFAULT));
    let bidders = bidders.iter().map(bidder).collect();
    Arc::new(Supply::new(Id::new(id).unwrap(), AuctionType::FirstPrice, Cpm::ZERO, bidders))
}

/// Counts an auction in which the bidder `winner` pays `micros` and every other one answers `others`.
fn count(tally: &Tally, supply: &Arc<Supply>, country: &str, winner: Option<(&str, u64)>, others: Answer) {
    let opportunity = Opportunity {
        supply_id: supply.id.as_str(),
        ip: Ipv4Addr::LOCALHOST.into(),
        country: Country::from_code(country).unwrap(),
        tmax_ms: 200,
        imps: &[Imp::PLAIN],
    };
    let mut answers = Answers::default();
    for (slot, bidder) in (0..).zip(supply.bidders()) {
        let wins = winner.filter(|(id, _)| *id == bidder.id.as_str());
        let answer = if wins.is_some() { Answer::Bid } else { others };
        answers.replies.push(Reply { slot, answer, latency_ns: 0 });
        answers.bids.extend(wins.map(|(_, micros)| Bid { slot, imp: 0, price: Cpm::from_micros(micros) }));
    }
    let lot = Lot { auction: AuctionType::FirstPrice, bid_floor: Cpm::ZERO };
    let mut clearing = Clearing { lots: vec![lot], ..Clearing::default() };
    clear(&mut clearing, &answers.bids, Chance::new(0, 0));
    let invitations = invite(&opportunity, supply);
    let record = Record {
        id: AuctionId { seed: 0, sequence: 0 },
        received_at_us: 0,
        catalogue_revision: 0,
        opportunity: &opportunity,
        supply,
        invitations: &invitations,
        answers: &answers,
        clearing: &clearing,
    };
    tally.count(tally.seat(&supply.id), supply, &record, tally.shelf.upto.get() + 8);
}

fn totals(wins: u64, micros: u64, no_bids: u64, timeouts: u64) -> BidderTotals {
    BidderTotals { wins, revenue: Cpm::from_micros(micros), no_bids, timeouts }
}

fn bidders(report: &BTreeMap<Id, SupplyTotals>, supply: &str) -> Vec<(String, BidderTotals)> {
    report[supply].bidders.iter().map(|(id, totals)| (id.to_string(), *totals)).collect()
}

#[test]
fn a_report_is_the_sum_over_cores_with_every_bidder_listed() {
    let statistics = Statistics::new(2);
    let (one, two) = (statistics.tally(0), statistics.tally(1));
    let s = supply("s", &["a", "b:c"]);

    count(&one, &s, "US", Some(("a", 830_001)), Answer::NoBid);
    count(&two, &s, "GB", Some(("a", 170_000)), Answer::Timeout);
    count(&two, &s, "ZW", None, Answer::Timeout);

    let report = statistics.report();
    assert_eq!(report.len(), 1, "a supply appears with its first request");
    assert_eq!(report["s"].total_reqs, 3);
    let countries: Vec<_> = report["s"].reqs_per_country.iter().map(|(c, n)| (c.alpha2(), *n)).collect();
    assert_eq!(countries, [("GB", 1), ("US", 1), ("ZW", 1)]);
    let expected = [("a".to_owned(), totals(2, 1_000_001, 0, 1)), ("b:c".to_owned(), totals(0, 0, 1, 2))];
    assert_eq!(bidders(&report, "s"), expected);
}

#[test]
fn a_changed_supply_keeps_its_counts() {
    let statistics = Statistics::new(1);
    let tally = statistics.tally(0);
    let before = supply("s", &["a", "b", "silent"]);
    let after = supply("s", &["b", "c"]);
    count(&tally, &before, "US", Some(("a", 10)), Answer::NoBid);
    count(&tally, &after, "US", Some(("c", 5)), Answer::Timeout);
    // an auction that began before the change ends after it
    count(&tally, &before, "US", Some(("a", 1)), Answer::Timeout);
    count(&tally, &after, "DE", Some(("b", 7)), Answer::Timeout);

    let mut report = statistics.report();
    report.get_mut("s").unwrap().list(after.bidders());
    assert_eq!(report["s"].total_reqs, 4);
    let expected = [
        ("a".to_owned(), totals(2, 11, 0, 0)),
        ("b".to_owned(), totals(1, 7, 1, 2)),
        ("c".to_owned(), totals(1, 5, 0, 1)),
        ("silent".to_owned(), totals(0, 0, 1, 1)),
    ];
    assert_eq!(bidders(&report, "s"), expected);
}

#[test]
fn a_million_sums_of_one_micro_do_not_drift() {
    let statistics = Statistics::new(1);
    let (tally, s) = (statistics.tally(0), supply("s", &["a"]));
    (0..1_000_000).for_each(|_| count(&tally, &s, "US", Some(("a", 100_001)), Answer::NoBid));
    let report = statistics.report();
    assert_eq!(report["s"].bidders["a"].revenue.to_string(), "100001.00");
}

#[test]
fn a_reader_never_sees_half_an_auction() {
    const N: u64 = 60_000;
    /// What the first `n` auctions come to, whose number is each one's price: 8 bytes of journal each.
    fn check(n: u64, upto: u64, totals: &SupplyTotals) {
        assert_eq!(upto, 8 * n, "the offset is that of exactly {n} auctions");
        assert_eq!(totals.reqs_per_country.values().sum::<u64>(), n);
        let sum = |of: fn(&BidderTotals) -> u64| totals.bidders.values().map(of).sum::<u64>();
        assert_eq!(sum(|bidder| bidder.wins), n);
        assert_eq!(sum(|bidder| bidder.revenue.micros()), n * (n + 1) / 2);
        assert_eq!(sum(|bidder| bidder.no_bids), 2 * (n / 2));
        assert_eq!(sum(|bidder| bidder.timeouts), 2 * n.div_ceil(2));
    }
    let statistics = Statistics::new(1);
    let id = Id::new("s").unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut last, mut reads) = (0, 0);
                while !ends.load(Ordering::Relaxed) {
                    let Some(block) = statistics.blocks(0).next() else { continue };
                    let (upto, totals) = block.totals();
                    check(totals.total_reqs, upto, &totals);
                    let (mark, totals) = statistics.supply(&id);
                    check(totals.total_reqs, mark, &totals);
                    assert!(last <= upto && upto <= mark, "it never goes back");
                    (last, reads) = (mark, reads + 1);
                }
                assert!(reads > 0);
            });
        }
        let _end = Ends(&ends);
        let tally = statistics.tally(0);
        // A supply that changes takes its counts to another block, under the readers' eyes.
        let supplies = [&["a", "b", "c"][..], &["c", "b", "a"], &["b", "a", "c"]];
        let changes: Vec<_> = supplies.iter().map(|bidders| supply("s", bidders)).collect();
        for n in 1..=N {
            let supply = &changes[(n / 1_000) as usize % 3];
            let (winner, country) =
                (["a", "b", "c"][n as usize % 3], ["US", "GB", "ZW", "DE"][n as usize % 4]);
            let others = if n.is_multiple_of(2) { Answer::NoBid } else { Answer::Timeout };
            count(&tally, supply, country, Some((winner, n)), others);
        }
    });
    let (mark, totals) = statistics.supply(&id);
    assert_eq!(totals.total_reqs, N);
    check(N, mark, &totals);
}

/// Says the end when dropped, so that readers learn of a failure, too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn activity_is_the_sum_over_cores_and_begins_anew_with_a_writing_end() {
    let statistics = Statistics::new(2);
    let before = statistics.tally(0);
    let (s, t) = (supply("s", &["a", "b"]), supply("t", &["b"]));
    count(&before, &s, "US", Some(("a", 1)), Answer::NoBid);
    let (one, two) = (statistics.tally(0), statistics.tally(1));
    assert_eq!((statistics.sales(), statistics.calls().len()), (Sales::default(), 0));

    count(&one, &s, "US", Some(("a", 830_001)), Answer::NoBid);
    count(&one, &t, "GB", Some(("b", 170_000)), Answer::NoBid);
    count(&two, &s, "US", None, Answer::Timeout);
    let sales = |auctions, sold, micros| Sales { auctions, sold, revenue: Cpm::from_micros(micros) };
    assert_eq!(statistics.sales(), sales(3, 2, 1_000_001));
    let by_country: Vec<_> =
        statistics.sales_by_country().into_iter().map(|(country, sales)| (country.alpha2(), sales)).collect();
    assert_eq!(by_country, [("GB", sales(1, 1, 170_000)), ("US", sales(2, 1, 830_001))]);
    let calls: Vec<_> = statistics.calls().into_iter().map(|(id, totals)| (id.to_string(), totals)).collect();
    let answered =
        |calls: &CallTotals| (calls.calls(), calls.latencies[0], calls.answered(Answer::Bid), calls.wins);
    assert_eq!(
        calls.iter().map(|(id, calls)| (id.as_str(), answered(calls))).collect::<Vec<_>>(),
        [("a", (2, 1, 1, 1)), ("b", (3, 2, 1, 1))]
    );
    assert_eq!(statistics.report()[&s.id].total_reqs, 3, "the counts go on");
}
