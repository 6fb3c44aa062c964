//! `bourse journal`: what was answered is there, to be read by anybody at any time, whatever is damaged.

use crate::catalogues::{constant, usual};
use crate::client::{Connection, bid_body, micros};
use crate::server::{Home, Said, Server, eventually, files_under, lines_of, said};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

pub(crate) fn journal(home: &Home, args: &[&str]) -> Said {
    home.run(&[&["journal"], args].concat())
}

pub(crate) fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The auctions that `cat` shows, with nothing to tell besides.
#[track_caller]
pub(crate) fn cat(home: &Home, args: &[&str]) -> Vec<Value> {
    let said = journal(home, &[&["cat"], args].concat());
    assert_eq!(said.err, "");
    objects(&said.done())
}

/// An address of its own in a /24 of its own.
pub(crate) fn address(i: usize) -> String {
    format!("10.{}.{}.77", i / 256, i % 256)
}

fn network(i: usize) -> String {
    format!("10.{}.{}.0", i / 256, i % 256)
}

/// What a client was told, or an operator reads, of an auction: winner and price, or why there is none.
type Told = Result<(String, u64), String>;

/// Of a line, by its address; prices by their digits.
fn read(line: &str) -> (String, Told) {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(line).unwrap();
    let text = |name: &str| serde_json::from_str::<String>(members[name].get()).unwrap();
    let told = match text("outcome").as_str() {
        "sold" => Ok((text("winner"), micros(members["price"].get()))),
        reason => Err(reason.to_owned()),
    };
    (text("ip"), told)
}

/// Connections enough that every core has some.
const MANY: usize = 32;

/// Requests over many connections, one after the other.
fn ask(server: &Server, requests: Range<usize>) -> Vec<(String, Told)> {
    let mut connections: Vec<Connection> = (0..MANY).map(|_| server.connect()).collect();
    let ask = |i: usize| {
        let country = if i % 10 == 3 { "DE" } else { "US" };
        let body = bid_body("supply1", &address(i)).replace("US", country);
        let answer = connections[i % MANY].bid(&body);
        // Counted nowhere and recorded nowhere.
        connections[i % MANY].bid(bid_body("unknown", &address(i)));
        (network(i), answer.sale().ok_or_else(|| answer.code()))
    };
    requests.map(ask).collect()
}

#[test]
fn cat_shows_exactly_the_auctions_that_were_answered_as_they_were_in_order_of_time() {
    let server = Home::empty().usual().serve_with(&["--workers", "2"]);
    let check = |home: &Home, asked: &[(String, Told)]| {
        let out = journal(home, &["cat"]).done();
        let read: Vec<_> = out.lines().map(read).collect();
        assert_eq!(read, asked);
        objects(&out)
    };
    let mut asked = ask(&server, 0..150);
    let cores: BTreeSet<_> = check(&server.home, &asked).iter().map(|line| line["core"].as_u64()).collect();
    assert_eq!(cores, BTreeSet::from([Some(0), Some(1)]));
    asked.extend(ask(&server, 150..300));
    check(&server.home, &asked);
    let server = server.stop().serve_with(&["--workers", "1"]);
    asked.extend(ask(&server, 300..400));
    let lines = check(&server.stop(), &asked);
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_line_says_all_that_an_auction_was() {
    let silent =
        json!({"country": "US", "simulation": {"no_bid_probability": 1, "latency_ms": {"constant": 3}}});
    let late = json!({"country": "US", "simulation": {"latency_ms": {"constant": 9000}}});
    let catalogue = json!({
        "supplies": {"s \"1\"": {"bidders": ["high", "mid", "low", "silent", "late", "abroad"],
            "auction": "second_price", "bid_floor": 0.10}},
        "bidders": {"high": constant(1, 0.830_001), "mid": constant(2, 0.8), "low": constant(0, 0.09),
            "silent": silent, "late": late, "abroad": {"country": "GB"}}});
    let server = Home::empty().with(&catalogue).serve_with(&["--seed", "7", "--workers", "1"]);
    let body = json!({"supply_id": "s \"1\"", "ip": "2001:db8:1:2::3", "country": "usa", "tmax": 150});
    let answer = server.bid(body.to_string());
    let out = journal(&server.home, &["cat"]).done();
    let line = &objects(&out)[0];
    let parts = [
        r#"{"schema":1,"event":""#,
        r#"","auction":"0000000000000007-0","core":0,"offset":"#,
        r#","supply":"s \"1\"","country":"US","ip":"2001:db8:1::","tmax_ms":150,"catalogue_revision":""#,
        r#","rule":"second_price","bid_floor":0.10,"outcome":"sold","winner":"high","price":0.81,"#,
        r#""price_from":"runner_up","runner_up":0.80,"bidders":["#,
        r#"{"id":"abroad","not_invited":"other_country"}"#,
        r#"{"id":"high","answer":"bid","latency_ms":1.000,"bids":[{"price":0.830001,"fate":"won","clearing_price":0.81}]}"#,
        r#"{"id":"late","answer":"timeout","latency_ms":9000.000}"#,
        r#"{"id":"low","answer":"bid","latency_ms":0.000,"bids":[{"price":0.09,"fate":"lost","reason":100}]}"#,
        r#"{"id":"mid","answer":"bid","latency_ms":2.000,"bids":[{"price":0.80,"fate":"lost","reason":102}]}"#,
        r#"{"id":"silent","answer":"no_bid","latency_ms":3.000}]}"#,
    ];
    parts.iter().for_each(|part| assert!(out.contains(part), "{part}\n{out}"));
    assert_eq!(line["bidders"].as_array().unwrap().len(), 6);
    assert_eq!(line["catalogue_revision"], server.json("/")["catalogue"]["revision"]);
    assert_eq!(answer.sale(), Some(("high".to_owned(), 810_000)));
    let instance = fs::read_to_string(server.home.data_dir().join("journal/instance")).unwrap();
    let event = format!("{}-0-{}", instance.trim(), line["offset"]);
    assert_eq!(line["event"], event);
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == "2026-06-07T12:30:00.123456Z".len() && time.ends_with('Z'), "{time}");
}

