//! Catalogues to measure with.
//!
//! Every supply lists every bidder and all buy in the US. `bidder1` always bids, so that every request is answered with
//! a sale and anything else is a wrong answer; the others draw as bidders do by default.

use std::fmt::Write;

/// How large a catalogue is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub(super) supplies: u32,
    /// Of each supply.
    pub(super) bidders: u32,
}

impl Catalogue {
    /// The usual one.
    pub(super) const USUAL: Self = Self { supplies: 10, bidders: 12 };

    /// As a file of `bourse load-data`.
    pub(super) fn json(self) -> String {
        let ids: Vec<String> = (1..=self.bidders).map(|n| format!("\"bidder{n}\"")).collect();
        let ids = ids.join(",");
        let mut json = String::from("{\"supplies\":{");
        for n in 1..=self.supplies {
            let comma = if n == 1 { "" } else { "," };
            let _ = write!(json, "{comma}\n\"supply{n}\":[{ids}]");
        }
        json.push_str("},\n\"bidders\":{\"bidder1\":{\"country\":\"US\",\"simulation\":{\"no_bid_probability\":0,\"latency_ms\":{\"constant\":1}}}");
        for n in 2..=self.bidders {
            let _ = write!(json, ",\n\"bidder{n}\":{{\"country\":\"US\"}}");
        }
        json.push_str("}}\n");
        json
    }
}
