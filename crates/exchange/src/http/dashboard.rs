//! The dashboard: a page for browsers that shows what the exchange does, live, and explains an auction.
//!
//! | path | answer |
//! |---|---|
//! | `/dashboard/events` | server-sent events, one a second, the same for everybody ([`board`](crate::board)) |
//! | `/dashboard/rows` | the rows of one table, sorted and filtered |
//! | `/dashboard/FILE` | what the page is made of, from the binary |
//!
//! * Bound: `http.subscribers_max`, then 503. Who reads slowly misses events; who does not read is cut as any client.
//! * A drain ends every stream; browsers come back by themselves.
//! * The page runs nothing but its own files: no inline script or style, nothing from elsewhere.

use super::pages::{refused, written_elsewhere};
use super::problem::{Code, FieldError, Problem, Refusal};
use super::site::Site;
use crate::board::tables::{self, BidderRow, ROWS, ROWS_MAX, View};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use serde::Deserialize;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const PAGE: &str = include_str!("dashboard/page.html");

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("/dashboard/style.css", "text/css; charset=utf-8", include_str!("dashboard/style.css")),
    ("/dashboard/icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
    ("/dashboard/main.js", SCRIPT, include_str!("dashboard/main.js")),
    ("/dashboard/charts.js", SCRIPT, include_str!("dashboard/charts.js")),
    ("/dashboard/tables.js", SCRIPT, include_str!("dashboard/tables.js")),
    ("/dashboard/auction.js", SCRIPT, include_str!("dashboard/auction.js")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long a browser waits before it comes back, in milliseconds.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// The routes of the dashboard but for its page.
pub(super) fn router() -> Router<Arc<Site>> {
    let file = |router: Router<_>, (path, content_type, content)| {
        router.route(path, get(move || ready(file(content_type, content))))
    };
    let router = Router::new().route("/dashboard/events", get(events)).route("/dashboard/rows", get(rows));
    FILES.into_iter().fold(router, file)
}

/// The page.
pub(super) fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")], file(HTML, PAGE)).into_response()
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    // Asked for anew each time: the next version of the binary has others under the same names.
    let headers =
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, content).into_response()
}

/// What the dashboard shows, once a second.
///
/// Server-sent events, each with one JSON object: rates, quantiles, the last two minutes, the state of the limiter, the
/// journal and each instance, and the first rows of each table. For people to look at: programs read /stat and /metrics.
#[utoipa::path(get, path = "/dashboard/events", tag = "health", operation_id = "events",
    responses((status = 200, description = "Events until the exchange stops", body = String,
        content_type = "text/event-stream", example = "data: {\"time_ms\":1780835400123,\"now\":{\"auctions_per_s\":812.0}}\n\n"),
        (status = 503, description = "Enough pages watch", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/overloaded",
                "title": "Too busy", "status": 503, "detail": "enough pages watch; http.subscribers_max is their number",
                "code": "overloaded"}))))]
pub(super) async fn events(State(site): State<Arc<Site>>) -> Response {
    let Some(subscription) = site.board.subscribe() else {
        let detail = "enough pages watch; http.subscribers_max is their number";
        return refused(Refusal::new(Code::Overloaded, detail).retry_after_us(5_000_000));
    };
    let next =
        stream::unfold((subscription, site.lifecycle.watch()), |(mut subscription, mut drain)| async {
            let changed = tokio::select! {
                biased;
                _ = drain.wait_for(Option::is_some) => None,
                changed = subscription.events.changed() => changed.ok(),
            };
            changed?;
            let event = subscription.events.borrow_and_update().clone();
            Some((event, (subscription, drain)))
        });
    let wire = stream::once(ready(Bytes::from_static(RETRY))).chain(next).map(Ok::<_, Infallible>);
    // The last is for nginx, which would keep events until it has a buffer full.
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(wire)).into_response()
}

/// Which rows of which table.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `supplies`, `bidders` or `countries`.
    #[param(example = "bidders")]
    of: String,
    /// A number's name, the greatest first (`requests`, `sold`, `fill`, `revenue`, `price`, `wins`, `win_rate`, `calls`,
    /// `no_bids`, `timeouts`, `p50`, `p99`, `auctions`), or `id`.
    #[serde(default)]
    #[param(example = "win_rate")]
    sort: String,
    /// Part of the id, in any case.
    #[serde(default)]
    filter: String,
    /// How many rows, at most 200.
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: Option<usize>,
}

/// The rows of one table, as the documentation shows them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: three tables have rows of three kinds")]
pub(super) struct Rows {
    /// How many there are.
    total: usize,
    /// How many of them match the filter.
    matched: usize,
    /// Of bidders; the rows of supplies and countries have fewer numbers.
    rows: Vec<BidderRow>,
}

/// The rows of one table of the dashboard.
///
/// Sorted, filtered and never more than 200; at most a few seconds old.
#[utoipa::path(get, path = "/dashboard/rows", tag = "health", operation_id = "rows", params(Wanted),
    responses((status = 200, description = "The first rows", body = Rows, example = json!({"total": 12, "matched": 1,
        "rows": [{"id": "bidder1", "wins": 25, "revenue": 18.45, "no_bids": 10, "timeouts": 5, "calls": 60,
            "calls_bid": 45, "calls_won": 25, "p50_ms": 41.0, "p99_ms": 180.5, "latencies": [0, 60]}]})),
        (status = 422, description = "A parameter breaks its rule", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/invalid_request",
                "title": "The request breaks a rule", "status": 422, "detail": "of must be supplies, bidders or countries",
                "code": "invalid_request", "errors": [{"field": "of",
                    "detail": "must be supplies, bidders or countries"}]})),
        (status = 503, description = "Enough such pages are being written", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/overloaded",
                "title": "Too busy", "status": 503, "detail": "enough such pages are being written",
                "code": "overloaded"}))))]
pub(super) async fn rows(
    State(site): State<Arc<Site>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let invalid = |field: &str, detail: &str| {
        refused(Refusal::invalid(vec![FieldError { field: field.to_owned(), detail: detail.to_owned() }]))
    };
    let Query(Wanted { of, sort, filter, limit }) = match wanted {
        Ok(wanted) => wanted,
        Err(rejection) => return invalid("query", &rejection.body_text()),
    };
    let Some(sorts) = tables::sorts(&of) else {
        return invalid("of", "must be supplies, bidders or countries");
    };
    if !(sort.is_empty() || sort == "id" || sorts.contains(&sort.as_str())) {
        return invalid("sort", &format!("must be id, {}", sorts.join(", ")));
    }
    let limit = limit.unwrap_or(ROWS);
    if !(1..=ROWS_MAX).contains(&limit) {
        return invalid("limit", "must be from 1 to 200");
    }
    let Some(tables) = site.board.tables().await else {
        return refused(Refusal::new(Code::Draining, "nothing is shown any more").retry_after_us(1_000_000));
    };
    let view = View { sort, filter, limit };
    let write = move |_: &Arc<Site>| match of.as_str() {
        "supplies" => serde_json::to_vec(&tables.supplies(&view)),
        "bidders" => serde_json::to_vec(&tables.bidders(&view)),
        _ => serde_json::to_vec(&tables.countries(&view)),
    };
    written_elsewhere(site, "application/json", move |site| write(site).unwrap_or_default()).await
}
