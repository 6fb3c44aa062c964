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
pub struct BidRow<'a> {
    /// Its place among the bidders of the supply.
    pub slot: u32,
    /// Its id.
    pub bidder: &'a str,
    /// What it said, and after how many microseconds; None: it was not asked.
    pub reply: Option<(Answer, u64)>,
    /// Why it was not asked.
    pub not_invited: Option<NotInvited>,
    /// What it bid, and what became of that.
    pub bid: Option<(Bid, Fate)>,
}

impl BidRow<'_> {
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

    /// `won` or `lost`, if it bid.
    pub fn fate(&self) -> Option<&'static str> {
        self.bid.map(|(_, fate)| if matches!(fate, Fate::Won(_)) { "won" } else { "lost" })
    }
}

/// Lists the bidders of one auction after the other; kept between them, so that listing allocates nothing.
#[derive(Debug, Default)]
pub struct Rows {
    replies: Vec<u64>,
    bids: Vec<u64>,
}

impl Rows {
    /// Hands every bidder of the supply to `use_it`, in order of slot, and a bidder's bids in their order.
    pub fn each<'a>(&mut self, record: &Record<'a>, mut use_it: impl FnMut(&BidRow<'a>)) {
        let (replies, bids) = (&record.answers.replies, &record.answers.bids);
        in_order(&mut self.replies, replies, |reply| reply.slot);
        in_order(&mut self.bids, bids, |bid| bid.slot);
        let mut next_reply = self.replies.iter().map(|at| *at as u32 as usize).peekable();
        let mut next_bid = self.bids.iter().map(|at| *at as u32 as usize).peekable();
        for (slot, bidder) in (0..).zip(record.supply.bidders()) {
            let reply = next_reply.next_if(|at| replies[*at].slot == slot);
            let reply = reply.map(|at| (replies[at].answer, replies[at].latency_ns.div_ceil(1_000)));
            let not_invited = record.invitations.refusal(slot);
            let mut row = BidRow { slot, bidder: bidder.id.as_str(), reply, not_invited, bid: None };
            let mut has_bid = false;
            while let Some(at) = next_bid.next_if(|at| bids[*at].slot == slot) {
                row.bid = Some((bids[at], record.clearing.fates[at]));
                use_it(&row);
                has_bid = true;
            }
            if !has_bid {
                use_it(&row);
            }
        }
    }
}

/// The places of these in order of slot, each behind its slot: answers come in their own time.
fn in_order<T>(order: &mut Vec<u64>, of: &[T], slot: impl Fn(&T) -> u32) {
    order.clear();
    order.extend((0..).zip(of).map(|(at, of): (u32, _)| u64::from(slot(of)) << 32 | u64::from(at)));
    order.sort_unstable();
}
