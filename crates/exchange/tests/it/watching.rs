//! What the dashboard watches, without a browser: the events and the rows.

use crate::catalogues::{self, constant};
use crate::client::{Connection, any_bid, bid_body, wire};
use crate::database::Postgres;
use crate::fleet::shared;
use crate::nginx::Nginx;
use crate::redis::Redis;
use crate::server::{Home, Server, eventually};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// A page that watches.
pub(crate) struct Watcher {
    connection: Connection,
    unread: Vec<u8>,
}

impl Watcher {
    /// None: refused.
    fn open(address: SocketAddr) -> Option<Self> {
        let mut connection = Connection::open(address);
        connection.send(wire("GET", "/dashboard/events", &[("accept", "text/event-stream")], b""));
        let head = connection.head();
        assert!(head.status == 200 || head.status == 503, "{head:?}");
        if head.status == 503 {
            assert!(head.retry_after_s() >= 1);
            return None;
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        Some(Self { connection, unread: Vec::new() })
    }

    /// The next event; None: the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            // A proxy may cut chunks anew.
            while let Some(end) = self.unread.windows(2).position(|window| window == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(data) = event.strip_prefix(b"data: ") {
                    return Some(serde_json::from_slice(data).expect("JSON"));
                }
            }
            let chunk = self.connection.chunk().filter(|chunk| !chunk.is_empty())?;
            self.unread.extend(chunk);
        }
    }

    /// Waits for an event of which this is true.
    #[track_caller]
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        let mut event = Value::Null;
        eventually(what, || {
            event = self.next().expect("the stream goes on");
            is_so(&event)
        });
        event
    }
}

/// A page that watches this server.
pub(crate) fn watch(server: &Server) -> Watcher {
    Watcher::open(server.address).expect("a place")
}

/// The row of this id.
fn row<'a>(shown: &'a Value, id: &str) -> &'a Value {
    let rows = shown["rows"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id} in {shown}"))
}

