//! Every route but POST /bid: an axum router, off the hot path.
//!
//! | path | answer |
//! |---|---|
//! | `/` | health as JSON, or the dashboard for a browser |
//! | `/dashboard/…` | [`dashboard`] |
//! | `/supplies`, `/stat` | what is for sale; what was counted |
//! | `/health/live`, `/health/ready` | 200 or 503, for orchestrators |
//! | `/metrics` | Prometheus |
//! | `/api/docs`, `/api/redoc`, `/openapi.json`, `/problems/{code}` | [`docs`] |
//!
//! What takes time in proportion to the catalogue is written on a thread of its own, so that no auction waits for it.

use super::problem::{Code, Problem, Refusal};
use super::site::{Core, Site};
use super::{bid, dashboard, docs};
use crate::metrics;
use crate::stat::{self, SupplyStat};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use catalogue::Live;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY, WARNING};
use reporting::redis::Read;
use serde::Serialize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;
use utoipa::ToSchema;

/// Answers any request that is not POST /bid.
pub(super) async fn page(core: &Rc<Core>, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    // No page reads a body, but one that is left unread would cost the client its connection.
    if !body.is_end_stream()
        && let Err(refusal) = bid::read_body(&core.site, body).await
    {
        return refused(refusal);
    }
    match core.pages.clone().oneshot(Request::from_parts(head, Body::empty())).await {
        Ok(response) => explained(response),
        Err(never) => match never {},
    }
}

/// The router's own refusals, such as of a path that is not UTF-8, have no problem for a body; they get one here.
fn explained(response: Response) -> Response {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    let is_json = content_type.is_some_and(|value| value.ends_with(b"json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    refused(match status {
        StatusCode::NOT_FOUND => {
            Refusal::new(Code::NotFound, "there is no such page; /api/docs lists them all")
        }
        _ => Refusal::new(Code::MalformedRequest, "the path of the request cannot be read"),
    })
}

/// The router; each core has a copy.
pub fn router(site: &Arc<Site>) -> Router {
    Router::new()
        .route("/", get(health))
        .route("/supplies", get(supplies))
        .route("/stat", get(stat))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics_page))
        .merge(docs::router())
        .merge(dashboard::router())
        .route("/bid", axum::routing::post(|| async { StatusCode::NO_CONTENT }))
        .route("/auctions", axum::routing::post(|| async { StatusCode::NO_CONTENT }))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(site))
}

pub(super) fn refused(refusal: Refusal) -> Response {
    refusal.into_response().map(Body::new)
}

async fn not_found(uri: Uri) -> Response {
    let path = serde_json::to_string(uri.path()).unwrap_or_default();
    refused(Refusal::new(Code::NotFound, format!("there is no page {path}; /api/docs lists them all")))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let allowed = if matches!(uri.path(), "/bid" | "/auctions") { "POST" } else { "GET, HEAD" };
    let path = serde_json::to_string(uri.path()).unwrap_or_default();
    let method = serde_json::to_string(method.as_str()).unwrap_or_default();
    let detail = format!("{path} does not take {method}; it takes {allowed}");
    refused(Refusal::new(Code::MethodNotAllowed, detail).allow(allowed))
}

/// What takes long is written on another thread, a few at a time.
pub(super) async fn written_elsewhere(
    site: Arc<Site>,
    content_type: &'static str,
    write: impl FnOnce(&Arc<Site>) -> Vec<u8> + Send + 'static,
) -> Response {
    let busy = || {
        refused(
            Refusal::new(Code::Overloaded, "enough such pages are being written").retry_after_us(1_000_000),
        )
    };
    let Ok(_room) = site.reports.try_acquire() else { return busy() };
    let written = Arc::clone(&site);
    match tokio::task::spawn_blocking(move || write(&written)).await {
        Ok(body) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(_) => busy(),
    }
}

/// A supply, in the list of all.
#[derive(Serialize, ToSchema)]
pub struct ListedSupply<'a> {
    #[schema(example = "supply1")]
    id: &'a str,
}

/// Every supply of the catalogue, in order of id.
#[utoipa::path(get, path = "/supplies", tag = "auction", operation_id = "supplies",
    responses((status = 200, description = "Every supply, however many there are", body = Vec<ListedSupply<'static>>,
        example = json!([{"id": "supply1"}, {"id": "supply2"}])),
        (status = 503, description = "Enough such pages are being written", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/overloaded",
                "title": "Too busy", "status": 503, "detail": "enough such pages are being written",
                "code": "overloaded"}))))]
pub(super) async fn supplies(State(site): State<Arc<Site>>) -> Response {
    let write = |site: &Arc<Site>| {
        let snapshot = site.exchange.catalogue.snapshot();
        let listed: Vec<_> = snapshot.supplies().iter().map(|s| ListedSupply { id: s.id.as_str() }).collect();
        serde_json::to_vec(&listed).unwrap_or_default()
    };
    written_elsewhere(site, "application/json", write).await
}

