//! POST /bid: who pays most for this slot? The hot path, dispatched by hand.
//!
//! | step | refusal |
//! |---|---|
//! | the body arrives, within its bound and in time | 413, 408 |
//! | the headers declare JSON | 415 |
//! | it is JSON with one meaning, and keeps every rule | 400 `malformed_json`, 422 |
//! | the auction can end before the exchange stops | 503 `draining` |
//! | [`hold`](crate::hold::Desk::hold) | 503 `journal_unavailable`, 429, 503 `overloaded`, 400 `unknown_supply` |
//! | somebody bought | 400 `no_eligible_bidders`, `no_bids` |

use super::problem::{Code, Problem, Refusal};
use super::request;
use super::site::{Core, Site};
use crate::config::RateLimitKey;
use crate::hold::Refused;
use crate::limiter::Limit;
use crate::trace::Parent;
use auction::{Cpm, Imp, NoSale, Opportunity, Record};
use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;
use utoipa::ToSchema;

/// The caller's span (W3C Trace Context).
pub(super) const TRACEPARENT: &str = "traceparent";

/// The body of a request, as the documentation shows it; [`request::parse`] reads it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the door reads the body without copying it")]
pub struct BidRequestBody {
    /// The supply that offers the slot.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", example = "supply1")]
    supply_id: String,
    /// The user's IPv4 or IPv6 address.
    #[schema(example = "192.168.1.100")]
    ip: String,
    /// ISO 3166-1 alpha-2, any case; alpha-3 is taken too.
    #[schema(pattern = "^[A-Za-z]{2,3}$", example = "US")]
    country: String,
    /// Milliseconds a bidder has to answer.
    #[schema(required = false, minimum = 1, maximum = 5000, default = 200, example = 200)]
    tmax: u32,
}

/// The answer to a slot that was sold, as the documentation shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the door writes the answer by hand")]
pub struct BidAnswer {
    /// The bidder that won.
    #[schema(example = "bidder2")]
    winner: String,
    /// Its clearing price in USD, an exact decimal.
    #[schema(example = 0.83)]
    price: f64,
}

/// Hold an auction for one slot.
///
/// Every bidder of the supply that buys in the country is asked at once; the highest bid wins.
#[utoipa::path(post, path = "/bid", tag = "auction", operation_id = "bid",
    request_body(content = BidRequestBody, example = json!(
        {"supply_id": "supply1", "ip": "192.168.1.100", "country": "US", "tmax": 200})),
    responses(
        (status = 200, description = "Sold", body = BidAnswer, example = json!({"winner": "bidder2", "price": 0.83})),
        (status = 400, description = "Not JSON, no such supply, nobody to ask, or nobody bid", body = Problem,
            content_type = "application/problem+json", examples(
            ("no_bids" = (value = json!({"type": "/problems/no_bids", "title": "No bidder bid", "status": 400,
                "detail": "every eligible bidder passed or timed out", "code": "no_bids"}))),
            ("no_eligible_bidders" = (value = json!({"type": "/problems/no_eligible_bidders",
                "title": "No bidder buys in this country", "status": 400,
                "detail": "none of the supply's bidders buys in DE", "code": "no_eligible_bidders"}))),
            ("unknown_supply" = (value = json!({"type": "/problems/unknown_supply", "title": "No such supply",
                "status": 400, "detail": "the catalogue has no supply \"supply99\"", "code": "unknown_supply"}))),
            ("malformed_json" = (value = json!({"type": "/problems/malformed_json", "title": "The body is not JSON",
                "status": 400, "detail": "the body is not JSON: expected value at line 1 column 2",
                "code": "malformed_json"}))))),
        (status = 408, description = "The body did not arrive in time", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/request_timeout",
                "title": "The body did not arrive in time", "status": 408,
                "detail": "the body did not arrive within 5000 ms", "code": "request_timeout"})),
        (status = 413, description = "The body is over its bound", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/body_too_large",
                "title": "The body is too large", "status": 413, "detail": "the body is over 65536 bytes",
                "code": "body_too_large"})),
        (status = 415, description = "Not JSON by its Content-Type", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/unsupported_media_type",
                "title": "The body is not declared as JSON", "status": 415,
                "detail": "send Content-Type: application/json", "code": "unsupported_media_type"})),
        (status = 422, description = "A member is missing, twice there, or breaks its rule", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/invalid_request",
                "title": "The request breaks a rule", "status": 422, "detail": "ip is missing",
                "code": "invalid_request", "errors": [{"field": "ip", "detail": "is missing"}]})),
        (status = 429, description = "More than 3 requests in 60 s for this address", body = Problem,
            content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds until the next request passes"),
                ("RateLimit" = String, description = "Requests left and seconds to wait"),
                ("RateLimit-Policy" = String, description = "The limit and its window")),
            example = json!({"type": "/problems/rate_limited", "title": "Too many requests for this address",
                "status": 429, "detail": "this address has had its 3 requests in 60 s; the next one passes in 42 s",
                "code": "rate_limited"})),
        (status = 503, description = "Shed: come back later", body = Problem,
            content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds to wait")),
            examples(
            ("draining" = (value = json!({"type": "/problems/draining", "title": "About to stop", "status": 503,
                "detail": "the exchange stops before an auction of 5000 ms could end", "code": "draining"}))),
            ("journal_unavailable" = (value = json!({"type": "/problems/journal_unavailable",
                "title": "Auctions cannot be recorded", "status": 503, "detail":
                "the journal has no prepared room: free space on the data directory's disk",
                "code": "journal_unavailable"}))),
            ("overloaded" = (value = json!({"type": "/problems/overloaded", "title": "Too busy", "status": 503,
                "detail": "too many connections are open", "code": "overloaded"}))))),
    ))]
