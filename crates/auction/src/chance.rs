//! Chance: a counter-based random stream per auction, from (seed, sequence).
//!
//! Nothing here is carried from one auction to the next, so auctions may be held in any order, on any thread, and each
//! draws what it would have drawn alone. Within an auction every bidder draws from a stream of its own, keyed by its
//! id: a bidder that joins or leaves changes no draw of the others, which is what makes two rules comparable.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood 2014) started from a key mixed of seed, sequence and bidder.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection in which every input bit reaches every output bit.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// All the chance of one auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance {
    key: u64,
}

impl Chance {
    /// The chance of auction number `sequence` under `seed`.
    pub const fn new(seed: u64, sequence: u64) -> Self {
        Self { key: mix(mix(seed.wrapping_add(GOLDEN)) ^ sequence.wrapping_mul(GOLDEN)) }
    }

    /// The stream of the bidder with this key.
    pub const fn bidder(self, bidder_key: u64) -> Draws {
        Draws { state: mix(self.key ^ bidder_key) }
    }

    /// The stream that breaks ties for the imp at this place of the request.
    pub const fn tie(self, imp: usize) -> Draws {
        Draws { state: mix(self.key.wrapping_add(GOLDEN) ^ mix(imp as u64)) }
    }
}

/// A stream of uniform 64-bit draws.
#[derive(Debug, Clone)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The next draw, uniform over all 64-bit numbers.
    pub const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number below `bound`, each as likely as another to within `bound` / 2⁶⁴. Zero if `bound` is zero.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.draw() as u128 * bound as u128) >> 64) as u64
    }

    /// A number of the standard normal distribution (Box-Muller). The functions come from `libm`, written in Rust: the
    /// same bits on every machine.
    pub fn standard_normal(&mut self) -> f64 {
        // 53 bits, moved off zero, where the logarithm has no value
        let unit = |draw: u64| ((draw >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
        let (radius, angle) = (unit(self.draw()), unit(self.draw()));
        libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle)
    }
}

/// The key of a bidder's stream: FNV-1a of its id.
pub const fn bidder_key(id: &str) -> u64 {
    let (bytes, mut hash, mut i) = (id.as_bytes(), 0xcbf2_9ce4_8422_2325_u64, 0);
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square of `n` draws into `bins`; for 99 degrees of freedom 1 in 10,000 fair samples is over 161.
    fn chi_square(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn draws_are_uniform_along_every_axis() {
        for axis in ["sequence", "seed", "bidder", "tie"] {
            let stream = |i| match axis {
                "sequence" => Chance::new(7, i).bidder(bidder_key("bidder1")),
                "seed" => Chance::new(i, 7).bidder(bidder_key("bidder1")),
                "bidder" => Chance::new(7, 7).bidder(bidder_key(&format!("bidder{i}"))),
                _ => Chance::new(7, i).tie(0),
            };
            let mut counts = [0u64; 100];
            (0..100_000).for_each(|i| counts[stream(i).below(100) as usize] += 1);
            assert!(chi_square(&counts) < 161.0, "{axis}: {}", chi_square(&counts));
        }
    }

    #[test]
    fn two_bidders_of_one_auction_draw_independently() {
        let mut counts = [0u64; 100];
        for sequence in 0..100_000 {
            let chance = Chance::new(1, sequence);
            let (a, b) = (chance.bidder(bidder_key("a")).below(10), chance.bidder(bidder_key("b")).below(10));
            counts[(a * 10 + b) as usize] += 1;
        }
        assert!(chi_square(&counts) < 161.0, "{}", chi_square(&counts));
    }

    #[test]
    fn a_stream_is_the_same_on_every_machine() {
        let mut draws = Chance::new(7, 42).bidder(bidder_key("bidder1"));
        let drawn = (draws.draw(), draws.below(1000), draws.standard_normal().to_bits());
        assert_eq!(drawn, PINNED);
    }
    const PINNED: (u64, u64, u64) = (9_676_523_070_306_128_091, 242, 4_600_151_053_000_220_985);

    #[test]
    fn the_normal_draws_have_mean_0_and_deviation_1() {
        let mut draws = Chance::new(3, 1).tie(0);
        let n = 100_000;
        let (sum, squares) = (0..n).fold((0.0, 0.0), |(s, q), _| {
            let z = draws.standard_normal();
            (s + z, q + z * z)
        });
        let (mean, variance) = (sum / f64::from(n), squares / f64::from(n));
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
    }
}
