//! Auctions in ClickHouse: each once, as it was, whatever happens on the way; and `/stat` from its own sums.

use crate::catalogues::usual;
use crate::chaos::Stat;
use crate::clickhouse::ClickHouse;
use crate::client::{bid_body, micros};
use crate::http_faults::{Fault, Proxy};
use crate::journal_commands::{address, cat};
use crate::server::{Home, Server, eventually};
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// Exchanges that wait for nobody long, with two supplies and bidders of two countries.
fn home(url: &str) -> Home {
    let mut catalogue = usual();
    catalogue["bidders"]["abroad \"1\" 日本"] = json!({"country": "GB"});
    let supply2 =
        json!({"bidders": ["bidder0", "abroad \"1\" 日本"], "auction": "second_price", "bid_floor": 0.2});
    catalogue["supplies"]["supply2"] = supply2;
    stores(Home::empty().with(&catalogue), url)
}

/// With short patience.
pub(crate) fn stores(home: Home, url: &str) -> Home {
    home.set("BOURSE_CLICKHOUSE_URL", url)
        .set("BOURSE_CLICKHOUSE_BATCH_S", &1)
        .set("BOURSE_STREAMS_RETRY_MAX_MS", &50)
        .set("BOURSE_STREAMS_TIMEOUT_MS", &2000)
}

fn bids(server: &Server, from: usize, n: usize) {
    let mut connection = server.connect();
    for i in from..from + n {
        let body = bid_body(["supply1", "supply2"][i % 2], &address(i));
        connection.bid(body.replace("US", ["US", "GB", "FR"][i % 3]));
    }
}

/// Waits until the table has so many auctions and the sums have them, too.
#[track_caller]
fn has(store: &ClickHouse, auctions: usize) {
    eventually("everything is there, and counted", || {
        let is_enough = |sql: &str| store.query(sql).parse::<usize>().unwrap() >= auctions;
        is_enough("SELECT count() FROM bourse.auctions")
            && is_enough("SELECT sum(auctions) FROM bourse.stat WHERE bidder = ''")
    });
    is_exact(store, auctions);
}

/// So many, none twice.
#[track_caller]
fn is_exact(store: &ClickHouse, auctions: usize) {
    let counts = store
        .query("SELECT count(), uniqExact(event), uniqExact(instance, core, offset) FROM bourse.auctions");
    assert_eq!(counts, format!("{auctions}\t{auctions}\t{auctions}"));
}

