//! The tables in ClickHouse, as SQL to create them, and what the sink writes into them.
//!
//! | name | what it is |
//! |---|---|
//! | `auctions` | a row for each auction, its bids in arrays: one insert brings both or neither |
//! | `bids` | a view: a row for each of these bids |
//! | `stat_feed` | keeps nothing; what is inserted is counted by the materialised view `stat_fed` |
//! | `stat_sums` | the sums, and with them how far each core's journal is counted, so that nothing counts twice |
//! | `stat` | a view: what `/stat` says, by supply, country and bidder |
//!
//! Columns are those of [`flat`], and where the event stands: instance, core, offset.

use crate::flat::{self, Column, Kind};
use std::fmt::Write;

/// Which servers the tables are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 23 and newer.
    Now,
    /// From 18.16 on: without TTL, DateTime64, LowCardinality, and blocks that the server knows again.
    Old,
}

/// A column that the sink writes, beside those of [`flat`].
const PLACE: [(&str, &str); 3] = [("instance", "UInt64"), ("core", "UInt32"), ("offset", "UInt64")];
/// What the counting view reads.
pub(super) const COUNTED: [&str; 8] =
    ["instance", "core", "offset", "supply", "country", "bids.bidder", "bids.answer", "bids.clearing_price"];
/// Every table and view that must be there.
pub(super) const NAMES: [&str; 6] = ["auctions", "bids", "stat_feed", "stat_sums", "stat_fed", "stat"];
/// So many of the first columns of [`flat::BIDS`] are the auction's own.
pub(super) const SHARED: usize = 4;

/// A column of `auctions`, as it is sent or as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name; `bids.…` for those in arrays.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: String,
}

impl Dialect {
    /// For a server of this version, as it says it: `26.9.2.1`.
    pub fn of_version(version: &str) -> Option<Self> {
        let major: u32 = version.split('.').next()?.parse().ok()?;
        Some(if major < 23 { Self::Old } else { Self::Now })
    }

    /// The type of a column that is kept.
    fn kept(self, column: &Column) -> String {
        let text = matches!(column.kind, Kind::Text) && self == Self::Now;
        match (text, column.is_optional) {
            (true, true) => "LowCardinality(Nullable(String))".to_owned(),
            (true, false) => "LowCardinality(String)".to_owned(),
            _ => sent(column),
        }
    }

    /// The columns of `auctions` that the sink fills, in the order it writes them.
    pub(super) fn fields(self) -> Vec<Field> {
        fields(|column| self.kept(column))
    }
}

/// The same columns as they are sent: without types that old servers do not take there.
pub(super) fn sent_fields() -> Vec<Field> {
    fields(sent)
}

fn fields(kind: impl Fn(&Column) -> String) -> Vec<Field> {
    let place = PLACE.map(|(name, kind)| Field { name: name.to_owned(), kind: kind.to_owned() });
    let own = flat::AUCTIONS.iter().map(|column| match column.kind {
        Kind::Time => Field { name: format!("{}_us", column.name), kind: "UInt64".to_owned() },
        _ => Field { name: column.name.to_owned(), kind: kind(column) },
    });
    let bids = flat::BIDS[SHARED..].iter().map(|column| Field {
        name: format!("bids.{}", column.name),
        kind: format!("Array({})", kind(column)),
    });
    place.into_iter().chain(own).chain(bids).collect()
}

/// The type of a column on its way. No type has a comma in it: old servers take it for the next column's.
fn sent(column: &Column) -> String {
    let kind = match column.kind {
        Kind::Key | Kind::Text => "String".to_owned(),
        Kind::Number => "UInt32".to_owned(),
        Kind::Time => "UInt64".to_owned(),
        Kind::Decimal(places) => format!("Decimal64({places})"),
    };
    if column.is_optional { format!("Nullable({kind})") } else { kind }
}

/// The statements that create everything in this database, with a word on each.
pub fn sql(database: &str, dialect: Dialect) -> String {
    let time = match dialect {
        Dialect::Now => "DateTime64(6, 'UTC') DEFAULT fromUnixTimestamp64Micro(toInt64(time_us), 'UTC')",
        Dialect::Old => "DateTime('UTC') DEFAULT toDateTime(intDiv(time_us, 1000000), 'UTC')",
    };
    let text = match dialect {
        Dialect::Now => "LowCardinality(String)",
        Dialect::Old => "String",
    };
    let (ttl, window) = match dialect {
        Dialect::Now => (
            "\nTTL toDateTime(time) + INTERVAL 90 DAY",
            "\nSETTINGS non_replicated_deduplication_window = 1000",
        ),
        Dialect::Old => ("", ""),
    };
    let mut columns = String::new();
    for Field { name, kind } in dialect.fields() {
        // Writing to a string cannot fail.
        let _ = write!(columns, "\n    `{name}` {kind},");
        if name == "time_us" {
            let _ = write!(columns, "\n    `time` {time},");
        }
    }
    columns.pop();
    let shared = flat::BIDS[..SHARED].iter().map(|column| format!("`{}`", column.name));
    let own = flat::BIDS[SHARED..].iter().map(|column| format!("bids.{0} AS `{0}`", column.name));
    let bids = shared.chain(own).collect::<Vec<_>>().join(",\n    ");
    TEXT.replace("{database}", database)
        .replace("{columns}", &columns)
        .replace("{bids}", &bids)
        .replace("{text}", text)
        .replace("{ttl}", ttl)
        .replace("{window}", window)
}

