//! A lake in S3 that fails in every way while the server is killed: each auction is there once, as it was answered.

use super::{BidderStat, Book, Ledger, Outcome, Stat, burst, catalogue, dice, number};
use crate::client::micros;
use crate::lake::table;
use crate::proxy::{Proxy, Way};
use crate::python::duckdb;
use crate::s3::{KEY_ID, S3, SECRET};
use crate::server::{Home, Server, eventually, rounds};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

const SUPPLIES: &[&str] = &["narrow", "middle", "nobody"];

fn home(s3: &Proxy) -> Home {
    Home::empty()
        .with(&catalogue())
        .set("BOURSE_LAKE_URL", "s3://lake/of/bourse")
        .set("BOURSE_LAKE_ENDPOINT", &format!("http://{}", s3.address))
        .set("BOURSE_LAKE_REGION", "us-east-1")
        .set("BOURSE_LAKE_KEY_ID", KEY_ID)
        .set("BOURSE_LAKE_SECRET", SECRET)
        .set("BOURSE_LAKE_BATCH_S", "1")
        .set("BOURSE_LAKE_BATCH_MIB", "1")
        .set("BOURSE_JOURNAL_SEGMENT_MIB", "1")
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", "1")
        .set("BOURSE_STREAMS_TIMEOUT_MS", "1000")
        .set("BOURSE_STREAMS_RETRY_MAX_MS", "100")
}

fn metric(server: &Server, name: &str) -> u64 {
    server.metric(&format!("bourse_stream_{name}{{stream=\"lake\"}}"))
}

/// Fails unless the lake has what the journal has, without telling anything apart by its id.
#[track_caller]
fn check(lake: &Path, book: &Book) {
    let rows = duckdb(&format!(
        "select ip, supply, outcome, winner, price, country from {}",
        table(lake, "auctions")
    ));
    let (mut auctions, mut stat) = (BTreeMap::new(), Stat::default());
    for row in &rows {
        let outcome = match &*row[2] {
            "sold" => Outcome::Sold(row[3].clone(), micros(&row[4])),
            _ => Outcome::Unsold,
        };
        let number = number(row[0].parse().unwrap()).unwrap();
        assert_eq!(auctions.insert(number, (row[1].clone(), outcome)), None, "{number} is there twice");
        let supply = stat.supplies.entry(row[1].clone()).or_default();
        supply.total_reqs += 1;
        *supply.by_country.entry(row[5].clone()).or_default() += 1;
    }
    let missing: Vec<_> = book.auctions.iter().filter(|(number, _)| !auctions.contains_key(number)).collect();
    assert!(missing.is_empty(), "{} are not there, the first is {:?}", missing.len(), missing[0]);
    assert!(auctions == book.auctions, "what is there is not what was recorded");
    let sums = duckdb(&format!(
        "select supply, bidder, count(*) filter (fate = 'won'), coalesce(sum(clearing_price), 0), \
         count(*) filter (answer = 'no_bid'), count(*) filter (answer = 'timeout') from {} group by all",
        table(lake, "bids")
    ));
    for row in sums {
        let count = |at: usize| row[at].parse().unwrap();
        let (wins, no_bids, timeouts) = (count(2), count(4), count(5));
        let did = BidderStat { wins, revenue_micros: micros(&row[3]), no_bids, timeouts };
        if did != BidderStat::default() {
            stat.supplies.entry(row[0].clone()).or_default().bidders.insert(row[1].clone(), did);
        }
    }
    assert_eq!(stat, book.stat, "the sums of the bids are what /stat says");
}

#[test]
fn a_lake_has_each_auction_once_whatever_fails_and_whoever_is_killed() {
    let (s3, ledger) = (S3::start(), Ledger::default());
    let way = Proxy::to(s3.address);
    let mut home = home(&way);
    let mut dice = dice();
    for round in rounds(6) {
        let server = home.serve_with(&["--workers", "2"]);
        way.set(Way::ALL[round % Way::ALL.len()]);
        let enough = ledger.answered() + 100 + dice(burst(600));
        let batches = dice(3) as u64;
        thread::scope(|scope| {
            // Enough to be killed in the middle of, and no more than a slow machine can put into the lake.
            scope.spawn(|| ledger.load(server.address, 4, burst(600), SUPPLIES));
            eventually("there are answers", || ledger.answered() >= enough);
            // Some are killed early, some in the middle of batches or of failures.
            eventually("the sink was tried", || {
                metric(&server, "batches_total") + metric(&server, "failures_total") >= batches
            });
            server.signal("KILL");
        });
        home = server.killed();
    }
    way.set(Way::Open);
    let server = home.serve_with(&["--workers", "2"]);
    server.drained("lake");
    let stat = server.get("/stat");
    assert_eq!(metric(&server, "dropped_auctions_total"), 0);
    let home = server.stop();
    ledger.check(&[&home.data_dir()], &stat);
    let folder = tempfile::tempdir().unwrap();
    s3.copy(folder.path());
    check(&folder.path().join("of/bourse"), &Book::read(&[&home.data_dir()]));
    println!("{} answers", ledger.answered());
}

#[test]
fn auctions_go_on_while_a_lake_is_away_and_it_says_for_how_long() {
    let (s3, ledger) = (S3::start(), Ledger::default());
    let way = Proxy::to(s3.address);
    let server = home(&way).serve_with(&["--workers", "2"]);
    for (fails, said) in
        [(Way::Cut, "cannot put"), (Way::Hanging, "no answer within 1 s"), (Way::Unavailable, "503")]
    {
        way.set(fails);
        let failures = metric(&server, "failures_total");
        ledger.load(server.address, 2, 50, SUPPLIES);
        eventually("it is noticed", || metric(&server, "failures_total") > failures + 1);
        assert_eq!(metric(&server, "up"), 0);
        eventually("it lags", || metric(&server, "lag_auctions") > 0);
        eventually("it is logged", || server.log().contains(said));
        way.set(Way::Open);
        server.drained("lake");
        assert_eq!(metric(&server, "up"), 1);
    }
    let home = server.stop();
    let folder = tempfile::tempdir().unwrap();
    s3.copy(folder.path());
    check(&folder.path().join("of/bourse"), &Book::read(&[&home.data_dir()]));
}
