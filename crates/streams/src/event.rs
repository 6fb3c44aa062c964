//! The event: one auction as every sink is given it, borrowed from where it was read. Schema version [`SCHEMA`].
//!
//! * Id: (instance, core, offset), where it stands in a journal. It is unique over all instances and for ever; what a
//!   sink gets twice has the same id twice.
//! * Units: prices are whole micros of USD, times microseconds since 1970 (UTC), latencies whole microseconds.
//! * Within a version fields are only added; `docs/events.md` says what each sink makes of them.

use auction::{Answer, Bid, Cpm, Fate, Imp, Lot, NotInvited, Record, Sale, Supply, outcome};
use journal::Offset;
use std::fmt;
use std::sync::Arc;

/// The version of the schema that this code writes.
pub const SCHEMA: u32 = 1;

/// Which event: where its auction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Whose journal.
    pub instance: u64,
    /// Of which core.
    pub core: u32,
    /// Where in it.
    pub offset: Offset,
}

/// The instance in 16 hexadecimal digits, the core, the offset: `8b7513d6705a9d95-0-640`.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.instance, self.core, self.offset)
    }
}

/// One auction.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Which event it is.
    pub id: EventId,
    /// All of the auction.
    pub record: &'a Record<'a>,
    /// Its supply, shared by the auctions of a segment: what is made of it may be kept by its address.
    pub supply: &'a Arc<Supply>,
}

impl<'a> Event<'a> {
    /// The rule and the floor in force: the only imp's, or the supply's where there are several.
    pub fn lot(&self) -> Lot {
        lot(self.record)
    }

    /// `sold` if any imp is; else why the first is not.
    pub fn outcome(&self) -> &'static str {
        outcome(&self.record.clearing.sales)
    }

    /// The sale of the only imp; None: it was not sold, or there are several.
    pub fn sale(&self) -> Option<Sale> {
        only_sale(self.record)
    }

    /// Who bought in this sale.
    pub fn buyer(&self, sale: Sale) -> &'a str {
        buyer(self.record, sale)
    }
}

pub(crate) fn lot(record: &Record<'_>) -> Lot {
    match record.clearing.lots[..] {
        [only] => only,
        _ => record.supply.lot(&Imp::PLAIN),
    }
}

/// Whether it offered nothing but one imp without wishes, as POST /bid does.
pub(crate) fn is_plain(record: &Record<'_>) -> bool {
    record.opportunity.imps == [Imp::PLAIN]
}

pub(crate) fn only_sale(record: &Record<'_>) -> Option<Sale> {
    match record.clearing.sales[..] {
        [Ok(only)] => Some(only),
        _ => None,
    }
}

pub(crate) fn buyer<'a>(record: &Record<'a>, sale: Sale) -> &'a str {
    record.supply.bidders()[sale.slot as usize].id.as_str()
}

/// What one bidder did in an auction: a row for each of its bids, or one if it made none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BidRow {
    /// Its place among the bidders of the supply.
    pub slot: u32,
    /// What it said, and after how many microseconds; None: it was not asked.
    pub reply: Option<(Answer, u64)>,
    /// Why it was not asked.
    pub not_invited: Option<NotInvited>,
    /// What it bid, and what became of that.
    pub bid: Option<(Bid, Fate)>,
}

impl BidRow {
    /// The bidder's id.
    pub fn bidder<'a>(&self, record: &Record<'a>) -> &'a str {
        record.supply.bidders()[self.slot as usize].id.as_str()
    }

    /// The price it pays, if it won.
    pub fn clearing_price(&self) -> Option<Cpm> {
        match self.bid {
            Some((_, Fate::Won(price))) => Some(price),
            _ => None,
        }
    }

    /// Why its bid lost, by its number in the OpenRTB 3.0 loss reason list.
    pub fn loss_reason(&self) -> Option<u16> {
        match self.bid {
            Some((_, Fate::Lost(reason))) => Some(reason as u16),
            _ => None,
        }
    }
}

/// Lists the bidders of one auction after the other; kept between them, so that listing allocates nothing.
#[derive(Debug, Default)]
pub struct Rows {
    rows: Vec<BidRow>,
    /// For each slot its reply's place and its first bid's; for each bid the next one of its slot.
    replies: Vec<u32>,
    bids: Vec<u32>,
    next: Vec<u32>,
}

/// In the place of a reply or a bid that is not there.
const NONE: u32 = u32::MAX;

impl Rows {
    /// Every bidder of the supply in order of slot, and a bidder's bids in their order.
    pub fn of(&mut self, record: &Record<'_>) -> &[BidRow] {
        self.place(record);
        let Self { rows, replies, bids, next } = self;
        let (answers, fates) = (record.answers, &record.clearing.fates);
        rows.clear();
        for ((slot, reply), first) in (0..).zip(replies).zip(bids) {
            let reply = answers.replies.get(*reply as usize);
            let reply = reply.map(|reply| (reply.answer, reply.latency_ns.div_ceil(1_000)));
            let not_invited = record.invitations.refusal(slot);
            let row = BidRow { slot, reply, not_invited, bid: None };
            if *first == NONE {
                rows.push(row);
            }
            let mut at = *first as usize;
            while let Some(bid) = answers.bids.get(at) {
                rows.push(BidRow { bid: Some((*bid, fates[at])), ..row });
                at = next[at] as usize;
            }
        }
        rows
    }

    /// Answers come in their own time.
    fn place(&mut self, record: &Record<'_>) {
        let Self { replies, bids, next, .. } = self;
        let (bidders, answers) = (record.supply.bidders().len(), record.answers);
        for (places, count) in
            [(&mut *replies, bidders), (&mut *bids, bidders), (&mut *next, answers.bids.len())]
        {
            places.clear();
            places.resize(count, NONE);
        }
        for (at, reply) in (0..).zip(&answers.replies) {
            replies[reply.slot as usize] = at;
        }
        for (at, bid) in answers.bids.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut bids[bid.slot as usize], at as u32);
        }
    }
}
