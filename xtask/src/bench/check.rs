//! Whether a server answers rightly: the status, the type, and JSON that names a winner and a price.
//!
//! The load generators look at every answer, but only for its status or its shape; here a few are parsed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use ureq::Agent;

use super::generators::Walk;
use super::server::Server;

/// How many answers are parsed each time.
pub(super) const CHECKED: u64 = 8;

#[derive(Deserialize)]
struct Sale {
    winner: String,
    price: f64,
}

/// Asks the next [`CHECKED`] requests of the walk, from their addresses; an error for an answer that is no sale.
pub(super) fn check(server: &Server, walk: Walk) -> Result<()> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let agent = Agent::new_with_config(config);
    (walk.first..walk.first + CHECKED).try_for_each(|number| ask(&agent, server, walk, number))
}

fn ask(agent: &Agent, server: &Server, walk: Walk, number: u64) -> Result<()> {
    let body = walk.body(number);
    let url = format!("http://{}/bid", server.address);
    let mut answer = agent
        .post(&url)
        .content_type("application/json")
        .send(&body)
        .with_context(|| format!("no answer to {body}"))?;
    let text = answer.body_mut().read_to_string()?;
    ensure!(answer.status() == 200, "{body} was answered {} {text}", answer.status());
    let sale: Sale = serde_json::from_str(&text).with_context(|| format!("{body} was answered {text}"))?;
    ensure!(sale.winner.starts_with("bidder") && sale.price > 0.0, "{body} was answered {text}");
    Ok(())
}
