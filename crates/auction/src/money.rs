//! Money: whole micros of USD, so that no sum ever drifts.

use crate::decimal::{self, DecimalError};
use std::fmt;

/// A price per thousand impressions (CPM) or a sum of such prices, in whole micros of USD.
///
/// USD 0.83 is `Cpm::from_micros(830_000)`. Decimals exist only at the doors: [`Cpm::from_decimal`] on the way in,
/// `Display` on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpm(u64);

impl Cpm {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// The smallest step between two clearing prices: USD 0.01.
    pub const CENT: Self = Self(10_000);
    /// The highest price taken from outside: USD 1,000,000, so that 18 million of them still fit a sum.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// `micros` millionths of a USD.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In millionths of a USD.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The price that a JSON number's text writes in USD; at most six decimal places and at most [`Cpm::MAX`].
    pub fn from_decimal(text: &str) -> Result<Self, DecimalError> {
        match decimal::scaled(text, 6)? {
            micros if micros > Self::MAX.0 => Err(DecimalError::TooLarge),
            micros => Ok(Self(micros)),
        }
    }

    /// The sum, held at the largest one that fits.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// An exact decimal in USD with at least two places and no needless zeros: `0.83`, `0.50`, `12.345678`.
impl fmt::Display for Cpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits and a point.
        f.write_str(std::str::from_utf8(self.to_decimal(&mut [0; Self::DECIMAL_BYTES])).unwrap_or_default())
    }
}

impl Cpm {
    /// The longest decimal: 14 digits, a point, six places.
    const DECIMAL_BYTES: usize = 21;

    /// Appends what `Display` shows, without the detours of a formatter: every auction that sold writes one.
    pub fn write(self, to: &mut Vec<u8>) {
        // Most are some cents.
        if self.0 < 10_000_000 && self.0.is_multiple_of(10_000) {
            let [a, b, c] = [1_000_000, 100_000, 10_000].map(|unit| b'0' + (self.0 / unit % 10) as u8);
            return to.extend_from_slice(&[a, b'.', b, c]);
        }
        to.extend_from_slice(self.to_decimal(&mut [0; Self::DECIMAL_BYTES]));
    }

    fn to_decimal(self, buffer: &mut [u8; Self::DECIMAL_BYTES]) -> &[u8] {
        let (mut whole, mut fraction, mut places) = (self.0 / 1_000_000, self.0 % 1_000_000, 6);
        while places > 2 && fraction.is_multiple_of(10) {
            fraction /= 10;
            places -= 1;
        }
        let mut at = Self::DECIMAL_BYTES;
        let mut digit = |number: &mut u64| {
            at -= 1;
            buffer[at] = b'0' + (*number % 10) as u8;
            *number /= 10;
            at
        };
        for _ in 0..places {
            digit(&mut fraction);
        }
        // A point is no digit, but its place is the next.
        let point = digit(&mut 0);
        let mut begin = digit(&mut whole);
        while whole > 0 {
            begin = digit(&mut whole);
        }
        buffer[point] = b'.';
        &buffer[begin..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_written_with_two_places_or_as_many_as_it_needs() {
        for (micros, text) in [
            (0, "0.00"),
            (830_000, "0.83"),
            (500_000, "0.50"),
            (1_000_000, "1.00"),
            (1, "0.000001"),
            (9_990_000, "9.99"),
            (9_999_999, "9.999999"),
            (10_000_000, "10.00"),
            (12_345_678, "12.345678"),
            (1_230, "0.00123"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            let (price, mut written) = (Cpm::from_micros(micros), Vec::new());
            price.write(&mut written);
            assert_eq!((price.to_string(), &*written), (text.to_owned(), text.as_bytes()));
        }
    }

    #[test]
    fn a_price_over_the_bound_is_refused() {
        assert_eq!(Cpm::from_decimal("1000000"), Ok(Cpm::MAX));
        assert_eq!(Cpm::from_decimal("1000000.000001"), Err(DecimalError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_what_is_displayed(micros in 0..20_000_000_u64, unit in 0..5_u32) {
            // Whole cents as well as parts of them.
            let unit = 10_u64.pow(unit);
            let (price, mut written) = (Cpm::from_micros(micros / unit * unit), Vec::new());
            price.write(&mut written);
            proptest::prop_assert_eq!(written, price.to_string().into_bytes());
        }

        #[test]
        fn a_price_reads_back_as_written(micros in 0..=Cpm::MAX.micros()) {
            let price = Cpm::from_micros(micros);
            proptest::prop_assert_eq!(Cpm::from_decimal(&price.to_string()), Ok(price));
        }
    }
}
