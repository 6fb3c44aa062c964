//! What is known of a stream from outside: written by its thread, read by whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The meters of one stream.
#[derive(Debug, Default)]
pub struct Meters {
    /// Auctions that the sink has said yes to.
    pub delivered: AtomicU64,
    /// Batches that it has.
    pub batches: AtomicU64,
    /// Attempts that failed.
    pub failures: AtomicU64,
    /// Auctions given up because too many waited for the sink.
    pub dropped: AtomicU64,
    /// Places where the journal was damaged, or removed before it was read.
    pub missing: AtomicU64,
    /// Whether the last attempt failed.
    pub is_failing: AtomicBool,
    /// Bytes of the journal that are not delivered.
    lag_bytes: AtomicU64,
    /// The same in auctions, by their mean size.
    lag_auctions: AtomicU64,
    /// Everything before this time is delivered, in microseconds since 1970.
    since_us: AtomicU64,
}

impl Meters {
    /// How many auctions are not delivered, by the bytes they take and their mean size so far.
    pub fn lag_auctions(&self) -> u64 {
        self.lag_auctions.load(Ordering::Relaxed)
    }

    /// How many bytes of the journal they take.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes.load(Ordering::Relaxed)
    }

    /// For how many seconds the oldest one of them has waited; 0: there is none.
    pub fn lag_s(&self) -> f64 {
        match self.lag_bytes() {
            0 => 0.0,
            _ => now_us().saturating_sub(self.since_us.load(Ordering::Relaxed)) as f64 / 1e6,
        }
    }

    pub(crate) fn set_lag(&self, bytes: u64, auctions: u64, since_us: u64) {
        self.since_us.store(since_us, Ordering::Relaxed);
        self.lag_auctions.store(auctions, Ordering::Relaxed);
        self.lag_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Microseconds since 1970 (UTC).
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