/// What its sums say, in the words of /stat.
pub(crate) fn stat(store: &ClickHouse) -> Stat {
    let mut stat = Stat::default();
    for row in store.rows("SELECT * FROM bourse.stat") {
        let text = |name: &str| match &row[name] {
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let number = |name: &str| text(name).parse().unwrap();
        if row["bidder"] == "" {
            stat.requests(&text("supply"), &text("country"), number("auctions"));
        } else {
            let counts = [number("wins"), micros(&text("revenue")), number("no_bids"), number("timeouts")];
            stat.bidder(&text("supply"), &text("bidder"), counts);
        }
    }
    stat
}

#[test]
fn the_sums_are_what_stat_says_to_the_micro_also_when_they_are_merged() {
    let store = ClickHouse::with_tables();
    let server = home(&store.url()).serve_with(&["--workers", "2"]);
    for round in 1..=3 {
        std::thread::scope(|scope| {
            let server = &server;
            (0..4).for_each(|client| drop(scope.spawn(move || bids(server, client * 100, 100))));
        });
        has(&store, round * 400);
        let expected = Stat::parse(server.get("/stat").text());
        assert_eq!(stat(&store), expected);
        store.query("OPTIMIZE TABLE bourse.stat_sums FINAL");
        assert_eq!(stat(&store), expected);
        // And so do the rows that were counted.
        let sums = "SELECT count(clearing_price), sum(clearing_price) FROM bourse.bids";
        assert_eq!(store.query(sums), store.query("SELECT count(price), sum(price) FROM bourse.auctions"));
        assert_eq!(store.query(sums), store.query("SELECT sum(wins), sum(revenue) FROM bourse.stat"));
    }
    // Those that did nothing are listed, as /stat lists them.
    let listed =
        store.query("SELECT DISTINCT bidder FROM bourse.stat WHERE supply = 'supply2' AND bidder != ''");
    assert_eq!(listed.lines().count(), 2);
    assert_eq!(server.metric("bourse_stream_failures_total{stream=\"clickhouse\"}"), 0);
}

/// And auctions notice nothing of it.
#[test]
fn beyond_the_bound_on_disk_the_oldest_auctions_are_given_up_counted_and_said() {
    const DROPPED: &str = "bourse_stream_dropped_auctions_total{stream=\"clickhouse\"}";
    let mut store = ClickHouse::with_tables();
    let home = home(&store.url())
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1)
        .set("BOURSE_STREAMS_RETAIN_MIB", &3);
    let server = home.set("BOURSE_CLICKHOUSE_BATCH_MIB", &1).serve_with(&["--workers", "1"]);
    store.kill();
    let (mut connection, mut held) = (server.connect(), 0);
    while server.metric(DROPPED) == 0 {
        assert!(held < 150_000, "nothing was given up: {}", server.log());
        for i in held..held + 1_000 {
            let verdict = connection.bid(bid_body("supply1", &address(i % 60_000))).verdict();
            assert!(["200", "400 no_bids"].contains(&&*verdict), "{verdict}");
            // The stream looks at what waits once a second, and a disk may stand still.
            thread::sleep(Duration::from_micros(200));
        }
        held += 1_000;
    }
    store.restart();
    server.drained("clickhouse");
    let dropped = server.metric(DROPPED) as usize;
    let delivered = server.metric("bourse_stream_delivered_auctions_total{stream=\"clickhouse\"}") as usize;
    assert_eq!(delivered + dropped, held);
    has(&store, delivered);
    assert!(server.log().contains("auctions given up: too many wait for their sink"), "{}", server.log());
    let lines = cat(&server.home, &[]);
    assert_eq!(lines.len(), held, "the journal still has them");
    let oldest = store.query("SELECT event FROM bourse.auctions ORDER BY offset LIMIT 1");
    assert_eq!(lines[dropped]["event"], oldest.as_str(), "none is missing in between");
}

#[test]
fn a_row_has_what_the_journal_has() {
    let store = ClickHouse::with_tables();
    let server = home(&store.url()).serve_with(&["--workers", "2"]);
    bids(&server, 0, 60);
    has(&store, 60);
    let lines = cat(&server.home, &[]);
    assert_eq!(lines.len(), 60);
    for line in lines {
        let event = line["event"].as_str().unwrap();
        let rows = store.rows(&format!("SELECT * FROM bourse.auctions WHERE event = '{event}'"));
        let [row] = &rows[..] else { panic!("{event}: {rows:?}") };
        for name in [
            "auction",
            "supply",
            "country",
            "ip",
            "tmax_ms",
            "catalogue_revision",
            "rule",
            "outcome",
            "winner",
        ] {
            assert_eq!(text(&row[name]), text(&line[name]), "{name} of {row}");
        }
        for name in ["bid_floor", "price"] {
            assert_eq!(price(&row[name]), price(&line[name]), "{name} of {row}");
        }
        let time = line["time"].as_str().unwrap();
        assert_eq!(row["time"].as_str().unwrap().replace(' ', "T"), time[..19]);
        assert!(text(&row["time_us"]).unwrap().ends_with(&time[20..26]), "{row}");
        let bids = store.rows(&format!("SELECT * FROM bourse.bids WHERE event = '{event}'"));
        let bidders = line["bidders"].as_array().unwrap();
        assert_eq!(bids.len(), bidders.len());
        for (bid, bidder) in bids.iter().zip(bidders) {
            for (name, of) in [("bidder", "id"), ("answer", "answer"), ("not_invited", "not_invited")] {
                assert_eq!(text(&bid[name]), text(&bidder[of]), "{name} of {bid}");
            }
            assert_eq!(price(&bid["latency_ms"]), price(&bidder["latency_ms"]), "{bid}");
            let made = &bidder["bids"][0];
            for name in ["fate", "reason"] {
                assert_eq!(text(&bid[name]), text(&made[name]), "{name} of {bid}");
            }
            for name in ["price", "clearing_price"] {
                assert_eq!(price(&bid[name]), price(&made[name]), "{name} of {bid}");
            }
            assert_eq!((&bid["time"], &bid["supply"]), (&row["time"], &row["supply"]));
        }
    }
}

