//! A simulated bidder: how long it takes, how often it passes, what it bids.
//!
//! * Units: latencies in nanoseconds, prices in micros of USD, probabilities in parts per million.
//! * Errors: [`ProfileError`] for a shape that describes no distribution; answering never fails.

use crate::{Answer, Cpm, chance::Draws};
use std::fmt;

/// A distribution over whole numbers of some unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Every multiple of `step` from `low` to `high`, both included, equally likely.
    Uniform {
        /// The least value.
        low: u64,
        /// The greatest value.
        high: u64,
        /// The distance between two values.
        step: u64,
    },
    /// exp(N(ln `median`, `sigma_ppm` / 1,000,000)), rounded to multiples of `step` but never below one.
    Lognormal {
        /// The median.
        median: u64,
        /// The deviation of the logarithm, in millionths.
        sigma_ppm: u64,
        /// The distance between two values.
        step: u64,
    },
    /// Always this value.
    Constant(u64),
}

/// Why a profile describes no bidder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileError {
    /// The low end of a uniform distribution is over its high end.
    LowOverHigh,
    /// A lognormal distribution has no median at zero.
    MedianZero,
    /// A sigma over 10 spans more than any latency or price does.
    SigmaTooLarge,
    /// A probability over 1.
    ProbabilityOverOne,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LowOverHigh => "has a low end over its high end",
            Self::MedianZero => "has a median of 0",
            Self::SigmaTooLarge => "has a sigma over 10",
            Self::ProbabilityOverOne => "has a probability over 1",
        })
    }
}

impl std::error::Error for ProfileError {}

impl Shape {
    /// Whether it is a distribution at all.
    pub const fn check(self) -> Result<Self, ProfileError> {
        match self {
            Self::Uniform { low, high, .. } if low > high => Err(ProfileError::LowOverHigh),
            Self::Lognormal { median: 0, .. } => Err(ProfileError::MedianZero),
            Self::Lognormal { sigma_ppm, .. } if sigma_ppm > 10_000_000 => Err(ProfileError::SigmaTooLarge),
            _ => Ok(self),
        }
    }

    fn sample(self, draws: &mut Draws) -> u64 {
        match self {
            Self::Uniform { low, high, step } => low + step * draws.below((high - low) / step + 1),
            Self::Lognormal { median, sigma_ppm, step } => {
                let exponent = sigma_ppm as f64 / 1e6 * draws.standard_normal();
                // `as` holds a value beyond 64 bits at their edge
                let value = (median as f64 * libm::exp(exponent)) as u64;
                (value.saturating_add(step / 2) / step).max(1) * step
            }
            Self::Constant(value) => value,
        }
    }
}

/// How a simulated bidder behaves. [`Profile::DEFAULT`] is the one of a bidder that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The time to answer, in nanoseconds; None: uniform over 0 to 1.5 × tmax, whatever tmax is.
    pub latency_ns: Option<Shape>,
    /// How often it passes when it is in time, in parts per million.
    pub no_bid_ppm: u32,
    /// What it bids when it does not pass, in micros of USD.
    pub price: Shape,
}

impl Profile {
    /// Latency uniform over 0 to 1.5 × tmax, 30% no-bids, a price uniform over the cents 0.01 to 1.00.
    pub const DEFAULT: Self = Self {
        latency_ns: None,
        no_bid_ppm: 300_000,
        price: Shape::Uniform { low: 10_000, high: 1_000_000, step: Cpm::CENT.micros() },
    };

    /// Whether every part of it describes something.
    pub const fn check(self) -> Result<Self, ProfileError> {
        if self.no_bid_ppm > 1_000_000 {
            return Err(ProfileError::ProbabilityOverOne);
        }
        if let Some(shape) = self.latency_ns
            && let Err(error) = shape.check()
        {
            return Err(error);
        }
        match self.price.check() {
            Ok(_) => Ok(self),
            Err(error) => Err(error),
        }
    }

