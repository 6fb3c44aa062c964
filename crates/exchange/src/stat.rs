//! Statistics as JSON, the same for `GET /stat` and `bourse journal stat`.

use crate::json::Exact;
use auction::{Cpm, Id};
use reporting::{BidderTotals, SupplyTotals};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What every supply has done, in order of id.
pub fn to_json(report: BTreeMap<Id, SupplyTotals>) -> Vec<u8> {
    let report = report.into_iter().map(|(id, totals)| (id.to_string(), SupplyStat::from(totals)));
    serde_json::to_vec(&report.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

/// What a bidder has done for one supply.
#[derive(Serialize, ToSchema)]
pub struct BidderStat {
    /// Auctions won.
    #[schema(example = 25)]
    wins: u64,
    /// The sum of its clearing prices in USD, exact to the micro.
    #[schema(value_type = f64, example = 18.45)]
    total_revenue: Exact<Cpm>,
    /// Times it answered without a bid.
    #[schema(example = 10)]
    no_bids: u64,
    /// Times it did not answer within tmax.
    #[schema(example = 5)]
    timeouts: u64,
}

/// What a supply has done.
#[derive(Serialize, ToSchema)]
pub struct SupplyStat {
    /// Requests that named it and passed the rate limit, whatever came of them.
    #[schema(example = 150)]
    total_reqs: u64,
    /// The same, by country.
    #[schema(example = json!({"US": 75, "GB": 75}))]
    reqs_per_country: BTreeMap<&'static str, u64>,
    /// Every bidder of the supply, zeros included.
    #[serde(serialize_with = "by_id")]
    #[schema(value_type = BTreeMap<String, BidderStat>)]
    bidders: BTreeMap<Id, BidderTotals>,
}

fn by_id<S: Serializer>(bidders: &BTreeMap<Id, BidderTotals>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(bidders.len()))?;
    for (id, &BidderTotals { wins, revenue, no_bids, timeouts }) in bidders {
        let stat = BidderStat { wins, total_revenue: Exact(revenue), no_bids, timeouts };
        map.serialize_entry(id.as_str(), &stat)?;
    }
    map.end()
}

impl From<SupplyTotals> for SupplyStat {
    fn from(totals: SupplyTotals) -> Self {
        let countries = totals.reqs_per_country.into_iter();
        Self {
            total_reqs: totals.total_reqs,
            reqs_per_country: countries.map(|(country, n)| (country.alpha2(), n)).collect(),
            bidders: totals.bidders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_written_with_exact_sums_and_any_id() {
        let id = |text| Id::new(text).unwrap();
        let us = auction::Country::from_code("US").unwrap();
        let totals = BidderTotals { wins: 1, revenue: Cpm::from_micros(18_450_000), no_bids: 2, timeouts: 3 };
        let stat = SupplyTotals {
            total_reqs: 4,
            reqs_per_country: [(us, 4)].into(),
            bidders: [(id("a:\"b"), totals), (id("z"), BidderTotals::default())].into(),
        };
        let expected = concat!(
            r#"{"s":{"total_reqs":4,"reqs_per_country":{"US":4},"bidders":{"#,
            r#""a:\"b":{"wins":1,"total_revenue":18.45,"no_bids":2,"timeouts":3},"#,
            r#""z":{"wins":0,"total_revenue":0.00,"no_bids":0,"timeouts":0}}}}"#
        );
        assert_eq!(String::from_utf8(to_json([(id("s"), stat)].into())).unwrap(), expected);
    }
}
