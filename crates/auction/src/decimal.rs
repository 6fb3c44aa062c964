//! Exact decimals: the text of a JSON number to a whole count of some smaller unit, with no float in between.
//!
//! * Units: `places` decimal places of the unit that the text is written in; `places = 6` turns USD into micros,
//!   milliseconds into nanoseconds and a probability into parts per million.
//! * Errors: [`DecimalError`], one variant per way a number can miss the unit.

use std::fmt;

/// Why a number's text is not a whole count of the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// Not a JSON number at all.
    NotANumber,
    /// Below zero.
    Negative,
    /// A fraction smaller than the unit, as in 0.0000001 USD.
    TooFine,
    /// Over what 64 bits hold.
    TooLarge,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "is not a number",
            Self::Negative => "is negative",
            Self::TooFine => "has too many decimal places",
            Self::TooLarge => "is too large",
        })
    }
}

impl std::error::Error for DecimalError {}

/// The number that `text` writes, times 10^`places`, exactly.
///
/// Takes JSON's grammar (`0.83`, `2e2`, `-0`); `-0` is zero. `200.0` and `2e2` are whole numbers, as in JSON Schema.
pub fn scaled(text: &str, places: u32) -> Result<u64, DecimalError> {
    // The usual whole number needs none of the below.
    if places == 0
        && (1..=18).contains(&text.len())
        && !text.starts_with('0')
        && text.bytes().all(|b| b.is_ascii_digit())
    {
        return text.parse().map_err(|_| DecimalError::TooLarge);
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(DecimalError::NotANumber),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || (whole.len() > 1 && whole.starts_with('0'))
        || !is_digits(whole)
        || !is_digits(fraction)
    {
        return Err(DecimalError::NotANumber);
    }

    let digits = whole.bytes().chain(fraction.bytes());
    let significant: Vec<u8> = digits.skip_while(|&b| b == b'0').collect();
    let trailing_zeros = significant.iter().rev().take_while(|&&b| b == b'0').count();
    let significant = &significant[..significant.len() - trailing_zeros];
    if significant.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(DecimalError::Negative);
    }
    // value = significant × 10^power of the unit
    let power = exponent + i64::from(places) - fraction.len() as i64 + trailing_zeros as i64;
    if power < 0 {
        return Err(DecimalError::TooFine);
    }
    if significant.len() as i64 + power > 20 {
        return Err(DecimalError::TooLarge);
    }
    let value = significant.iter().fold(0u128, |sum, b| sum * 10 + u128::from(b - b'0'));
    u64::try_from(value * 10u128.pow(power as u32)).map_err(|_| DecimalError::TooLarge)
}

/// Exponents beyond ±1,000,000 are cut there: no bounded body has the digits to bring such a number back into range.
fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::NotANumber);
    }
    let size = digits.iter().fold(0i64, |sum, b| (sum * 10 + i64::from(b - b'0')).min(1_000_000));
    Ok(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::DecimalError::*;
    use super::*;

    #[test]
    fn a_number_is_scaled_exactly_or_refused_by_name() {
        for (text, places, expected) in [
            ("0.83", 6, Ok(830_000)),
            ("1", 6, Ok(1_000_000)),
            ("0.000001", 6, Ok(1)),
            ("0.0000010", 6, Ok(1)),
            ("0.0000001", 6, Err(TooFine)),
            ("1e-400", 6, Err(TooFine)),
            ("1e400", 6, Err(TooLarge)),
            ("1e99999999999999999999", 0, Err(TooLarge)),
            ("0e99999999999999999999", 0, Ok(0)),
            ("200", 0, Ok(200)),
            ("200.0", 0, Ok(200)),
            ("2e2", 0, Ok(200)),
            ("2000E-1", 0, Ok(200)),
            ("200.5", 0, Err(TooFine)),
            ("-0", 0, Ok(0)),
            ("-0.0e5", 0, Ok(0)),
            ("-1", 0, Err(Negative)),
            ("-1e400", 0, Err(Negative)),
            ("18446744073709551615", 0, Ok(u64::MAX)),
            ("18446744073709551616", 0, Err(TooLarge)),
            ("123456789012345678901234567890", 0, Err(TooLarge)),
            ("", 0, Err(NotANumber)),
            ("-", 0, Err(NotANumber)),
            ("01", 0, Err(NotANumber)),
            (".5", 1, Err(NotANumber)),
            ("5.", 1, Err(NotANumber)),
            ("1e", 1, Err(NotANumber)),
            ("1e+-1", 1, Err(NotANumber)),
            ("NaN", 0, Err(NotANumber)),
            ("+1", 0, Err(NotANumber)),
            ("٣", 0, Err(NotANumber)),
        ] {
            assert_eq!(scaled(text, places), expected, "{text} with {places} places");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_micro_survives_its_text(micros in 0..u64::MAX / 2) {
            let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            proptest::prop_assert_eq!(scaled(&text, 6), Ok(micros));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", places in 0u32..7) {
            let _ = scaled(&text, places);
        }
    }
}
