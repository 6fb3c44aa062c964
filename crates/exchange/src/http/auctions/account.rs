//! The account of an auction as the OpenAPI document describes it; [`streams::json`] writes it.

use utoipa::ToSchema;

/// An auction that was held.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the account is written by hand")]
pub(super) struct RecordedAuction {
    /// Its id.
    #[schema(example = "0000000000000007-42")]
    auction: String,
    /// When its request had been read (RFC 3339, UTC).
    #[schema(example = "2026-06-07T12:30:00.123456Z")]
    time: String,
    #[schema(example = "supply1")]
    supply: String,
    #[schema(example = "US")]
    country: String,
    /// The user's address, cut to /24 or /48.
    #[schema(example = "192.168.1.0")]
    ip: String,
    /// Milliseconds the bidders had.
    #[schema(example = 200)]
    tmax_ms: u32,
    /// The catalogue it was held under.
    #[schema(example = "5f0c2a9be1d47c33")]
    catalogue_revision: String,
    /// `first_price` or `second_price`.
    #[schema(example = "second_price")]
    rule: String,
    /// No bid below it wins, in USD.
    #[schema(example = 0.10)]
    bid_floor: f64,
    /// `sold`, `no_eligible_bidders`, `no_bids` or `below_floor`.
    #[schema(example = "sold")]
    outcome: String,
    /// If it sold, as are price, its origin and what was beaten.
    #[schema(example = "bidder2")]
    winner: Option<String>,
    /// What the winner pays, in USD.
    #[schema(example = 0.56)]
    price: Option<f64>,
    /// Where the price comes from: `own_bid`, `runner_up` (one cent over it), `floor` or `cent`.
    #[schema(example = "runner_up")]
    price_from: Option<String>,
    /// The highest bid that the winner beat.
    #[schema(example = 0.55)]
    runner_up: Option<f64>,
    /// Every bidder of the supply.
    bidders: Vec<RecordedBidder>,
}

/// A bidder of the supply: what it answered, or why it was not invited.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the account is written by hand")]
pub(super) struct RecordedBidder {
    #[schema(example = "bidder2")]
    id: String,
    /// `bid`, `no_bid` or `timeout`.
    #[schema(example = "bid")]
    answer: Option<String>,
    /// From the invitation to the answer; for a timeout, to the answer that came too late.
    #[schema(example = 43.125)]
    latency_ms: Option<f64>,
    /// `other_country`: it does not buy in the request's.
    #[schema(example = "other_country")]
    not_invited: Option<String>,
    /// Left out for one that did not bid.
    bids: Option<Vec<RecordedBid>>,
}

/// A bid and its fate.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the account is written by hand")]
pub(super) struct RecordedBid {
    /// In USD.
    #[schema(example = 0.83)]
    price: f64,
    /// `won` or `lost`.
    #[schema(example = "won")]
    fate: String,
    /// What it pays, if it won.
    #[schema(example = 0.56)]
    clearing_price: Option<f64>,
    /// If it lost: a number of the OpenRTB 3.0 loss reason list.
    #[schema(example = 102)]
    reason: Option<u16>,
}
