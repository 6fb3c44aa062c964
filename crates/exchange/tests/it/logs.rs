//! The log: whatever is sent, an event is one line that a terminal and a parser can trust, and it names nobody.

use crate::client::{Connection, JSON, wire};
use crate::server::{Home, Server, eventually};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;

/// What a terminal obeys, what ends a line, what hides a text.
const NASTY: &[&str] = &[
    "\u{1b}[31m",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\\u001b",
    "\\",
    "\"",
    "}{",
    "%s",
    "é",
    "日本",
];

/// A text with nasty parts and addresses.
fn text(addresses: Vec<String>) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        select(NASTY).prop_map(str::to_owned),
        select(addresses),
        "[ -~]{0,8}",
        any::<char>().prop_map(|letter| letter.to_string()),
    ];
    vec(part, 0..5).prop_map(|parts| parts.concat())
}

/// Addresses of users, none of which another part of the program knows. Some digits of theirs end in no 0.
fn address() -> impl Strategy<Value = String> {
    let v4 = (1u8..255, 1u8..255, 11u8..255).prop_map(|(b, c, d)| format!("100.{b}.{c}.{d}"));
    let v6 = any::<[u16; 5]>().prop_filter_map("has a host", |parts| {
        let [a, b, c, d, e] = parts.map(|part| part | 0x1001);
        Some(format!("2001:db8:{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:1001"))
    });
    prop_oneof![v4.clone(), v6, v4.prop_map(|ip| format!("::ffff:{ip}"))]
}

/// One request, with addresses and nasty texts wherever a client can put one.
#[derive(Debug, Clone)]
struct Sent {
    addresses: Vec<String>,
    wire: Vec<u8>,
}

fn sent() -> impl Strategy<Value = Sent> {
    vec(address(), 3).prop_flat_map(|addresses| {
        let text = || text(addresses.clone());
        let ip = select(addresses.clone());
        let ip = prop_oneof![3 => ip, 1 => text()];
        let supply =
            prop_oneof![2 => Just("supply1".to_owned()), 2 => Just("s \u{202e}\"\\".to_owned()), 2 => text()];
        let country = prop_oneof![2 => Just("US".to_owned()), 1 => text()];
        let (path, header, raw) = (text(), text(), proptest::bool::weighted(0.2));
        let forwarded = select(addresses.clone());
        let addresses = addresses.clone();
        (supply, ip, country, text(), path, header, forwarded, raw).prop_map(
            move |(supply, ip, country, more, path, header, forwarded, raw)| {
                let body = json!({"supply_id": supply, "ip": ip, "country": country, "more": more});
                let body =
                    if raw { format!("{body}{more}").into_bytes() } else { body.to_string().into_bytes() };
                // A header's value cannot have these, or it would be another header.
                let header: String = header.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect();
                let headers = [
                    ("x-forwarded-for", forwarded.as_str()),
                    ("user-agent", &header),
                    ("traceparent", &header),
                    ("accept", &header),
                ];
                let bid = wire("POST", "/bid", &[JSON, &headers].concat(), &body);
                let path: String = path.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
                let other = wire("GET", &format!("/{path}"), &headers, b"");
                Sent { addresses: addresses.clone(), wire: [bid, other].concat() }
            },
        )
    })
}

fn logging(format: &str, key: &str) -> Server {
    let bidders = ["b", "ü\u{202e}\u{2066}"];
    let catalogue = json!({"supplies": {"supply1": bidders, "s \u{202e}\"\\": bidders},
        "bidders": {"b": {"country": "US"}, "ü\u{202e}\u{2066}": {"country": "US"}}});
    let home =
        Home::empty().with(&catalogue).set("BOURSE_LOG_FORMAT", format).set("BOURSE_LOG_LEVEL", "trace");
    let home = home.set("BOURSE_RATE_LIMIT_KEY", key).set("BOURSE_RATE_LIMIT_REQUESTS", &5);
    home.serve_with(&["--log-auctions", "--seed", "7"])
}

/// Every spelling of an address that would name its user.
fn spellings(address: &str) -> Vec<String> {
    let Ok(ip) = address.parse::<IpAddr>() else { return vec![address.to_owned()] };
    let mut spellings = vec![address.to_owned(), ip.to_string(), ip.to_canonical().to_string()];
    if let IpAddr::V6(ip) = ip.to_canonical() {
        // Four groups are a /64, which is one user.
        let groups = ip.segments().map(|group| format!("{group:x}"));
        spellings.push(groups[..4].join(":"));
    }
    spellings
}

/// A line of the log is one event, and shows what it says.
fn check(log: &str, format: &str, addresses: &[String]) {
    let lines = log.strip_suffix('\n').unwrap_or(log);
    for line in lines.split('\n') {
        let obeyed =
            |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!line.contains(obeyed), "{line:?}");
        if format == "json" {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line:?}");
        } else {
            let year = line.get(..4).is_some_and(|year| year.parse::<u16>().is_ok_and(|year| year > 2000));
            assert!(year && line.get(10..11) == Some("T"), "no event begins like this: {line:?}");
        }
    }
    for spelling in addresses.iter().flat_map(|address| spellings(address)) {
        assert!(!log.contains(&spelling), "{spelling} is in the log");
    }
}

#[test]
fn no_input_breaks_a_line_of_the_log_and_no_line_names_an_address() {
    for (format, key) in
        [("text", "body"), ("json", "body"), ("text", "forwarded:1"), ("json", "forwarded:1")]
    {
        let server = logging(format, key);
        let addresses = RefCell::new(Vec::new());
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(150) });
        let run = runner.run(&sent(), |sent| {
            addresses.borrow_mut().extend(sent.addresses);
            let mut connection = Connection::open(server.address);
            connection.send(&sent.wire);
            connection.end();
            connection.rest();
            Ok(())
        });
        run.unwrap();
        let held = server.metric("bourse_auctions_total") as usize;
        assert!(held > 20, "{held} auctions were held");
        eventually("every auction is logged", || server.log().matches("auction held").count() >= held);
        check(&server.log(), format, &addresses.borrow());
    }
}

#[test]
fn what_a_database_holds_is_a_line_too() {
    for format in ["text", "json"] {
        let server = Home::empty().usual().set("BOURSE_LOG_FORMAT", format).serve();
        let catalogue = server.home.data_dir().join("catalogue.sqlite");
        insert(&catalogue, "\u{1b}[31m\r\n\u{9b}2J\u{202e}\u{7f}");
        eventually("it is told", || server.log().contains("catalogue stays as it was"));
        check(&server.log(), format, &[]);
    }
}

/// A bidder that no catalogue may have.
fn insert(catalogue: &Path, id: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(catalogue);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let insert = sqlx::query("INSERT INTO bidders (no, id, country) VALUES (99, ?, 'US')").bind(id);
        insert.execute(&mut connection).await.unwrap();
    });
}