/// As a text, whoever writes numbers how.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn price(value: &Value) -> Option<u64> {
    text(value).map(|text| micros(&text))
}

#[test]
fn what_breaks_on_the_way_comes_again_and_is_there_once() {
    let store = ClickHouse::with_tables();
    let proxy = Proxy::before(store.address());
    let server = home(&proxy.url()).serve_with(&["--workers", "1"]);
    let mut auctions = 0;
    for step in ["-store", "-count"] {
        for fault in [
            Fault::Lost,
            Fault::Half,
            Fault::AnswerLost,
            Fault::Late,
            Fault::Refused(
                "Code: 252, e.displayText() = DB::Exception: Too many parts (300). Merges are processing",
            ),
        ] {
            proxy.break_next(step, fault);
            bids(&server, auctions, 50);
            auctions += 50;
            proxy.has_broken();
            has(&store, auctions);
            if fault == Fault::Late {
                proxy.release();
                is_exact(&store, auctions);
            }
            assert_eq!(stat(&store), Stat::parse(server.get("/stat").text()), "{step} {fault:?}");
        }
    }
    // One for each fault; more where the next attempt came while the server was still at the last.
    assert!(server.metric("bourse_stream_failures_total{stream=\"clickhouse\"}") >= 10);
    assert!(server.log().contains("500 Internal Server Error: Code: 252"), "{}", server.log());
}

#[test]
fn a_batch_begun_before_a_kill_ends_after_it_and_is_there_once() {
    let store = ClickHouse::with_tables();
    let proxy = Proxy::before(store.address());
    let (mut home, mut auctions) = (home(&proxy.url()), 0);
    for step in ["-store", "-count"] {
        for fault in [Fault::AnswerLost, Fault::Late] {
            let server = home.serve_with(&["--workers", "1"]);
            proxy.break_next(step, fault);
            bids(&server, auctions, 50);
            auctions += 50;
            proxy.has_broken();
            // What came meanwhile makes no other batch of it.
            bids(&server, auctions, 10);
            auctions += 10;
            home = server.killed();
            let server = home.serve_with(&["--workers", "1"]);
            has(&store, auctions);
            if fault == Fault::Late {
                proxy.release();
                is_exact(&store, auctions);
            }
            assert_eq!(stat(&store), Stat::parse(server.get("/stat").text()), "{step} {fault:?}");
            home = server.stop();
        }
    }
}

#[test]
fn what_waits_in_a_hanging_server_is_there_once_when_it_goes_on() {
    let store = ClickHouse::with_tables();
    let server = home(&store.url()).set("BOURSE_STREAMS_TIMEOUT_MS", &200).serve_with(&["--workers", "2"]);
    let failures = || server.metric("bourse_stream_failures_total{stream=\"clickhouse\"}");
    for round in 0..3 {
        store.pause();
        bids(&server, round * 100, 100);
        let before = failures();
        eventually("it was tried often", || failures() >= before + 4);
        store.resume();
        has(&store, (round + 1) * 100);
        assert_eq!(stat(&store), Stat::parse(server.get("/stat").text()));
    }
}

#[test]
fn sent_back_to_the_start_it_fills_in_what_is_missing_and_counts_nothing_twice() {
    let store = ClickHouse::with_tables();
    let server = home(&store.url()).serve_with(&["--workers", "2"]);
    bids(&server, 0, 100);
    has(&store, 100);
    let home = server.stop();
    store.query("TRUNCATE TABLE bourse.auctions");
    home.run(&["events", "offsets", "reset", "clickhouse", "--to", "oldest", "--yes"]).done();
    let server = home.serve_with(&["--workers", "2"]);
    bids(&server, 100, 10);
    has(&store, 110);
    assert_eq!(stat(&store), Stat::parse(server.get("/stat").text()));
}

