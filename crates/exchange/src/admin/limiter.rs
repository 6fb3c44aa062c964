//! The rate limiter, as it is for one address: how often it passed, when the next request does, and a fresh start.
//!
//! The answer does not repeat the address, and the audit log truncates it. What another instance remembers by itself of
//! an address that Redis has refused, only that instance can be told to forget.

use super::Admin;
use super::answer::{Named, invalid};
use super::audit::Change;
use crate::http::problem::{Code, Refusal};
use crate::limiter::Limiter;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// What the limiter knows of an address.
#[derive(Debug, Serialize, ToSchema)]
pub struct Known {
    /// What counts as one: the `address`, or the `/64` of an IPv6 address.
    #[schema(example = "address")]
    counted_by: &'static str,
    /// How many requests may pass in a window.
    #[schema(example = 3)]
    requests: u32,
    #[schema(example = 60)]
    window_s: u64,
    /// In this instance's memory.
    local: Passed,
    /// In Redis; null if there is none.
    shared: Option<Passed>,
}

/// Requests that passed in the window at hand.
#[derive(Debug, Serialize, ToSchema)]
pub struct Passed {
    /// How many. A refusal by Redis counts as all of them here.
    #[schema(example = 3)]
    passed: usize,
    /// Seconds until the next one passes; 0 is now.
    #[schema(example = 41.5)]
    next_in_s: f64,
}

impl Passed {
    /// From how long ago each was, the latest first.
    fn of(limiter: &Limiter, ages_us: &[u64]) -> Self {
        let limit = limiter.limit();
        let oldest = ages_us.get(limit.requests as usize - 1);
        let next_us = oldest.map_or(0, |age| limit.window_us.saturating_sub(*age));
        Self { passed: ages_us.len(), next_in_s: next_us as f64 / 1e6 }
    }
}

fn parts<'a>(admin: &'a Admin, address: &str) -> Result<(&'a Limiter, IpAddr), Refusal> {
    let ip = address.parse().map_err(|_| invalid("address", "must be an IPv4 or IPv6 address"))?;
    let off = || Refusal::new(Code::NotFound, "there is no rate limit: rate_limit.requests is 0");
    Ok((admin.site.exchange.limiter.as_ref().ok_or_else(off)?, ip))
}

async fn known(admin: &Admin, limiter: &Limiter, ip: IpAddr) -> Result<Known, Refusal> {
    let exchange = &admin.site.exchange;
    let now_us = exchange.started_at.elapsed().as_micros() as u64;
    let shared = match &exchange.shared_limit {
        Some(shared) => Some(shared.passed(limiter.limit(), ip).await.map_err(|error| redis_away(&error))?),
        None => None,
    };
    Ok(Known {
        counted_by: if ip.to_canonical().is_ipv4() { "address" } else { "/64" },
        requests: limiter.limit().requests,
        window_s: limiter.limit().window_us / 1_000_000,
        local: Passed::of(limiter, &limiter.passed(ip, now_us)),
        shared: shared.map(|ages_us| Passed::of(limiter, &ages_us)),
    })
}

fn redis_away(error: &anyhow::Error) -> Refusal {
    Refusal::new(Code::Unavailable, format!("Redis: {error:#}")).retry_after_us(1_000_000)
}

/// What the rate limiter knows of an address.
#[utoipa::path(get, path = "/admin/v1/limiter/{address}", tag = "operation", operation_id = "get_limiter",
    params(("address" = String, Path, example = "192.0.2.1")),
    responses((status = 200, description = "In memory, and in Redis if there is one", body = Known)))]
pub(super) async fn look_up(
    State(admin): State<Arc<Admin>>,
    Named(address): Named,
) -> Result<Response, Refusal> {
    let (limiter, ip) = parts(&admin, &address)?;
    Ok(Json(known(&admin, limiter, ip).await?).into_response())
}

/// Forgets what passed of an address, so that it has all its requests again.
#[utoipa::path(delete, path = "/admin/v1/limiter/{address}", tag = "operation", operation_id = "delete_limiter",
    params(("address" = String, Path, example = "192.0.2.1")),
    responses((status = 200, description = "What is known of it now", body = Known)))]
pub(super) async fn reset(
    State(admin): State<Arc<Admin>>,
    Named(address): Named,
) -> Result<Response, Refusal> {
    let (limiter, ip) = parts(&admin, &address)?;
    let before = serde_json::to_string(&known(&admin, limiter, ip).await?).ok();
    // Redis first: what is in memory is only a copy of it.
    if let Some(shared) = &admin.site.exchange.shared_limit {
        shared.forget(ip).await.map_err(|error| redis_away(&error))?;
    }
    limiter.forget(ip);
    let known = known(&admin, limiter, ip).await?;
    let after = serde_json::to_string(&known).ok();
    let mut response = Json(known).into_response();
    response.extensions_mut().insert(Change { before, after, revision: None });
    Ok(response)
}
