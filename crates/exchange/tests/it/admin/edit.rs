//! Supplies and bidders: made, changed and deleted, at once in force, and nobody's change lost.

use super::Admin;
use crate::catalogue::hammer;
use crate::catalogues::{constant, constants};
use crate::client::bid_body;
use crate::database::{Postgres, Way, on_both};
use crate::server::{AtEnd, Home};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn start(home: Home) -> Admin {
    Admin::start(home.with(&constants(&[("b", 0, 0.5)])))
}

fn winner(admin: &Admin, supply: &str) -> String {
    admin.server.bid(bid_body(supply, "192.0.2.1")).sale().map_or_else(String::new, |(winner, _)| winner)
}

#[test]
fn a_change_is_in_force_when_the_answer_says_so() {
    on_both(|home| {
        let admin = start(home);
        let none = Value::Null;
        for (method, path, body, outcome, supply, expected) in [
            ("PUT", "bidders/new", constant(0, 0.9), "created", "supply1", "b"),
            ("PUT", "supplies/s", json!(["b"]), "created", "s", "b"),
            ("PUT", "supplies/s", json!({"bidders": ["b"]}), "unchanged", "s", "b"),
            ("PATCH", "supplies/s", json!({"bidders": ["b", "new"]}), "changed", "s", "new"),
            (
                "PATCH",
                "bidders/new",
                json!({"simulation": {"price": {"constant": 0.1}}}),
                "changed",
                "s",
                "b",
            ),
            ("PATCH", "supplies/s", json!({"bid_floor": 0.6}), "changed", "s", ""),
            ("PATCH", "supplies/s", json!({"bid_floor": null}), "changed", "s", "b"),
            ("PUT", "bidders/new", constant(0, 0.8), "changed", "s", "new"),
            ("PUT", "supplies/s", json!({"bidders": ["b"], "auction": "second_price"}), "changed", "s", "b"),
            ("DELETE", "bidders/new", none.clone(), "deleted", "s", "b"),
            ("DELETE", "supplies/s", none, "deleted", "supply1", "b"),
        ] {
            let changed = admin.make(method, &format!("/admin/v1/{path}"), &body);
            assert_eq!(changed["outcome"], outcome, "{method} {path}: {changed}");
            assert_eq!(winner(&admin, supply), expected, "{method} {path} {body}");
            assert_eq!(changed["revision"], admin.server.json("/")["catalogue"]["revision"]);
        }
        admin.server.bid(bid_body("s", "192.0.2.1")).is_refusal(400, "unknown_supply");
    });
}

#[test]
fn what_get_gives_put_takes_and_load_data_too() {
    on_both(|home| {
        let admin = start(home);
        let simulation = json!({"no_bid_probability": 0.000001, "price": {"uniform": [0.05, 0.6]},
            "latency_ms": {"lognormal": {"median": 40, "sigma": 0.6}}});
        admin.make("PUT", "/admin/v1/bidders/c", &json!({"country": "GB", "simulation": simulation}));
        let supply = json!({"bidders": ["b", "c"], "auction": "second_price", "bid_floor": 0.100001});
        admin.make("PUT", "/admin/v1/supplies/s", &supply);
        for path in ["/admin/v1/bidders/c", "/admin/v1/supplies/s"] {
            let answer = admin.ask("GET", path, &[], "");
            let again = admin.ask("PUT", path, &[], answer.text());
            assert_eq!(again.json()["outcome"], "unchanged", "{path}: {}", answer.text());
            assert_eq!(again.header("etag"), answer.header("etag"));
        }
        let loaded = admin.server.home.load(&json!({"supplies": {"s": admin.get("/admin/v1/supplies/s")},
            "bidders": {"c": admin.get("/admin/v1/bidders/c")}}));
        assert!(loaded.done().contains("1 supplies (0 new, 0 changed), 1 bidders (0 new, 0 changed)"));
    });
}

#[test]
fn a_bidder_that_supplies_list_is_not_deleted_and_they_are_named() {
    on_both(|home| {
        let admin = start(home);
        (0..12).for_each(|i| _ = admin.make("PUT", &format!("/admin/v1/supplies/s{i:02}"), &json!(["b"])));
        let answer = admin.ask("DELETE", "/admin/v1/bidders/b", &[], "");
        answer.is_refusal(409, "conflict");
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("\"s00\", \"s01\"") && detail.contains("and more"), "{detail}");
        assert!(!detail.contains("s11"), "the list is bounded: {detail}");
        assert_eq!(winner(&admin, "s11"), "b");
    });
}

