//! POST /bid: every row of the contract's tables.

use crate::client::{Connection, JSON, any_bid, bid_body, micros};
use crate::server::{Home, Server};
use serde_json::{Value, json};

/// A body with these members in place of the usual ones; null leaves a member out.
fn body(changed: &Value) -> String {
    let mut body = json!({"supply_id": "supply1", "ip": "192.0.2.1", "country": "US", "tmax": 200});
    for (name, value) in changed.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    body.to_string()
}

/// The members that a 422 names, in order of name.
fn named(connection: &mut Connection, body: &str) -> Vec<String> {
    let answer = connection.bid(body);
    answer.is_refusal(422, "invalid_request");
    let problem = answer.problem();
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{problem}"));
    let mut names: Vec<String> = errors.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect();
    names.iter().for_each(|name| assert!(problem["detail"].as_str().unwrap().contains(name), "{problem}"));
    names.sort();
    names
}

#[test]
fn a_sold_slot_is_its_winner_and_its_price_in_whole_cents() {
    let server = Server::usual();
    let mut connection = server.connect();
    let mut sold = 0;
    for _ in 0..50 {
        let answer = connection.bid(any_bid());
        let Some((winner, price)) = answer.sale() else {
            answer.is_refusal(400, "no_bids");
            continue;
        };
        sold += 1;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(winner.strip_prefix("bidder").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 12));
        assert!((10_000..=1_000_000).contains(&price) && price % 10_000 == 0, "{}", answer.text());
    }
    assert!(sold > 40, "{sold} of 50");
}

#[test]
fn the_micros_of_a_decimal_are_read_exactly() {
    for (text, expected) in [("0.83", 830_000), ("1", 1_000_000), ("0.000001", 1), ("18.45", 18_450_000)] {
        assert_eq!(micros(text), expected, "{text}");
    }
}

#[test]
fn each_refusal_has_its_status_and_its_code() {
    let server = Home::empty().usual().set("BOURSE_HTTP_BODY_MAX_BYTES", &1000).serve();
    let mut connection = server.connect();
    let long = "x".repeat(1001);
    for (body, status, code) in [
        ("", 400, "malformed_json"),
        ("{", 400, "malformed_json"),
        ("supply1", 400, "malformed_json"),
        (&bid_body("supply2", "192.0.2.1"), 400, "unknown_supply"),
        (&body(&json!({"country": "DE"})), 400, "no_eligible_bidders"),
        ("{}", 422, "invalid_request"),
        ("[]", 422, "invalid_request"),
    ] {
        connection.bid(body).is_refusal(status, code);
    }
    server.bid(&long).is_refusal(413, "body_too_large");
    server.bid(body(&json!({"x": long}))).is_refusal(413, "body_too_large");
    let fits = body(&json!({"country": "DE", "x": ""}));
    let fits = body(&json!({"country": "DE", "x": "x".repeat(1000 - fits.len())}));
    assert_eq!(fits.len(), 1000);
    server.bid(fits).is_refusal(400, "no_eligible_bidders");
}

#[test]
fn no_bids_when_every_bidder_passed_or_timed_out() {
    let profile = |simulation: Value| json!({"country": "US", "simulation": simulation});
    let catalogue = json!({
        "supplies": {"passes": ["passes"], "times_out": ["times_out"], "both": ["passes", "times_out"], "empty": []},
        "bidders": {"passes": profile(json!({"no_bid_probability": 1, "latency_ms": {"constant": 0}})),
            "times_out": profile(json!({"no_bid_probability": 0, "latency_ms": {"constant": 60_000}}))}});
    let server = Home::empty().with(&catalogue).serve();
    for (supply, code) in [
        ("passes", "no_bids"),
        ("times_out", "no_bids"),
        ("both", "no_bids"),
        ("empty", "no_eligible_bidders"),
    ] {
        server.bid(bid_body(supply, "192.0.2.1")).is_refusal(400, code);
    }
}

