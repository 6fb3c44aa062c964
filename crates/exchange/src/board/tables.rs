//! Tables: every supply, bidder and country with its numbers, and which of them are shown.
//!
//! * What `/stat` has is what `/stat` says: ever, and over all instances. What has `calls` or `auctions` beside it is of
//!   this instance, since its start.
//! * Bound: no answer has more than [`ROWS_MAX`] rows of a table; it says how many there are.

use super::samples::{quantile, rounded};
use crate::hold::Exchange;
use crate::json::{Exact, Text};
use auction::{Answer, Country, Cpm, Id};
use reporting::activity::{CallTotals, LATENCIES, Sales, latency_bound_ms};
use reporting::{BidderTotals, SupplyTotals};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// How many rows of a table are shown to who asks for no other number.
pub const ROWS: usize = 20;
/// How many rows of a table an answer has at most.
pub const ROWS_MAX: usize = 200;

/// What a supply has done, ever and everywhere.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SupplyRow {
    #[schema(value_type = String, example = "supply1")]
    id: Text<Id>,
    /// Requests that passed the rate limit.
    requests: u64,
    /// Of those, the ones that sold.
    sold: u64,
    /// The sum of clearing prices in USD.
    #[schema(value_type = f64)]
    revenue: Exact<Cpm>,
}

/// What a bidder has done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BidderRow {
    #[schema(value_type = String, example = "bidder1")]
    id: Text<Id>,
    /// Ever and everywhere, as are the next three.
    wins: u64,
    #[schema(value_type = f64)]
    revenue: Exact<Cpm>,
    no_bids: u64,
    timeouts: u64,
    /// How often this instance has asked it since its start.
    calls: u64,
    /// Of those, answered with a bid.
    calls_bid: u64,
    /// Of those, won.
    calls_won: u64,
    /// The latency of its answers in time, in milliseconds, since the start.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Answers in time by latency; `latency_bounds_ms` says which.
    latencies: Vec<u64>,
}

/// What came from a country.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CountryRow {
    #[schema(example = "US")]
    id: &'static str,
    /// Requests that passed the rate limit, ever and everywhere.
    requests: u64,
    /// Auctions of this instance since its start.
    auctions: u64,
    /// Of those, the ones that sold.
    sold: u64,
    /// Their clearing prices in USD.
    #[schema(value_type = f64)]
    revenue: Exact<Cpm>,
}

/// The sums over all rows.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sums {
    /// Ever and everywhere, as are the next two.
    requests: u64,
    sold: u64,
    revenue: Exact<Cpm>,
    /// Of this instance since its start.
    calls: u64,
}

/// All rows at one moment.
#[derive(Debug)]
pub struct Tables {
    /// When they were read.
    pub read_at: Instant,
    /// What they sum up to.
    pub sums: Sums,
    /// Whether other instances' part is as new as ours.
    pub is_fresh: bool,
    supplies: Vec<SupplyRow>,
    bidders: Vec<BidderRow>,
    countries: Vec<CountryRow>,
}

impl Tables {
    /// Reads everything, on a thread of its own; None if that has failed.
    pub async fn make(exchange: Arc<Exchange>) -> Option<Self> {
        let (others, is_fresh) = match &exchange.others {
            Some(others) => {
                let read = others.read().await;
                (read.totals, read.is_fresh)
            }
            None => (Arc::default(), true),
        };
        let read_at = Instant::now();
        let made = tokio::task::spawn_blocking(move || Self::read(&exchange, &others, read_at, is_fresh));
        made.await.ok()
    }

