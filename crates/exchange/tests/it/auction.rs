//! The auction: who wins, what it costs, and how simulated bidders behave, from answers, /stat and the log.

use crate::catalogues::{constant, constants};
use crate::client::{any_bid, bid_body, micros};
use crate::server::{Home, Server, eventually};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SEED: &str = "20260607";

/// One bidder's line of a logged auction.
#[derive(Debug, PartialEq, Eq)]
struct Bid {
    bidder: String,
    answer: String,
    micros: Option<u64>,
    won_at: Option<u64>,
}

/// The logged auctions, once there are `n` of them, each with its id.
fn auctions(server: &Server, n: usize) -> Vec<(String, Value, Vec<Bid>)> {
    eventually("every auction is logged", || server.log().matches("\"auction held\"").count() >= n);
    let log = server.log();
    let events =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let held = events.filter(|event| event["message"] == "auction held");
    held.map(|event| {
        let bids = event["bids"].as_str().unwrap().trim_matches(['[', ']']).to_owned();
        (event["auction"].as_str().unwrap().to_owned(), event, bids.split(", ").map(bid).collect())
    })
    .collect()
}

/// `"bidder5" bid after 1.234 ms 0.83 won at 0.83`, `… 0.44 lost 102`, `"bidder2" no_bid after 3.1 ms`
fn bid(line: &str) -> Bid {
    let words: Vec<&str> = line.split(' ').collect();
    let amount = words.get(5).map(|price| micros(price));
    let won_at = (words.get(6) == Some(&"won")).then(|| micros(words[8]));
    Bid { bidder: words[0].trim_matches('"').to_owned(), answer: words[1].to_owned(), micros: amount, won_at }
}

fn logging(catalogue: &Value) -> Server {
    let home = Home::empty().with(catalogue).set("BOURSE_LOG_FORMAT", "json");
    home.serve_with(&["--seed", SEED, "--log-auctions", "all"])
}

/// Within six deviations of what a share `p` of `n` gives.
#[track_caller]
fn is_share(what: &str, count: u64, n: u64, p: f64) {
    let (n, count) = (n as f64, count as f64);
    let deviations = (count - n * p).abs() / (n * p * (1.0 - p)).sqrt();
    assert!(deviations < 6.0, "{what}: {count} of {n} is {deviations:.1} deviations from {p}, seed {SEED}");
}

#[test]
fn two_thousand_auctions_follow_the_stated_probabilities() {
    const N: usize = 2000;
    let server = logging(&crate::catalogues::usual());
    let mut connection = server.connect();
    let sales: Vec<_> = (0..N).filter_map(|_| connection.bid(any_bid()).sale()).collect();

    let stat = server.json("/stat");
    let bidders = stat["supply1"]["bidders"].as_object().unwrap();
    let sum = |of: &str| bidders.values().map(|bidder| bidder[of].as_u64().unwrap()).sum::<u64>();
    let (asked, timeouts, no_bids) = (12 * N as u64, sum("timeouts"), sum("no_bids"));
    is_share("timeouts", timeouts, asked, 1.0 / 3.0);
    is_share("no-bids of those in time", no_bids, asked - timeouts, 0.30);
    for (id, bidder) in bidders {
        is_share(&format!("{id} times out"), bidder["timeouts"].as_u64().unwrap(), N as u64, 1.0 / 3.0);
        is_share(&format!("{id} passes"), bidder["no_bids"].as_u64().unwrap(), N as u64, 0.2);
        is_share(&format!("{id} wins"), bidder["wins"].as_u64().unwrap(), sales.len() as u64, 1.0 / 12.0);
    }
    assert_eq!(sum("wins"), sales.len() as u64);

    let mut cents = [0u64; 101];
    for (_, _, bids) in auctions(&server, N) {
        bids.iter().filter_map(|bid| bid.micros).for_each(|price| {
            assert_eq!(price % 10_000, 0, "whole cents");
            cents[(price / 10_000) as usize] += 1;
        });
    }
    let bids: u64 = cents.iter().sum();
    assert_eq!((cents[0], bids), (0, asked - timeouts - no_bids));
    let expected = bids as f64 / 100.0;
    let chi_square: f64 = cents[1..].iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    // 99 degrees of freedom: six deviations over the mean are 183
    assert!(chi_square < 183.0, "chi-square {chi_square}, seed {SEED}");
}

