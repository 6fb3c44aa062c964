//! The lake: what was answered is in Parquet, for an engine that nobody here wrote to read.

use crate::catalogues::constant;
use crate::client::bid_body;
use crate::python::duckdb;
use crate::server::{Home, eventually, files_under};
use serde_json::json;
use std::path::Path;

/// The settings of a lake in a folder, with batches that do not wait.
pub(crate) fn in_folder(home: Home, folder: &Path) -> Home {
    home.set("BOURSE_LAKE_URL", &format!("file://{}", folder.display())).set("BOURSE_LAKE_BATCH_S", "1")
}

/// A table in a folder, for a query.
pub(crate) fn table(folder: &Path, name: &str) -> String {
    format!("read_parquet('{}/{name}/*/*/*.parquet', hive_partitioning = true)", folder.display())
}

#[test]
fn an_auction_is_a_row_and_each_of_its_bidders_is_one_with_exact_decimals() {
    let silent =
        json!({"country": "US", "simulation": {"no_bid_probability": 1, "latency_ms": {"constant": 3}}});
    let late = json!({"country": "US", "simulation": {"latency_ms": {"constant": 9000}}});
    let catalogue = json!({
        "supplies": {"s '1'": {"bidders": ["high", "mid", "low", "silent", "late", "abroad"],
            "auction": "second_price", "bid_floor": 0.10}},
        "bidders": {"high": constant(1, 0.830_001), "mid": constant(2, 0.8), "low": constant(0, 0.09),
            "silent": silent, "late": late, "abroad": {"country": "GB"}}});
    let lake = tempfile::tempdir().unwrap();
    let home = in_folder(Home::empty().with(&catalogue), lake.path());
    let server = home.serve_with(&["--seed", "7", "--workers", "1"]);
    let body = json!({"supply_id": "s '1'", "ip": "2001:db8:1:2::3", "country": "usa", "tmax": 150});
    assert_eq!(server.bid(body.to_string()).status, 200);
    let body = json!({"supply_id": "s '1'", "ip": "192.0.2.7", "country": "FR", "tmax": 150});
    assert_eq!(server.bid(body.to_string()).status, 400);
    eventually("both are delivered", || {
        server.metric("bourse_stream_delivered_auctions_total{stream=\"lake\"}") == 2
    });
    assert_eq!(server.metric("bourse_stream_lag_auctions{stream=\"lake\"}"), 0);
    let line = server.home.run(&["journal", "cat"]).done();
    let first: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let text = |name: &str| first[name].as_str().unwrap().to_owned();
    let auctions = table(lake.path(), "auctions");
    let rows = duckdb(&format!(
        "select event, auction, supply, country, ip, tmax_ms, catalogue_revision, rule, bid_floor, imps, outcome, \
         winner, price, strftime(timezone('UTC', time), '%Y-%m-%dT%H:%M:%S.%fZ') = '{0}', \
         date = '{0}'[:10]::date, hour = '{0}'[12:13]::int from {auctions} order by auction",
        text("time")
    ));
    let sold =
        [&*text("event"), "0000000000000007-0", "s '1'", "US", "2001:db8:1::", "150"].map(str::to_owned);
    let rest = ["second_price", "0.100000", "1", "sold", "high", "0.810000", "True", "True", "True"];
    assert_eq!(rows[0][..6], sold);
    assert_eq!((&rows[0][6], &rows[0][7..]), (&text("catalogue_revision"), &rest.map(str::to_owned)[..]));
    assert_eq!(rows[1][10..13], ["no_eligible_bidders", "", ""].map(str::to_owned));
    let rows = duckdb(&format!(
        "select bidder, not_invited, answer, latency_ms, imp, price, fate, clearing_price, reason from {} \
         where event = '{}' order by bidder",
        table(lake.path(), "bids"),
        text("event")
    ));
    let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    let expected = [
        "abroad|other_country|||||||",
        "high||bid|1.000|0|0.830001|won|0.810000|",
        "late||timeout|9000.000|||||",
        "low||bid|0.000|0|0.090000|lost||100",
        "mid||bid|2.000|0|0.800000|lost||102",
        "silent||no_bid|3.000|||||",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_clean_end_delivers_what_is_left_and_no_full_address() {
    let lake = tempfile::tempdir().unwrap();
    let server = in_folder(Home::empty().usual(), lake.path()).set("BOURSE_LAKE_BATCH_S", "3600").serve();
    for i in 0..20 {
        server.bid(bid_body("supply1", &format!("198.51.100.{}", 100 + i)));
    }
    let stat = server.json("/stat");
    drop(server.stop());
    let rows =
        duckdb(&format!("select count(*), count(distinct event) from {}", table(lake.path(), "auctions")));
    assert_eq!(rows, [["20", "20"].map(str::to_owned)]);
    assert_eq!(stat["supply1"]["total_reqs"], 20);
    let files = files_under(lake.path());
    assert!(
        files.len() >= 2 && files.iter().all(|(path, _)| path.extension().is_some_and(|e| e == "parquet"))
    );
    for (path, bytes) in files {
        assert!(!bytes.windows(11).any(|bytes| bytes == b"198.51.100.1"), "{}", path.display());
    }
}

#[test]
fn a_lake_that_cannot_be_is_told_at_the_start() {
    for (url, expected) in [
        ("no url", "BOURSE_LAKE_URL"),
        ("ftp://host/folder", "file:///FOLDER, s3://BUCKET/PREFIX, gs:"),
        ("file:///proc/none/here", "cannot make /proc/none/here"),
    ] {
        let said = Home::empty().set("BOURSE_LAKE_URL", url).run(&["serve", "--listen", "127.0.0.1:0"]);
        let error = said.err.trim_end().lines().last().unwrap();
        assert!(!said.ok && error.starts_with("bourse: ") && error.contains(expected), "{said:?}");
    }
    let home = Home::empty().set("BOURSE_LAKE_URL", "file:///tmp").set("BOURSE_JOURNAL_ENABLED", "false");
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.one_line_error().contains("lake.url and journal.enabled"), "{said:?}");
}
