//! Callout: every invited bidder is asked at once, and this is the only room of an auction that waits.
//!
//! * Units: latencies in nanoseconds, measured from the moment the request had been read.
//! * Bound: an answer is ready a tenth of tmax before it, at least 5 ms and at most 15, because writing it takes time
//!   too, a timer is late by one to two milliseconds, and a busy machine later still; with a tmax of 5 ms or less
//!   nobody waits.

use auction::{Answer, Answers, Bid, Chance, Invitations, Opportunity};
use std::time::{Duration, Instant};

/// Whether simulated latencies are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Latencies are drawn and judged, nobody waits.
    Virtual,
    /// The answer leaves when the last bidder in time has answered, or at tmax if one timed out.
    Real,
}

/// A way to ask bidders.
pub trait Callout {
    /// Asks every invited bidder at once and writes their replies and bids into `answers`, which it clears first. Ends
    /// before tmax has passed since `received_at`.
    fn ask(
        &self,
        opportunity: &Opportunity<'_>,
        invitations: &Invitations<'_>,
        chance: Chance,
        received_at: Instant,
        answers: &mut Answers,
    ) -> impl Future<Output = ()>;
}

/// Asks bidders that exist only as a profile.
#[derive(Debug, Clone, Copy)]
pub struct Simulated {
    /// Whether to wait.
    pub clock: Clock,
}

impl Callout for Simulated {
    async fn ask(
        &self,
        opportunity: &Opportunity<'_>,
        invitations: &Invitations<'_>,
        chance: Chance,
        received_at: Instant,
        answers: &mut Answers,
    ) {
        answers.clear();
        for (slot, bidder) in invitations.iter() {
            let (latency_ns, answer, price) =
                bidder.profile.answer(opportunity.tmax_ms, chance.bidder(bidder.key));
            if answer == Answer::Bid {
                answers.bids.extend((0..opportunity.imps.len() as u32).map(|imp| Bid { slot, imp, price }));
            }
            answers.replies.push(auction::Reply { slot, answer, latency_ns });
        }
        if self.clock == Clock::Real {
            let wait = wait(opportunity.tmax_ms, answers);
            // In a box: a timer's room is not to be carried through auctions that need none.
            Box::pin(tokio::time::sleep_until((received_at + wait).into())).await;
        }
    }
}

/// Until the last answer in time, or until tmax if one is missing; less a margin of tmax in any case.
fn wait(tmax_ms: u32, answers: &Answers) -> Duration {
    let tmax = Duration::from_millis(tmax_ms.into());
    let margin = (tmax / 10).clamp(Duration::from_millis(5), Duration::from_millis(15));
    let last = answers.replies.iter().map(|reply| Duration::from_nanos(reply.latency_ns)).max();
    last.unwrap_or_default().min(tmax.saturating_sub(margin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::Reply;

    #[test]
    fn the_wait_is_for_the_last_answer_and_never_reaches_tmax() {
        let ms = |ms| Duration::from_millis(ms);
        for (tmax_ms, latencies_ms, expected) in [
            (200, &[][..], ms(0)),
            (200, &[10, 150, 90], ms(150)),
            (100, &[10, 250], ms(90)),
            (200, &[10, 250], ms(185)),
            (200, &[199], ms(185)),
            (5000, &[6000], ms(4985)),
            (5, &[1], ms(0)),
            (1, &[2], ms(0)),
        ] {
            let reply =
                |&latency: &u64| Reply { slot: 0, answer: Answer::NoBid, latency_ns: latency * 1_000_000 };
            let answers = Answers { replies: latencies_ms.iter().map(reply).collect(), bids: vec![] };
            assert_eq!(wait(tmax_ms, &answers), expected, "tmax {tmax_ms}, {latencies_ms:?}");
        }
    }
}