#[test]
fn even_a_tmax_of_1_times_out_one_third() {
    let server = Home::empty().usual().serve_with(&["--seed", SEED]);
    let mut connection = server.connect();
    for _ in 0..500 {
        connection.bid(r#"{"supply_id":"supply1","ip":"192.0.2.1","country":"US","tmax":1}"#);
    }
    let stat = server.json("/stat");
    let bidders = stat["supply1"]["bidders"].as_object().unwrap();
    let timeouts = bidders.values().map(|bidder| bidder["timeouts"].as_u64().unwrap()).sum();
    is_share("timeouts", timeouts, 12 * 500, 1.0 / 3.0);
}

#[test]
fn the_highest_bid_wins_and_pays_it_and_each_auction_is_one_event() {
    const N: usize = 300;
    let server = logging(&crate::catalogues::usual());
    let mut connection = server.connect();
    let answers: Vec<_> = (0..N).map(|_| connection.bid(any_bid()).sale()).collect();
    let auctions = auctions(&server, N);
    assert_eq!(auctions.iter().map(|(id, ..)| id).collect::<BTreeSet<_>>().len(), N, "ids are unique");
    for (answer, (id, event, bids)) in answers.iter().zip(&auctions) {
        assert_eq!(bids.len(), 12, "{id}: every bidder is shown");
        let highest = bids.iter().filter_map(|bid| bid.micros).max();
        let won: Vec<_> = bids.iter().filter_map(|bid| Some((bid.bidder.clone(), bid.won_at?))).collect();
        assert_eq!(answer.iter().cloned().collect::<Vec<_>>(), won, "{id}: {event}");
        assert_eq!(won.first().map(|(_, price)| *price), highest, "{id}: {event}");
        for (winner, price) in won {
            let own = bids.iter().find(|bid| bid.bidder == winner).unwrap().micros;
            assert_eq!(own, Some(price), "{id}: first price");
        }
        bids.iter().for_each(|bid| assert_eq!(bid.answer == "bid", bid.micros.is_some(), "{id}: {bid:?}"));
    }
}

/// A rule, a floor, and prices; who wins at what price.
type Clearing = (&'static str, f64, &'static [f64], Option<(usize, f64)>);

const CLEARINGS: &[Clearing] = &[
    ("first_price", 0.0, &[0.80, 0.50], Some((0, 0.80))),
    ("first_price", 0.0, &[0.50, 0.80], Some((1, 0.80))),
    ("first_price", 0.80, &[0.80, 0.50], Some((0, 0.80))),
    ("first_price", 0.81, &[0.80, 0.50], None),
    ("first_price", 0.60, &[0.50], None),
    ("first_price", 0.0, &[0.123_456, 0.123_455], Some((0, 0.123_456))),
    ("first_price", 0.0, &[12.34, 0.01], Some((0, 12.34))),
    ("second_price", 0.0, &[0.80, 0.50], Some((0, 0.51))),
    ("second_price", 0.0, &[0.80, 0.50, 0.60], Some((0, 0.61))),
    ("second_price", 0.60, &[0.80, 0.50], Some((0, 0.60))),
    ("second_price", 0.50, &[0.80, 0.50], Some((0, 0.51))),
    ("second_price", 0.80, &[0.80, 0.50], Some((0, 0.80))),
    ("second_price", 0.10, &[0.80], Some((0, 0.10))),
    ("second_price", 0.0, &[0.80], Some((0, 0.01))),
    ("second_price", 0.0, &[0.80, 0.795], Some((0, 0.80))),
    ("second_price", 0.90, &[0.80, 0.50], None),
];

#[test]
fn the_price_follows_the_supplys_rule_and_floor() {
    let (mut supplies, mut bidders) = (Map::new(), Map::new());
    for (case, (rule, floor, prices, _)) in CLEARINGS.iter().enumerate() {
        let ids: Vec<String> = (0..prices.len()).map(|i| format!("s{case}b{i}")).collect();
        bidders.extend(ids.iter().cloned().zip(prices.iter().map(|price| constant(0, *price))));
        let supply = json!({"bidders": ids, "auction": rule, "bid_floor": floor});
        supplies.insert(format!("s{case}"), supply);
    }
    let server = Home::empty().with(&json!({"supplies": supplies, "bidders": bidders})).serve();
    for (case, (rule, floor, prices, expected)) in CLEARINGS.iter().enumerate() {
        let answer = server.bid(bid_body(&format!("s{case}"), "192.0.2.1"));
        let expected = expected.map(|(i, price)| (format!("s{case}b{i}"), micros(&format!("{price:.6}"))));
        assert_eq!(answer.sale(), expected, "{rule}, floor {floor}, {prices:?}: {}", answer.text());
        if expected.is_none() {
            answer.is_refusal(400, "no_bids");
        }
    }
}

#[test]
fn of_equal_bids_each_wins_its_share_whatever_its_place() {
    const N: u64 = 1500;
    let server = Home::empty()
        .with(&constants(&[("c", 0, 0.5), ("a", 10, 0.5), ("b", 5, 0.5), ("cheap", 0, 0.49)]))
        .serve_with(&["--seed", SEED]);
    let mut connection = server.connect();
    let mut wins: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..N {
        let (winner, price) = connection.bid(any_bid()).sale().unwrap();
        assert_eq!(price, 500_000);
        *wins.entry(winner).or_default() += 1;
    }
    assert_eq!(wins.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    wins.iter().for_each(|(id, n)| is_share(id, *n, N, 1.0 / 3.0));
}

#[test]
fn only_bidders_that_buy_in_the_country_are_asked() {
    let mut catalogue = constants(&[("us", 0, 0.2), ("gb", 0, 0.9), ("elsewhere", 0, 1.0)]);
    catalogue["bidders"]["gb"]["country"] = json!("GB");
    catalogue["supplies"]["supply1"] = json!(["us", "gb"]);
    let server = Home::empty().with(&catalogue).serve();
    for _ in 0..20 {
        assert_eq!(server.bid(any_bid()).sale(), Some(("us".to_owned(), 200_000)));
    }
    let bidders = server.json("/stat")["supply1"]["bidders"].clone();
    let zeros = json!({"wins": 0, "total_revenue": 0.0, "no_bids": 0, "timeouts": 0});
    assert_eq!((&bidders["gb"], bidders.get("elsewhere")), (&zeros, None));
}

#[test]
fn no_full_address_is_kept_anywhere() {
    const CANARIES: [&str; 3] = ["203.0.113.77", "2001:db8:1234:5678:9abc:def0:1357:2468", "198.51.100.201"];
    let home = Home::empty().usual().set("BOURSE_LOG_LEVEL", "trace").set("BOURSE_RATE_LIMIT_REQUESTS", &2);
    let server = home.set("BOURSE_RATE_LIMIT_KEY", "forwarded:1").serve_with(&["--log-auctions"]);
    let mut connection = server.connect();
    for ip in CANARIES {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", CANARIES[2])];
        for supply in ["supply1", "unknown"] {
            connection.request("POST", "/bid", &headers, bid_body(supply, ip).as_bytes());
            connection.bid(bid_body(supply, ip));
            connection.bid(bid_body(supply, ip).replace("US", "??"));
            connection.bid(bid_body(supply, ip).replace("US", "DE"));
        }
    }
    eventually("an auction is logged", || server.log().contains("auction held"));
    let pages = ["/", "/stat", "/metrics", "/supplies"].map(|page| server.get(page).text().to_owned());
    let log = server.log();
    let home = server.stop();
    let files = crate::server::files_under(&home.data_dir());
    let kept = pages
        .iter()
        .chain([&log])
        .map(|text| text.as_bytes())
        .chain(files.iter().map(|(_, bytes)| &bytes[..]));
    for text in kept {
        for canary in CANARIES.iter().map(|ip| ip.as_bytes()).chain([&b"2001:db8:1234:5678"[..]]) {
            assert!(
                !text.windows(canary.len()).any(|window| window == canary),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }
}
