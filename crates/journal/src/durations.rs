//! Durations of what happens now and then, as a histogram that any thread adds to.
//!
//! * Units: buckets by powers of two of a microsecond; sums in nanoseconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bucket `i` holds what is under 2^i microseconds, the last one the rest.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; Self::BUCKETS],
    sum_ns: AtomicU64,
}

impl Durations {
    /// How many buckets there are; the last but one ends at 8.4 seconds.
    pub const BUCKETS: usize = 25;

    /// The bucket of so many nanoseconds.
    pub const fn bucket(ns: u64) -> usize {
        let bits = (u64::BITS - (ns / 1_000).leading_zeros()) as usize;
        if bits < Self::BUCKETS { bits } else { Self::BUCKETS - 1 }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = duration.as_nanos() as u64;
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.buckets[Self::bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many fell in each bucket, and the sum of all, in nanoseconds.
    pub fn read(&self) -> ([u64; Self::BUCKETS], u64) {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        (buckets, self.sum_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_in_the_bucket_below_its_power_of_two() {
        for (ns, expected) in [
            (0, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (1_000_000, 10),
            (u64::MAX, Durations::BUCKETS - 1),
        ] {
            assert_eq!(Durations::bucket(ns), expected, "{ns} ns");
        }
        let durations = Durations::default();
        durations.observe(Duration::from_micros(3));
        let (buckets, sum_ns) = durations.read();
        assert_eq!((buckets[2], buckets.iter().sum::<u64>(), sum_ns), (1, 1, 3_000));
    }
}
