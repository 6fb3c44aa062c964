//! The event as Protobuf: the messages of `proto/bourse/events/v1/event.proto`, which a test holds these to.

use crate::event::{BidRow, Event, Rows, SCHEMA, is_plain};
use auction::record::truncated;
use auction::{Cpm, Record, outcome};
use prost::Message as _;

/// Writes events as Protobuf; kept between them.
#[derive(Debug, Default)]
pub struct Protobuf {
    rows: Rows,
}

impl Protobuf {
    /// Appends the event's message, without its length.
    pub fn write(&mut self, event: &Event<'_>, to: &mut Vec<u8>) {
        // Memory grows as it must.
        let _ = self.message(event).encode(to);
    }

    fn message(&mut self, event: &Event<'_>) -> Auction {
        let (Event { id, record, .. }, lot, sale) = (*event, event.lot(), event.sale());
        let (runner_up, from) = match &sale {
            Some(sale) => {
                let (runner_up, from) = record.clearing.account(&record.answers.bids, sale);
                ((runner_up > Cpm::ZERO).then(|| runner_up.micros()), Some(from.name().to_owned()))
            }
            None => (None, None),
        };
        Auction {
            schema: SCHEMA,
            event: id.to_string(),
            auction: record.id.to_string(),
            core: id.core,
            offset: id.offset.get(),
            time_us: record.received_at_us,
            supply: record.supply.id.to_string(),
            country: record.opportunity.country.alpha2().to_owned(),
            ip: truncated(record.opportunity.ip).to_string(),
            tmax_ms: record.opportunity.tmax_ms,
            catalogue_revision: format!("{:016x}", record.catalogue_revision),
            rule: lot.auction.name().to_owned(),
            bid_floor_micros: lot.bid_floor.micros(),
            imps: if is_plain(record) { Vec::new() } else { imps(event) },
            outcome: event.outcome().to_owned(),
            winner: sale.map(|sale| event.buyer(sale).to_owned()),
            price_micros: sale.map(|sale| sale.price.micros()),
            price_from: from,
            runner_up_micros: runner_up,
            bidders: self.bidders(record),
        }
    }

    /// Every bidder of the supply, in order of slot.
    fn bidders(&mut self, record: &Record<'_>) -> Vec<Bidder> {
        let mut bidders: Vec<Bidder> = Vec::with_capacity(record.supply.bidders().len());
        let mut last = None;
        for row in self.rows.of(record) {
            if last != Some(row.slot) {
                bidders.push(bidder(row, record));
            }
            last = Some(row.slot);
            if let Some(of) = bidders.last_mut() {
                of.bids.extend(bid(row));
            }
        }
        bidders
    }
}

fn imps(event: &Event<'_>) -> Vec<Imp> {
    let clearing = &event.record.clearing;
    let imp = |(lot, sale): (&auction::Lot, &Result<auction::Sale, _>)| Imp {
        rule: lot.auction.name().to_owned(),
        bid_floor_micros: lot.bid_floor.micros(),
        outcome: outcome(&[*sale]).to_owned(),
        winner: sale.ok().map(|sale| event.buyer(sale).to_owned()),
        price_micros: sale.ok().map(|sale| sale.price.micros()),
    };
    clearing.lots.iter().zip(&clearing.sales).map(imp).collect()
}

fn bidder(row: &BidRow, record: &Record<'_>) -> Bidder {
    Bidder {
        id: row.bidder(record).to_owned(),
        not_invited: row.not_invited.map(|reason| reason.name().to_owned()),
        answer: row.reply.map(|(answer, _)| answer.name().to_owned()),
        latency_us: row.reply.map(|(_, latency_us)| latency_us),
        bids: Vec::new(),
    }
}

fn bid(row: &BidRow) -> Option<Bid> {
    let (bid, _) = row.bid?;
    Some(Bid {
        imp: bid.imp,
        price_micros: bid.price.micros(),
        fate: row.fate()?.to_owned(),
        clearing_price_micros: row.clearing_price().map(Cpm::micros),
        reason: row.loss_reason().map(u32::from),
    })
}

/// `bourse.events.v1.Event`.
#[derive(Clone, PartialEq, prost::Message)]
struct Auction {
    #[prost(uint32, tag = "1")]
    schema: u32,
    #[prost(string, tag = "2")]
    event: String,
    #[prost(string, tag = "3")]
    auction: String,
    #[prost(uint32, tag = "4")]
    core: u32,
    #[prost(uint64, tag = "5")]
    offset: u64,
    #[prost(uint64, tag = "6")]
    time_us: u64,
    #[prost(string, tag = "7")]
    supply: String,
    #[prost(string, tag = "8")]
    country: String,
    #[prost(string, tag = "9")]
    ip: String,
    #[prost(uint32, tag = "10")]
    tmax_ms: u32,
    #[prost(string, tag = "11")]
    catalogue_revision: String,
    #[prost(string, tag = "12")]
    rule: String,
    #[prost(uint64, tag = "13")]
    bid_floor_micros: u64,
    #[prost(message, repeated, tag = "14")]
    imps: Vec<Imp>,
    #[prost(string, tag = "15")]
    outcome: String,
    #[prost(string, optional, tag = "16")]
    winner: Option<String>,
    #[prost(uint64, optional, tag = "17")]
    price_micros: Option<u64>,
    #[prost(string, optional, tag = "18")]
    price_from: Option<String>,
    #[prost(uint64, optional, tag = "19")]
    runner_up_micros: Option<u64>,
    #[prost(message, repeated, tag = "20")]
    bidders: Vec<Bidder>,
}

/// `bourse.events.v1.Imp`.
#[derive(Clone, PartialEq, prost::Message)]
struct Imp {
    #[prost(string, tag = "1")]
    rule: String,
    #[prost(uint64, tag = "2")]
    bid_floor_micros: u64,
    #[prost(string, tag = "3")]
    outcome: String,
    #[prost(string, optional, tag = "4")]
    winner: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    price_micros: Option<u64>,
}

/// `bourse.events.v1.Bidder`.
#[derive(Clone, PartialEq, prost::Message)]
struct Bidder {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    not_invited: Option<String>,
    #[prost(string, optional, tag = "3")]
    answer: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    latency_us: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    bids: Vec<Bid>,
}

/// `bourse.events.v1.Bid`.
#[derive(Clone, PartialEq, prost::Message)]
struct Bid {
    #[prost(uint32, tag = "1")]
    imp: u32,
    #[prost(uint64, tag = "2")]
    price_micros: u64,
    #[prost(string, tag = "3")]
    fate: String,
    #[prost(uint64, optional, tag = "4")]
    clearing_price_micros: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    reason: Option<u32>,
}