pub(super) async fn bid(core: &Core, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut sold = Vec::with_capacity(64);
    match answer(core, peer, request, &mut sold).await {
        Ok(()) => {
            let mut response = Response::new(Full::new(sold.into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    core: &Core,
    peer: IpAddr,
    request: Request<Incoming>,
    sold: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let received = read(core, request).await?;
    sell(core, received.asked(peer), sold).await
}

/// What an auction is asked for with.
pub(super) struct Received {
    body: Bytes,
    forwarded: Option<IpAddr>,
    parent: Option<Parent>,
}

impl Received {
    /// The same, from this caller, received now.
    pub(super) fn asked(&self, peer: IpAddr) -> Asked<'_> {
        let Self { body, forwarded, parent } = self;
        Asked { body, peer, forwarded: *forwarded, parent: *parent, received_at: Instant::now() }
    }
}

/// Reads a request whole. A refusal is counted.
pub(super) async fn read(core: &Core, request: Request<Incoming>) -> Result<Received, Refusal> {
    let site = &*core.site;
    // Read first: a refusal that leaves a body unread would cost the client its connection.
    let (head, body) = request.into_parts();
    let read = read_body(site, body).await;
    let body = read.and_then(|body| declared_as_json(&head.headers).map(|()| body));
    let body = body.inspect_err(|refusal| core.meters.refused(refusal.code))?;
    let forwarded = match site.key {
        RateLimitKey::Forwarded(hops) => {
            let lists = head.headers.get_all(HeaderName::from_static("x-forwarded-for"));
            forwarded_for(lists.iter().map(HeaderValue::as_bytes), hops)
        }
        _ => None,
    };
    let parent = core.desk.is_traced().then(|| head.headers.get_all(TRACEPARENT));
    let parent = parent.and_then(|all| Parent::only(all.iter().map(HeaderValue::as_bytes)));
    Ok(Received { body, forwarded, parent })
}

/// What a request asks, once it has been read.
pub(super) struct Asked<'a> {
    /// All of it.
    pub(super) body: &'a [u8],
    /// Who called.
    pub(super) peer: IpAddr,
    /// For whom, by a proxy that is trusted.
    pub(super) forwarded: Option<IpAddr>,
    /// By which span, if traces are kept.
    pub(super) parent: Option<Parent>,
    /// When the last of the body had come.
    pub(super) received_at: Instant,
}

/// Holds the auction that is asked for, writes the answer's body to `sold`, and counts what became of it.
pub(super) async fn sell(core: &Core, asked: Asked<'_>, sold: &mut Vec<u8>) -> Result<(), Refusal> {
    let outcome = auction(core, asked, |record| write_sale(record, sold)).await.flatten();
    count(core, &outcome);
    outcome
}

/// Counts what became of a request.
pub(super) fn count<T>(core: &Core, outcome: &Result<T, Refusal>) {
    match outcome {
        Ok(_) => core.meters.sold.add(1),
        Err(refusal) => core.meters.refused(refusal.code),
    }
}

/// Holds the auction that is asked for and hands its record to `answer`.
pub(super) async fn auction<T>(
    core: &Core,
    asked: Asked<'_>,
    answer: impl FnOnce(&Record<'_>) -> T,
) -> Result<T, Refusal> {
    let site = &*core.site;
    let desk = &core.desk;
    let mut caller = match site.key {
        RateLimitKey::Body => None,
        RateLimitKey::Peer => Some(desk.caller(asked.peer)),
        RateLimitKey::Forwarded(_) => Some(desk.caller(asked.forwarded.unwrap_or(asked.peer))),
    };
    let request = request::parse(asked.body, site.json_depth_max, |ip| {
        caller.get_or_insert_with(|| desk.caller(ip));
    })?;
    site.lifecycle.time_for(request.tmax_ms)?;
    let opportunity = Opportunity {
        supply_id: &request.supply_id,
        ip: request.ip,
        country: request.country,
        tmax_ms: request.tmax_ms,
        imps: &[Imp::PLAIN],
    };
    let caller = caller.unwrap_or_else(|| desk.caller(request.ip)).within(asked.parent);
    let held = desk.hold(&site.exchange.callout, &opportunity, caller, asked.received_at, answer).await;
    let took = asked.received_at.elapsed();
    core.meters.bid_duration.observe(took);
    if held.is_ok() {
        core.meters.auction_duration.observe(took);
    }
    held.map_err(|refused| refusal(refused, core, &opportunity))
}

/// No Content-Type at all passes; one that names something else, or an encoding, does not.
pub(crate) fn declared_as_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |detail: &'static str| Err(Refusal::new(Code::UnsupportedMediaType, detail));
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        let essence = content_type.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        let subtype = |prefix: &[u8]| {
            essence.len() > prefix.len() && essence[..prefix.len()].eq_ignore_ascii_case(prefix)
        };
        let structured =
            subtype(b"application/") && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json");
        if !essence.eq_ignore_ascii_case(b"application/json") && !structured {
            return unsupported("send Content-Type: application/json");
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            unsupported("send the body without Content-Encoding")
        }
        _ => Ok(()),
    }
}

/// The whole body, in time. It usually came with the head, and then no timer is made.
pub(super) async fn read_body(site: &Site, body: Incoming) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > site.body_max_bytes as u64 {
        return Err(too_large(site));
    }
    let mut collected = pin!(collect(site, body));
    if let Poll::Ready(collected) = poll!(collected.as_mut()) {
        return collected;
    }
    tokio::time::timeout(site.body_timeout, collected).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} ms", site.body_timeout.as_millis());
        Err(Refusal::new(Code::RequestTimeout, detail).close())
    })
}

