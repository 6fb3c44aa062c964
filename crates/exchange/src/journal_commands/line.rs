//! One auction as a line of JSON: everything that its record has, by name, with exact decimals.

use crate::calendar::ToMicros;
use crate::json::{Exact, Millis, Text};
use auction::{AuctionId, Bid, Cpm, Fate, Imp, Record, Reply, Sale, outcome};
use journal::Offset;
use serde::Serialize;
use std::net::IpAddr;

/// The line, with its end.
pub(super) fn line(core: u32, offset: Offset, record: &Record<'_>) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Line::of(core, offset, record))?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
struct Line<'a> {
    auction: Text<AuctionId>,
    core: u32,
    offset: u64,
    time: Text<ToMicros>,
    supply: &'a str,
    country: &'static str,
    /// Cut to /24 or /48 before it was written.
    ip: IpAddr,
    tmax_ms: u32,
    catalogue_revision: String,
    rule: &'static str,
    bid_floor: Exact<Cpm>,
    /// Empty: one that asks nothing beyond the supply's rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imps: Vec<ImpLine<'a>>,
    outcome: &'static str,
    /// Of the only imp, as is the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Exact<Cpm>>,
    bidders: Vec<BidderLine<'a>>,
}

#[derive(Serialize)]
struct ImpLine<'a> {
    rule: &'static str,
    bid_floor: Exact<Cpm>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Exact<Cpm>>,
}

#[derive(Serialize)]
struct BidderLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<Exact<Millis>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bids: Vec<BidLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_invited: Option<&'static str>,
}

#[derive(Serialize)]
struct BidLine {
    /// Its imp's place, if imps are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    imp: Option<u32>,
    price: Exact<Cpm>,
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clearing_price: Option<Exact<Cpm>>,
    /// A number of the OpenRTB 3.0 loss reason list.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u16>,
}

impl<'a> Line<'a> {
    fn of(core: u32, offset: Offset, record: &Record<'a>) -> Self {
        let (opportunity, supply, sales) = (record.opportunity, record.supply, &record.clearing.sales);
        let is_plain = opportunity.imps == [Imp::PLAIN];
        let only = sales.first().filter(|_| sales.len() == 1).and_then(|sale| sale.ok());
        Self {
            auction: Text(record.id),
            core,
            offset: offset.get(),
            time: Text(ToMicros(record.received_at_us)),
            supply: supply.id.as_str(),
            country: opportunity.country.alpha2(),
            ip: opportunity.ip,
            tmax_ms: opportunity.tmax_ms,
            catalogue_revision: format!("{:016x}", record.catalogue_revision),
            rule: supply.auction.name(),
            bid_floor: Exact(supply.bid_floor),
            imps: if is_plain { Vec::new() } else { imps(record) },
            outcome: outcome(sales),
            winner: only.map(|sale| winner(record, sale)),
            price: only.map(|sale| Exact(sale.price)),
            bidders: bidders(record, !is_plain),
        }
    }
}

fn winner<'a>(record: &Record<'a>, sale: Sale) -> &'a str {
    record.supply.bidders()[sale.slot as usize].id.as_str()
}

fn imps<'a>(record: &Record<'a>) -> Vec<ImpLine<'a>> {
    let cleared = record.clearing.lots.iter().zip(&record.clearing.sales);
    let imp = cleared.map(|(lot, sale)| ImpLine {
        rule: lot.auction.name(),
        bid_floor: Exact(lot.bid_floor),
        outcome: outcome(&[*sale]),
        winner: sale.ok().map(|sale| winner(record, sale)),
        price: sale.ok().map(|sale| Exact(sale.price)),
    });
    imp.collect()
}

