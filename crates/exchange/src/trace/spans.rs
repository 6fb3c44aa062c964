//! An auction as spans of the OpenTelemetry protocol (OTLP 1.x, `trace.proto`).
//!
//! * Tree: `auction`, from the request read to the answer made; below it a `bidder` for each that was invited, from the
//!   same moment to its answer. Who was not invited, and why, are events of the auction.
//! * Units: money in whole micros of USD, as everywhere; a latency is its span's length. With the virtual clock nobody
//!   waits, so a bidder's span may end after its auction's.
//! * Ids: drawn for each auction; of a sampled parent the trace is kept.

use super::{Parent, Traced};
use auction::{Answer, Bid, Fate, Record, Reply, outcome};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::hash::{BuildHasher, RandomState};

/// W3C's flag of a sampled trace, and OTLP's that it is known whether the parent is of another process.
const SAMPLED: u32 = 0x001;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The auction's span, then one for each bidder that was asked.
pub(super) fn spans(traced: &Traced, chance: &RandomState) -> Vec<Span> {
    traced.with(|record| {
        let tree = Tree::new(traced, record, chance);
        let root = tree.auction(record, traced);
        let replies = record.answers.replies.iter();
        std::iter::once(root).chain(replies.map(|reply| tree.bidder(record, reply))).collect()
    })
}

/// What the spans of one auction have in common.
struct Tree<'a> {
    chance: &'a RandomState,
    auction: (u64, u64, u64),
    trace_id: Vec<u8>,
    parent: Option<Parent>,
    start_ns: u64,
}

/// The first ids of an auction; a bidder's follow.
const TRACE_HIGH: u64 = 0;
const TRACE_LOW: u64 = 1;
const ROOT: u64 = 2;
const FIRST_BIDDER: u64 = 3;

impl<'a> Tree<'a> {
    fn new(traced: &Traced, record: &Record<'_>, chance: &'a RandomState) -> Self {
        // The time, too: with a seed that is set, numbers begin again at every start.
        let auction = (record.id.seed, record.id.sequence, record.received_at_us);
        let start_ns = record.received_at_us * 1_000;
        let mut tree = Self { chance, auction, trace_id: Vec::new(), parent: traced.parent, start_ns };
        tree.trace_id = match traced.parent {
            Some(parent) => parent.trace_id.to_vec(),
            None => [tree.id(TRACE_HIGH), tree.id(TRACE_LOW)].concat(),
        };
        tree
    }

    /// An id is never zero.
    fn id(&self, number: u64) -> Vec<u8> {
        self.chance.hash_one((self.auction, number)).max(1).to_be_bytes().to_vec()
    }

    fn auction(&self, record: &Record<'_>, traced: &Traced) -> Span {
        let (supply, opportunity) = (record.supply, record.opportunity);
        let mut attributes = vec![
            text("auction.id", record.id.to_string()),
            text("auction.supply", supply.id.as_str()),
            text("auction.country", opportunity.country.alpha2()),
            number("auction.tmax_ms", u64::from(opportunity.tmax_ms)),
            text("auction.rule", supply.auction.name()),
            number("auction.bid_floor_micros", supply.bid_floor.micros()),
            text("auction.catalogue_revision", format!("{:016x}", record.catalogue_revision)),
            text("auction.outcome", outcome(&record.clearing.sales)),
        ];
        if let [Ok(sale)] = record.clearing.sales[..] {
            attributes.push(text("auction.winner", supply.bidders()[sale.slot as usize].id.as_str()));
            attributes.push(number("auction.price_micros", sale.price.micros()));
        }
        let not_invited = record.invitations.not_invited().map(|(_, bidder, reason)| Event {
            time_unix_nano: self.start_ns,
            name: "not_invited".to_owned(),
            attributes: vec![
                text("bidder.id", bidder.id.as_str()),
                text("bidder.not_invited", reason.name()),
            ],
            ..Event::default()
        });
        Span {
            trace_id: self.trace_id.clone(),
            span_id: self.id(ROOT),
            parent_span_id: self.parent.map_or_else(Vec::new, |parent| parent.span_id.to_vec()),
            flags: SAMPLED | HAS_IS_REMOTE | if self.parent.is_some() { IS_REMOTE } else { 0 },
            name: "auction".to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: self.start_ns,
            end_time_unix_nano: self.start_ns + traced.duration.as_nanos() as u64,
            attributes,
            events: not_invited.collect(),
            ..Span::default()
        }
    }

    fn bidder(&self, record: &Record<'_>, reply: &Reply) -> Span {
        let end_ns = self.start_ns + reply.latency_ns;
        let mut attributes = vec![
            text("bidder.id", record.supply.bidders()[reply.slot as usize].id.as_str()),
            text("bidder.answer", reply.answer.name()),
        ];
        let bids = record.answers.bids.iter().zip(&record.clearing.fates);
        let mut bids: Vec<_> = bids
            .filter(|(bid, _)| bid.slot == reply.slot)
            .map(|(bid, fate)| bid_attributes(bid, *fate))
            .collect();
        // The usual one is where a search finds it.
        if let [_] = bids[..] {
            attributes.append(&mut bids.remove(0));
        }
        let events = bids.into_iter().map(|attributes| Event {
            time_unix_nano: end_ns,
            name: "bid".to_owned(),
            attributes,
            ..Event::default()
        });
        let late = Status { message: "not within tmax".to_owned(), code: StatusCode::Error.into() };
        Span {
            trace_id: self.trace_id.clone(),
            span_id: self.id(FIRST_BIDDER + u64::from(reply.slot)),
            parent_span_id: self.id(ROOT),
            flags: SAMPLED | HAS_IS_REMOTE,
            name: "bidder".to_owned(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: self.start_ns,
            end_time_unix_nano: end_ns,
            attributes,
            events: events.collect(),
            status: (reply.answer == Answer::Timeout).then_some(late),
            ..Span::default()
        }
    }
}

fn bid_attributes(bid: &Bid, fate: Fate) -> Vec<KeyValue> {
    let mut attributes =
        vec![number("bid.imp", u64::from(bid.imp)), number("bid.price_micros", bid.price.micros())];
    attributes.extend(match fate {
        Fate::Won(price) => [text("bid.fate", "won"), number("bid.clearing_price_micros", price.micros())],
        Fate::Lost(reason) => [text("bid.fate", "lost"), number("bid.loss_reason", reason as u64)],
    });
    attributes
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    // No price and no count is beyond 2^63.
    attribute(key, Value::IntValue(value as i64))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}
