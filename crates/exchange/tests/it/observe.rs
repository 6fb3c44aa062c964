//! What we ship to watch an exchange with: alert rules and a dashboard, against a real Prometheus that scrapes a real
//! server.

use crate::client::{any_bid, bid_body};
use crate::prometheus::{Prometheus, deploy, promtool};
use crate::redis::Redis;
use crate::server::{Home, eventually};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn promtool_finds_nothing_wrong_with_rules_their_tests_and_the_configuration() {
    for (words, file) in [
        (&["check", "rules"][..], "prometheus/bourse.rules.yml"),
        (&["test", "rules"], "prometheus/bourse.rules.test.yml"),
        (&["check", "config"], "prometheus/prometheus.yml"),
    ] {
        let said = promtool(words, &deploy(file));
        assert!(said.ok, "{file}: {said:?}");
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(deploy("grafana/bourse.json")).unwrap()).expect("JSON")
}

/// Every panel's title with its expressions, as Prometheus is asked for them.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let panel = |panel: &Value| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let asked = |target: Value| target["expr"].as_str().expect("an expression").to_owned();
        targets.into_iter().map(asked).map(move |expression| (title.clone(), expression)).collect::<Vec<_>>()
    };
    let asked = panels.iter().flat_map(panel);
    asked
        .map(|(title, text)| (title, text.replace("$__rate_interval", "10s").replace("$instance", ".*")))
        .collect()
}

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("bourse_")).map(str::to_owned).collect()
}

#[test]
fn every_panel_of_the_dashboard_shows_something_and_no_alert_fires() {
    let redis = Redis::start();
    let home = Home::empty().usual().set("BOURSE_REDIS_URL", &redis.url());
    let server = home.set("BOURSE_RATE_LIMIT_REQUESTS", &1000).serve();
    let prometheus = Prometheus::of(server.address);
    let (mut connection, mut asked) = (server.connect(), 0_u16);
    for (title, expression) in expressions(&dashboard()) {
        eventually(&format!("{title} shows {expression}"), || {
            asked += 1;
            connection.bid(bid_body("supply1", &format!("10.0.{}.{}", asked >> 8, asked & 255)));
            let found = prometheus.query(&expression);
            found.iter().any(|result| result["value"][1].as_str().is_some_and(|value| value != "NaN"))
        });
    }
    let alerts = prometheus.query("ALERTS{alertstate=\"firing\"}");
    assert!(alerts.is_empty(), "{alerts:?}");
}

#[test]
fn every_metric_that_an_alert_or_a_panel_names_is_on_the_page() {
    let redis = Redis::start();
    let home = Home::empty().usual().set("BOURSE_REDIS_URL", &redis.url());
    let server = home.set("BOURSE_RATE_LIMIT_REQUESTS", &3).serve();
    server.bid(any_bid());
    let page = names(server.get("/metrics").text());
    let rules = std::fs::read_to_string(deploy("prometheus/bourse.rules.yml")).unwrap();
    let asked = names(&rules).into_iter().chain(names(&dashboard().to_string()));
    let missing: Vec<String> = asked.filter(|name| !page.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