#[test]
fn a_list_comes_in_pages_in_the_order_of_bytes() {
    on_both(|home| {
        let admin = start(home);
        let ids = ["Z", "a b/c?", "a:b", "b\"q", "supply1", "é", "日本"];
        for id in ids.iter().filter(|id| **id != "supply1") {
            let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
            admin.make("PUT", &format!("/admin/v1/supplies/{encoded}"), &json!(["b"]));
            assert_eq!(winner(&admin, id), "b", "{id}");
        }
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("/admin/v1/supplies?limit=3{after}"));
            let entries = page["entries"].as_object().unwrap();
            assert!(
                entries.len() <= 3 && entries.values().all(|entry| entry["bidders"] == json!(["b"])),
                "{page}"
            );
            listed.extend(entries.keys().cloned());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={}", next.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>());
        }
        assert_eq!(listed, ids);
        assert_eq!(admin.get("/admin/v1/bidders")["entries"].as_object().unwrap().len(), 1);
    });
}

#[test]
fn of_those_who_change_what_all_have_read_one_succeeds() {
    on_both(|home| {
        let admin = start(home);
        let (threads, each) = (3, 5);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..each).for_each(|_| raise_floor(&admin)));
            }
        });
        let floor = admin.get("/admin/v1/supplies/supply1")["bid_floor"].as_f64().unwrap();
        assert_eq!((floor * 100.0).round() as i32, threads * each, "every change of one cent is in it");
    });
}

/// By one cent, as often as it takes.
fn raise_floor(admin: &Admin) {
    let path = "/admin/v1/supplies/supply1";
    loop {
        let read = admin.ask("GET", path, &[], "");
        let floor = (read.json()["bid_floor"].as_f64().unwrap() * 100.0).round() as u32 + 1;
        let body = format!("{{\"bid_floor\":{}.{:02}}}", floor / 100, floor % 100);
        let answer = admin.ask("PATCH", path, &[("if-match", read.header("etag").unwrap())], &body);
        match answer.status {
            200 => return,
            // A machine that stands still for so long: nothing was sent to the database.
            503 if answer.text().contains("did not answer within 5 s") => {}
            _ => answer.is_refusal(412, "precondition_failed"),
        }
    }
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    on_both(|home| {
        let admin = start(home);
        let before = admin.get("/admin/v1/supplies");
        for (method, path, header, status) in [
            ("PUT", "supply1", ("if-none-match", "*"), 412),
            ("PUT", "new", ("if-match", "*"), 412),
            ("PUT", "new", ("if-match", "\"0000000000000000\""), 412),
            ("PUT", "supply1", ("if-match", "\"0000000000000000\", \"1\""), 412),
            ("DELETE", "supply1", ("if-match", "\"0000000000000000\""), 412),
            ("PUT", "supply1", ("if-match", "0000000000000000"), 422),
            ("PUT", "supply1", ("if-none-match", "\"x\""), 422),
            ("PATCH", "new", ("if-match", "*"), 412),
        ] {
            let answer =
                admin.ask(method, &format!("/admin/v1/supplies/{path}"), &[header], "{\"bidders\":[]}");
            assert_eq!(answer.status, status, "{method} {path} {header:?}: {}", answer.text());
            answer.problem();
        }
        assert_eq!(admin.get("/admin/v1/supplies"), before);
    });
}