/// Every bidder of the supply, in order of slot.
fn bidders<'a>(record: &Record<'a>, shows_imps: bool) -> Vec<BidderLine<'a>> {
    let bidder = |bidder: &'a auction::Bidder| BidderLine {
        id: bidder.id.as_str(),
        answer: None,
        latency_ms: None,
        bids: Vec::new(),
        not_invited: None,
    };
    let mut lines: Vec<_> = record.supply.bidders().iter().map(|one| bidder(one)).collect();
    for Reply { slot, answer, latency_ns } in &record.answers.replies {
        let line = &mut lines[*slot as usize];
        (line.answer, line.latency_ms) = (Some(answer.name()), Some(Exact(Millis(*latency_ns))));
    }
    for (bid, fate) in record.answers.bids.iter().zip(&record.clearing.fates) {
        lines[bid.slot as usize].bids.push(bid_line(bid, *fate, shows_imps));
    }
    for (slot, _, reason) in record.invitations.not_invited() {
        lines[slot as usize].not_invited = Some(reason.name());
    }
    lines
}

fn bid_line(bid: &Bid, fate: Fate, shows_imps: bool) -> BidLine {
    let (name, clearing_price, reason) = match fate {
        Fate::Won(price) => ("won", Some(Exact(price)), None),
        Fate::Lost(reason) => ("lost", None, Some(reason as u16)),
    };
    let imp = shows_imps.then_some(bid.imp);
    BidLine { imp, price: Exact(bid.price), fate: name, clearing_price, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::{
        Answer, Answers, AuctionType, Bidder, Chance, Clearing, Country, Id, Opportunity, Profile, Supply,
        clear, invite,
    };
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// Supplies of the simple door have one plain imp; others bring more.
    #[test]
    fn imps_with_rules_of_their_own_are_shown_one_by_one() {
        let us = Country::from_code("US").unwrap();
        let id = |text| Id::new(text).unwrap();
        let bidders = ["a", "b"].map(|text| Arc::new(Bidder::new(id(text), us, Profile::DEFAULT))).to_vec();
        let supply = Supply::new(id("s"), AuctionType::FirstPrice, Cpm::CENT, bidders);
        let opportunity = Opportunity {
            supply_id: "s",
            ip: Ipv4Addr::new(192, 0, 2, 0).into(),
            country: us,
            tmax_ms: 5,
            imps: &[
                Imp { bid_floor: Cpm::from_micros(500_000), auction: Some(AuctionType::SecondPrice) },
                Imp { bid_floor: Cpm::from_micros(900_000), auction: None },
            ],
        };
        let bid = |slot, imp, micros| Bid { slot, imp, price: Cpm::from_micros(micros) };
        let reply = |slot| Reply { slot, answer: Answer::Bid, latency_ns: 1_500_000 };
        let answers = Answers {
            replies: vec![reply(0), reply(1)],
            bids: vec![bid(0, 0, 800_000), bid(0, 1, 800_000), bid(1, 0, 700_000)],
        };
        let lots = opportunity.imps.iter().map(|imp| supply.lot(imp)).collect();
        let mut clearing = Clearing { lots, ..Clearing::default() };
        clear(&mut clearing, &answers.bids, Chance::new(0, 0));
        let record = Record {
            id: AuctionId { seed: 7, sequence: 1 },
            received_at_us: 0,
            catalogue_revision: 10,
            opportunity: &opportunity,
            supply: &supply,
            invitations: &invite(&opportunity, &supply),
            answers: &answers,
            clearing: &clearing,
        };
        let expected = concat!(
            r#"{"auction":"0000000000000007-1","core":3,"offset":640,"time":"1970-01-01T00:00:00.000000Z","#,
            r#""supply":"s","country":"US","ip":"192.0.2.0","tmax_ms":5,"catalogue_revision":"000000000000000a","#,
            r#""rule":"first_price","bid_floor":0.01,"imps":["#,
            r#"{"rule":"second_price","bid_floor":0.50,"outcome":"sold","winner":"a","price":0.71},"#,
            r#"{"rule":"first_price","bid_floor":0.90,"outcome":"below_floor"}],"outcome":"sold","bidders":["#,
            r#"{"id":"a","answer":"bid","latency_ms":1.500,"bids":["#,
            r#"{"imp":0,"price":0.80,"fate":"won","clearing_price":0.71},"#,
            r#"{"imp":1,"price":0.80,"fate":"lost","reason":100}]},"#,
            r#"{"id":"b","answer":"bid","latency_ms":1.500,"bids":["#,
            r#"{"imp":0,"price":0.70,"fate":"lost","reason":102}]}]}"#,
            "\n"
        );
        let written = line(3, Offset::new(640), &record).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}