const TEXT: &str = "\
-- Bourse's auctions in ClickHouse; docs/events.md says what each column is.
-- A newer bourse that misses a column names the ALTER TABLE that adds it. After a column of bids is added:
-- DROP TABLE {database}.bids, and its CREATE VIEW again.
CREATE DATABASE IF NOT EXISTS {database};

-- A row for each auction; `bids` has every bidder of the supply, as arrays of one length.
CREATE TABLE IF NOT EXISTS {database}.auctions
({columns}
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (supply, time){ttl}{window};

-- A row for each bid, and one for each bidder of the supply without a bid.
CREATE VIEW IF NOT EXISTS {database}.bids AS
SELECT
    {bids}
FROM {database}.auctions
ARRAY JOIN bids;

-- What /stat counts. With the sums is the first offset that is not in them: both change as one.
CREATE TABLE IF NOT EXISTS {database}.stat_sums
(
    `instance` UInt64,
    `core` UInt32,
    `supply` {text},
    `country` {text},
    `bidder` {text},
    `auctions` UInt64,
    `wins` UInt64,
    `revenue` Decimal(38, 6),
    `no_bids` UInt64,
    `timeouts` UInt64,
    `next` AggregateFunction(max, UInt64)
)
ENGINE = SummingMergeTree
ORDER BY (instance, core, supply, country, bidder){window};

CREATE TABLE IF NOT EXISTS {database}.stat_feed
(
    `instance` UInt64,
    `core` UInt32,
    `offset` UInt64,
    `supply` String,
    `country` String,
    `bids.bidder` Array(String),
    `bids.answer` Array(Nullable(String)),
    `bids.clearing_price` Array(Nullable(Decimal(18, 6)))
)
ENGINE = Null;

-- No bidder has the name '': its rows count the auctions of the supply.
CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.stat_fed TO {database}.stat_sums AS
SELECT
    instance, core, supply, country, bidder,
    count() AS auctions,
    count(paid) AS wins,
    sum(ifNull(paid, toDecimal64(0, 6))) AS revenue,
    countIf(ifNull(said, '') = 'no_bid') AS no_bids,
    countIf(ifNull(said, '') = 'timeout') AS timeouts,
    maxState(offset + 1) AS next
FROM {database}.stat_feed
ARRAY JOIN
    arrayPushFront(bids.bidder, '') AS bidder,
    arrayPushFront(bids.answer, NULL) AS said,
    arrayPushFront(bids.clearing_price, NULL) AS paid
GROUP BY instance, core, supply, country, bidder;

-- bidder = '': requests of the supply from the country; else what the bidder did in them.
CREATE VIEW IF NOT EXISTS {database}.stat AS
SELECT
    supply, country, bidder,
    sum(auctions) AS auctions, sum(wins) AS wins, sum(revenue) AS revenue,
    sum(no_bids) AS no_bids, sum(timeouts) AS timeouts
FROM {database}.stat_sums
GROUP BY supply, country, bidder;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_that_bids_share_with_their_auction_are_its_first() {
        for column in &flat::BIDS[..SHARED] {
            assert!(flat::AUCTIONS.contains(column), "{column:?}");
        }
        assert!(COUNTED.iter().all(|name| sent_fields().iter().any(|field| field.name == *name)));
    }

    #[test]
    fn a_type_on_its_way_has_no_comma_and_no_blank() {
        for field in sent_fields() {
            assert!(!field.kind.contains([' ', ',']), "{field:?}");
        }
    }

    #[test]
    fn a_server_is_old_until_22() {
        for (version, dialect) in [
            ("18.16.1", Some(Dialect::Old)),
            ("22.8.1.2097", Some(Dialect::Old)),
            ("23.1", Some(Dialect::Now)),
            ("26.9.2.1", Some(Dialect::Now)),
            ("x", None),
        ] {
            assert_eq!(Dialect::of_version(version), dialect, "{version}");
        }
    }
}