#[test]
fn every_query_of_the_documentation_has_an_answer() {
    let store = ClickHouse::with_tables();
    let server = home(&store.url()).serve_with(&["--workers", "2"]);
    bids(&server, 0, 200);
    has(&store, 200);
    let page = include_str!("../../../../docs/events.md").split("## ClickHouse").nth(1).unwrap();
    let queries = page.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    let queries: Vec<&str> = queries.split(';').map(str::trim).filter(|query| !query.is_empty()).collect();
    assert_eq!(queries.len(), 5);
    for query in queries {
        assert!(!store.query(query).is_empty(), "{query}");
    }
}

#[test]
fn what_is_missing_there_is_named_with_what_makes_it() {
    let store = ClickHouse::start();
    let url = store.url().replace("//", "//writer:p%26ss%20w%C3%B6rd%40@");
    let server = home(&url).serve_with(&["--workers", "1"]);
    bids(&server, 0, 10);
    let says = |what: &str| eventually(what, || server.log().contains(what));
    says(
        "database bourse lacks auctions, bids, stat_feed, stat_sums, stat_fed, stat; `bourse events schema clickhouse --server 18.16.1`",
    );
    store.create_tables();
    has(&store, 10);

    // As if made by a bourse that did not have these yet.
    store.query("ALTER TABLE bourse.auctions DROP COLUMN catalogue_revision");
    store.query("ALTER TABLE bourse.auctions DROP COLUMN bids.reason");
    bids(&server, 10, 10);
    // The batch that finds out is refused as a whole, the next attempt says why.
    says("the table is older than this bourse, bring it up to date: ");
    let log = server.log();
    let alters = log.split("bring it up to date: ").nth(1).unwrap().split('"').next().unwrap();
    let alters: Vec<&str> = alters.split("; ").collect();
    let expected = [
        "ALTER TABLE bourse.auctions ADD COLUMN `catalogue_revision` String",
        "ALTER TABLE bourse.auctions ADD COLUMN `bids.reason` Array(Nullable(UInt32))",
    ];
    assert_eq!(alters, expected);
    alters.iter().for_each(|alter| drop(store.query(alter)));
    has(&store, 20);
    // What the old rows do not have is empty, also in the view.
    let with_reasons = "SELECT count() > 0 FROM bourse.bids WHERE reason = 102";
    assert_eq!(store.query(with_reasons), "1");
    assert_eq!(store.query("SELECT count() FROM bourse.auctions WHERE catalogue_revision = ''"), "10");
    assert_eq!(stat(&store), Stat::parse(server.get("/stat").text()));
}

#[test]
fn a_password_is_never_shown() {
    let store = ClickHouse::with_tables();
    let url = store.url().replace("//", "//writer:not-the-password@");
    let server = home(&url).serve_with(&["--workers", "1"]);
    bids(&server, 0, 1);
    eventually("it is told", || server.log().contains("a stream waits"));
    assert!(!server.log().contains("not-the-password"), "{}", server.log());
    let shown = server.home.run(&["config", "show"]).done();
    assert!(shown.contains("//writer:***@") && !shown.contains("not-the-password"), "{shown}");
}

#[test]
fn a_bad_setting_stops_the_start_with_a_line_that_names_it() {
    for (name, value, says) in [
        ("BOURSE_CLICKHOUSE_URL", "tcp://user:secret@host:9000", "http[s]://USER:PASSWORD@HOST:PORT"),
        ("BOURSE_CLICKHOUSE_DATABASE", "a-b", "a name of letters, digits and _"),
        ("BOURSE_CLICKHOUSE_BATCH_S", "0", "1 to 86400"),
        ("BOURSE_JOURNAL_ENABLED", "false", "leave one of clickhouse.url and journal.enabled = false out"),
    ] {
        let home = Home::empty().set("BOURSE_CLICKHOUSE_URL", "http://127.0.0.1:1").set(name, value);
        let said = home.run(&["serve"]);
        let error = said.one_line_error();
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }
}
