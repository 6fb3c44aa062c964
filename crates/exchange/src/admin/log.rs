//! What is logged, while the server runs: the level, and which auctions; for good or for a time.

use super::Admin;
use super::answer::{Sent, invalid, members};
use super::audit::Change;
use crate::config::LogConfig;
use crate::hold::Exchange;
use crate::http::problem::Refusal;
use crate::log::Threshold;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tracing::info;
use tracing::level_filters::LevelFilter;
use utoipa::ToSchema;

/// What is logged, and what it goes back to.
#[derive(Debug)]
pub(super) struct Verbosity {
    settings: LogConfig,
    level: Threshold,
    exchange: Arc<Exchange>,
    until: Mutex<Option<(Instant, AbortHandle)>>,
}

/// What is logged.
#[derive(Debug, Serialize, ToSchema)]
pub struct Logged {
    /// Nothing below it.
    #[schema(example = "info")]
    level: String,
    /// One auction in so many; 0 is none.
    #[schema(example = 100)]
    auctions: u32,
    /// Seconds until the settings hold again; null: they do, or it is for good.
    #[schema(example = 600)]
    for_s: Option<u64>,
}

/// What is to be logged. What is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToLog {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    #[schema(example = "debug")]
    level: Option<String>,
    /// One auction in so many; 0 is none.
    #[schema(example = 100)]
    auctions: Option<u32>,
    /// Seconds until the settings hold again; for good if left out.
    #[schema(minimum = 1, maximum = 86400, example = 600)]
    for_s: Option<u64>,
}

impl Verbosity {
    pub(super) fn new(settings: LogConfig, level: Threshold, exchange: Arc<Exchange>) -> Self {
        Self { settings, level, exchange, until: Mutex::default() }
    }

    pub(super) fn logged(&self) -> Logged {
        let level = self.level.with_current(ToString::to_string).unwrap_or_default();
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let for_s = until
            .as_ref()
            .map(|(until, _)| until.saturating_duration_since(Instant::now()).as_secs_f64().ceil() as u64);
        Logged { level, auctions: self.exchange.log_one_in.load(Ordering::Relaxed), for_s }
    }

    fn set(&self, level: Option<LevelFilter>, auctions: Option<u32>) {
        if let Some(level) = level {
            // Gone only with the subscriber, and then nothing is logged at all.
            let _ = self.level.modify(|threshold| *threshold = level);
        }
        if let Some(auctions) = auctions {
            self.exchange.log_one_in.store(auctions, Ordering::Relaxed);
        }
    }

    /// Whatever was to end an earlier time ends it no more.
    fn set_until(&self, until: Option<(Instant, AbortHandle)>) {
        let earlier =
            std::mem::replace(&mut *self.until.lock().unwrap_or_else(PoisonError::into_inner), until);
        if let Some((_, task)) = earlier {
            task.abort();
        }
    }
}

/// What is logged now.
#[utoipa::path(get, path = "/admin/v1/log", tag = "operation", operation_id = "get_log",
    responses((status = 200, description = "Level and sampling", body = Logged)))]
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.verbosity.logged()).into_response()
}

/// Sets the level and which auctions are logged with their bids, for good or for a time.
#[utoipa::path(put, path = "/admin/v1/log", tag = "operation", operation_id = "put_log", request_body = ToLog,
    responses((status = 200, description = "What is logged from now on", body = Logged)))]
pub(super) async fn set(State(admin): State<Arc<Admin>>, Sent(body): Sent) -> Result<Response, Refusal> {
    let ToLog { level, auctions, for_s } = members(&body)?;
    let level = level.map(|name| {
        let known = ["off", "error", "warn", "info", "debug", "trace"].contains(&&*name);
        let level = LevelFilter::from_str(&name).ok().filter(|_| known);
        level.ok_or_else(|| invalid("level", "must be off, error, warn, info, debug or trace"))
    });
    let level = level.transpose()?;
    if for_s.is_some_and(|s| !(1..=86_400).contains(&s)) {
        return Err(invalid("for_s", "must be a whole number from 1 to 86400"));
    }
    let before = serde_json::to_string(&admin.verbosity.logged()).ok();
    admin.verbosity.set_until(None);
    admin.verbosity.set(level, auctions);
    if let Some(for_s) = for_s {
        let (time, end) = (Duration::from_secs(for_s), Arc::clone(&admin));
        let task = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let settings = end.verbosity.settings;
            end.verbosity.set(Some(settings.level), Some(settings.auctions));
            *end.verbosity.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
            info!("what is logged is what the settings say again");
        });
        admin.verbosity.set_until(Some((Instant::now() + time, task.abort_handle())));
    }
    let logged = admin.verbosity.logged();
    let after = serde_json::to_string(&logged).ok();
    let mut response = Json(logged).into_response();
    response.extensions_mut().insert(Change { before, after, revision: None });
    Ok(response)
}
