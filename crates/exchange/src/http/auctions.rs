//! POST /auctions: holds the auction that POST /bid would hold, with the same rules and refusals, and explains it.
//!
//! The account of the auction is what `bourse journal cat` writes for it, read from the record before it is put away.
//! It is counted, recorded and rate limited as any other.

mod account;

use super::bid::{self, BidRequestBody};
use super::problem::{Problem, Refusal};
use super::site::Core;
use crate::config::RateLimitKey;
use account::RecordedAuction;
use auction::Record;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use std::net::IpAddr;
use streams::json::Json;
use utoipa::ToSchema;

/// An auction, explained.
#[derive(Serialize, ToSchema)]
pub struct Explained {
    /// The rate limit that the request passed; null if there is none.
    rate_limit: Option<PassedLimit>,
    /// As `bourse journal cat` shows it.
    #[schema(value_type = RecordedAuction)]
    auction: Box<RawValue>,
    /// What POST /bid answers to this.
    answer: Answered,
}

/// The rate limit that a request passed.
#[derive(Serialize, ToSchema)]
pub struct PassedLimit {
    /// How many requests of an address pass in a window.
    #[schema(example = 3)]
    requests: u32,
    /// The window, in seconds.
    #[schema(example = 60)]
    window_s: u64,
    /// What an address is: `body`, `peer` or `forwarded`.
    #[schema(example = "body")]
    key: &'static str,
    /// Whether all instances keep it together.
    shared: bool,
}

/// An answer of POST /bid.
#[derive(Serialize, ToSchema)]
pub struct Answered {
    /// Its HTTP status.
    #[schema(example = 200)]
    status: u16,
    /// Its body.
    #[schema(value_type = Object, example = json!({"winner": "bidder2", "price": 0.56}))]
    body: Box<RawValue>,
}

/// Hold an auction and explain it.
///
/// It is an auction like any other of POST /bid: rate limited, recorded and counted. One that sold nothing is explained,
/// too; what was refused before it was held gets POST /bid's refusal.
#[utoipa::path(post, path = "/auctions", tag = "auction", operation_id = "explain",
    request_body(content = BidRequestBody, example = json!(
        {"supply_id": "supply1", "ip": "192.168.1.100", "country": "US", "tmax": 200})),
    responses(
        (status = 200, description = "Held, whatever came of it", body = Explained, example = json!({
            "rate_limit": {"requests": 3, "window_s": 60, "key": "body", "shared": false},
            "auction": {"auction": "0000000000000007-42", "time": "2026-06-07T12:30:00.123456Z", "supply": "supply1",
                "country": "US", "ip": "192.168.1.0", "tmax_ms": 200, "catalogue_revision": "5f0c2a9be1d47c33",
                "rule": "second_price", "bid_floor": 0.10, "outcome": "sold", "winner": "bidder2", "price": 0.56,
                "price_from": "runner_up", "runner_up": 0.55, "bidders": [
                    {"id": "bidder1", "not_invited": "other_country"},
                    {"id": "bidder2", "answer": "bid", "latency_ms": 43.125,
                        "bids": [{"price": 0.83, "fate": "won", "clearing_price": 0.56}]},
                    {"id": "bidder3", "answer": "bid", "latency_ms": 120.5,
                        "bids": [{"price": 0.55, "fate": "lost", "reason": 102}]},
                    {"id": "bidder4", "answer": "timeout", "latency_ms": 260.75}]},
            "answer": {"status": 200, "body": {"winner": "bidder2", "price": 0.56}}})),
        (status = 400, description = "Not JSON, or no such supply", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/unknown_supply",
                "title": "No such supply", "status": 400, "detail": "the catalogue has no supply \"supply99\"",
                "code": "unknown_supply"})),
        (status = 422, description = "A member is missing, twice there, or breaks its rule", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/invalid_request",
                "title": "The request breaks a rule", "status": 422, "detail": "ip is missing",
                "code": "invalid_request", "errors": [{"field": "ip", "detail": "is missing"}]})),
        (status = 429, description = "More than 3 requests in 60 s for this address", body = Problem,
            content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds until the next request passes")),
            example = json!({"type": "/problems/rate_limited", "title": "Too many requests for this address",
                "status": 429, "detail": "this address has had its 3 requests in 60 s; the next one passes in 42 s",
                "code": "rate_limited"})),
        (status = 503, description = "Shed, about to stop, or unable to record", body = Problem,
            content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds to wait")),
            example = json!({"type": "/problems/journal_unavailable", "title": "Auctions cannot be recorded",
                "status": 503, "detail": "the journal has no prepared room: free space on the data directory's disk",
                "code": "journal_unavailable"}))))]
pub(super) async fn auction(core: &Core, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match explained(core, peer, request).await {
        Ok(body) => {
            let mut response = Response::new(Full::new(body.into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn explained(core: &Core, peer: IpAddr, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let received = bid::read(core, request).await?;
    let asked = received.asked(peer);
    let answer = |record: &Record<'_>| {
        let mut sold = Vec::new();
        (bid::write_sale(record, &mut sold).map(|()| sold), account(record))
    };
    let held = bid::auction(core, asked, answer).await;
    let (sale, auction) = held.inspect_err(|refusal| core.meters.refused(refusal.code))?;
    bid::count(core, &sale);
    let (status, body) = match sale {
        Ok(sold) => (200, sold),
        Err(refusal) => {
            let mut problem = Vec::new();
            refusal.write_body(&mut problem);
            (refusal.code.status().as_u16(), problem)
        }
    };
    // Each of them was just written as JSON.
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let answer = Answered { status, body };
    let explained = Explained { rate_limit: limit(core), auction: auction.unwrap_or_default(), answer };
    Ok(serde_json::to_vec(&explained).unwrap_or_default())
}

/// What `bourse journal cat` will write of it, but for its place.
fn account(record: &Record<'_>) -> serde_json::Result<Box<RawValue>> {
    let mut account = Vec::new();
    Json::default().write_auction(record, &mut account);
    serde_json::from_slice(&account)
}

fn limit(core: &Core) -> Option<PassedLimit> {
    let exchange = core.desk.exchange();
    let limit = exchange.limiter.as_ref()?.limit();
    let key = match core.site.key {
        RateLimitKey::Body => "body",
        RateLimitKey::Peer => "peer",
        RateLimitKey::Forwarded(_) => "forwarded",
    };
    let (requests, window_s) = (limit.requests, limit.window_us.div_ceil(1_000_000));
    Some(PassedLimit { requests, window_s, key, shared: exchange.shared_limit.is_some() })
}
