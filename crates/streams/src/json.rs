//! The event as a line of JSON: everything that its record has, by name, with exact decimals.
//!
//! * Order of the members is that of `docs/events.md`; what an auction does not have is left out.
//! * Written digit by digit: no float is in between, and nothing is allocated but the line.

use crate::event::{BidRow, Event, EventId, Rows, SCHEMA, buyer, is_plain, lot, only_sale};
use crate::text;
use auction::record::truncated;
use auction::{Cpm, Fate, Record, Sale, outcome};
use std::io::Write;
use time::OffsetDateTime;

/// Writes events as JSON; kept between them.
#[derive(Debug, Default)]
pub struct Json {
    rows: Rows,
    clock: Clock,
}

impl Json {
    /// Appends the event's object, without an end of line.
    pub fn write(&mut self, event: &Event<'_>, to: &mut Vec<u8>) {
        self.object(Some(event.id), event.record, to);
    }

    /// Appends the object of an auction that was just held: all but the event's id and place.
    pub fn write_auction(&mut self, record: &Record<'_>, to: &mut Vec<u8>) {
        self.object(None, record, to);
    }

    fn object(&mut self, id: Option<EventId>, record: &Record<'_>, to: &mut Vec<u8>) {
        let (lot, is_plain) = (lot(record), is_plain(record));
        to.push(b'{');
        if let Some(id) = id {
            number(to, br#""schema":"#, SCHEMA.into());
            to.extend_from_slice(br#","event":""#);
            text::event_id(id, to);
            to.extend_from_slice(br#"","#);
        }
        to.extend_from_slice(br#""auction":""#);
        text::auction_id(record.id, to);
        to.extend_from_slice(br#"","#);
        if let Some(id) = id {
            number(to, br#""core":"#, id.core.into());
            number(to, br#","offset":"#, id.offset.get());
            to.push(b',');
        }
        to.extend_from_slice(br#""time":""#);
        self.clock.write(record.received_at_us, to);
        text(to, br#"","supply":"#, record.supply.id.as_str());
        text(to, br#","country":"#, record.opportunity.country.alpha2());
        to.extend_from_slice(br#","ip":""#);
        text::ip(truncated(record.opportunity.ip), to);
        to.push(b'"');
        number(to, br#","tmax_ms":"#, record.opportunity.tmax_ms.into());
        to.extend_from_slice(br#","catalogue_revision":""#);
        text::hex(record.catalogue_revision, to);
        name(to, br#"","rule":""#, lot.auction.name());
        price(to, br#","bid_floor":"#, lot.bid_floor);
        if !is_plain {
            imps(record, to);
        }
        name(to, br#","outcome":""#, outcome(&record.clearing.sales));
        if let Some(sale) = only_sale(record) {
            sold(record, sale, to);
        }
        self.bidders(record, !is_plain, to);
        to.push(b'}');
    }

    /// Every bidder of the supply, in order of slot.
    fn bidders(&mut self, record: &Record<'_>, shows_imps: bool, to: &mut Vec<u8>) {
        to.extend_from_slice(br#","bidders":["#);
        let begin = to.len();
        let mut last = None;
        for row in self.rows.of(record) {
            if last == Some(row.slot) {
                // Inside the list of the bidder's bids.
                to.truncate(to.len() - "]}".len());
                to.push(b',');
            } else {
                if to.len() > begin {
                    to.push(b',');
                }
                bidder(row, record, to);
            }
            last = Some(row.slot);
            bid(row, shows_imps, to);
        }
        to.push(b']');
    }
}

/// Who pays how much, and why not more or less.
fn sold(record: &Record<'_>, sale: Sale, to: &mut Vec<u8>) {
    text(to, br#","winner":"#, buyer(record, sale));
    price(to, br#","price":"#, sale.price);
    let (runner_up, from) = record.clearing.account(&record.answers.bids, &sale);
    name(to, br#","price_from":""#, from.name());
    if runner_up > Cpm::ZERO {
        price(to, br#","runner_up":"#, runner_up);
    }
}

fn imps(record: &Record<'_>, to: &mut Vec<u8>) {
    let clearing = &record.clearing;
    let mut before = &b",\"imps\":["[..];
    for (lot, sale) in clearing.lots.iter().zip(&clearing.sales) {
        to.extend_from_slice(before);
        name(to, br#"{"rule":""#, lot.auction.name());
        price(to, br#","bid_floor":"#, lot.bid_floor);
        name(to, br#","outcome":""#, outcome(&[*sale]));
        if let Ok(sale) = sale {
            text(to, br#","winner":"#, buyer(record, *sale));
            price(to, br#","price":"#, sale.price);
        }
        to.push(b'}');
        before = b",";
    }
    to.extend_from_slice(if clearing.lots.is_empty() { br#","imps":[]"# } else { b"]" });
}

/// What is said of a bidder once.
fn bidder(row: &BidRow, record: &Record<'_>, to: &mut Vec<u8>) {
    text(to, br#"{"id":"#, row.bidder(record));
    if let Some((answer, latency_us)) = row.reply {
        name(to, br#","answer":""#, answer.name());
        to.extend_from_slice(br#","latency_ms":"#);
        text::thousandths(latency_us, to);
    }
    if let Some(reason) = row.not_invited {
        name(to, br#","not_invited":""#, reason.name());
    }
    if row.bid.is_some() {
        to.extend_from_slice(br#","bids":["#);
    }
}

/// A bid, and the bidder's end.
fn bid(row: &BidRow, shows_imps: bool, to: &mut Vec<u8>) {
    let Some((bid, fate)) = row.bid else { return to.push(b'}') };
    if shows_imps {
        number(to, br#"{"imp":"#, bid.imp.into());
        price(to, br#","price":"#, bid.price);
    } else {
        price(to, br#"{"price":"#, bid.price);
    }
    match fate {
        Fate::Won(paid) => price(to, br#","fate":"won","clearing_price":"#, paid),
        Fate::Lost(reason) => number(to, br#","fate":"lost","reason":"#, reason as u64),
    }
    to.extend_from_slice(b"}]}");
}

/// One of ours, which needs no escape.
fn name<const N: usize>(to: &mut Vec<u8>, before: &[u8; N], name: &str) {
    to.extend_from_slice(before);
    to.extend_from_slice(name.as_bytes());
    to.push(b'"');
}

fn text<const N: usize>(to: &mut Vec<u8>, before: &[u8; N], text: &str) {
    to.extend_from_slice(before);
    // Without an end in between, for that is several bytes at a time.
    if text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(to, text);
        return;
    }
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

fn number<const N: usize>(to: &mut Vec<u8>, before: &[u8; N], number: u64) {
    to.extend_from_slice(before);
    text::number(number, to);
}

fn price<const N: usize>(to: &mut Vec<u8>, before: &[u8; N], price: Cpm) {
    to.extend_from_slice(before);
    price.write(to);
}

/// Writes times as RFC 3339 does, in UTC and to the microsecond: `2026-06-07T12:30:00.123456Z`. The second is kept:
/// the next event's is mostly the same.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: Vec<u8>,
}

impl Clock {
    /// Appends the time that is so many microseconds after 1970.
    pub fn write(&mut self, us: u64, to: &mut Vec<u8>) {
        // Years have four digits: the last second of 9999 stands for all after it.
        const LAST_S: u64 = 253_402_300_799;
        let second = (us / 1_000_000).min(LAST_S);
        if self.text.is_empty() || second != self.second {
            let at = OffsetDateTime::from_unix_timestamp(second as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let ((year, month, day), (hour, minute, of)) = (at.to_calendar_date(), at.to_hms());
            self.text.clear();
            let month = u8::from(month);
            let _ = write!(self.text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{of:02}.");
            self.second = second;
        }
        to.extend_from_slice(&self.text);
        let units = [100_000, 10_000, 1_000, 100, 10, 1];
        to.extend_from_slice(&units.map(|unit| b'0' + (us / unit % 10) as u8));
        to.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::{
        Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Id, Imp,
        Opportunity, Profile, Reply, Supply, clear, invite,
    };
    use journal::Offset;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// Supplies of the simple door have one plain imp; others bring more.
    #[test]
    fn imps_with_rules_of_their_own_are_shown_one_by_one() {
        let us = Country::from_code("US").unwrap();
        let id = |text| Id::new(text).unwrap();
        let bidders = ["a", "b"].map(|text| Arc::new(Bidder::new(id(text), us, Profile::DEFAULT))).to_vec();
        let supply = Arc::new(Supply::new(id("s"), AuctionType::FirstPrice, Cpm::CENT, bidders));
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
            replies: vec![reply(1), reply(0)],
            bids: vec![bid(0, 0, 800_000), bid(1, 0, 700_000), bid(0, 1, 800_000)],
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
            r#"{"schema":1,"event":"00000000000000ff-3-640","auction":"0000000000000007-1","core":3,"offset":640,"#,
            r#""time":"1970-01-01T00:00:00.000000Z","#,
            r#""supply":"s","country":"US","ip":"192.0.2.0","tmax_ms":5,"catalogue_revision":"000000000000000a","#,
            r#""rule":"first_price","bid_floor":0.01,"imps":["#,
            r#"{"rule":"second_price","bid_floor":0.50,"outcome":"sold","winner":"a","price":0.71},"#,
            r#"{"rule":"first_price","bid_floor":0.90,"outcome":"below_floor"}],"outcome":"sold","bidders":["#,
            r#"{"id":"a","answer":"bid","latency_ms":1.500,"bids":["#,
            r#"{"imp":0,"price":0.80,"fate":"won","clearing_price":0.71},"#,
            r#"{"imp":1,"price":0.80,"fate":"lost","reason":100}]},"#,
            r#"{"id":"b","answer":"bid","latency_ms":1.500,"bids":["#,
            r#"{"imp":0,"price":0.70,"fate":"lost","reason":102}]}]}"#,
        );
        let id = EventId { instance: 255, core: 3, offset: Offset::new(640) };
        let mut written = Vec::new();
        Json::default().write(&Event { id, record: &record, supply: &supply }, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_time_is_written_as_rfc_3339_whatever_came_before() {
        let mut clock = Clock::default();
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_780_833_600_123_456, "2026-06-07T12:00:00.123456Z"),
            (1_780_833_600_000_001, "2026-06-07T12:00:00.000001Z"),
            (1_780_833_599_999_999, "2026-06-07T11:59:59.999999Z"),
            (u64::MAX, "9999-12-31T23:59:59.551615Z"),
        ] {
            let mut written = Vec::new();
            clock.write(us, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }
}