    fn read(
        exchange: &Exchange,
        others: &BTreeMap<Id, SupplyTotals>,
        read_at: Instant,
        is_fresh: bool,
    ) -> Self {
        let (sales, mut calls) = (exchange.statistics.sales_by_country(), exchange.statistics.calls());
        let mut sums = Sums { calls: calls.values().map(CallTotals::calls).sum(), ..Sums::default() };
        let mut bidders: BTreeMap<Id, BidderTotals> = BTreeMap::new();
        let mut requests: BTreeMap<Country, u64> = BTreeMap::new();
        let mut supplies = Vec::new();
        exchange.each_with(others, |id, supply| {
            let (mut sold, mut revenue) = (0, Cpm::ZERO);
            for (id, totals) in supply.bidders {
                (sold, revenue) = (sold + totals.wins, revenue.plus(totals.revenue));
                bidders.entry(id).or_default().add(totals);
            }
            for (country, n) in supply.reqs_per_country {
                *requests.entry(country).or_default() += n;
            }
            sums.requests += supply.total_reqs;
            sums.sold += sold;
            sums.revenue = Exact(sums.revenue.0.plus(revenue));
            supplies.push(SupplyRow {
                id: Text(id),
                requests: supply.total_reqs,
                sold,
                revenue: Exact(revenue),
            });
        });
        // Who was asked, won nothing, and is listed no more.
        calls.keys().for_each(|id| _ = bidders.entry(id.clone()).or_default());
        let bidder = |(id, totals)| {
            let calls = calls.remove(&id).unwrap_or_default();
            BidderRow::of(id, totals, &calls)
        };
        let bidders = bidders.into_iter().map(bidder).collect();
        let country = |(country, requests): (Country, u64)| {
            let Sales { auctions, sold, revenue } = sales.get(&country).copied().unwrap_or_default();
            CountryRow { id: country.alpha2(), requests, auctions, sold, revenue: Exact(revenue) }
        };
        let countries = requests.into_iter().map(country).collect();
        Self { read_at, sums, is_fresh, supplies, bidders, countries }
    }

    /// The supplies that `view` asks for.
    pub fn supplies(&self, view: &View) -> Shown<'_, SupplyRow> {
        view.of(&self.supplies)
    }

    /// The same of bidders.
    pub fn bidders(&self, view: &View) -> Shown<'_, BidderRow> {
        view.of(&self.bidders)
    }

    /// The same of countries.
    pub fn countries(&self, view: &View) -> Shown<'_, CountryRow> {
        view.of(&self.countries)
    }
}

/// The bounds of `latencies`; the last place has none.
pub fn latency_bounds_ms() -> impl Iterator<Item = f64> {
    (0..LATENCIES).map_while(latency_bound_ms)
}

impl BidderRow {
    fn of(id: Id, totals: BidderTotals, calls: &CallTotals) -> Self {
        let quantile = |q| quantile(&calls.latencies, latency_bound_ms, q).map(|ms| rounded(ms, 1));
        Self {
            id: Text(id),
            wins: totals.wins,
            revenue: Exact(totals.revenue),
            no_bids: totals.no_bids,
            timeouts: totals.timeouts,
            calls: calls.calls(),
            calls_bid: calls.answered(Answer::Bid),
            calls_won: calls.wins,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            latencies: calls.latencies.to_vec(),
        }
    }
}

/// A row of a table: what it is called, and what it can be sorted by, besides that.
pub trait Row {
    /// Its name.
    fn id(&self) -> &str;
    /// The number that it is sorted by; None: it is sorted by no such name.
    fn number(&self, sort: &str) -> Option<f64>;
}

/// What a table can be sorted by besides the id; None: there is no such table.
pub fn sorts(of: &str) -> Option<&'static [&'static str]> {
    Some(match of {
        "supplies" => &["requests", "sold", "fill", "revenue", "price"],
        "bidders" => &["wins", "revenue", "price", "no_bids", "timeouts", "calls", "win_rate", "p50", "p99"],
        "countries" => &["requests", "auctions", "fill", "revenue"],
        _ => return None,
    })
}

fn ratio(part: f64, whole: u64) -> f64 {
    if whole == 0 { -1.0 } else { part / whole as f64 }
}

impl Row for SupplyRow {
    fn id(&self) -> &str {
        self.id.0.as_str()
    }

    fn number(&self, sort: &str) -> Option<f64> {
        let micros = self.revenue.0.micros() as f64;
        Some(match sort {
            "requests" => self.requests as f64,
            "sold" => self.sold as f64,
            "fill" => ratio(self.sold as f64, self.requests),
            "revenue" => micros,
            "price" => ratio(micros, self.sold),
            _ => return None,
        })
    }
}

impl Row for BidderRow {
    fn id(&self) -> &str {
        self.id.0.as_str()
    }

    fn number(&self, sort: &str) -> Option<f64> {
        let micros = self.revenue.0.micros() as f64;
        Some(match sort {
            "wins" => self.wins as f64,
            "revenue" => micros,
            "price" => ratio(micros, self.wins),
            "no_bids" => self.no_bids as f64,
            "timeouts" => self.timeouts as f64,
            "calls" => self.calls as f64,
            "win_rate" => ratio(self.calls_won as f64, self.calls_bid),
            "p50" => self.p50_ms.unwrap_or(-1.0),
            "p99" => self.p99_ms.unwrap_or(-1.0),
            _ => return None,
        })
    }
}

