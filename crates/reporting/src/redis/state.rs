//! What an instance has counted for a supply, as it stands in the supply's hash, and the sums beside it.

use crate::{BidderTotals, SupplyTotals};
use auction::{Country, Cpm, Id};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that one instance has counted for a supply. Numbers are strings: Lua's have 53 bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    mark: String,
    total_reqs: String,
    countries: BTreeMap<String, String>,
    /// Wins, revenue in micros, no-bids, timeouts.
    bidders: BTreeMap<String, [String; 4]>,
}

impl State {
    pub(super) fn new(mark: u64, totals: &SupplyTotals) -> Self {
        let counted = totals.bidders.iter().filter(|(_, counts)| **counts != BidderTotals::default());
        let numbers = |counts: &BidderTotals| {
            [counts.wins, counts.revenue.micros(), counts.no_bids, counts.timeouts].map(|n| n.to_string())
        };
        Self {
            mark: mark.to_string(),
            total_reqs: totals.total_reqs.to_string(),
            countries: totals
                .reqs_per_country
                .iter()
                .map(|(country, n)| (country.alpha2().to_owned(), n.to_string()))
                .collect(),
            bidders: counted.map(|(id, counts)| (id.to_string(), numbers(counts))).collect(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings only: nothing in it can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What the fields of a hash sum up to without this instance's own part.
    pub(super) fn others(fields: &[(Vec<u8>, Vec<u8>)], own_field: &str) -> SupplyTotals {
        let own = fields.iter().find(|(name, _)| name == own_field.as_bytes());
        let own: Self = own.and_then(|(_, json)| serde_json::from_slice(json).ok()).unwrap_or_default();
        let mut totals = sums(fields);
        totals.total_reqs = totals.total_reqs.saturating_sub(number(&own.total_reqs));
        for (country, n) in &mut totals.reqs_per_country {
            let own = own.countries.get(country.alpha2());
            *n = n.saturating_sub(own.map_or(0, |own| number(own)));
        }
        totals.reqs_per_country.retain(|_, n| *n > 0);
        for (id, counts) in &mut totals.bidders {
            let Some(own) = own.bidders.get(id.as_str()) else { continue };
            let [wins, micros, no_bids, timeouts] = own.each_ref().map(|n| number(n));
            counts.wins = counts.wins.saturating_sub(wins);
            counts.revenue = Cpm::from_micros(counts.revenue.micros().saturating_sub(micros));
            counts.no_bids = counts.no_bids.saturating_sub(no_bids);
            counts.timeouts = counts.timeouts.saturating_sub(timeouts);
        }
        totals
    }
}

/// The sums over all instances; a field that is none of ours is passed over.
fn sums(fields: &[(Vec<u8>, Vec<u8>)]) -> SupplyTotals {
    let mut totals = SupplyTotals::default();
    for (name, value) in fields {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { continue };
        if name == "total_reqs" {
            totals.total_reqs = number(value);
        } else if let Some(country) = name.strip_prefix("country:").and_then(Country::from_code) {
            totals.reqs_per_country.insert(country, number(value));
        } else if let Some((id, count)) = name.strip_prefix("bidder:").and_then(|rest| rest.rsplit_once(':'))
            && let Ok(id) = Id::new(id)
        {
            let counts = totals.bidders.entry(id).or_default();
            match count {
                "wins" => counts.wins = number(value),
                "revenue_micros" => counts.revenue = Cpm::from_micros(number(value)),
                "no_bids" => counts.no_bids = number(value),
                "timeouts" => counts.timeouts = number(value),
                _ => {}
            }
        }
    }
    totals
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_the_sums_less_our_own_part() {
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let id = |text| Id::new(text).unwrap();
        let country = |code| Country::from_code(code).unwrap();
        let counts = |wins, micros, no_bids, timeouts| BidderTotals {
            wins,
            revenue: Cpm::from_micros(micros),
            no_bids,
            timeouts,
        };
        let own = SupplyTotals {
            total_reqs: 4,
            reqs_per_country: [(country("US"), 4)].into(),
            bidders: [(id("a:\"b"), counts(1, 1 << 60, 2, 3)), (id("idle"), BidderTotals::default())].into(),
        };
        let state = State::new(77, &own).to_json();
        let fields = [
            field("total_reqs", "10"),
            field("country:US", "4"),
            field("country:GB", "6"),
            field("bidder:a:\"b:wins", "3"),
            field("bidder:a:\"b:revenue_micros", "1152921504606846979"),
            field("bidder:a:\"b:no_bids", "2"),
            field("bidder:a:\"b:timeouts", "3"),
            field("bidder:z:wins", "1"),
            field("instance:0000000000000007", &state),
            field("instance:0000000000000008", "{}"),
            field("somebody's", "own"),
        ];
        let expected = SupplyTotals {
            total_reqs: 6,
            reqs_per_country: [(country("GB"), 6)].into(),
            bidders: [(id("a:\"b"), counts(2, 3, 0, 0)), (id("z"), counts(1, 0, 0, 0))].into(),
        };
        assert_eq!(State::others(&fields, "instance:0000000000000007"), expected);
    }
}