#[test]
fn filters_show_what_they_name_and_nothing_else() {
    let catalogue = json!({
        "supplies": {"a": ["us", "gb"], "b": ["us"]},
        "bidders": {"us": constant(0, 0.5), "gb": {"country": "GB"}}});
    let server = Home::empty().with(&catalogue).serve_with(&["--workers", "2"]);
    for i in 0..12 {
        let (supply, country) = (["a", "b"][i % 2], ["US", "GB", "GB"][i % 3]);
        server.bid(bid_body(supply, &address(i)).replace("US", country));
    }
    let home = server.stop();
    let all = cat(&home, &[]);
    assert_eq!(
        all.iter().map(|line| line["ip"].as_str().unwrap()).collect::<Vec<_>>(),
        (0..12).map(network).collect::<Vec<_>>()
    );
    let of = |i: usize, name: &str| all[i][name].as_str().unwrap().to_owned();
    let (third, ninth, id) = (of(3, "time"), of(9, "time"), of(5, "auction"));
    for (args, expected) in [
        (&["--supply", "a"][..], &[0, 2, 4, 6, 8, 10][..]),
        (&["--supply", "nobody's"], &[]),
        (&["--bidder", "us"], &[0, 3, 6, 9]),
        (&["--bidder", "gb"], &[2, 4, 8, 10]),
        (&["--bidder", "gb", "--supply", "b"], &[]),
        (&["--auction", &id], &[5]),
        (&["--auction", "0000000000000000-5"], &[]),
        (&["--from", &ninth], &[9, 10, 11]),
        (&["--to", &third], &[0, 1, 2]),
        (&["--from", &third, "--to", &ninth], &[3, 4, 5, 6, 7, 8]),
        (&["--from", &third, "--supply", "a", "--limit", "2"], &[4, 6]),
        (&["--from", "1h", "--limit", "1"], &[0]),
        (
            &["--from", "2000-01-01", "--to", "9999-12-31T23:59:59+01:00", "--limit", "99", "--bidder", "gb"],
            &[2, 4, 8, 10],
        ),
        (&["--to", "1d"], &[]),
        (&["--from", "0s"], &[]),
        (&["--limit", "0"], &[]),
    ] {
        let shown = cat(&home, args);
        let expected: Vec<_> = expected.iter().map(|i: &usize| all[*i].clone()).collect();
        assert_eq!(shown, expected, "{args:?}");
    }
}

#[test]
fn a_bad_filter_is_named_with_what_is_wrong() {
    let home = Server::usual().stop();
    for (args, words) in [
        (&["cat", "--from", "yesterday"][..], &["'yesterday'", "--from", "it is no time", "15m"][..]),
        (&["cat", "--to", "2026-13-01"], &["'2026-13-01'", "--to", "no such time", "month"]),
        (&["stat", "--to", "2026-06-07T12:00"], &["--to", "no such time"]),
        (&["stat", "--from", "1969-12-31"], &["--from", "before 1970"]),
        (&["cat", "--from", "99999999999999999d"], &["--from", "too long ago"]),
        (&["cat", "--from", "1h", "--to", "2h"], &["--from", "is not before --to"]),
        (&["cat", "--auction", "7-42"], &["'7-42'", "--auction", "16 hexadecimal digits"]),
        (&["cat", "--limit", "some"], &["'some'", "--limit"]),
        (&["cat", "--follow", "--to", "1h"], &["--follow", "--to"]),
    ] {
        let said = journal(&home, args);
        assert!(
            !said.ok && said.out.is_empty() && words.iter().all(|word| said.err.contains(word)),
            "{args:?}: {said:?}"
        );
    }
}

