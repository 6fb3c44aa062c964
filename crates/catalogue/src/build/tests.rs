use super::*;

/// Rows of bidders `no id country simulation`, supplies `no id auction floor` and links `supply_no list`.
fn rows(text: &str) -> Rows {
    let mut rows = Rows::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["bidder", no, id, country, ref simulation @ ..] => rows.bidders.push(BidderRow {
                no: no.parse().unwrap(),
                id: id.to_owned(),
                country: country.to_owned(),
                simulation: simulation.first().map(|&text| text.to_owned()),
            }),
            ["supply", no, id, auction, floor] => rows.supplies.push(SupplyRow {
                no: no.parse().unwrap(),
                id: id.to_owned(),
                auction: auction.to_owned(),
                bid_floor_micros: floor.parse().unwrap(),
            }),
            ["link", no, list] => rows.links.push((no.parse().unwrap(), list.to_owned())),
            _ => panic!("{line}"),
        }
    }
    rows
}

const CATALOGUE: &str = r#"
    bidder 1 b1 US
    bidder 2 b2 GB {"no_bid_probability":0.2}
    bidder 7 b3 US
    supply 1 s1 first_price 0
    supply 5 s2 second_price 100000
    supply 6 s0 first_price 0
    link 1 7,1,2
    link 5 2"#;

#[test]
fn rows_become_supplies_with_their_bidders_in_order() {
    let snapshot = rows(CATALOGUE).build(None).unwrap();
    let shown = |supply: &Arc<Supply>| {
        let ids: Vec<_> = supply.bidders().iter().map(|bidder| bidder.id.as_str()).collect();
        format!("{} {} {} {}", supply.id, supply.auction, supply.bid_floor, ids.join(","))
    };
    let shown: Vec<_> = snapshot.supplies().iter().map(shown).collect();
    assert_eq!(shown, ["s0 first_price 0.00 ", "s1 first_price 0.00 b2,b1,b3", "s2 second_price 0.10 b2"]);
    assert_eq!(snapshot.bidders(), 3);
    assert_eq!(snapshot.supply("s2").unwrap().bidders()[0].profile.no_bid_ppm, 200_000);
}

#[test]
fn a_row_that_is_no_part_of_a_catalogue_is_named() {
    for (from, to, expected) in [
        ("b1 US", "b1 UK", "bidders, id \"b1\": country \"UK\" is no ISO 3166-1 code"),
        ("b1 US", "b\u{1}1 US", "bidders, no 1: id holds a control character"),
        ("0.2}", "2}", "bidders, id \"b2\": simulation: no_bid_probability is over 1"),
        ("0.2}", "", "bidders, id \"b2\": simulation: is not JSON"),
        ("second_price", "third", "supplies, id \"s2\": auction \"third\" is neither"),
        ("100000", "-1", "supplies, id \"s2\": bid_floor_micros -1 is not from 0"),
        ("7,1,2", "7,1,3", "supply \"s1\" lists bidder_no 3, which is no bidder"),
        ("7,1,2", "7,x", "supply \"s1\" lists bidder_no x, which is no bidder"),
        ("link 5", "link 4", "supply_no 4 is no supply"),
    ] {
        let error = rows(&CATALOGUE.replacen(from, to, 1)).build(None).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_revision_is_that_of_the_content_and_of_nothing_else() {
    let revision = |text: &str| rows(text).build(None).unwrap().revision();
    let first = revision(CATALOGUE);
    let numbered_otherwise = CATALOGUE.replace("bidder 7", "bidder 9").replace("7,1,2", "1,2,9");
    assert_eq!(first, revision(&numbered_otherwise));
    assert_eq!(first, revision(&CATALOGUE.replace("b1 US", "b1 usa")));
    assert_eq!(first, PINNED, "{first:#x}: it is in journals, it never changes");
    for (from, to) in [
        ("b1 US", "b1 GB"),
        ("b1 US", "b4 US"),
        ("0.2}", "0.3}"),
        ("second_price", "first_price"),
        ("100000", "100001"),
        ("s0", "s00"),
        ("7,1,2", "7,1"),
        ("link 5 2", "link 6 2"),
        ("bidder 7", "bidder 8 b9 FR\nbidder 7"),
    ] {
        assert_ne!(first, revision(&CATALOGUE.replacen(from, to, 1)), "{from} → {to}");
    }
}
const PINNED: u64 = 0xf6df_a95b_89a0_ba6e;

#[test]
fn what_has_not_changed_is_shared_with_the_snapshot_before() {
    let before = rows(CATALOGUE).build(None).unwrap();
    for (from, to, changed) in [
        ("", "", &[][..]),
        ("b1 US", "b1 FR", &["s1"]),
        ("100000", "5", &["s2"]),
        ("b2 GB", "b2 FR", &["s1", "s2"]),
        ("7,1,2", "7,1", &["s1"]),
        ("supply 6 s0", "supply 9 s0", &[]),
    ] {
        let after = rows(&CATALOGUE.replacen(from, to, 1)).build(Some(&before)).unwrap();
        for supply in after.supplies() {
            let old = before.supply(supply.id.as_str()).unwrap();
            let shared = Arc::ptr_eq(old, supply);
            assert_eq!(shared, !changed.contains(&supply.id.as_str()), "{} after {from} → {to}", supply.id);
            let id = |bidder: &&Arc<Bidder>| bidder.id.as_str() == "b3";
            if let (Some(a), Some(b)) = (old.bidders().iter().find(id), supply.bidders().iter().find(id)) {
                assert!(Arc::ptr_eq(a, b), "an unchanged bidder stays the same");
            }
        }
    }
}
