//! Catalogue files of any size, for trying things out: the same numbers give the same file.
//!
//! Supplies `supply1`, `supply2`, … each list 3 to 12 distinct bidders `bidder1`, `bidder2`, …; some are second price
//! with a floor. Bidders buy in the countries in turn, and some have a simulation of their own.

use auction::{Chance, Draws};
use std::io::{self, Write};

/// Where the bidders buy, in turn: roughly by the size of the market.
const COUNTRIES: [&str; 16] =
    ["US", "GB", "DE", "JP", "FR", "CA", "IN", "BR", "AU", "IT", "ES", "KR", "NL", "MX", "SE", "PL"];

/// Writes a catalogue file. `progress` is told how many of all lines are written.
pub fn generate(
    supplies: u32,
    bidders: u32,
    seed: u64,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let total = u64::from(supplies) + u64::from(bidders);
    let mut written = 0;
    let mut tick = || {
        written += 1;
        if written % 1_000 == 0 || written == total {
            progress(written, total);
        }
    };
    // Supplies and bidders draw from streams of their own, so that more of one changes none of the other.
    let stream = |kind: usize, number: u32| Chance::new(seed, u64::from(number)).tie(kind);
    writeln!(out, "{{\"supplies\":{{")?;
    for number in 1..=supplies {
        let end = if number == supplies { "" } else { "," };
        writeln!(out, "\"supply{number}\":{}{end}", supply(bidders, &mut stream(0, number)))?;
        tick();
    }
    writeln!(out, "}},\n\"bidders\":{{")?;
    for number in 1..=bidders {
        let end = if number == bidders { "" } else { "," };
        let country = COUNTRIES[(number as usize - 1) % COUNTRIES.len()];
        let simulation = simulation(&mut stream(1, number));
        writeln!(out, "\"bidder{number}\":{{\"country\":\"{country}\"{simulation}}}{end}")?;
        tick();
    }
    writeln!(out, "}}}}")?;
    out.flush()
}

fn supply(bidders: u32, draws: &mut Draws) -> String {
    let wanted = (3 + draws.below(10) as u32).min(bidders);
    // Floyd's sampling: every set of that size is equally likely.
    let mut chosen: Vec<u32> = Vec::new();
    for last in bidders - wanted + 1..=bidders {
        let drawn = draws.below(u64::from(last)) as u32 + 1;
        chosen.push(if chosen.contains(&drawn) { last } else { drawn });
    }
    chosen.sort_unstable();
    let list: Vec<String> = chosen.iter().map(|number| format!("\"bidder{number}\"")).collect();
    let list = format!("[{}]", list.join(","));
    match draws.below(4) {
        0 => {
            let cents = 1 + draws.below(20);
            format!("{{\"bidders\":{list},\"auction\":\"second_price\",\"bid_floor\":0.{cents:02}}}")
        }
        _ => list,
    }
}

fn simulation(draws: &mut Draws) -> String {
    if draws.below(3) > 0 {
        return String::new();
    }
    let no_bid = draws.below(60);
    let (low, high) = (1 + draws.below(30), 40 + draws.below(60));
    let median = 20 + draws.below(80);
    format!(
        ",\"simulation\":{{\"no_bid_probability\":0.{no_bid:02},\"price\":{{\"uniform\":[0.{low:02},0.{high:02}]}},\
         \"latency_ms\":{{\"lognormal\":{{\"median\":{median},\"sigma\":0.5}}}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    fn text(supplies: u32, bidders: u32, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        generate(supplies, bidders, seed, &mut out, &mut |_, _| {}).unwrap();
        out
    }

    #[test]
    fn every_size_is_a_catalogue() {
        for (supplies, bidders) in [(0, 0), (1, 0), (0, 1), (5, 2), (10, 12), (300, 1000)] {
            let file = File::parse("generated", text(supplies, bidders, 1)).unwrap();
            assert_eq!((file.supplies(), file.bidders()), (supplies as usize, bidders as usize));
            let (least, most) = (3.min(bidders as usize), 12.min(bidders as usize));
            assert!(file.supplies.iter().all(|supply| (least..=most).contains(&supply.bidders.len())));
            assert!(file.mentions.is_empty());
        }
    }

    #[test]
    fn the_same_numbers_give_the_same_file() {
        assert_eq!(text(50, 50, 7), text(50, 50, 7));
        assert_ne!(text(50, 50, 7), text(50, 50, 8));
    }
}
