//! Every page but /bid, /stat and the documentation.

use crate::catalogues::constant;
use crate::client::bid_body;
use crate::server::{Home, Server};
use serde_json::{Map, Value, json};

#[test]
fn supplies_lists_every_supply_in_order_of_id() {
    let ids = (0..1500).map(|i| format!("s{:04}", (i * 7919) % 1500));
    let odd = ["", "S", "é", "a:b", "\"q\"", "Z", "~"].map(|id| format!("{id}x"));
    let mut expected: Vec<String> = ids.chain(odd).collect();
    let supplies: Map<String, Value> = expected.iter().map(|id| (id.clone(), json!(["b"]))).collect();
    let server =
        Home::empty().with(&json!({"supplies": supplies, "bidders": {"b": {"country": "US"}}})).serve();
    expected.sort();
    assert_eq!(server.supplies(), expected);
    let answer = server.get("/supplies");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text().starts_with(r#"[{"id":""#));
}

#[test]
fn the_front_page_is_health_for_programs_and_a_page_for_browsers() {
    let server = Server::usual();
    for accept in ["application/json", "*/*", "", "text/plain"] {
        let answer = server.request("GET", "/", &[("accept", accept)], b"");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
        let health = answer.json();
        assert_eq!(
            (&health["status"], &health["version"]),
            (&json!("ok"), &json!(env!("CARGO_PKG_VERSION")))
        );
        assert!(health["uptime_s"].as_f64().is_some_and(|s| s >= 0.0), "{health}");
        assert!(!health["catalogue"]["revision"].as_str().unwrap_or_default().is_empty(), "{health}");
    }
    assert_eq!(server.get("/").json()["status"], "ok");
    for accept in
        ["text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "TEXT/HTML"]
    {
        let answer = server.request("GET", "/", &[("accept", accept)], b"");
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{accept}");
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{accept}");
    }
}

#[test]
fn the_revision_is_the_contents() {
    let other = crate::catalogues::constants(&[("b", 0, 0.5)]);
    let revision = |server: Server| server.json("/")["catalogue"]["revision"].clone();
    assert_eq!(revision(Server::usual()), revision(Server::usual()));
    assert_ne!(revision(Server::usual()), revision(Home::empty().with(&other).serve()));
}

#[test]
fn health_is_live_and_ready() {
    let server = Server::usual();
    for page in ["/health/live", "/health/ready"] {
        assert_eq!(server.json(page), json!({"status": "ok"}));
    }
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::usual();
    let mut connection = server.connect();
    for page in ["/supplies", "/stat", "/health/live", "/openapi.json", "/api/redoc"] {
        let get = connection.request("GET", page, &[], b"");
        let head = connection.request("HEAD", page, &[], b"");
        assert_eq!((head.status, head.header("content-type")), (200, get.header("content-type")), "{page}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{page}");
        assert!(head.body.is_empty());
    }
    assert_eq!(connection.request("HEAD", "/nowhere", &[], b"").status, 404);
    assert_eq!(connection.request("GET", "/health/live", &[], b"").status, 200, "nothing was left over");
}

/// `name{label="value",…} number` as its name, its labels as written, and its number.
fn sample(line: &str) -> (&str, &str, f64) {
    let (series, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
        None => (series, ""),
    };
    (name, labels, number.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// Whether these are labels: `a="b",c="d\"e"`.
fn are_labels(mut text: &str) -> bool {
    while !text.is_empty() {
        let Some((name, rest)) = text.split_once("=\"") else { return false };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return false;
        }
        let mut escaped = false;
        let end = rest.char_indices().find(|&(_, c)| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let Some((end, _)) = end else { return false };
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
    true
}

#[test]
fn every_line_of_metrics_is_one_that_prometheus_reads() {
    let ids = ["plain", "a:b", "\"q\" \\", "日本"];
    let bidders: Map<String, Value> = ids.iter().map(|id| ((*id).to_owned(), constant(0, 0.5))).collect();
    let server = Home::empty().with(&json!({"supplies": {"s": ids}, "bidders": bidders})).serve();
    (0..40).for_each(|_| assert_eq!(server.bid(bid_body("s", "203.0.113.77")).status, 200));
    server.bid(bid_body("canary-unknown", "203.0.113.77")).is_refusal(400, "unknown_supply");
    let open = [("accept", "application/openmetrics-text")];
    let answer = server.request("GET", "/metrics", &open, b"");
    assert!(answer.header("content-type").unwrap().contains("text"), "{:?}", answer.headers);
    let mut wins = 0.0;
    let text = answer.text();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, number) = sample(line);
        assert!(
            (name.starts_with("bourse_") || name.starts_with("process_"))
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{line}"
        );
        assert!(are_labels(labels), "{line}");
        assert!(number >= 0.0, "{line}");
        if name == "bourse_bidder_wins_total" {
            wins += number;
        }
    }
    assert_eq!(wins as u32, 40);
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&words[1]), "{line}");
    }
    assert!(!text.contains("203.0.113") && !text.contains("canary"), "labels come only from the catalogue");
    assert_eq!(text.lines().last(), Some("# EOF"));
}