#[test]
fn a_422_names_each_member_that_is_missing_or_breaks_its_rule() {
    let server = Server::usual();
    let mut connection = server.connect();
    let long = "x".repeat(129);
    for (changed, expected) in [
        (json!({"supply_id": null}), vec!["supply_id"]),
        (json!({"ip": null}), vec!["ip"]),
        (json!({"country": null}), vec!["country"]),
        (
            json!({"supply_id": null, "ip": null, "country": null, "tmax": "x"}),
            vec!["country", "ip", "supply_id", "tmax"],
        ),
        (json!({"supply_id": ""}), vec!["supply_id"]),
        (json!({"supply_id": long}), vec!["supply_id"]),
        (json!({"supply_id": "a\nb"}), vec!["supply_id"]),
        (json!({"supply_id": "a\u{0}"}), vec!["supply_id"]),
        (json!({"supply_id": "a\u{7f}"}), vec!["supply_id"]),
        (json!({"supply_id": "a\u{85}"}), vec!["supply_id"]),
        (json!({"supply_id": 1}), vec!["supply_id"]),
        (json!({"supply_id": ["supply1"]}), vec!["supply_id"]),
        (json!({"ip": ""}), vec!["ip"]),
        (json!({"ip": "192.0.2"}), vec!["ip"]),
        (json!({"ip": "192.0.2.256"}), vec!["ip"]),
        (json!({"ip": "192.0.2.1:80"}), vec!["ip"]),
        (json!({"ip": "192.0.2.1/32"}), vec!["ip"]),
        (json!({"ip": "0300.0.2.1"}), vec!["ip"]),
        (json!({"ip": " 192.0.2.1"}), vec!["ip"]),
        (json!({"ip": "[2001:db8::1]"}), vec!["ip"]),
        (json!({"ip": "2001:db8:::1"}), vec!["ip"]),
        (json!({"ip": "localhost"}), vec!["ip"]),
        (json!({"ip": 3_221_225_985_u32}), vec!["ip"]),
        (json!({"country": ""}), vec!["country"]),
        (json!({"country": "U"}), vec!["country"]),
        (json!({"country": "ZZ"}), vec!["country"]),
        (json!({"country": "USAA"}), vec!["country"]),
        (json!({"country": "840"}), vec!["country"]),
        (json!({"country": "ÜS"}), vec!["country"]),
        (json!({"country": true}), vec!["country"]),
        (json!({"ip": "x", "country": "y"}), vec!["country", "ip"]),
    ] {
        assert_eq!(named(&mut connection, &body(&changed)), expected, "{changed}");
    }
}

