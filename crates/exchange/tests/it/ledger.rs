//! A client's own ledger: what it was told, to be held against what the exchange has counted.

use crate::client::{Answer, micros};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What came of the requests for one supply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Those that passed the rate limit.
    pub(crate) requests: u64,
    /// Each winner's wins and the sum of its prices in micros.
    winners: BTreeMap<String, (u64, u64)>,
}

impl Ledger {
    /// Notes the answer to a POST /bid.
    pub(crate) fn note(&mut self, answer: &Answer) {
        match answer.verdict().as_str() {
            "200" | "400 no_bids" | "400 no_eligible_bidders" => self.requests += 1,
            "429 rate_limited" => {}
            other => panic!("counted or not? {other}"),
        }
        if let Some((winner, price)) = answer.sale() {
            let (wins, revenue) = self.winners.entry(winner).or_default();
            (*wins, *revenue) = (*wins + 1, *revenue + price);
        }
    }

    /// Takes over what another client was told.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        for (winner, (wins, revenue)) in other.winners {
            let sum = self.winners.entry(winner).or_default();
            (sum.0, sum.1) = (sum.0 + wins, sum.1 + revenue);
        }
    }

    /// What /stat says of the supply.
    pub(crate) fn of_stat(stat: &Answer, supply: &str) -> Self {
        let Some(totals) = members(stat.text()).remove(supply) else { return Self::default() };
        let totals = members(totals.get());
        let mut ledger =
            Self { requests: totals["total_reqs"].get().parse().unwrap(), winners: BTreeMap::new() };
        for (id, counts) in members(totals["bidders"].get()) {
            let counts = members(counts.get());
            let wins = counts["wins"].get().parse().unwrap();
            ledger.insert(id, wins, micros(counts["total_revenue"].get()));
        }
        ledger
    }

    /// What the supply's hash in Redis says.
    pub(crate) fn of_hash(fields: &BTreeMap<String, String>) -> Self {
        let number = |field: &str| fields.get(field).map_or(0, |text| text.parse().unwrap());
        let mut ledger = Self { requests: number("total_reqs"), winners: BTreeMap::new() };
        for field in fields.keys() {
            let id = field.strip_prefix("bidder:").and_then(|rest| rest.strip_suffix(":wins"));
            if let Some(id) = id {
                ledger.insert(id.to_owned(), number(field), number(&format!("bidder:{id}:revenue_micros")));
            }
        }
        ledger
    }

    /// A client is told only of winners.
    fn insert(&mut self, id: String, wins: u64, revenue: u64) {
        if (wins, revenue) != (0, 0) {
            self.winners.insert(id, (wins, revenue));
        }
    }
}

/// The members of an object, as they are written.
pub(crate) fn members(raw: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(raw).expect("an object")
}
