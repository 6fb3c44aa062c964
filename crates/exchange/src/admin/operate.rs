//! How the server is, what it is set to, and its end.

use super::Admin;
use super::answer::away;
use super::log::Logged;
use crate::config::ShownSetting;
use crate::http::pages::{CatalogueHealth, tenths};
use crate::http::problem::Refusal;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// How the server is.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// `ok`, `starting`, `draining` or `journal_unavailable`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Which of several it is; null without a journal.
    #[schema(example = "8b7513d6705a9d95")]
    instance: Option<String>,
    #[schema(example = "0.1.0")]
    version: &'static str,
    #[schema(example = 86400.5)]
    uptime_s: f64,
    #[schema(example = 123)]
    auctions: u64,
    /// One for each core that serves.
    cores: Vec<Core>,
    catalogue: CatalogueHealth,
    /// Null: nothing is recorded.
    journal: Option<Journal>,
    /// Null: there is none.
    redis: Option<Redis>,
    log: Logged,
}

/// One core.
#[derive(Serialize, ToSchema)]
pub struct Core {
    /// Connections open now.
    #[schema(example = 64)]
    connections: u64,
    /// Auctions that sold.
    #[schema(example = 100)]
    sold: u64,
}

/// What is recorded.
#[derive(Serialize, ToSchema)]
pub struct Journal {
    /// Whether the next auction can be.
    #[schema(example = true)]
    available: bool,
    /// What was written: auctions, and the supplies they need to be read.
    #[schema(example = 123)]
    records: u64,
    #[schema(example = 0)]
    unsynced_bytes: u64,
    #[schema(example = 0)]
    sync_failures: u64,
    /// Places that cannot be read.
    #[schema(example = 0)]
    damaged: u64,
    readers: Vec<Reader>,
}

/// Who reads the journal.
#[derive(Serialize, ToSchema)]
pub struct Reader {
    #[schema(example = "statistics")]
    name: String,
    /// What it has still to read.
    #[schema(example = 0)]
    behind_bytes: u64,
}

/// Where instances meet.
#[derive(Serialize, ToSchema)]
pub struct Redis {
    /// Whether the rate limit is shared.
    #[schema(example = true)]
    limit_is_shared: bool,
    /// Whether statistics reach it.
    #[schema(example = true)]
    statistics_arrive: bool,
    /// Supplies whose counts it does not have yet.
    #[schema(example = 0)]
    waiting: u64,
}

async fn journal(admin: &Admin) -> Result<Option<Journal>, Refusal> {
    let exchange = &admin.site.exchange;
    let (Some(journal), Some(dir)) = (&exchange.journal, admin.journal_dir.clone()) else { return Ok(None) };
    let status = journal.status();
    // Files are read for it.
    let reading = tokio::task::spawn_blocking(move || ::journal::readers(&dir));
    let readers = reading.await.map_err(|error| away(&error.into()))?.map_err(|error| away(&error))?;
    let reader = |reader: ::journal::ReaderInfo| Reader {
        behind_bytes: reader.places.iter().map(|place| place.behind_bytes).sum(),
        name: reader.name,
    };
    Ok(Some(Journal {
        available: status.available,
        records: status.cores.iter().map(|core| core.records).sum(),
        unsynced_bytes: status.cores.iter().map(|core| core.unsynced_bytes).sum(),
        sync_failures: status.sync_failures,
        damaged: exchange.damaged(),
        readers: readers.into_iter().map(reader).collect(),
    }))
}

/// How the server is: instance, cores, catalogue, journal and its readers, Redis, logs.
#[utoipa::path(get, path = "/admin/v1/status", tag = "operation", operation_id = "status",
    responses((status = 200, description = "Everything at a glance", body = Status)))]
pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Result<Response, Refusal> {
    let (site, exchange) = (&admin.site, &admin.site.exchange);
    let cores = site.meters.iter().map(|meters| Core {
        connections: meters.opened.get().saturating_sub(meters.closed.get()),
        sold: meters.sold.get(),
    });
    let redis = exchange.shared_limit.as_ref().map(|shared| Redis {
        limit_is_shared: exchange.limiter.is_some() && !shared.is_away(),
        statistics_arrive: exchange.others.as_ref().is_some_and(|o| o.standing().link().is_some()),
        waiting: exchange.others.as_ref().map_or(0, |o| o.standing().waiting.load(Ordering::Relaxed)),
    });
    let status = Status {
        status: site.ready().err().unwrap_or("ok"),
        instance: exchange.journal.as_ref().map(|journal| format!("{:016x}", journal.instance())),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: tenths(exchange.started_at.elapsed()),
        auctions: exchange.auctions(),
        cores: cores.collect(),
        catalogue: CatalogueHealth::of(&exchange.catalogue),
        journal: journal(&admin).await?,
        redis,
        log: admin.verbosity.logged(),
    };
    Ok(Json(status).into_response())
}

/// Every setting with where its value came from, passwords masked: what `bourse config show --json` prints.
#[utoipa::path(get, path = "/admin/v1/config", tag = "operation", operation_id = "config",
    responses((status = 200, description = "As the server was started", body = Vec<ShownSetting>)))]
pub(super) async fn config(State(admin): State<Arc<Admin>>) -> Response {
    Json(&admin.settings).into_response()
}

/// What a drain answers.
#[derive(Serialize, ToSchema)]
pub struct Draining {
    #[schema(example = "draining")]
    status: &'static str,
}

/// Ends the server as SIGTERM does: no new connections, what is in flight is answered, then the process exits.
#[utoipa::path(post, path = "/admin/v1/drain", tag = "operation", operation_id = "drain",
    responses((status = 202, description = "It has begun", body = Draining)))]
pub(super) async fn drain(State(admin): State<Arc<Admin>>) -> Response {
    admin.drain.notify_one();
    (StatusCode::ACCEPTED, Json(Draining { status: "draining" })).into_response()
}