#[test]
fn tmax_is_a_whole_number_from_1_to_5000() {
    let server = Home::empty().with(&crate::catalogues::constants(&[("b", 0, 0.5)])).serve();
    let mut connection = server.connect();
    for (tmax, is_valid) in [
        ("1", true),
        ("200", true),
        ("5000", true),
        ("200.0", true),
        ("2e2", true),
        ("20000e-2", true),
        ("0", false),
        ("-0", false),
        ("-1", false),
        ("5001", false),
        ("0.5", false),
        ("200.5", false),
        ("1e400", false),
        ("-1e400", false),
        ("1e-400", false),
        ("123456789012345678901234567890", false),
        ("\"200\"", false),
        ("null", false),
        ("true", false),
        ("[200]", false),
        ("{}", false),
    ] {
        let body = format!(r#"{{"supply_id":"supply1","ip":"192.0.2.1","country":"US","tmax":{tmax}}}"#);
        let verdict = connection.bid(&body).verdict();
        assert_eq!(verdict, if is_valid { "200" } else { "422 invalid_request" }, "{tmax}");
        if !is_valid {
            assert_eq!(named(&mut connection, &body), ["tmax"], "{tmax}");
        }
    }
    let left_out = bid_body("supply1", "192.0.2.1");
    assert_eq!(connection.bid(left_out).verdict(), "200");
}

#[test]
fn a_tmax_left_out_is_200() {
    let server = Home::empty()
        .with(&crate::catalogues::constants(&[("in_time", 200, 0.5), ("late", 201, 0.6)]))
        .serve();
    let (winner, _) = server.bid(bid_body("supply1", "192.0.2.1")).sale().unwrap();
    assert_eq!(winner, "in_time");
}

#[test]
fn a_country_is_alpha_2_or_alpha_3_in_any_case() {
    let bidders = json!({"us": {"country": "us"}, "gb": {"country": "GBR"}});
    let server = Home::empty().with(&json!({"supplies": {"s": ["us", "gb"]}, "bidders": bidders})).serve();
    let mut connection = server.connect();
    for country in ["US", "us", "uS", "USA", "usa", "UsA", "GB", "gb", "GBR", "gbr"] {
        let body = json!({"supply_id": "s", "ip": "192.0.2.1", "country": country}).to_string();
        let verdict = connection.bid(body).verdict();
        assert!(["200", "400 no_bids"].contains(&verdict.as_str()), "{country}: {verdict}");
    }
    let stat = server.json("/stat");
    assert_eq!(stat["s"]["reqs_per_country"], json!({"US": 6, "GB": 4}));
}

#[test]
fn an_id_may_hold_any_character_but_controls() {
    let longest = "é".repeat(128);
    let ids = [
        "a:b",
        "\"quoted\"",
        "日本",
        "a b",
        "\\",
        "{x}",
        "😀",
        "'; DROP TABLE supplies; --",
        &longest,
        "a/b?c#d",
    ];
    let bidder = crate::catalogues::constant(0, 0.5);
    let supplies: serde_json::Map<String, Value> =
        ids.iter().map(|id| ((*id).to_owned(), json!([id]))).collect();
    let bidders: serde_json::Map<String, Value> =
        ids.iter().map(|id| ((*id).to_owned(), bidder.clone())).collect();
    let server = Home::empty().with(&json!({"supplies": supplies, "bidders": bidders})).serve();
    let mut connection = server.connect();
    for id in ids {
        let (winner, price) = connection.bid(bid_body(id, "192.0.2.1")).sale().unwrap();
        assert_eq!((winner.as_str(), price), (id, 500_000));
    }
    let stat = server.json("/stat");
    ids.iter().for_each(|id| assert_eq!(stat[id]["bidders"][id]["wins"], json!(1), "{id}"));
}

#[test]
fn a_content_type_that_is_not_json_is_refused() {
    let server = Server::usual();
    let mut connection = server.connect();
    let body = body(&json!({"country": "DE"}));
    for (content_type, is_json) in [
        ("application/json", true),
        ("Application/JSON", true),
        ("application/json;charset=utf-8", true),
        ("application/json ; charset=\"UTF-8\"", true),
        ("text/plain", false),
        ("text/json", false),
        ("application/x-www-form-urlencoded", false),
        ("multipart/form-data; boundary=x", false),
        ("application/jsonp", false),
        ("application", false),
        ("json", false),
        ("é", false),
        ("text/plain, application/json", false),
    ] {
        let answer = connection.request("POST", "/bid", &[("content-type", content_type)], body.as_bytes());
        let expected = if is_json { (400, "no_eligible_bidders") } else { (415, "unsupported_media_type") };
        assert_eq!((answer.status, answer.code().as_str()), expected, "{content_type}");
    }
    let gzip = [JSON[0], ("content-encoding", "gzip")];
    connection.request("POST", "/bid", &gzip, body.as_bytes()).is_refusal(415, "unsupported_media_type");
}

#[test]
fn another_method_is_405_with_what_is_allowed() {
    let server = Server::usual();
    let mut connection = server.connect();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"] {
        let answer = connection.request(method, "/bid", &[], b"");
        answer.is_refusal(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let head = connection.request("HEAD", "/bid", &[], b"");
    assert_eq!(head.status, 405);
    for page in ["/", "/stat", "/supplies", "/metrics", "/openapi.json", "/health/live"] {
        let answer = connection.request("POST", page, &[], b"");
        answer.is_refusal(405, "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains("GET"), "{page}");
    }
}

#[test]
fn an_unknown_page_is_404() {
    let server = Server::usual();
    let mut connection = server.connect();
    for path in
        ["/bids", "/bid/", "/BID", "//bid", "/bid/../bid", "/%62id", "/bid%2f", "/x?y=z", "/stat/supply1"]
    {
        connection.request("POST", path, JSON, any_bid().as_bytes()).is_refusal(404, "not_found");
    }
    for method in ["GET", "PUT", "FOO"] {
        connection.request(method, "/nowhere", &[], b"").is_refusal(404, "not_found");
    }
}

#[test]
fn a_query_does_not_change_the_page() {
    let server = Home::empty().with(&crate::catalogues::constants(&[("b", 0, 0.5)])).serve();
    assert_eq!(server.request("POST", "/bid?x=1", JSON, any_bid().as_bytes()).verdict(), "200");
    assert_eq!(server.get("/supplies?").status, 200);
}

#[test]
fn no_refusal_repeats_the_input_unescaped() {
    let server = Server::usual();
    let hostile = "<script>\"\u{1b}[2J\u{202e}\u{0}";
    let in_json = serde_json::to_string(hostile).unwrap();
    let path = format!("/<script>{}", "%0d%0ax-evil:1");
    let twice = format!(r#"{{{in_json}:1,{in_json}:2,"supply_id":"s","ip":"192.0.2.1","country":"US"}}"#);
    for answer in [
        server.bid(body(&json!({"supply_id": hostile}))),
        server.bid(body(&json!({"supply_id": "<script>\"\u{202e}"}))),
        server.bid(body(&json!({"ip": hostile, "country": hostile}))),
        server.bid(twice),
        server.bid(hostile),
        server.get(&path),
    ] {
        answer.problem();
        assert!(answer.header("x-evil").is_none());
    }
}
