//! `bourse events`: auctions watched, taken out as files, and streams sent elsewhere.

use crate::client::{bid_body, micros};
use crate::journal_commands::{address, cat, objects};
use crate::lake::{in_folder, table};
use crate::python::duckdb;
use crate::server::{Home, Said, Server, eventually, lines_of};
use serde_json::Value;
use std::path::Path;

fn events(home: &Home, args: &[&str]) -> Said {
    home.run(&[&["events"], args].concat())
}

/// A server that has held so many auctions.
fn held(count: usize) -> Server {
    let server = Home::empty().usual().serve_with(&["--workers", "2"]);
    for i in 0..count {
        server.bid(bid_body("supply1", &address(i)));
    }
    server
}

#[test]
fn tail_shows_what_is_held_from_now_on_as_cat_does() {
    let server = held(3);
    let mut tail =
        server.home.command(&["events", "tail", "--limit", "2", "--supply", "supply1"]).spawn().unwrap();
    let lines = lines_of(tail.stdout.take().unwrap());
    let mut tailed = Vec::new();
    let mut next = 3;
    // It may not have looked yet when the first ones are held.
    eventually("two are shown", || {
        server.bid(bid_body("supply1", &address(next)));
        next += 1;
        tailed.extend(lines.try_iter());
        tailed.len() == 2
    });
    assert!(tail.wait().unwrap().success());
    let all = cat(&server.home, &[]);
    let tailed = objects(&tailed.join("\n"));
    assert!(tailed.iter().all(|line| all[3..].contains(line)), "{tailed:?}");
}

#[test]
fn an_export_is_what_the_journal_says_in_every_format() {
    let server = held(200);
    let home = server.stop();
    let mut expected = cat(&home, &[]);
    let out = events(&home, &["export", "--format", "jsonl", "-o", "-"]).done();
    let mut lines = objects(&out);
    let id = |line: &Value| line["event"].as_str().unwrap().to_owned();
    lines.sort_by_key(id);
    expected.sort_by_key(id);
    assert_eq!(lines, expected);
    let sold: Vec<&Value> = expected.iter().filter(|line| line["outcome"] == "sold").collect();
    let bidders: usize = expected.iter().map(|line| line["bidders"].as_array().unwrap().len()).sum();
    for format in ["csv", "parquet"] {
        events(&home, &["export", "--format", format, "-o", format]).done();
        let file = |name: &str| home.path(format).join(name).with_extension(format);
        let sql = format!(
            "select (select count(distinct event) from '{}'), count(distinct event) filter (fate = 'won'), \
             sum(clearing_price)::decimal(18, 6), count(*) from '{}'",
            file("auctions").display(),
            file("bids").display()
        );
        let prices = sold.iter().map(|line| micros(&line["price"].to_string())).sum::<u64>();
        let rows = duckdb(&sql);
        let counts = [&rows[0][0], &rows[0][1], &rows[0][3]].map(|count| count.parse::<usize>().unwrap());
        assert_eq!(counts, [expected.len(), sold.len(), bidders], "{format}");
        assert_eq!(micros(&rows[0][2]), prices, "{format}");
        let names: Vec<_> =
            std::fs::read_dir(home.path(format)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
    let none = events(&home, &["export", "--to", "2026-01-01", "--format", "jsonl", "-o", "none.jsonl"]);
    assert!(none.done().is_empty());
    assert_eq!(std::fs::read(home.path("none.jsonl")).unwrap(), b"");
}

fn count(folder: &Path) -> Vec<String> {
    duckdb(&format!("select count(*), count(distinct event) from {}", table(folder, "auctions"))).remove(0)
}

#[test]
fn a_stream_is_sent_elsewhere_only_while_no_server_runs_and_somebody_agrees() {
    let lake = tempfile::tempdir().unwrap();
    let server = in_folder(Home::empty().usual(), lake.path()).serve();
    for i in 0..10 {
        server.bid(bid_body("supply1", &address(i)));
    }
    let reset = ["offsets", "reset", "lake", "--to", "oldest", "--yes"];
    let said = events(&server.home, &reset);
    assert!(said.one_line_error().contains("stop it"), "{said:?}");
    let home = server.stop();
    assert_eq!(count(lake.path()), ["10", "10"]);
    let shown = events(&home, &["offsets"]).done();
    assert!(shown.lines().skip(1).all(|line| line.starts_with("lake ") && line.ends_with(" 0")), "{shown}");

    let said = events(&home, &reset[..5]);
    assert!(said.one_line_error().contains("--yes"), "{said:?}");
    let said = events(&home, &["offsets", "reset", "kafka", "--to", "oldest", "--yes"]);
    assert!(said.one_line_error().contains("no stream kafka"), "{said:?}");
    let said = events(&home, &["offsets", "reset", "lake", "--to", "soon", "--yes"]);
    assert!(said.one_line_error().contains("--to soon"), "{said:?}");
    events(&home, &reset).done();
    let shown = events(&home, &["offsets"]).done();
    assert!(shown.lines().skip(1).any(|line| !line.ends_with(" 0")), "{shown}");
    std::fs::remove_dir_all(lake.path().join("auctions")).unwrap();
    let home = home.serve().stop();
    assert_eq!(count(lake.path()), ["10", "10"]);

    events(&home, &["offsets", "reset", "lake", "--to", "now", "--yes"]).done();
    let server = home.serve();
    server.bid(bid_body("supply1", &address(10)));
    let home = server.stop();
    assert_eq!(count(lake.path()), ["11", "11"]);
    events(&home, &["offsets", "forget", "lake", "--yes"]).done();
    assert_eq!(events(&home, &["offsets"]).done().lines().count(), 1);
}

#[test]
fn a_stream_that_is_not_set_any_more_is_warned_of() {
    let lake = tempfile::tempdir().unwrap();
    let home = in_folder(Home::empty().usual(), lake.path()).serve().stop().set("BOURSE_LAKE_URL", "");
    let server = home.serve();
    eventually("it is told", || server.log().contains("bourse events offsets forget lake"));
}
