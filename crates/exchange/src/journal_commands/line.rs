//! One auction as a line of JSON: everything that its record has, by name, with exact decimals. `bourse journal cat`
//! writes it and POST /auctions answers it.

use crate::calendar::ToMicros;
use crate::json::{Exact, Millis, Text};
use auction::record::truncated;
use auction::{AuctionId, Bid, Cpm, Fate, Imp, Record, Reply, Sale, outcome};
use journal::Offset;
use serde::Serialize;
use std::net::IpAddr;
use utoipa::ToSchema;

/// The line, with its end.
pub(super) fn line(core: u32, offset: Offset, record: &Record<'_>) -> serde_json::Result<Vec<u8>> {
    let place = (Some(core), Some(offset.get()));
    let mut line = serde_json::to_vec(&Line { core: place.0, offset: place.1, ..Line::of(record) })?;
    line.push(b'\n');
    Ok(line)
}

/// An auction that was held.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedAuction)]
pub(crate) struct Line<'a> {
    /// Its id.
    #[schema(value_type = String, example = "0000000000000007-42")]
    auction: Text<AuctionId>,
    /// Where it stands in the journal, if it was read there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    core: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    offset: Option<u64>,
    /// When its request had been read (RFC 3339, UTC).
    #[schema(value_type = String, example = "2026-06-07T12:30:00.123456Z")]
    time: Text<ToMicros>,
    #[schema(example = "supply1")]
    supply: &'a str,
    #[schema(example = "US")]
    country: &'static str,
    /// The user's address, cut to /24 or /48.
    #[schema(value_type = String, example = "192.168.1.0")]
    ip: IpAddr,
    /// Milliseconds the bidders had.
    #[schema(example = 200)]
    tmax_ms: u32,
    /// The catalogue it was held under.
    #[schema(example = "5f0c2a9be1d47c33")]
    catalogue_revision: String,
    /// `first_price` or `second_price`.
    #[schema(example = "second_price")]
    rule: &'static str,
    /// No bid below it wins, in USD.
    #[schema(value_type = f64, example = 0.10)]
    bid_floor: Exact<Cpm>,
    /// Left out for one that asks nothing beyond the supply's rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    imps: Vec<ImpLine<'a>>,
    /// `sold`, `no_eligible_bidders`, `no_bids` or `below_floor`.
    #[schema(example = "sold")]
    outcome: &'static str,
    /// Of the only imp, as is the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bidder2")]
    winner: Option<&'a str>,
    /// What the winner pays, in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 0.56)]
    price: Option<Exact<Cpm>>,
    /// Where the price comes from: `own_bid`, `runner_up` (one cent over it), `floor` or `cent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "runner_up")]
    price_from: Option<&'static str>,
    /// The highest bid that the winner beat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 0.55)]
    runner_up: Option<Exact<Cpm>>,
    /// Every bidder of the supply.
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

/// A bidder of the supply: what it answered, or why it was not invited.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedBidder)]
struct BidderLine<'a> {
    #[schema(example = "bidder2")]
    id: &'a str,
    /// `bid`, `no_bid` or `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bid")]
    answer: Option<&'static str>,
    /// From the invitation to the answer; for a timeout, to the answer that came too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 43.125)]
    latency_ms: Option<Exact<Millis>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bids: Vec<BidLine>,
    /// `other_country`: it does not buy in the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "other_country")]
    not_invited: Option<&'static str>,
}

/// A bid and its fate.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedBid)]
struct BidLine {
    /// Its imp's place, if imps are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    imp: Option<u32>,
    /// In USD.
    #[schema(value_type = f64, example = 0.83)]
    price: Exact<Cpm>,
    /// `won` or `lost`.
    #[schema(example = "won")]
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, example = 0.56)]
    clearing_price: Option<Exact<Cpm>>,
    /// A number of the OpenRTB 3.0 loss reason list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 102)]
    reason: Option<u16>,
}

impl<'a> Line<'a> {
    /// What the record of an auction says, wherever it stands.
    pub(crate) fn of(record: &Record<'a>) -> Self {
        let (opportunity, supply, sales) = (record.opportunity, record.supply, &record.clearing.sales);
        let is_plain = opportunity.imps == [Imp::PLAIN];
        let only = sales.first().filter(|_| sales.len() == 1).and_then(|sale| sale.ok());
        let account = only.map(|sale| record.clearing.account(&record.answers.bids, &sale));
        Self {
            auction: Text(record.id),
            core: None,
            offset: None,
            time: Text(ToMicros(record.received_at_us)),
            supply: supply.id.as_str(),
            country: opportunity.country.alpha2(),
            ip: truncated(opportunity.ip),
            tmax_ms: opportunity.tmax_ms,
            catalogue_revision: format!("{:016x}", record.catalogue_revision),
            rule: supply.auction.name(),
            bid_floor: Exact(supply.bid_floor),
            imps: if is_plain { Vec::new() } else { imps(record) },
            outcome: outcome(sales),
            winner: only.map(|sale| winner(record, sale)),
            price: only.map(|sale| Exact(sale.price)),
            price_from: account.map(|(_, from)| from.name()),
            runner_up: account.and_then(|(bid, _)| (bid > Cpm::ZERO).then_some(Exact(bid))),
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
