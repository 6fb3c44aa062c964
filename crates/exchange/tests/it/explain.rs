//! POST /auctions: an auction like any other, and what `bourse journal cat` shows of it.

use crate::catalogues::{self, constant};
use crate::client::{JSON, any_bid, bid_body};
use crate::server::{Home, Server};
use serde_json::{Value, json};

/// What is asked for is refused as by POST /bid, or explained.
fn explain(server: &Server, body: impl AsRef<[u8]>) -> crate::client::Answer {
    server.request("POST", "/auctions", JSON, body.as_ref())
}

#[test]
fn the_account_is_what_the_journal_shows_and_the_answer_is_what_a_bid_gets() {
    let catalogue = json!({
        "supplies": {"s \"1\"": {"bidders": ["high", "mid", "late", "abroad"], "auction": "second_price"}},
        "bidders": {"high": constant(1, 0.83), "mid": constant(2, 0.8), "late": constant(9000, 1.0),
            "abroad": {"country": "GB"}}});
    let server = Home::empty().with(&catalogue).serve_with(&["--seed", "7"]);
    let answer = explain(&server, bid_body("s \"1\"", "192.0.2.77"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let explained = answer.json();
    assert_eq!(explained["rate_limit"], Value::Null);
    assert_eq!(explained["answer"], json!({"status": 200, "body": {"winner": "high", "price": 0.81}}));
    let account = &explained["auction"];
    for (member, expected) in [
        ("auction", json!("0000000000000007-0")),
        ("ip", json!("192.0.2.0")),
        ("price_from", json!("runner_up")),
        ("runner_up", json!(0.8)),
    ] {
        assert_eq!(account[member], expected, "{account}");
    }
    let out = server.home.run(&["journal", "cat", "--auction", "0000000000000007-0"]).done();
    let mut line: Value = serde_json::from_str(&out).unwrap();
    for place in ["schema", "event", "core", "offset"] {
        assert!(line.as_object_mut().unwrap().remove(place).is_some());
    }
    assert_eq!(&line, account);
    assert!(answer.text().contains(r#""price":0.80,"fate":"lost""#), "digit by digit: {}", answer.text());
}

#[test]
fn an_auction_that_sold_nothing_is_explained_too_and_counted_once() {
    let catalogue = json!({"supplies": {"s": {"bidders": ["low"], "bid_floor": 0.5}},
        "bidders": {"low": constant(1, 0.1)}});
    let server = Home::empty().with(&catalogue).serve();
    for (country, outcome, code) in
        [("US", "below_floor", "no_bids"), ("GB", "no_eligible_bidders", "no_eligible_bidders")]
    {
        let explained = explain(&server, bid_body("s", "192.0.2.1").replace("US", country)).json();
        assert_eq!(explained["auction"]["outcome"], outcome);
        assert_eq!(explained["answer"]["status"], 400);
        assert_eq!(explained["answer"]["body"]["code"], code);
    }
    assert_eq!(server.json("/stat")["s"]["total_reqs"], 2);
    assert_eq!(server.metric("bourse_bids_total{outcome=\"no_bids\"}"), 1);
    assert_eq!(server.metric("bourse_auctions_total"), 2);
}

#[test]
fn what_a_bid_is_refused_for_is_refused_here() {
    let server = Server::usual();
    for (body, status, code) in [
        ("{".to_owned(), 400, "malformed_json"),
        ("{}".to_owned(), 422, "invalid_request"),
        (bid_body("nowhere", "192.0.2.1"), 400, "unknown_supply"),
    ] {
        explain(&server, &body).is_refusal(status, code);
        server.bid(&body).is_refusal(status, code);
    }
    server
        .request("POST", "/auctions", &[("content-type", "text/plain")], b"{}")
        .is_refusal(415, "unsupported_media_type");
    let refused = server.get("/auctions");
    refused.is_refusal(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
}

#[test]
fn the_rate_limit_counts_an_explained_auction_as_any_other() {
    let home = Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "3");
    let server = home.with(&catalogues::constants(&[("b", 1, 0.5)])).serve();
    assert_eq!(server.bid(any_bid()).status, 200);
    for _ in 0..2 {
        let explained = explain(&server, any_bid()).json();
        let limit = json!({"requests": 3, "window_s": 60, "key": "body", "shared": false});
        assert_eq!(explained["rate_limit"], limit);
    }
    let refused = explain(&server, any_bid());
    refused.is_refusal(429, "rate_limited");
    assert!(refused.retry_after_s() <= 60);
    server.bid(any_bid()).is_refusal(429, "rate_limited");
    assert_eq!(server.json("/stat")["supply1"]["total_reqs"], 3);
}
