//! One meaning per body, as a table and as properties.

use super::*;
use proptest::prelude::*;

/// `code` or the request, as one line.
fn read(body: &[u8]) -> String {
    match parse(body, 32, |_| {}) {
        Ok(r) => format!("{} {} {} {}", r.supply_id, r.ip, r.country, r.tmax_ms),
        Err(refusal) => {
            let problem: serde_json::Value = serde_json::from_slice(&wire_body(&refusal)).unwrap();
            let fields: Vec<_> = problem["errors"].as_array().into_iter().flatten().collect();
            let fields: Vec<_> = fields.iter().map(|e| e["field"].as_str().unwrap()).collect();
            [&[refusal.code.name()], &fields[..]].concat().join(" ")
        }
    }
}

fn wire_body(refusal: &Refusal) -> Vec<u8> {
    let wire = refusal.to_wire();
    let at = wire.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    wire[at + 4..].to_vec()
}

const REST: &str = r#""supply_id":"s","ip":"192.0.2.1","country":"US""#;

#[test]
fn each_body_has_one_meaning() {
    for (body, expected) in [
        (r#"{"supply_id":"s","ip":"192.0.2.1","country":"US","tmax":200}"#, "s 192.0.2.1 US 200"),
        (r#" { "tmax" : 7 , "country":"usa","ip":"2001:db8::1","supply_id":"s"} "#, "s 2001:db8::1 US 7"),
        (r#"{"supply_id":"a:\"b\u00e9","ip":"192.0.2.1","country":"gb"}"#, "a:\"bé 192.0.2.1 GB 200"),
        (r#"{"supply\u005fid":"s","ip":"192.0.2.1","country":"US"}"#, "s 192.0.2.1 US 200"),
        (
            r#"{"supply\u005fid":"s","supply_id":"s","ip":"192.0.2.1","country":"US"}"#,
            "invalid_request supply_id",
        ),
        ("", "malformed_json"),
        (" ", "malformed_json"),
        ("{", "malformed_json"),
        ("{}", "invalid_request supply_id ip country"),
        ("[]", "invalid_request body"),
        ("null", "invalid_request body"),
        ("12", "invalid_request body"),
        ("NaN", "malformed_json"),
        ("\u{feff}{}", "malformed_json"),
        ("{} {}", "malformed_json"),
        ("{'a':1}", "malformed_json"),
        (r#"{"supply_id":"s","supply_id":"s","ip":"192.0.2.1","country":"US"}"#, "invalid_request supply_id"),
        (r#"{"supply_id":1,"ip":2,"country":3,"tmax":"4"}"#, "invalid_request supply_id ip country tmax"),
        (
            r#"{"supply_id":"","ip":"192.0.2.256","country":"ZZ","tmax":0}"#,
            "invalid_request supply_id ip country tmax",
        ),
        (
            r#"{"supply_id":"s\u0000","ip":"192.0.2.1 ","country":"US "}"#,
            "invalid_request supply_id ip country",
        ),
        (r#"{"supply_id":"\ud800","ip":"192.0.2.1","country":"US"}"#, "invalid_request supply_id"),
        (r#"{"supply_id":"s","ip":"192.0.2.01","country":"US"}"#, "invalid_request ip"),
        (r#"{"supply_id":"s","ip":"fe80::1%eth0","country":"US"}"#, "invalid_request ip"),
        ("{\"supply_id\":\"s\0\"}", "malformed_json"),
    ] {
        assert_eq!(read(body.as_bytes()), expected, "{body}");
    }
    assert_eq!(read(b"{\"supply_id\":\"\xff\"}"), "malformed_json");
    assert_eq!(read(b"\xff\xfe{\0}\0"), "malformed_json");
}

#[test]
fn tmax_is_the_whole_number_that_is_written() {
    for (tmax, expected) in [
        ("1", Some(1)),
        ("5000", Some(5000)),
        ("200.0", Some(200)),
        ("2e2", Some(200)),
        ("0", None),
        ("-0", None),
        ("-1", None),
        ("5001", None),
        ("200.5", None),
        ("1e400", None),
        ("1e-400", None),
        ("123456789012345678901234567890", None),
        ("\"200\"", None),
        ("null", None),
        ("true", None),
        ("[200]", None),
    ] {
        let expected =
            expected.map_or("invalid_request tmax".to_owned(), |ms| format!("s 192.0.2.1 US {ms}"));
        assert_eq!(read(format!("{{{REST},\"tmax\":{tmax}}}").as_bytes()), expected, "{tmax}");
    }
}

#[test]
fn other_members_are_ignored_whole_but_never_twice() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (member, expected) in [
        (r#""x":1"#.to_owned(), "s 192.0.2.1 US 200"),
        (r#""x":1e400"#.to_owned(), "s 192.0.2.1 US 200"),
        (r#""x":{"a":1,"a":[2]}"#.to_owned(), "s 192.0.2.1 US 200"),
        (r#""x":"\ud800""#.to_owned(), "s 192.0.2.1 US 200"),
        (r#""x":1,"y":2,"x":1"#.to_owned(), "invalid_request x"),
        (r#""x":1,"x":1,"x":1"#.to_owned(), "invalid_request x"),
        (r#""x":01"#.to_owned(), "malformed_json"),
        (r#""x":NaN"#.to_owned(), "malformed_json"),
        (r#""x":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["#.to_owned() + "\"", "s 192.0.2.1 US 200"),
        (r#""x":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["#.to_owned() + "\"", "s 192.0.2.1 US 200"),
        (format!("\"x\":{}", nested(31)), "s 192.0.2.1 US 200"),
        (format!("\"x\":{}", nested(32)), "malformed_json"),
        (format!("\"x\":{}", nested(30_000)), "malformed_json"),
        (format!("\"x\":{}", "[".repeat(60_000)), "malformed_json"),
    ] {
        assert_eq!(read(format!("{{{REST},{member}}}").as_bytes()), expected, "{member:.60}");
    }
}

#[test]
fn a_refusal_repeats_input_only_as_a_json_string() {
    let refusal = parse(br#"{"<script>\"\u001b[2J":1,"<script>\"\u001b[2J":2}"#, 32, |_| {}).unwrap_err();
    let body = String::from_utf8(wire_body(&refusal)).unwrap();
    assert!(!body.contains('\u{1b}') && serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body, 32, |_| {});
    }

    #[test]
    fn no_text_near_json_panics_or_is_read_other_than_by_an_independent_parser(
        body in "\\{(\"(supply_id|ip|country|tmax|x)\":(\"[a-z0-9:.]{0,6}\"|-?[0-9]{1,3}|[\\[\\]{},]|null),?){0,6}\\}?"
    ) {
        let is_json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
        let malformed = read(body.as_bytes()) == "malformed_json";
        prop_assert_eq!(malformed, !is_json, "{}", body);
    }
}
