//! The admin API: what may be seen and changed of a running server, on a listener of its own.
//!
//! * There is none unless a token is set. It runs on the control thread: no core of the data plane knows of it.
//! * Every request walks the same way: [`guard`] (whose token?), [`audit`] (one change at a time, each a line before its
//!   answer leaves), then the room of the route. Only the documentation is open.
//! * A change of the catalogue goes the way of `load-data`, and is in force when the answer says so.
//! * TLS is for the proxy in front of it: it listens on this machine alone unless `admin.allow_remote` says otherwise.

pub mod answer;
pub mod audit;
pub mod catalogue;
pub mod docs;
pub mod guard;
pub mod limiter;
pub mod listen;
pub mod log;
pub mod operate;
pub mod profile;
pub mod token;

use crate::config::{AdminConfig, Config, ShownSetting};
use crate::http::problem::{Code, Refusal};
use crate::http::site::Site;
use crate::log::Threshold;
use ::catalogue::Database;
use anyhow::Result;
use audit::AuditLog;
use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use guard::Strangers;
use log::Verbosity;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use token::Digest;
use tokio::sync::{Notify, Semaphore};

/// What the admin API counts, for /metrics.
#[derive(Debug, Default)]
pub struct Meters {
    /// Requests without a token that is known.
    pub unauthorized: AtomicU64,
    /// Changes that were made.
    pub changes: AtomicU64,
    /// Lines of the audit log that could not be written at once.
    pub audit_failures: AtomicU64,
}

/// What its rooms share.
#[derive(Debug)]
pub struct Admin {
    site: Arc<Site>,
    database: Database,
    /// None: nothing is recorded.
    journal_dir: Option<PathBuf>,
    settings: Vec<ShownSetting>,
    tokens: Vec<Digest>,
    strangers: Strangers,
    audit: AuditLog,
    verbosity: Verbosity,
    drain: Arc<Notify>,
    /// One profile at a time: its timer is the process's.
    profiling: Semaphore,
}

impl Admin {
    /// Opens its audit log; `drain` is notified when somebody asks for an end.
    pub fn new(
        config: &Config,
        admin: &AdminConfig,
        site: &Arc<Site>,
        database: Database,
        level: Threshold,
        drain: Arc<Notify>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            site: Arc::clone(site),
            database,
            journal_dir: config.journal.as_ref().map(|journal| journal.dir.clone()),
            settings: config.shown.clone(),
            tokens: admin.tokens.clone(),
            strangers: Strangers::default(),
            audit: AuditLog::open(&config.data_dir)?,
            verbosity: Verbosity::new(config.log, level, Arc::clone(&site.exchange)),
            drain,
            profiling: Semaphore::new(1),
        }))
    }
}

/// Every route, behind the guard but for the documentation.
pub fn router(admin: &Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/v1/supplies", get(catalogue::list_supplies))
        .route(
            "/admin/v1/supplies/{id}",
            get(catalogue::get_supply)
                .put(catalogue::put_supply)
                .patch(catalogue::patch_supply)
                .delete(catalogue::delete_supply),
        )
        .route("/admin/v1/bidders", get(catalogue::list_bidders))
        .route(
            "/admin/v1/bidders/{id}",
            get(catalogue::get_bidder)
                .put(catalogue::put_bidder)
                .patch(catalogue::patch_bidder)
                .delete(catalogue::delete_bidder),
        )
        .route("/admin/v1/catalogue", get(catalogue::in_force))
        .route("/admin/v1/catalogue/load", post(catalogue::load))
        .route("/admin/v1/catalogue/reload", post(catalogue::reload))
        .route("/admin/v1/drain", post(operate::drain))
        .route("/admin/v1/status", get(operate::status))
        .route("/admin/v1/config", get(operate::config))
        .route("/admin/v1/log", get(log::show).put(log::set))
        .route("/admin/v1/limiter/{address}", get(limiter::look_up).delete(limiter::reset))
        .route("/admin/v1/profile", get(profile::profile))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(admin), audit::audit))
        .layer(from_fn_with_state(Arc::clone(admin), guard::guard))
        .merge(docs::router())
        .with_state(Arc::clone(admin))
}

async fn not_found(uri: Uri) -> Refusal {
    let path = serde_json::to_string(uri.path()).unwrap_or_default();
    Refusal::new(Code::NotFound, format!("there is no page {path}; /api/docs lists them all"))
}

async fn method_not_allowed(method: Method) -> Refusal {
    let method = serde_json::to_string(method.as_str()).unwrap_or_default();
    Refusal::new(
        Code::MethodNotAllowed,
        format!("this page does not take {method}; /api/docs says what it takes"),
    )
}
