//! One meaning per body: a corpus of JSON at its edges, as the whole body and inside a member that is ignored.
//!
//! The verdict of each row: `y` is JSON (RFC 8259) in UTF-8 with no member twice, `n` is not.

use crate::client::{Connection, bid_body};
use crate::server::Server;

#[rustfmt::skip]
const VALUES: &[(char, &str)] = &[
    // literals
    ('y', "null"), ('y', "true"), ('y', "false"), ('n', "nul"), ('n', "nulll"), ('n', "True"), ('n', "NULL"),
    ('n', "undefined"), ('n', "NaN"), ('n', "Infinity"), ('n', "-Infinity"), ('n', "nan"), ('n', "tru\u{65}\u{301}"),
    // numbers
    ('y', "0"), ('y', "-0"), ('y', "-0.0"), ('y', "0e0"), ('y', "0E+0"), ('y', "1"), ('y', "-1"), ('y', "1.5"),
    ('y', "1e5"), ('y', "1E-5"), ('y', "1e+5"), ('y', "1.5e5"), ('y', "1e400"), ('y', "-1e400"), ('y', "1e-400"),
    ('y', "1e99999999999999999999"), ('y', "0e99999999999999999999"), ('y', "1e-99999999999999999999"),
    ('y', "123456789012345678901234567890"), ('y', "-123456789012345678901234567890"),
    ('y', "0.1234567890123456789012345678901234567890"), ('y', "9007199254740993"), ('y', "18446744073709551616"),
    ('n', "01"), ('n', "-01"), ('n', "00"), ('n', "+1"), ('n', "1."), ('n', ".1"), ('n', "-.1"), ('n', "1.e1"),
    ('n', "1e"), ('n', "1e+"), ('n', "1e1.5"), ('n', "1.2.3"), ('n', "--1"), ('n', "-"), ('n', "0x10"), ('n', "1_000"),
    ('n', "1,000"), ('n', "1 000"), ('n', "١"), ('n', "１"), ('n', "1f"), ('n', "1n"), ('n', "0.1e"), ('n', "-a"),
    // strings
    ('y', r#""""#), ('y', r#""a""#), ('y', r#""é""#), ('y', r#""日本""#), ('y', r#""😀""#), ('y', "\"\u{7f}\""),
    ('y', "\"\u{fffe}\u{ffff}\""), ('y', "\"\u{2028}\u{2029}\""), ('y', "\"\u{feff}\""), ('y', "\"\u{10ffff}\""),
    ('y', r#""\u0000""#), ('y', r#""\u001f""#), ('y', r#""\"\\\/\b\f\n\r\t""#), ('y', r#""\u00e9\u00E9""#),
    ('y', r#""\ud83d\ude00""#), ('y', r#""\uD83D\uDE00""#), ('y', r#""/""#), ('y', r#""[{""#), ('y', r#""\\""#),
    ('n', "\"a"), ('n', "a\""), ('n', "\""), ('n', "'a'"), ('n', r#""\""#), ('n', r#""\x41""#), ('n', r#""\a""#),
    ('n', r#""\u""#), ('n', r#""\u12""#), ('n', r#""\u12g4""#), ('n', r#""\U00e9""#), ('n', r#""\u{e9}""#),
    ('n', "\"a\nb\""), ('n', "\"a\tb\""), ('n', "\"\u{0}\""), ('n', "\"\u{1f}\""), ('n', "\"\\\u{0}\""),
    ('n', r#""a" "b""#), ('n', r#""\ ""#), ('n', r#""\u-123""#), ('n', "`a`"), ('n', "“a”"),
    // arrays
    ('y', "[]"), ('y', "[ ]"), ('y', "[1]"), ('y', "[1,2]"), ('y', "[[],[[]]]"), ('y', "[1\n,\r\n2\t]"), ('y', "[null]"),
    ('n', "["), ('n', "]"), ('n', "[1,]"), ('n', "[,1]"), ('n', "[,]"), ('n', "[1,,2]"), ('n', "[1 2]"), ('n', "[1;2]"),
    ('n', "[1"), ('n', "[1,"), ('n', "[1}"), ('n', "[[1]"), ('n', "[1]]"), ('n', "[a]"), ('n', "[\u{c}]"), ('n', "(1)"),
    ('n', "[1:2]"), ('n', "[*]"), ('n', "[<null>]"), ('n', "[\u{a0}1]"), ('n', "[\u{2060}]"), ('n', "[1]#"),
    // objects
    ('y', "{}"), ('y', r#"{"a":1}"#), ('y', r#"{"a":{"b":{}}}"#), ('y', r#"{"":0}"#), ('y', r#"{"a\u0000":1}"#),
    ('y', r#" {"a" : 1 , "b" : 2 } "#), ('y', r#"{"a":1,"A":2}"#), ('y', "{\"\u{e9}\":1,\"e\u{301}\":2}"),
    ('n', "{"), ('n', "}"), ('n', r#"{"a"}"#), ('n', r#"{"a":}"#), ('n', r#"{"a":1,}"#), ('n', r#"{,"a":1}"#),
    ('n', r#"{"a":1 "b":2}"#), ('n', r#"{"a":1;"b":2}"#), ('n', r#"{"a"=1}"#), ('n', r#"{"a"::1}"#), ('n', "{a:1}"),
    ('n', "{'a':1}"), ('n', "{1:1}"), ('n', "{null:1}"), ('n', r#"{[]:1}"#), ('n', r#"{"a":1"#), ('n', r#"{"a":"#),
    ('n', r#"{"a"#), ('n', r#"{"a":1]"#), ('n', r#"{"a":1}}"#), ('n', r#"{:1}"#), ('n', r#"{"a":1,,"b":2}"#),
    ('n', r#"{"a" b:1}"#), ('n', r#"{"a":1}//"#), ('n', r#"{"a":/**/1}"#), ('n', r#"{"a":1}{"a":1}"#),
    // around
    ('n', ""), ('n', " "), ('n', "\u{feff}{}"), ('n', "{}\u{0}"), ('n', "\u{0}"), ('n', "{}\u{feff}"), ('n', "{}\u{c}"),
    ('n', "\u{a0}{}"), ('n', "\u{1e}{}\n"), ('n', "{},"), ('n', ")]}',{}"), ('n', "<xml/>"), ('n', "a=1&b=2"),
    ('n', "{}\u{b}"), ('n', "\u{2028}{}"), ('n', "/*x*/{}"), ('n', "#\n{}"), ('n', "--\n{}"), ('n', "%7b%7d"),
];

/// Bytes that are not UTF-8.
#[rustfmt::skip]
const NOT_UTF8: &[&[u8]] = &[
    b"\"\xff\"", b"\"\xc3\"", b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xf5\x80\x80\x80\"", b"\"\xe2\x82\"", b"\"\x80\"",
    b"\xff\xfe{\x00}\x00", b"\xfe\xff\x00{\x00}", b"{\"\xe9\":1}", b"\xef\xbb", b"[\xff]",
];

/// The verdict on this body, the same twice, on a connection that works afterwards.
fn verdict(connection: &mut Connection, body: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
    let [once, again] = [0, 1].map(|_| connection.bid(body));
    assert!(once.status < 500, "{shown}: {once:?}");
    assert_eq!(once.verdict(), again.verdict(), "{shown}");
    once.verdict()
}

/// A body that would be sold or `no_eligible_bidders` but for this member.
fn with_member(member: &[u8]) -> Vec<u8> {
    let head = br#"{"supply_id":"supply1","ip":"192.0.2.1","country":"DE","#;
    [&head[..], member, b"}"].concat()
}

#[test]
fn each_value_as_a_body_has_one_meaning() {
    let server = Server::usual();
    let mut connection = server.connect();
    for (is_json, text) in VALUES {
        let expected = if *is_json == 'y' { "422 invalid_request" } else { "400 malformed_json" };
        assert_eq!(verdict(&mut connection, text.as_bytes()), expected, "{text:?}");
    }
    for bytes in NOT_UTF8 {
        assert_eq!(verdict(&mut connection, bytes), "400 malformed_json", "{bytes:?}");
    }
}

#[test]
fn each_value_of_an_ignored_member_has_one_meaning() {
    let server = Server::usual();
    let mut connection = server.connect();
    for (is_json, text) in VALUES {
        // What is wrong around a value closes or comments nothing here, and reads as another value.
        let expected = if *is_json == 'y' { "400 no_eligible_bidders" } else { "400 malformed_json" };
        let body = with_member(format!("\"x\":{text}").as_bytes());
        assert_eq!(verdict(&mut connection, &body), expected, "{text:?}");
    }
    for bytes in NOT_UTF8 {
        let body = with_member(&[b"\"x\":", *bytes].concat());
        assert_eq!(verdict(&mut connection, &body), "400 malformed_json", "{bytes:?}");
    }
}

#[test]
fn half_a_surrogate_pair_has_one_meaning_everywhere() {
    let server = Server::usual();
    let mut connection = server.connect();
    for half in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\udc00\ud800", r"\ud800x", r"\uD800\n"] {
        let string = format!("\"{half}\"");
        let body = format!(r#"{{"supply_id":{string},"ip":"192.0.2.1","country":"US"}}"#);
        let in_id = verdict(&mut connection, body.as_bytes());
        assert!(["422 invalid_request", "400 malformed_json"].contains(&in_id.as_str()), "{half}: {in_id}");
        for member in
            [format!("\"x\":{string}"), format!("\"x\":[{string}]"), format!("\"x\":{{{string}:1}}")]
        {
            let ignored = verdict(&mut connection, &with_member(member.as_bytes()));
            let meanings = ["400 no_eligible_bidders", "400 malformed_json", "422 invalid_request"];
            assert!(meanings.contains(&ignored.as_str()), "{member}: {ignored}");
        }
        let name = verdict(&mut connection, &with_member(format!("{string}:1").as_bytes()));
        assert!(
            ["400 malformed_json", "400 no_eligible_bidders", "422 invalid_request"].contains(&name.as_str())
        );
    }
}

#[test]
fn the_same_key_twice_is_refused_however_it_is_written() {
    let server = Server::usual();
    let mut connection = server.connect();
    for (members, named) in [
        (r#""supply_id":"supply1""#, "supply_id"),
        (r#""supply_id":"other""#, "supply_id"),
        (r#""supply_id":null"#, "supply_id"),
        (r#""\u0073upply_id":"supply1""#, "supply_id"),
        (r#""ip":"192.0.2.1""#, "ip"),
        (r#""country":"DE""#, "country"),
        (r#""tmax":1,"tmax":1"#, "tmax"),
        (r#""tmax":1,"x":0,"tma\u0078":2"#, "tmax"),
        (r#""x":1,"x":1"#, "x"),
        (r#""x":1,"y":2,"\u0078":{}"#, "x"),
        (r#""":1,"":1"#, ""),
    ] {
        let answer = connection.bid(with_member(members.as_bytes()));
        answer.is_refusal(422, "invalid_request");
        let problem = answer.problem();
        assert!(
            problem["errors"].as_array().unwrap().iter().any(|error| error["field"] == named),
            "{problem}"
        );
    }
}

#[test]
fn nesting_is_bounded() {
    let server = Server::usual();
    let mut connection = server.connect();
    let (arrays, objects) =
        (|n: usize| "[".repeat(n) + &"]".repeat(n), |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n));
    for (depth, expected) in
        [(10, "400 no_eligible_bidders"), (1000, "400 malformed_json"), (10_000, "400 malformed_json")]
    {
        for text in [arrays(depth), objects(depth)] {
            let body = with_member(format!("\"x\":{text}").as_bytes());
            assert_eq!(verdict(&mut connection, &body), expected, "depth {depth}");
        }
    }
    for open in ["[", "{\"a\":", "[{\"a\":", "[[[\""] {
        assert_eq!(
            verdict(&mut connection, open.repeat(60_000 / open.len()).as_bytes()),
            "400 malformed_json"
        );
    }
    let brackets = format!("\"x\":\"{}\"", "[{".repeat(5_000));
    assert_eq!(verdict(&mut connection, &with_member(brackets.as_bytes())), "400 no_eligible_bidders");
    let wide = format!("\"x\":[{}]", vec!["[]"; 5_000].join(","));
    assert_eq!(verdict(&mut connection, &with_member(wide.as_bytes())), "400 no_eligible_bidders");
}

#[test]
fn a_body_cut_anywhere_is_malformed() {
    let server = Server::usual();
    let mut connection = server.connect();
    let body = bid_body("supply1", "192.0.2.1");
    for end in 0..body.len() {
        assert_eq!(
            verdict(&mut connection, &body.as_bytes()[..end]),
            "400 malformed_json",
            "{}",
            &body[..end]
        );
    }
}

#[test]
fn a_byte_changed_anywhere_never_makes_a_5xx() {
    let server = Server::usual();
    let mut connection = server.connect();
    let body = bid_body("supply1", "192.0.2.1").into_bytes();
    for at in 0..body.len() {
        for byte in [0, b'"', b'\\', b'{', b'}', b',', 0x80, 0xff] {
            let mut changed = body.clone();
            changed[at] = byte;
            let answer = connection.bid(&changed);
            let shown = String::from_utf8_lossy(&changed).into_owned();
            assert!(answer.status < 500, "{shown}");
            assert!(answer.status == 200 || answer.verdict().starts_with('4'), "{shown}");
        }
    }
}
