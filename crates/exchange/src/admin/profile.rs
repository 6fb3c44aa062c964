//! A CPU profile on demand: where the process's time goes, for some seconds, as a flame graph or as folded stacks.
//!
//! * Idle it costs nothing: there is no timer and no signal handler outside a profile.
//! * While one is taken, a signal interrupts whichever thread is at work `hz` times in each second of CPU time.
//! * Bounds: one at a time, 60 s at most.

mod flame;

use super::Admin;
use super::answer::{Asked, away, invalid};
use crate::http::problem::{Code, Refusal};
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// What profile to take.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// How long to look.
    #[serde(default = "ten")]
    #[param(minimum = 1, maximum = 60, default = 10, example = 1)]
    seconds: u64,
    /// How often in a second of CPU time. A number that is no divisor of anything keeps out of step with what is periodic.
    #[serde(default = "usual_hz")]
    #[param(minimum = 1, maximum = 1000, default = 99, example = 99)]
    hz: i32,
    #[serde(default)]
    format: Format,
}

/// How it is shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A flame graph for a browser.
    #[default]
    Svg,
    /// A line for each stack, `thread;outer;inner 42`, for other tools.
    Folded,
}

const fn ten() -> u64 {
    10
}

const fn usual_hz() -> i32 {
    99
}

/// Stacks, outermost first, and how often each was seen; no name has a semicolon.
type Stacks = BTreeMap<Vec<String>, u64>;

/// Looks for some seconds where the CPU's time goes.
#[utoipa::path(get, path = "/admin/v1/profile", tag = "operation", operation_id = "profile", params(Wanted),
    responses((status = 200, description = "A flame graph, or folded stacks", content(
        (String = "image/svg+xml", example = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        (String = "text/plain", example = "core-0;hold 42\n"))),
        (status = 409, description = "Another profile is being taken", body = crate::http::problem::Problem,
            content_type = "application/problem+json")))]
pub(super) async fn profile(
    State(admin): State<Arc<Admin>>,
    Asked(Wanted { seconds, hz, format }): Asked<Wanted>,
) -> Result<Response, Refusal> {
    if !(1..=60).contains(&seconds) {
        return Err(invalid("seconds", "must be a whole number from 1 to 60"));
    }
    if !(1..=1000).contains(&hz) {
        return Err(invalid("hz", "must be a whole number from 1 to 1000"));
    }
    let taken = |_| Refusal::new(Code::Conflict, "another profile is being taken; try again when it is done");
    let _turn = admin.profiling.try_acquire().map_err(taken)?;
    let guard = start(hz).map_err(|error| away(&error))?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // Names are looked up for it: that takes long.
    let naming = tokio::task::spawn_blocking(move || stacks(&guard));
    let stacks = naming.await.map_err(|error| away(&error.into()))?.map_err(|error| away(&error))?;
    Ok(match format {
        Format::Svg => {
            ([(CONTENT_TYPE, "image/svg+xml")], flame::graph(&stacks, seconds, hz)).into_response()
        }
        Format::Folded => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], folded(&stacks)).into_response(),
    })
}

fn start(hz: i32) -> Result<ProfilerGuard<'static>> {
    ProfilerGuardBuilder::default()
        .frequency(hz)
        .build()
        .context("no profile can be taken; it needs a directory for temporary files that it may write")
}

fn stacks(guard: &ProfilerGuard<'_>) -> Result<Stacks> {
    let report: Report = guard.report().build().context("the profile could not be read")?;
    let mut stacks = Stacks::new();
    for (frames, count) in &report.data {
        let names = frames.frames.iter().rev().flat_map(|inlined| inlined.iter().rev());
        let names = names.map(|symbol| symbol.to_string().replace(';', ","));
        let mut stack: Vec<String> = std::iter::once(frames.thread_name.clone()).chain(names).collect();
        // Innermost is the profiler at its own work.
        let own = |name: &String| name.trim_start_matches('<').starts_with("pprof::");
        stack.truncate(stack.iter().position(own).unwrap_or(stack.len()));
        *stacks.entry(stack).or_default() += u64::try_from(*count).unwrap_or_default();
    }
    Ok(stacks)
}

fn folded(stacks: &Stacks) -> String {
    let line = |(stack, count): (&Vec<String>, &u64)| format!("{} {count}\n", stack.join(";"));
    stacks.iter().map(line).collect()
}