#[test]
fn an_event_says_what_stat_says_and_how_each_bidder_answered() {
    let silent =
        json!({"country": "US", "simulation": {"no_bid_probability": 1, "latency_ms": {"constant": 2}}});
    let catalogue = json!({"supplies": {"s": ["high", "low", "silent", "late"], "t": ["low"]},
        "bidders": {"high": constant(5, 0.8), "low": constant(40, 0.3), "silent": silent, "late": constant(9000, 1.0)}});
    let server = Home::empty().with(&catalogue).serve_with(&["--workers", "2"]);
    let mut watcher = watch(&server);
    for i in 0..30 {
        let supply = if i % 3 == 0 { "t" } else { "s" };
        assert_eq!(server.bid(bid_body(supply, "192.0.2.1")).status, 200);
    }
    let event = watcher.until("all auctions are in an event", |event| event["sums"]["requests"] == 30);
    assert_eq!(event["sums"], json!({"requests": 30, "sold": 30, "revenue": 19.0, "calls": 90}));
    assert_eq!(
        *row(&event["supplies"], "s"),
        json!({"id": "s", "requests": 20, "sold": 20, "revenue": 16.0})
    );
    let us = json!({"id": "US", "requests": 30, "auctions": 30, "sold": 30, "revenue": 19.0});
    assert_eq!(event["countries"], json!({"total": 1, "matched": 1, "rows": [us]}));
    let stat = server.json("/stat");
    for (id, bids, won, ms) in
        [("high", 20, 20, 5.0), ("low", 30, 10, 40.0), ("silent", 0, 0, 2.0), ("late", 0, 0, 9000.0)]
    {
        let bidder = row(&event["bidders"], id);
        let counted = |of: &str| -> u64 {
            let supplies = stat.as_object().unwrap().values();
            supplies.filter_map(|supply| supply["bidders"][id][of].as_u64()).sum()
        };
        for of in ["wins", "no_bids", "timeouts"] {
            assert_eq!(bidder[of], counted(of), "{of} of {bidder}");
        }
        let in_time: u64 = bidder["latencies"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(bidder["calls"], if id == "low" { 30 } else { 20 });
        assert_eq!(in_time, bidder["calls"].as_u64().unwrap() - counted("timeouts"), "{bidder}");
        assert_eq!((&bidder["calls_bid"], &bidder["calls_won"]), (&json!(bids), &json!(won)), "{bidder}");
        let p50 = bidder["p50_ms"].as_f64();
        assert_eq!(p50.is_some(), in_time > 0, "{bidder}");
        assert!(p50.is_none_or(|p50| p50 > ms / 1.5 && p50 < ms * 1.5), "{ms} ms: {bidder}");
    }
    let fill = watcher.until("the last ten seconds have auctions", |event| event["now"]["fill"] == 1.0);
    assert!(fill["now"]["p99_us"].as_f64() >= fill["now"]["p50_us"].as_f64(), "{}", fill["now"]);
    assert_eq!(fill["instances"][0]["address"], server.address.to_string());
}

#[test]
fn counts_go_on_over_a_restart_and_calls_begin_anew() {
    let server = Home::empty().with(&catalogues::constants(&[("b", 1, 0.5)])).serve();
    (0..5).for_each(|_| assert_eq!(server.bid(any_bid()).status, 200));
    let server = server.killed().serve();
    let event = watch(&server).next().unwrap();
    assert_eq!((&event["sums"]["requests"], &event["sums"]["calls"]), (&json!(5), &json!(0)));
    assert_eq!(
        (&row(&event["bidders"], "b")["wins"], &row(&event["bidders"], "b")["calls"]),
        (&json!(5), &json!(0))
    );
}

#[test]
fn no_more_pages_watch_than_there_are_places_and_a_place_left_is_free() {
    let server = Home::empty().set("BOURSE_HTTP_SUBSCRIBERS_MAX", "2").usual().serve();
    let mut first = watch(&server);
    let second = watch(&server);
    assert!(Watcher::open(server.address).is_none());
    let a = first.next().unwrap();
    drop(second);
    let mut third = None;
    eventually("a place is free", || {
        third = Watcher::open(server.address);
        third.is_some()
    });
    // What is there is shown at once, and the same to all.
    let b = third.unwrap().next().unwrap();
    assert!(b["time_ms"].as_u64() >= a["time_ms"].as_u64());
    assert_eq!(server.request("HEAD", "/dashboard/events", &[], b"").status, 503);
}

#[test]
fn events_come_through_nginx_as_they_are_made() {
    let server = Server::usual();
    let nginx = Nginx::before(&[server.address]);
    let mut watcher = Watcher::open(nginx.address).expect("a place");
    let first = watcher.next().unwrap();
    server.bid(any_bid());
    watcher.until("the next ones follow", |event| event["sums"]["requests"] == 1);
    assert_eq!(first["sums"]["requests"], 0);
}

#[test]
fn a_drain_ends_what_is_watched() {
    let server = Server::usual();
    let mut watcher = watch(&server);
    watcher.next().unwrap();
    server.signal("TERM");
    while watcher.next().is_some() {}
    let mut server = server;
    assert_eq!(server.exit().code(), Some(0));
    assert!(!server.log().contains("cut at the drain deadline"), "{}", server.log());
}

#[test]
fn of_a_large_catalogue_the_first_rows_are_shown_and_the_others_can_be_found() {
    let ids: Vec<String> = (0..600).map(|i| format!("Supply-{i:03}")).collect();
    let supplies: Map<String, Value> = ids.iter().map(|id| (id.clone(), json!(["b"]))).collect();
    let server =
        Home::empty().with(&json!({"supplies": supplies, "bidders": {"b": constant(1, 0.5)}})).serve();
    let mut connection = server.connect();
    for (i, id) in ids.iter().enumerate() {
        (0..1 + i / 200).for_each(|_| assert_eq!(connection.bid(bid_body(id, "192.0.2.1")).status, 200));
    }
    let event = watch(&server).until("all are counted", |event| event["sums"]["requests"] == 1200);
    assert_eq!(
        (&event["supplies"]["total"], event["supplies"]["rows"].as_array().unwrap().len()),
        (&json!(600), 20)
    );
    assert!(event.to_string().len() < 64 * 1024, "{} bytes", event.to_string().len());

    let rows = |query: &str| server.json(&format!("/dashboard/rows?of=supplies&{query}"));
    let ids = |shown: &Value| -> Vec<String> {
        shown["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&rows("sort=requests&limit=2")), ["Supply-400", "Supply-401"]);
    assert_eq!(ids(&rows("sort=id&limit=1")), ["Supply-000"]);
    let found = rows("filter=SUPPLY-59&sort=revenue");
    assert_eq!((&found["total"], &found["matched"], ids(&found).len()), (&json!(600), &json!(10), 10));
    assert_eq!(ids(&rows("limit=200")).len(), 200);
    for (query, field) in [
        ("of=nothing", "of"),
        ("of=supplies&sort=wins", "sort"),
        ("of=supplies&limit=0", "limit"),
        ("of=supplies&limit=201", "limit"),
        ("of=supplies&limit=x", "query"),
        ("sort=id", "query"),
    ] {
        let refused = server.get(&format!("/dashboard/rows?{query}"));
        refused.is_refusal(422, "invalid_request");
        assert_eq!(refused.problem()["errors"][0]["field"], field, "{query}: {}", refused.text());
    }
}

#[test]
fn instances_on_one_redis_show_one_another_and_the_sum_of_all() {
    let (redis, postgres) = (Redis::start(), Postgres::new());
    let home = || Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
    drop(home().with(&catalogues::constants(&[("b", 1, 0.5)])));
    let [one, two] = [(); 2].map(|()| shared(home(), &redis.url()).serve());
    assert_eq!(one.bid(bid_body("supply1", "192.0.2.1")).status, 200);
    (2..4).for_each(|i| assert_eq!(two.bid(bid_body("supply1", &format!("192.0.2.{i}"))).status, 200));
    let addresses = |event: &Value| {
        let all = event["instances"].as_array().unwrap().iter();
        let mut all: Vec<_> = all.map(|one| one["address"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    let mut both = [&one, &two].map(|server| server.address.to_string());
    both.sort();
    for server in [&one, &two] {
        let event = watch(server).until("both are there, with all auctions", |event| {
            addresses(event) == both && event["sums"]["requests"] == 3
        });
        assert_eq!(
            event["instances"][0]["address"],
            server.address.to_string(),
            "the one asked is the first"
        );
        assert_eq!(event["instances"][0]["is_here"], true);
        assert_eq!(event["instances"][1]["is_here"], false);
        assert_eq!(event["redis"]["is_up"], true);
    }
    let gone = two.address.to_string();
    drop(two);
    watch(&one)
        .until("the one that was killed is not there any more", |event| !addresses(event).contains(&gone));
}
