use super::*;

fn check(text: &str, expected: &[&str]) {
    let lines = match File::parse("f", text.as_bytes().to_vec()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.lines().to_vec(),
    };
    assert_eq!(lines.len(), expected.len(), "{text}\n{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected) && !line.contains('\n'), "{line}\nshould be {expected}");
    }
}

#[test]
fn both_forms_of_a_supply_are_taken() {
    let text = r#"{"supplies":{"s1":["b1","b\u0031:\"é\""],
        "s2":{"bid_floor":0.10,"bidders":[],"auction":"second_price"}},
        "bidders":{"b1":{"country":"usa","simulation":{"price":{"constant":1}}},"b1:\"é\"":{"country":"gb"}}}"#;
    let file = File::parse("f", text.as_bytes().to_vec()).unwrap();
    let [s1, s2] = &file.supplies[..] else { panic!("{file:?}") };
    assert_eq!((s1.id.as_str(), s1.auction, s1.bid_floor), ("s1", AuctionType::FirstPrice, Cpm::ZERO));
    assert_eq!((s1.bidders.as_slice(), s2.bidders.as_slice()), (&[0, 1][..], &[][..]));
    assert_eq!((s2.auction, s2.bid_floor), (AuctionType::SecondPrice, Cpm::from_micros(100_000)));
    let given = file.bidders[0].given.as_ref().unwrap();
    assert_eq!(
        (given.country.alpha2(), given.simulation.as_deref()),
        ("US", Some(r#"{"price":{"constant":1}}"#))
    );
    assert_eq!((file.supplies(), file.bidders(), file.bidders[1].id.as_str()), (2, 2, "b1:\"é\""));
}

#[test]
fn the_demo_is_a_catalogue() {
    let file = File::parse("demo", crate::DEMO.as_bytes().to_vec()).unwrap();
    assert!(file.supplies() > 0 && file.mentions.is_empty());
}

#[test]
fn every_problem_is_listed_with_its_place() {
    check(
        "{\"supplies\": {\n  \"s1\": [\"b1\", \"b1\", 7],\n  \"s1\": [],\n  \"é\": {\"bidder\": [], \"auction\": \"third\"}\n},\n\
         \"bidders\": {\"b1\": {\"country\": \"UK\"}, \"\": {\"country\": \"US\", \"x\": 1}, \"b2\": {}}, \"more\": 1}",
        &[
            "f:2:22: a bidder's id must be a string, not a number",
            "f:3:3: \"s1\" is there twice",
            "f:4:3: supply \"é\" has no bidders",
            "f:4:9: unknown member \"bidder\": a supply has bidders, auction and bid_floor",
            "f:4:34: auction \"third\" is neither",
            "f:6:31: country \"UK\" is no ISO 3166-1 code; the United Kingdom is GB",
            "f:6:38: a bidder's id is empty",
            "f:6:60: unknown member \"x\"",
            "f:6:69: bidder \"b2\" has no country",
            "f:6:80: unknown member \"more\"",
        ],
    );
    check(
        r#"{"supplies":{"s":["b","b"]},"bidders":{"b":{"country":"US"}}}"#,
        &["f:1:23: bidder \"b\" is listed twice"],
    );
    check(
        r#"{"supplies":{"s":["b","x"]},"bidders":{"b":{"country":"ZZ"}}}"#,
        &["f:1:23: names \"x\", a bidder not in this file", "f:1:55: country \"ZZ\" is no ISO 3166-1 code"],
    );
}

#[test]
fn what_is_no_catalogue_is_said_in_one_line() {
    let deep = format!("{{\"supplies\":{}", "[".repeat(100_000));
    let nested = format!("{{\"supplies\":{{\"s\":[{}{}]}}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, expected) in [
        ("", "f:1:1: is not JSON: EOF"),
        ("{}", "f:1:1: has neither supplies nor bidders"),
        ("[]", "f:1:1: the catalogue must be an object, not an array"),
        ("\u{feff}{}", "f:1:1: starts with a byte order mark"),
        ("{\"supplies\":{}}\n x", "f:2:2: is not JSON: trailing characters"),
        ("{\"supplies\":\n{\"a\":[1,]}}", "f:2:9: is not JSON: "),
        ("{\"bidders\":{\"a\":NaN}}", "f:1:17: is not JSON: expected value"),
        ("{\"bidders\":{\"b\":{\"country\":\"\\ud800\"}}}", "is not JSON: "),
        ("{\"supplies\":{\"\\ud800\":[]}}", "is not JSON: "),
        ("{\"supplies\":{\"s\":{\"bidders\":[],\"bid_floor\":-1}}}", "bid_floor is negative"),
        (
            "{\"supplies\":{\"s\":{\"bidders\":[],\"bid_floor\":\"1\"}}}",
            "bid_floor must be a number, not a string",
        ),
        ("{\"supplies\":{\"s\":null}}", "or an object with bidders, not null"),
        (&deep, "is not JSON: EOF"),
        (&nested, "f:1:19: a bidder's id must be a string, not an array"),
    ] {
        check(text, &[expected]);
    }
    let problems = File::parse("f", b"{\"bidders\":\n\"\xff\"}".to_vec()).unwrap_err();
    assert_eq!(problems.to_string(), "f:2:2: is not UTF-8 from here on");
}

#[test]
fn of_very_many_problems_fifty_are_listed_and_the_rest_counted() {
    let text = format!("{{\"supplies\":{{\"s\":[{}0]}}}}", "0,".repeat(99));
    let problems = File::parse("f", text.into_bytes()).unwrap_err();
    assert_eq!(problems.lines().len(), 50);
    assert!(problems.to_string().ends_with("\nand 50 more"));
}

#[test]
fn an_unknown_bidder_is_pointed_at_wherever_it_is_named() {
    let text =
        "{\"supplies\":{\"s\":[\"b\",\"x\"],\n\"t\":[\"x\",\"y\"]},\"bidders\":{\"b\":{\"country\":\"US\"}}}";
    let file = File::parse("f", text.as_bytes().to_vec()).unwrap();
    let unknown = file.unknown_bidders(|bidder| file.bidders[bidder as usize].id.as_str() == "x");
    let [first, second] = unknown.lines() else { panic!("{unknown}") };
    assert!(first.starts_with("f:1:23: supply \"s\" names \"x\", a bidder neither"), "{first}");
    assert!(second.starts_with("f:2:6: supply \"t\" names \"x\""), "{second}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(text in r#"[{}\[\]",:0-9a-z\\ud8\n ]{0,60}"#) {
        let _ = File::parse("f", text.clone().into_bytes());
        let _ = File::parse("f", format!("{{\"supplies\":{text}}}").into_bytes());
        let _ = File::parse("f", format!("{{\"bidders\":{{\"b\":{{\"simulation\":{text}}}}}}}").into_bytes());
    }
}

#[test]
fn a_supply_lists_as_many_bidders_as_a_record_holds() {
    let listing = |n: usize| {
        let ids: Vec<String> = (0..n).map(|i| format!("\"b{i}\"")).collect();
        let given: Vec<String> = ids.iter().map(|id| format!("{id}:{{\"country\":\"US\"}}")).collect();
        format!("{{\"supplies\":{{\"s\":[{}]}},\"bidders\":{{{}}}}}", ids.join(","), given.join(","))
    };
    check(&listing(4096), &[]);
    check(&listing(4097), &["f:1:18: lists 4097 bidders; a supply has at most 4096"]);
}