impl Row for CountryRow {
    fn id(&self) -> &str {
        self.id
    }

    fn number(&self, sort: &str) -> Option<f64> {
        let micros = self.revenue.0.micros() as f64;
        Some(match sort {
            "requests" => self.requests as f64,
            "auctions" => self.auctions as f64,
            "fill" => ratio(self.sold as f64, self.auctions),
            "revenue" => micros,
            _ => return None,
        })
    }
}

/// Which rows are wanted, and in which order.
#[derive(Debug, Clone)]
pub struct View {
    /// A number's name, the greatest first; anything else: by id.
    pub sort: String,
    /// Part of the id, in any case.
    pub filter: String,
    /// How many at most.
    pub limit: usize,
}

impl View {
    /// What is shown to who asks for nothing else.
    pub fn usual(sort: &str) -> Self {
        Self { sort: sort.to_owned(), filter: String::new(), limit: ROWS }
    }

    fn of<'a, R: Row>(&self, rows: &'a [R]) -> Shown<'a, R> {
        let filter = self.filter.to_lowercase();
        let matches = |row: &&R| filter.is_empty() || row.id().to_lowercase().contains(&filter);
        let mut matching: Vec<&R> = rows.iter().filter(matches).collect();
        let matched = matching.len();
        let order = |a: &&R, b: &&R| {
            let by_number = match (a.number(&self.sort), b.number(&self.sort)) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                _ => Ordering::Equal,
            };
            by_number.then_with(|| a.id().cmp(b.id()))
        };
        let limit = self.limit.min(ROWS_MAX);
        if limit < matched {
            matching.select_nth_unstable_by(limit, order);
            matching.truncate(limit);
        }
        matching.sort_unstable_by(order);
        Shown { total: rows.len(), matched, rows: matching }
    }
}

/// The rows of a table that are shown.
#[derive(Debug, Serialize)]
pub struct Shown<'a, R> {
    /// How many there are.
    total: usize,
    /// How many of them match the filter.
    matched: usize,
    rows: Vec<&'a R>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<SupplyRow> {
        let row = |i: usize| SupplyRow {
            id: Text(Id::new(&format!("Supply{i:03}")).unwrap()),
            requests: (i as u64 * 37) % 101,
            sold: 1,
            revenue: Exact(Cpm::from_micros(i as u64 % 7)),
        };
        (0..n).map(row).collect()
    }

    #[test]
    fn a_row_has_every_number_that_its_table_is_sorted_by() {
        let bidder = BidderRow::of(Id::new("b").unwrap(), BidderTotals::default(), &CallTotals::default());
        let country = CountryRow { id: "US", requests: 0, auctions: 0, sold: 0, revenue: Exact(Cpm::ZERO) };
        let rows: [(&str, &dyn Row); 3] =
            [("supplies", &rows(1)[0]), ("bidders", &bidder), ("countries", &country)];
        for (of, row) in rows {
            for sort in sorts(of).unwrap() {
                assert!(row.number(sort).is_some(), "{of} by {sort}");
            }
        }
        assert!(sorts("nothing").is_none());
    }

    /// Against sorting all of it.
    #[test]
    fn the_rows_shown_are_the_first_of_those_that_match_and_never_too_many() {
        let all = rows(500);
        for (sort, filter, limit) in [
            ("requests", "", 20),
            ("revenue", "supply1", 7),
            ("id", "9", 1000),
            ("fill", "none", 5),
            ("price", "", 0),
        ] {
            let view = View { sort: sort.to_owned(), filter: filter.to_owned(), limit };
            let mut expected: Vec<&SupplyRow> =
                all.iter().filter(|row| row.id().to_lowercase().contains(filter)).collect();
            expected.sort_by(|a, b| a.id().cmp(b.id()));
            expected.sort_by(|a, b| b.number(sort).unwrap_or(0.0).total_cmp(&a.number(sort).unwrap_or(0.0)));
            let shown = view.of(&all);
            assert_eq!((shown.total, shown.matched), (500, expected.len()), "{view:?}");
            expected.truncate(limit.min(ROWS_MAX));
            let ids = |rows: &[&SupplyRow]| rows.iter().map(|row| row.id().to_owned()).collect::<Vec<_>>();
            assert_eq!(ids(&shown.rows), ids(&expected), "{view:?}");
        }
    }
}
