//! ClickHouse and the server are killed at any moment, and ClickHouse hangs, while clients ask: its rows are what the
//! clients were told, counted as they stand.

use super::{Book, Ledger, Outcome, Stat, burst, catalogue, dice, number};
use crate::clickhouse::ClickHouse;
use crate::clickhouse_sink::{stat, stores};
use crate::client::micros;
use crate::server::{Home, eventually, rounds};
use std::thread;

const SUPPLIES: &[&str] = &["narrow", "middle", "nobody"];

/// What the rows say; fails if one is there twice.
fn book(store: &ClickHouse) -> Book {
    let mut book = Book { stat: stat(store), ..Book::default() };
    let rows = store.query(
        "SELECT supply, ip, outcome, ifNull(winner, ''), ifNull(toString(price), '') FROM bourse.auctions",
    );
    for row in rows.lines() {
        let [supply, ip, outcome, winner, price] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let outcome = match outcome {
            "sold" => Outcome::Sold(winner.to_owned(), micros(price)),
            _ => Outcome::Unsold,
        };
        let Some(number) = number(ip.parse().unwrap()) else { continue };
        let twice = book.auctions.insert(number, (supply.to_owned(), outcome));
        assert!(twice.is_none(), "{number} is there twice: {twice:?}");
    }
    book
}

#[test]
fn rows_are_what_clients_were_told_whoever_is_killed() {
    let mut store = ClickHouse::with_tables();
    let ledger = Ledger::default();
    let mut home =
        stores(Home::empty().with(&catalogue()), &store.url()).set("BOURSE_STREAMS_TIMEOUT_MS", &500);
    let mut dice = dice();
    for round in rounds(12) {
        let server = home.serve_with(&["--workers", "2"]);
        let delivered = || server.metric("bourse_stream_delivered_auctions_total{stream=\"clickhouse\"}");
        // Some ends come before the first batch, some in the middle of one, some after many.
        let (answers, batches) = (ledger.answered() + 50 + dice(burst(200)), u64::from(dice(3) == 0));
        thread::scope(|scope| {
            scope.spawn(|| ledger.load(server.address, 4, usize::MAX, SUPPLIES));
            eventually("there are answers", || ledger.answered() >= answers && delivered() >= batches);
            match round % 4 {
                0 => store.kill(),
                1 => store.pause(),
                _ => {}
            }
            let answers = ledger.answered() + 50;
            eventually("there are more", || ledger.answered() >= answers);
            server.signal("KILL");
        });
        home = server.killed();
        match round % 4 {
            0 => store.restart(),
            1 => store.resume(),
            _ => {}
        }
    }
    let server = home.serve();
    server.drained("clickhouse");
    let expected = Stat::parse(server.get("/stat").text());
    eventually("ClickHouse has everything", || stat(&store) == expected);
    let book = book(&store);
    ledger.check_book(&book, &server.get("/stat"));
    let rows: u64 = store.query("SELECT count() FROM bourse.auctions").parse().unwrap();
    assert_eq!(rows, book.auctions.len() as u64);
    println!("{} answers, {rows} rows", ledger.answered());
}