#[test]
fn no_full_address_is_shown_or_kept_not_even_as_bytes() {
    const V4: [u8; 4] = [203, 113, 77, 201];
    const V6: [u8; 16] =
        [0x20, 1, 0xd, 0xb8, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x13, 0x57, 0x24, 0x68];
    let (v4, v6) = (std::net::Ipv4Addr::from(V4).to_string(), std::net::Ipv6Addr::from(V6).to_string());
    let mapped = format!("::ffff:{v4}");
    let server = Server::usual();
    for ip in [&v4, &v6, &mapped] {
        (0..3).for_each(|_| _ = server.bid(bid_body("supply1", ip)));
    }
    let home = server.stop();
    let commands: [&[&str]; 5] = [&["cat"], &["ls"], &["ls", "--json"], &["verify"], &["stat"]];
    let mut kept: Vec<Vec<u8>> =
        commands.iter().map(|args| journal(&home, args).done().into_bytes()).collect();
    let networks: Vec<_> =
        cat(&home, &[]).iter().map(|line| line["ip"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        networks,
        ["203.113.77.0"; 3]
            .iter()
            .chain(&["2001:db8:1234::"; 3])
            .chain(&["203.113.77.0"; 3])
            .copied()
            .collect::<Vec<_>>()
    );
    kept.extend(files_under(&home.data_dir()).into_iter().map(|(_, bytes)| bytes));
    let canaries = [v4.as_bytes(), v6.as_bytes(), b"1234:5678", &V4, &V6[..7]];
    for (text, canary) in kept.iter().flat_map(|text| canaries.map(|canary| (text, canary))) {
        assert!(!text.windows(canary.len()).any(|window| window == canary), "{canary:?}");
    }
}

#[test]
fn stat_is_what_get_stat_says_byte_for_byte() {
    let catalogue = |ids: &[&str]| {
        let silent = json!({"country": "DE"});
        json!({"supplies": {"s": ids, "t": ["a"]},
            "bidders": {"a": constant(0, 0.5), "b:\"c": {"country": "US"}, "gone": silent, "new": silent}})
    };
    let server = Home::empty().with(&catalogue(&["a", "b:\"c", "gone"])).serve_with(&["--workers", "2"]);
    let ask = |n: usize| {
        for i in 0..n {
            let supply = ["s", "s", "t"][i % 3];
            server.bid(bid_body(supply, &address(i)).replace("US", ["US", "GB"][i / 3 % 2]));
        }
    };
    let is_same = |server: &Server| {
        let stat = server.get("/stat").text().to_owned();
        assert_eq!(journal(&server.home, &["stat"]).done(), stat + "\n");
    };
    assert_eq!(journal(&server.home, &["stat"]).done(), "{}\n");
    ask(60);
    is_same(&server);

    // Bidders are those of the last auction, on whichever core it was held.
    server.home.load(&catalogue(&["a", "b:\"c", "new"])).done();
    eventually("the change is in force", || server.json("/stat")["s"]["bidders"].get("new").is_some());
    ask(1);
    is_same(&server);
    let middle = cat(&server.home, &[])[20]["time"].as_str().unwrap().to_owned();
    let requests = |args: &[&str]| {
        let stat: Value = serde_json::from_str(&journal(&server.home, args).done()).unwrap();
        stat.as_object().unwrap().values().map(|supply| supply["total_reqs"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((requests(&["stat", "--to", &middle]), requests(&["stat", "--from", &middle])), (20, 41));

    let server = server.stop().serve();
    is_same(&server);
}

/// A home with one core's journal in two segments, and how many auctions are in it.
pub(crate) fn two_segments() -> (Home, Vec<Value>) {
    let mut home = Home::empty().with(&usual());
    for run in 0..2 {
        let server = home.serve_with(&["--workers", "1"]);
        (0..10).for_each(|i| _ = server.bid(bid_body("supply1", &address(run * 10 + i))));
        home = server.stop();
    }
    let all = cat(&home, &[]);
    assert_eq!(all.len(), 20);
    (home, all)
}

#[test]
fn ls_lists_segments_readers_and_their_sum() {
    let (home, auctions) = two_segments();
    let table = journal(&home, &["ls"]).done();
    let listed = objects(&journal(&home, &["ls", "--json"]).done());
    let of = |listed: &[Value], kind: &str| -> Vec<Value> {
        listed.iter().filter(|object| object["kind"] == kind).cloned().collect()
    };
    let (segments, readers) = (of(&listed, "segment"), of(&listed, "reader"));
    let mut sum = 0;
    for (segment, first) in segments.iter().zip([0, 10]) {
        let path = segment["path"].as_str().unwrap();
        let base: u64 = Path::new(path).file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let bytes = fs::metadata(home.path(path)).unwrap().len();
        // A supply has the time of its first auction.
        let time = format!("{}Z", &auctions[first]["time"].as_str().unwrap()[..23]);
        let expected = json!({"kind": "segment", "core": 0, "base": base, "bytes": bytes, "first_record": time,
            "state": "sealed", "path": path});
        assert_eq!(*segment, expected);
        let row = format!("   0  {base:>20}  {bytes:>12}  {time}  sealed\n");
        assert!(table.contains(&row), "{row}{table}");
        sum += bytes;
    }
    assert_eq!(segments.len(), 2);
    assert_eq!((readers.len(), &readers[0]["name"]), (1, &json!("statistics")));
    let offset = readers[0]["offset"].to_string();
    assert!(table.lines().any(|row| row.contains(&offset) && row.ends_with("  statistics")), "{table}");
    let total = json!({"kind": "total", "segments": 2, "bytes": sum, "readers": 1});
    assert_eq!(listed.last(), Some(&total));
    assert!(table.ends_with(&format!("\n2 segments, {sum} bytes; 1 readers\n")), "{table}");

    let server = home.serve_with(&["--workers", "1"]);
    server.bid(bid_body("supply1", "192.0.2.1"));
    let listed = objects(&journal(&server.home, &["ls", "--json"]).done());
    assert_eq!(of(&listed, "segment")[2]["state"], "open");
    // All of this run, and nothing of the runs before.
    let behind = of(&listed, "reader")[0]["behind_bytes"].as_u64().unwrap();
    assert!((1..3000).contains(&behind), "{listed:?}");
}

#[test]
fn a_copy_is_read_like_the_journal_itself() {
    let (home, all) = two_segments();
    let copied = Command::new("cp").args(["-r", "bourse-data", "copy"]).current_dir(home.path("")).status();
    assert!(copied.unwrap().success());
    fs::remove_dir_all(home.data_dir()).unwrap();
    let before = files_under(&home.path("copy"));
    assert_eq!(cat(&home, &["--data-dir", "copy"]), all);
    for args in [&["ls"][..], &["verify"], &["stat"]] {
        journal(&home, &[args, &["--data-dir", "copy"]].concat()).done();
    }
    assert_eq!(files_under(&home.path("copy")), before, "nothing is written");
    assert!(!home.data_dir().exists());
}

#[test]
fn without_a_journal_every_command_says_where_it_looked_and_what_to_do() {
    let home = Home::empty();
    for args in [&["ls"][..], &["cat"], &["cat", "--follow"], &["verify"], &["stat"]] {
        let said = journal(&home, args);
        let line = said.one_line_error();
        assert!(
            line.contains("no journal in ./bourse-data/journal") && line.contains("--data-dir"),
            "{line}"
        );
        assert!(!home.data_dir().exists());
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let server = Home::empty().usual().serve();
    let mut connection = server.connect();
    (0..300).for_each(|i| _ = connection.bid(bid_body("supply1", &address(i))));
    let mut command = server.home.command(&["journal", "cat"]);
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(objects(&first)[0]["ip"], network(0));
    assert!(child.wait().unwrap().success());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(err, "");

    // Gone before anything was said.
    for args in [&["ls"][..], &["cat"], &["verify"], &["stat"]] {
        let words = format!("exec {} journal {} | true", env!("CARGO_BIN_EXE_bourse"), args.join(" "));
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &words]).current_dir(server.home.path(""));
        shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        said(shell).done();
    }
}

#[test]
fn follow_shows_what_is_recorded_later_until_it_is_interrupted() {
    let server = Home::empty().usual().serve_with(&["--workers", "2"]);
    server.bid(bid_body("supply1", &address(0)));
    let mut child = server.home.command(&["journal", "cat", "--follow"]).spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let mut shown = Vec::new();
    for i in 0..20 {
        eventually("the auction is shown", || {
            shown.extend(lines.try_iter().map(|line| read(&line).0));
            shown.len() > i
        });
        assert_eq!(shown, (0..=i).map(network).collect::<Vec<_>>());
        server.bid(bid_body("supply1", &address(i + 1)));
    }
    assert_eq!(child.try_wait().unwrap(), None);
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    eventually("it ends", || child.try_wait().unwrap().is_some());

    let limited = journal(&server.home, &["cat", "--follow", "--limit", "3"]).done();
    assert_eq!(limited.lines().map(|line| read(line).0).collect::<Vec<_>>(), [0, 1, 2].map(network));
}