/// What every supply and bidder has done.
///
/// A supply appears with its first request. Every auction answered before the question is in the answer.
#[utoipa::path(get, path = "/stat", tag = "auction", operation_id = "stat",
    responses((status = 200, description = "By supply", body = BTreeMap<String, SupplyStat>,
        example = json!({"supply1": {"total_reqs": 150, "reqs_per_country": {"GB": 75, "US": 75},
            "bidders": {"bidder1": {"wins": 25, "total_revenue": 18.45, "no_bids": 10, "timeouts": 5}}}})),
        (status = 503, description = "Enough such pages are being written", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/overloaded",
                "title": "Too busy", "status": 503, "detail": "enough such pages are being written",
                "code": "overloaded"}))))]
pub(super) async fn stat(State(site): State<Arc<Site>>) -> Response {
    let others = match &site.exchange.others {
        Some(others) => others.read().await,
        None => Read::default(),
    };
    let is_stale = site.exchange.others.is_some() && !others.is_fresh;
    let write = move |site: &Arc<Site>| stat::to_json(site.exchange.report_with(&others.totals));
    let mut answer = written_elsewhere(site, "application/json", write).await;
    if is_stale {
        // RFC 9111 §5.5 has retired the header's list of codes, not the header.
        answer.headers_mut().insert(WARNING, HeaderValue::from_static(STALE));
    }
    answer
}

const STALE: &str = "110 - \"redis is away: what other instances counted is as it was last known\"";

/// The catalogue in force.
#[derive(Serialize, ToSchema)]
pub struct CatalogueHealth {
    /// Identifies the content: the same on every instance with the same catalogue.
    #[schema(example = "5f0c2a9be1d47c33")]
    revision: String,
    #[schema(example = 10)]
    supplies: usize,
    #[schema(example = 12)]
    bidders: usize,
    /// Seconds since it was last known to be what the database holds.
    #[schema(example = 0.2)]
    stale_s: f64,
    /// Why it could not be confirmed since, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// How the exchange is.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `starting`, `draining` or `journal_unavailable`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Of the program.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
    /// Seconds since the start.
    #[schema(example = 86400.5)]
    pub uptime_s: f64,
    /// Auctions held since the start.
    #[schema(example = 123)]
    auctions: u64,
    catalogue: CatalogueHealth,
}

impl CatalogueHealth {
    /// What is in force, and how well it is known to be the database's.
    pub(crate) fn of(live: &Live) -> Self {
        let (snapshot, freshness) = (live.snapshot(), live.freshness());
        Self {
            revision: snapshot.revision_text(),
            supplies: snapshot.supplies().len(),
            bidders: snapshot.bidders(),
            stale_s: tenths(freshness.confirmed_at.elapsed()),
            trouble: freshness.trouble,
        }
    }
}

/// In seconds, as people read it.
pub(crate) fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

impl Health {
    /// Of this instance, now.
    pub fn of(site: &Site) -> Self {
        Self {
            status: site.ready().err().unwrap_or("ok"),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: tenths(site.exchange.started_at.elapsed()),
            auctions: site.exchange.auctions(),
            catalogue: CatalogueHealth::of(&site.exchange.catalogue),
        }
    }
}

/// How the exchange is; the dashboard for a browser.
#[utoipa::path(get, path = "/", tag = "health", operation_id = "health",
    responses((status = 200, description = "Status, version, uptime, catalogue", body = Health,
        example = json!({"status": "ok", "version": "0.1.0", "uptime_s": 86400.5, "auctions": 123, "catalogue":
            {"revision": "5f0c2a9be1d47c33", "supplies": 10, "bidders": 12, "stale_s": 0.2}}))))]
pub(super) async fn health(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.to_ascii_lowercase().split(',').any(|range| range.trim().starts_with("text/html")) {
        return dashboard::page();
    }
    axum::Json(Health::of(&site)).into_response()
}

/// The answer of the health pages.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// `ok`, `starting`, `draining` or `journal_unavailable`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process runs at all.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "It runs", body = Status, example = json!({"status": "ok"}))))]
pub(super) async fn live() -> Response {
    axum::Json(Status { status: "ok" }).into_response()
}

/// Whether requests should be sent here.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "ready",
    responses((status = 200, description = "Send requests", body = Status, example = json!({"status": "ok"})),
        (status = 503, description = "Starting, draining or unable to record: send them elsewhere", body = Status,
            example = json!({"status": "draining"}))))]
pub(super) async fn ready(State(site): State<Arc<Site>>) -> Response {
    match site.ready() {
        Ok(()) => axum::Json(Status { status: "ok" }).into_response(),
        Err(status) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(Status { status })).into_response(),
    }
}

/// What Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "OpenMetrics if Accept names it, else the older text format", body = String,
        content_type = "text/plain", example = "bourse_auctions_total 123\n"),
        (status = 503, description = "Enough such pages are being written", body = Problem,
            content_type = "application/problem+json", example = json!({"type": "/problems/overloaded",
                "title": "Too busy", "status": 503, "detail": "enough such pages are being written",
                "code": "overloaded"}))))]
pub(super) async fn metrics_page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let format = metrics::Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let write = move |site: &Arc<Site>| metrics::page(site, format).into_bytes();
    let mut answer = written_elsewhere(site, format.content_type(), write).await;
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    answer
}