    /// What it answers within `tmax_ms` milliseconds, after how many nanoseconds, and at what price if it bids. A
    /// latency over tmax is a timeout, judged in nanoseconds, so that even a tmax of 1 ms times out a third of the time.
    pub fn answer(&self, tmax_ms: u32, mut draws: Draws) -> (u64, Answer, Cpm) {
        let tmax_ns = u64::from(tmax_ms) * 1_000_000;
        let latency_ns = match self.latency_ns {
            None => draws.below(tmax_ns + tmax_ns / 2),
            Some(shape) => shape.sample(&mut draws),
        };
        if latency_ns > tmax_ns {
            return (latency_ns, Answer::Timeout, Cpm::ZERO);
        }
        if draws.below(1_000_000) < u64::from(self.no_bid_ppm) {
            return (latency_ns, Answer::NoBid, Cpm::ZERO);
        }
        let price = Cpm::from_micros(self.price.sample(&mut draws)).min(Cpm::MAX);
        (latency_ns, Answer::Bid, price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, bidder_key};

    /// Shares of (timeout, no-bid, bid) and all bid prices of `n` answers.
    fn sample(profile: Profile, tmax_ms: u32, n: u64) -> ([f64; 3], Vec<u64>) {
        let (mut counts, mut prices) = ([0u64; 3], Vec::new());
        for sequence in 0..n {
            let (_, answer, price) =
                profile.answer(tmax_ms, Chance::new(5, sequence).bidder(bidder_key("b")));
            match answer {
                Answer::Timeout => counts[0] += 1,
                Answer::NoBid => counts[1] += 1,
                Answer::Bid => {
                    counts[2] += 1;
                    prices.push(price.micros());
                }
            }
        }
        (counts.map(|count| count as f64 / n as f64), prices)
    }

    #[test]
    fn a_default_bidder_times_out_a_third_of_the_time_at_every_tmax() {
        for tmax_ms in [1, 2, 3, 200, 5000] {
            let ([timeouts, no_bids, bids], _) = sample(Profile::DEFAULT, tmax_ms, 100_000);
            // four deviations of a share of 100,000 are 0.006
            assert!((timeouts - 1.0 / 3.0).abs() < 0.006, "tmax {tmax_ms}: {timeouts} timeouts");
            assert!((no_bids - 0.2).abs() < 0.006, "tmax {tmax_ms}: {no_bids} no-bids");
            assert!((bids - 1.4 / 3.0).abs() < 0.0064, "tmax {tmax_ms}: {bids} bids");
        }
    }

    #[test]
    fn default_prices_are_every_cent_from_1_to_100_equally_often() {
        let (_, prices) = sample(Profile::DEFAULT, 200, 200_000);
        let mut counts = [0u64; 101];
        for price in &prices {
            assert_eq!(price % 10_000, 0, "whole cents");
            counts[(price / 10_000) as usize] += 1;
        }
        let expected = prices.len() as f64 / 100.0;
        let chi: f64 = counts[1..].iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        assert!(counts[0] == 0 && chi < 161.0, "chi-square {chi}");
    }

    #[test]
    fn a_shape_gives_what_it_says() {
        let ms = 1_000_000;
        for (shape, low, median, high) in [
            (Shape::Constant(40 * ms), 40 * ms, 40 * ms, 40 * ms),
            (Shape::Uniform { low: 10 * ms, high: 30 * ms, step: 1 }, 10 * ms, 20 * ms, 30 * ms),
            (Shape::Uniform { low: 7, high: 7, step: 1 }, 7, 7, 7),
            (Shape::Lognormal { median: 40 * ms, sigma_ppm: 600_000, step: 1 }, 1, 40 * ms, 4_000 * ms),
        ] {
            let mut draws = Chance::new(9, 9).tie(0);
            let mut values: Vec<u64> = (0..20_001).map(|_| shape.sample(&mut draws)).collect();
            values.sort_unstable();
            assert!(
                values[0] >= low && values[20_000] <= high,
                "{shape:?}: {} to {}",
                values[0],
                values[20_000]
            );
            let off = values[10_000].abs_diff(median);
            assert!(off * 50 <= median, "{shape:?}: median {}", values[10_000]);
        }
    }

    #[test]
    fn probabilities_0_and_1_are_never_and_always() {
        let on_time = Profile { latency_ns: Some(Shape::Constant(0)), ..Profile::DEFAULT };
        for (no_bid_ppm, expected) in [(0, [0, 0, 100]), (1_000_000, [0, 100, 0])] {
            let (shares, _) = sample(Profile { no_bid_ppm, ..on_time }, 1, 10_000);
            assert_eq!(shares.map(|share| (share * 100.0) as u32), expected);
        }
    }

    #[test]
    fn a_latency_of_exactly_tmax_is_in_time() {
        for (latency_ns, expected) in [(5_000_000, Answer::NoBid), (5_000_001, Answer::Timeout)] {
            let profile = Profile {
                latency_ns: Some(Shape::Constant(latency_ns)),
                no_bid_ppm: 1_000_000,
                ..Profile::DEFAULT
            };
            assert_eq!(profile.answer(5, Chance::new(0, 0).bidder(0)).1, expected);
        }
    }

    #[test]
    fn a_profile_that_describes_nothing_is_refused() {
        let with = |price| Profile { price, ..Profile::DEFAULT }.check();
        assert_eq!(with(Shape::Uniform { low: 2, high: 1, step: 1 }), Err(ProfileError::LowOverHigh));
        assert_eq!(
            with(Shape::Lognormal { median: 0, sigma_ppm: 1, step: 1 }),
            Err(ProfileError::MedianZero)
        );
        let wild = Shape::Lognormal { median: 1, sigma_ppm: 10_000_001, step: 1 };
        assert_eq!(with(wild), Err(ProfileError::SigmaTooLarge));
        let certain = Profile { no_bid_ppm: 1_000_001, ..Profile::DEFAULT };
        assert_eq!(certain.check(), Err(ProfileError::ProbabilityOverOne));
    }
}