/// Without a copy if it came in one piece.
async fn collect(site: &Site, mut body: Incoming) -> Result<Bytes, Refusal> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken =
            |_| Refusal::new(Code::MalformedRequest, "the body ended early or is framed wrongly").close();
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > site.body_max_bytes {
            return Err(too_large(site));
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(site: &Site) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("the body is over {} bytes", site.body_max_bytes)).close()
}

/// The address that the `hops`-th trusted proxy, counted from us, says it was called from; `lists` are the values of
/// X-Forwarded-For in their order.
pub(super) fn forwarded_for<'a>(
    lists: impl DoubleEndedIterator<Item = &'a [u8]>,
    hops: usize,
) -> Option<IpAddr> {
    let lists = lists.rev().filter_map(|list| std::str::from_utf8(list).ok());
    let entry = lists.flat_map(|list| list.rsplit(',')).nth(hops.checked_sub(1)?)?.trim();
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split(']').next());
    bracketed.unwrap_or(entry).parse().ok().or_else(|| Some(entry.parse::<std::net::SocketAddr>().ok()?.ip()))
}

/// The door out: the winner and its price, or why there is none.
pub(super) fn write_sale(record: &Record<'_>, to: &mut Vec<u8>) -> Result<(), Refusal> {
    let sale = match record.clearing.sales.first() {
        Some(Ok(sale)) => sale,
        Some(Err(NoSale::NoEligibleBidders)) => {
            let detail = format!("none of the supply's bidders buys in {}", record.opportunity.country);
            return Err(Refusal::new(Code::NoEligibleBidders, detail));
        }
        Some(Err(NoSale::BelowFloor)) => {
            return Err(Refusal::new(Code::NoBids, "every bid was below the floor"));
        }
        Some(Err(NoSale::NoBids)) | None => {
            return Err(Refusal::new(Code::NoBids, "every eligible bidder passed or timed out"));
        }
    };
    write_answer(record.supply.bidders()[sale.slot as usize].id.as_str(), sale.price, to);
    Ok(())
}

