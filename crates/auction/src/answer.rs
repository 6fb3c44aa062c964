//! What the invited bidders answered.

use crate::Cpm;

/// How one invited bidder answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With at least one bid; they stand in [`Answers::bids`].
    Bid,
    /// In time, without a bid.
    NoBid,
    /// Not within tmax.
    Timeout,
}

impl Answer {
    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::NoBid => "no_bid",
            Self::Timeout => "timeout",
        }
    }
}

/// One invited bidder's answer and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The bidder's slot.
    pub slot: u32,
    /// What it answered.
    pub answer: Answer,
    /// Nanoseconds from the invitation to the answer; for a timeout, to the answer that came too late.
    pub latency_ns: u64,
}

/// One bid for one imp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    /// The bidder's slot.
    pub slot: u32,
    /// The imp's place in the request.
    pub imp: u32,
    /// What it offers.
    pub price: Cpm,
}

/// All that came back for one auction: a reply per invited bidder, and any number of bids. Kept between auctions and
/// cleared, so that an auction allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// One per invited bidder, in the order of the invitations.
    pub replies: Vec<Reply>,
    /// In the order of the replies.
    pub bids: Vec<Bid>,
}

impl Answers {
    /// Forgets the last auction.
    pub fn clear(&mut self) {
        self.replies.clear();
        self.bids.clear();
    }
}
