//! Catalogues to test with.

use serde_json::{Map, Value, json};

/// One supply, twelve bidders of the US that behave as the contract's defaults say.
pub(crate) fn usual() -> Value {
    let ids: Vec<String> = (0..12).map(|i| format!("bidder{i}")).collect();
    let bidders: Map<String, Value> = ids.iter().map(|id| (id.clone(), json!({"country": "US"}))).collect();
    json!({"supplies": {"supply1": ids}, "bidders": bidders})
}

/// A bidder of the US that always answers after `latency_ms` with `price`.
pub(crate) fn constant(latency_ms: u64, price: f64) -> Value {
    json!({"country": "US", "simulation": {"no_bid_probability": 0, "price": {"constant": price},
        "latency_ms": {"constant": latency_ms}}})
}

/// supply1 with bidders that always answer: their latencies in milliseconds and their prices.
pub(crate) fn constants(bidders: &[(&str, u64, f64)]) -> Value {
    let ids: Vec<&str> = bidders.iter().map(|(id, ..)| *id).collect();
    let each: Map<String, Value> =
        bidders.iter().map(|&(id, latency_ms, price)| (id.to_owned(), constant(latency_ms, price))).collect();
    json!({"supplies": {"supply1": ids}, "bidders": each})
}