fn write_answer(winner: &str, price: Cpm, to: &mut Vec<u8>) {
    to.extend_from_slice(b"{\"winner\":");
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(&mut *to, winner);
    to.extend_from_slice(b",\"price\":");
    price.write(to);
    to.push(b'}');
}

fn refusal(refused: Refused, core: &Core, opportunity: &Opportunity<'_>) -> Refusal {
    match refused {
        Refused::UnknownSupply => {
            let id = serde_json::to_string(opportunity.supply_id).unwrap_or_default();
            Refusal::new(Code::UnknownSupply, format!("the catalogue has no supply {id}"))
        }
        Refused::Unrecorded(why) => {
            Refusal::new(Code::JournalUnavailable, why.to_string()).retry_after_us(1_000_000)
        }
        Refused::LimiterAway => {
            Refusal::new(Code::Overloaded, "the shared rate limiter is away").retry_after_us(1_000_000)
        }
        Refused::LimiterFull { retry_after_us } => {
            let detail = "the rate limiter remembers as many addresses as it may";
            Refusal::new(Code::Overloaded, detail).retry_after_us(retry_after_us)
        }
        Refused::RateLimited { retry_after_us } => {
            let limit = core.desk.exchange().limiter.as_ref().map(|limiter| limiter.limit());
            rate_limited(limit, retry_after_us)
        }
    }
}

fn rate_limited(limit: Option<Limit>, retry_after_us: u64) -> Refusal {
    let (requests, window_s) =
        limit.map_or((0, 0), |limit| (limit.requests, limit.window_us.div_ceil(1_000_000)));
    let wait_s = retry_after_us.div_ceil(1_000_000).max(1);
    let detail = format!(
        "this address has had its {requests} requests in {window_s} s; the next one passes in {wait_s} s"
    );
    let header = |name| HeaderName::from_static(name);
    Refusal::new(Code::RateLimited, detail)
        .retry_after_us(retry_after_us)
        // draft-ietf-httpapi-ratelimit-headers, and the three that came before it
        .header(header("ratelimit-policy"), &format!("\"ip\";q={requests};w={window_s}"))
        .header(header("ratelimit"), &format!("\"ip\";r=0;t={wait_s}"))
        .header(header("ratelimit-limit"), &requests.to_string())
        .header(header("ratelimit-remaining"), "0")
        .header(header("ratelimit-reset"), &wait_s.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_declared_other_type_is_refused() {
        for (content_type, accepted) in [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/vnd.api+json"), true),
            (Some("application/x-www-form-urlencoded"), false),
            (Some("text/plain"), false),
            (Some("application/jsonx"), false),
            (Some("a+json"), false),
            (Some(""), false),
        ] {
            let headers = content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
            let headers: HeaderMap = headers.into_iter().collect();
            assert_eq!(declared_as_json(&headers).is_ok(), accepted, "{content_type:?}");
        }
    }

    #[test]
    fn the_nth_forwarded_entry_is_counted_from_the_right() {
        for (lists, hops, expected) in [
            (&["192.0.2.1, 192.0.2.2", "192.0.2.3"][..], 1, Some("192.0.2.3")),
            (&["192.0.2.1, 192.0.2.2", "192.0.2.3"], 3, Some("192.0.2.1")),
            (&["192.0.2.1"], 2, None),
            (&[], 1, None),
            (&["spoofed, 2001:db8::1"], 1, Some("2001:db8::1")),
            (&["[2001:db8::1]:443"], 1, Some("2001:db8::1")),
            (&["192.0.2.1:5000"], 1, Some("192.0.2.1")),
            (&["unknown"], 1, None),
        ] {
            assert_eq!(
                forwarded_for(lists.iter().map(|list| list.as_bytes()), hops)
                    .map(|ip| ip.to_string())
                    .as_deref(),
                expected,
                "{lists:?}"
            );
        }
    }

    #[test]
    fn an_answer_is_json_with_an_exact_price() {
        let mut body = Vec::new();
        write_answer("a\"b:\u{7f}", Cpm::from_micros(830_000), &mut body);
        assert_eq!(body, b"{\"winner\":\"a\\\"b:\x7f\",\"price\":0.83}");
    }
}