#[test]
fn each_bad_input_is_told_what_is_wrong_with_it_and_changes_nothing() {
    let admin = start(Home::empty());
    let before = (admin.get("/admin/v1/supplies"), admin.get("/admin/v1/bidders"));
    for (method, path, body, status, words) in [
        ("PUT", "supplies/s", r#"["b","b"]"#, 422, &["1:6", "listed twice"][..]),
        ("PUT", "supplies/s", r#"["nobody"]"#, 422, &["1:2", "nobody"]),
        (
            "PUT",
            "supplies/s",
            "{\n\"bid_floor\":-1,\"x\":2}",
            422,
            &["2:13", "bid_floor", "2:16", "\"x\"", "no bidders"],
        ),
        ("PUT", "supplies/s", r#"{"bidders":[],"auction":"third_price"}"#, 422, &["auction", "third_price"]),
        ("PUT", "supplies/s", r#"{"bidders":[],"bidders":["b"]}"#, 422, &["there twice"]),
        ("PUT", "supplies/s", "{", 422, &["1:", "not JSON"]),
        ("PUT", "supplies/s", "", 422, &["not JSON"]),
        ("PUT", "supplies/%00", "[]", 422, &["id", "control character"]),
        ("PUT", "supplies/%FF", "[]", 422, &["path"]),
        ("PUT", "bidders/c", r#"{"country":"UK"}"#, 422, &["country", "GB"]),
        ("PUT", "bidders/c", "{}", 422, &["no country"]),
        (
            "PUT",
            "bidders/c",
            r#"{"country":"US","simulation":{"price":{"uniform":[2,1]}}}"#,
            422,
            &["low end"],
        ),
        ("PATCH", "supplies/supply1", r#"{"bidders":null}"#, 422, &["no bidders"]),
        ("PATCH", "supplies/supply1", r#"{"bid_floor":1,"bid_floor":2}"#, 422, &["there twice"]),
        ("PATCH", "supplies/supply1", "3", 422, &["a number"]),
        ("PATCH", "supplies/nobody", "{}", 404, &["no such entry"]),
        ("DELETE", "supplies/nobody", "", 404, &["no such entry"]),
        ("GET", "bidders/nobody", "", 404, &["no such entry"]),
        ("GET", "supplies?limit=0", "", 422, &["limit", "1 to 500"]),
        ("GET", "supplies?limit=x", "", 422, &["limit"]),
        ("GET", "supplies?lim=1", "", 422, &["lim"]),
    ] {
        let answer = admin.ask(method, &format!("/admin/v1/{path}"), &[], body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        words
            .iter()
            .for_each(|word| assert!(detail.contains(word), "{method} {path} {body}: {word}: {detail}"));
    }
    let headers = [("authorization", &*format!("Bearer {}", admin.token)), ("content-type", "text/plain")];
    let answer = admin.ask_as("PUT", "/admin/v1/supplies/s", &headers, "[]");
    answer.is_refusal(415, "unsupported_media_type");
    assert_eq!((admin.get("/admin/v1/supplies"), admin.get("/admin/v1/bidders")), before);
}

#[test]
fn edits_under_load_cost_no_auction() {
    on_both(|home| {
        let admin = start(home);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let hammers: Vec<_> = (0..2).map(|_| scope.spawn(|| hammer(&admin.server, &stop))).collect();
            let end = AtEnd(|| stop.store(true, Ordering::Relaxed));
            for round in 0..20 {
                let price = f64::from(round + 1) / 100.0;
                admin.make("PUT", &format!("/admin/v1/bidders/b{round}"), &constant(0, price));
                admin.make("PUT", "/admin/v1/supplies/supply1", &json!(["b", format!("b{round}")]));
            }
            drop(end);
            for hammer in hammers {
                let (held, failed) = hammer.join().unwrap();
                assert!(held > 0 && failed.is_empty(), "{} of {held}: {:?}", failed.len(), failed.first());
            }
        });
    });
}

#[test]
fn the_last_supply_is_deleted_in_the_database_and_the_answer_says_that_it_is_still_in_force() {
    let admin = start(Home::empty());
    let answer = admin.ask("DELETE", "/admin/v1/supplies/supply1", &[], "");
    let changed = answer.json();
    assert_eq!((answer.status, &changed["in_force"]), (200, &json!(false)), "{changed}");
    assert!(changed["trouble"].as_str().unwrap().contains("no supplies"), "{changed}");
    assert_eq!(winner(&admin, "supply1"), "b");
    assert_eq!(admin.make("PUT", "/admin/v1/supplies/s", &json!(["b"]))["outcome"], "created");
    assert_eq!(admin.server.supplies(), ["s"]);
}

#[test]
fn a_database_that_is_away_is_503_and_auctions_go_on() {
    let postgres = Postgres::new();
    let way = Way::to(&postgres.url);
    let admin = start(Home::empty().set("BOURSE_DATABASE_URL", &way.url));
    way.cut();
    for (method, path) in [("PUT", "supplies/s"), ("GET", "supplies"), ("DELETE", "bidders/b")] {
        let answer = admin.ask(method, &format!("/admin/v1/{path}"), &[], "[]");
        answer.is_refusal(503, "unavailable");
        answer.retry_after_s();
    }
    assert_eq!(winner(&admin, "supply1"), "b");
    way.mend();
    admin.make("PUT", "/admin/v1/supplies/s", &json!(["b"]));
    assert_eq!(winner(&admin, "s"), "b");
}
