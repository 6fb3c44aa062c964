//! The event as Protobuf: the messages of `proto/bourse/events/v1/event.proto`, which a test holds these to.
//!
//! * Written field by field, in order of their numbers: nothing is allocated but the message.
//! * What is not optional and 0 is left out, as proto3 does.
//! * Source: Protocol Buffers, "Encoding".

use crate::event::{BidRow, Event, Rows, SCHEMA, buyer, is_plain};
use crate::text;
use auction::record::truncated;
use auction::{Cpm, Fate, Record, outcome};
use reporting::leb128::leb128;

/// Writes events as Protobuf; kept between them.
#[derive(Debug, Default)]
pub struct Protobuf {
    rows: Rows,
}

impl Protobuf {
    /// Appends the event's message, without its length: `bourse.events.v1.Event`.
    pub fn write(&mut self, event: &Event<'_>, to: &mut Vec<u8>) {
        let (Event { id, record, .. }, lot, sale) = (*event, event.lot(), event.sale());
        number(1, SCHEMA.into(), to);
        nested(2, to, |to| text::event_id(id, to));
        nested(3, to, |to| text::auction_id(record.id, to));
        number(4, id.core.into(), to);
        number(5, id.offset.get(), to);
        number(6, record.received_at_us, to);
        string(7, record.supply.id.as_str(), to);
        string(8, record.opportunity.country.alpha2(), to);
        nested(9, to, |to| text::ip(truncated(record.opportunity.ip), to));
        number(10, record.opportunity.tmax_ms.into(), to);
        nested(11, to, |to| text::hex(record.catalogue_revision, to));
        string(12, lot.auction.name(), to);
        number(13, lot.bid_floor.micros(), to);
        if !is_plain(record) {
            imps(14, record, to);
        }
        string(15, event.outcome(), to);
        if let Some(sale) = sale {
            let (runner_up, from) = record.clearing.account(&record.answers.bids, &sale);
            string(16, event.buyer(sale), to);
            optional(17, sale.price.micros(), to);
            string(18, from.name(), to);
            if runner_up > Cpm::ZERO {
                optional(19, runner_up.micros(), to);
            }
        }
        // Every bidder of the supply, in order of slot.
        for rows in self.rows.of(record).chunk_by(|row, next| row.slot == next.slot) {
            nested(20, to, |to| bidder(rows, record, to));
        }
    }
}

/// `bourse.events.v1.Imp`.
fn imps(field: u64, record: &Record<'_>, to: &mut Vec<u8>) {
    for (lot, sale) in record.clearing.lots.iter().zip(&record.clearing.sales) {
        nested(field, to, |to| {
            string(1, lot.auction.name(), to);
            number(2, lot.bid_floor.micros(), to);
            string(3, outcome(&[*sale]), to);
            if let Ok(sale) = sale {
                string(4, buyer(record, *sale), to);
                optional(5, sale.price.micros(), to);
            }
        });
    }
}

/// `bourse.events.v1.Bidder`: the rows of one.
fn bidder(rows: &[BidRow], record: &Record<'_>, to: &mut Vec<u8>) {
    let Some(row) = rows.first() else { return };
    string(1, row.bidder(record), to);
    if let Some(reason) = row.not_invited {
        string(2, reason.name(), to);
    }
    if let Some((answer, latency_us)) = row.reply {
        string(3, answer.name(), to);
        optional(4, latency_us, to);
    }
    for (bid, fate) in rows.iter().filter_map(|row| row.bid) {
        // `bourse.events.v1.Bid`.
        nested(5, to, |to| {
            number(1, bid.imp.into(), to);
            number(2, bid.price.micros(), to);
            match fate {
                Fate::Won(price) => {
                    string(3, "won", to);
                    optional(4, price.micros(), to);
                }
                Fate::Lost(reason) => {
                    string(3, "lost", to);
                    optional(5, reason as u64, to);
                }
            }
        });
    }
}

fn number(field: u64, number: u64, to: &mut Vec<u8>) {
    if number != 0 {
        optional(field, number, to);
    }
}

/// A number that says more by being 0 than by not being there.
fn optional(field: u64, number: u64, to: &mut Vec<u8>) {
    leb128(field << 3, to);
    leb128(number, to);
}

fn string(field: u64, text: &str, to: &mut Vec<u8>) {
    leb128(field << 3 | 2, to);
    leb128(text.len() as u64, to);
    to.extend_from_slice(text.as_bytes());
}

/// A message or a text whose length is known once it is written: mostly one byte.
fn nested(field: u64, to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    leb128(field << 3 | 2, to);
    let at = to.len();
    to.push(0);
    write(to);
    let length = to.len() - at - 1;
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => to[at] = short,
        _ => {
            let mut bytes = Vec::new();
            leb128(length as u64, &mut bytes);
            to.splice(at..=at, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reporting::leb128::read_leb128;

    #[test]
    fn what_is_nested_has_its_length_before_it_however_long_it_is() {
        for length in [0, 1, 127, 128, 16_383, 16_384] {
            let mut to = vec![5];
            nested(9, &mut to, |to| to.resize(to.len() + length, 7));
            let mut rest = &to[1..];
            assert_eq!(read_leb128(&mut rest), Some(9 << 3 | 2));
            assert_eq!(read_leb128(&mut rest), Some(length as u64));
            assert_eq!(rest, vec![7; length]);
        }
    }
}
