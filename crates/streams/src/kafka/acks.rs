//! What the brokers said of the batch at hand, as librdkafka tells it to who listens.
//!
//! * Only failures are told message by message; that all others were acknowledged is seen by how many librdkafka has left.
//! * A batch is a round: what is said of an earlier one counts for nothing.

use super::hint;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// How long a broken connection is the reason for silence: librdkafka repeats itself after half of that.
const BROKEN_MAX: Duration = Duration::from_secs(60);

/// Which message of which round, as librdkafka carries it.
pub(super) fn opaque(round: u32, index: u32) -> usize {
    (round as usize) << 32 | index as usize
}

/// What is known of the batch.
#[derive(Debug, Default)]
pub(super) struct Acks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    round: u32,
    /// How many things were told.
    heard: u64,
    /// How many librdkafka had left at the last look.
    waiting: usize,
    /// Which came back.
    failed: Vec<u32>,
    /// Since when nobody has heard of any.
    quiet_since: Option<Instant>,
    /// Why the attempt is over.
    complaint: Option<String>,
    /// What a broker's connection last died of, and when.
    broken: Option<(Instant, String)>,
}

impl State {
    fn break_down(&mut self, reason: &str) {
        self.broken = Some((Instant::now(), reason.to_owned()));
    }

    /// ": " and why nothing is heard, as far as it is known; nothing that is over, for whoever connects again says nothing.
    fn why(&self) -> String {
        match &self.broken {
            Some((at, why)) if at.elapsed() < BROKEN_MAX => format!(": {why}"),
            _ => String::new(),
        }
    }
}

impl Acks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with another batch, or with all of this one; an attempt that is under way goes on.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.round = state.round.wrapping_add(1);
        state.waiting = 0;
        state.failed.clear();
    }

    /// Begins an attempt: what was said before it is no news.
    pub(super) fn attempt(&self) {
        let mut state = self.state();
        (state.complaint, state.quiet_since) = (None, Some(Instant::now()));
    }

    pub(super) fn round(&self) -> u32 {
        self.state().round
    }

    /// So many are with librdkafka. With fewer than at the last look, the brokers are there.
    pub(super) fn look(&self, waiting: usize) {
        let mut state = self.state();
        if waiting < state.waiting && state.failed.is_empty() {
            (state.quiet_since, state.broken) = (Some(Instant::now()), None);
        }
        state.waiting = waiting;
    }

    /// So many are with librdkafka, now that more were sent.
    pub(super) fn expect(&self, waiting: usize) {
        self.state().waiting = waiting;
    }

    /// How many came back and were not taken yet.
    pub(super) fn failed(&self) -> usize {
        self.state().failed.len()
    }

    /// Which came back, once.
    pub(super) fn take_failed(&self) -> Vec<u32> {
        std::mem::take(&mut self.state().failed)
    }

    /// Why the attempt is over, if it is.
    pub(super) fn complaint(&self) -> Option<String> {
        self.state().complaint.take()
    }

    /// How many were with librdkafka at the last look.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    pub(super) fn quiet_for(&self) -> Duration {
        self.state().quiet_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// That nothing is heard, and why; the same each time, so that it is said once.
    pub(super) fn silence(&self) -> String {
        format!("no broker acknowledges anything{}", self.state().why())
    }

    /// How many things were told.
    pub(super) fn heard(&self) -> u64 {
        self.state().heard
    }
}

/// A reason without how long it took, so that it is the same when it comes again.
pub(super) fn timeless(reason: &str) -> &str {
    reason.rsplit_once(" (after ").map_or(reason, |(what, _)| what)
}

/// What librdkafka is answered by.
pub(super) struct Context(pub(super) Arc<Acks>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.state().heard += 1;
        // A broker that hangs up is no error to librdkafka, and all that is known of who is not let in by TLS 1.3.
        if facility == "FAIL" {
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            self.0.state().break_down(timeless(reason));
        }
        // What matters comes as an error, too, and is told with the stream.
        if (level as i32) <= RDKafkaLogLevel::Critical as i32 {
            warn!(stream = "kafka", facility, message, "librdkafka");
        } else {
            debug!(stream = "kafka", facility, message, "librdkafka");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = timeless(reason);
        let mut state = self.0.state();
        state.heard += 1;
        match error.rdkafka_error_code() {
            // One of several, or all of them, which is told next.
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                state.break_down(reason);
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                state.complaint = Some(format!("no broker can be reached{}", state.why()));
            }
            _ => {
                let text = format!("{reason}{}", hint(&error));
                state.break_down(&text);
                state.complaint = Some(text);
            }
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let mut state = self.0.state();
        state.heard += 1;
        if (opaque >> 32) as u32 != state.round {
            return;
        }
        let Err((error, _)) = result else { return };
        state.failed.push(opaque as u32);
        state.complaint.get_or_insert_with(|| format!("not taken: {error}{}", hint(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::timeless;

    #[test]
    fn a_reason_is_the_same_when_it_comes_again() {
        for (reason, what) in [
            ("b:9: Disconnected (after 3ms in state UP)", "b:9: Disconnected"),
            (
                "b:9: Disconnected (after 0ms in state UP, 1 identical error(s) suppressed)",
                "b:9: Disconnected",
            ),
            ("b:9: failed (why) (after 12ms in state CONNECT)", "b:9: failed (why)"),
            ("no such topic", "no such topic"),
        ] {
            assert_eq!(timeless(reason), what);
        }
    }
}
