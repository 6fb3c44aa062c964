//! A bidder's `"simulation"` as a [`Profile`]: in a catalogue file and in the database's column alike.
//!
//! * Units: USD become micros, milliseconds nanoseconds, a probability parts per million, exactly.
//! * A price uniform between whole cents takes whole cents, otherwise whole micros; a lognormal price takes whole
//!   cents. Latencies take whole nanoseconds.

use super::json::{Member, Reader};
use auction::{Cpm, Profile, Shape};
use serde_json::value::RawValue;

/// The longest latency, an hour: far over any tmax.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

const SHAPES: &str =
    "write {\"uniform\":[low,high]}, {\"lognormal\":{\"median\":m,\"sigma\":s}} or {\"constant\":c}";

/// The profile that `text` writes; an error is one line.
pub(crate) fn profile_of(text: &str) -> Result<Profile, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let mut reader = Reader::new(text);
    let profile = profile(&mut reader, raw);
    let found = reader.finish();
    if found.is_empty() { Ok(profile) } else { Err(found.into_message()) }
}

/// The profile that `raw` writes; of no worth if the reader found a problem.
pub(super) fn profile<'a>(reader: &mut Reader<'a>, raw: &'a RawValue) -> Profile {
    let mut profile = Profile::DEFAULT;
    for member in reader.members("simulation", raw) {
        match &*member.key {
            "no_bid_probability" => {
                let ppm = reader.number("no_bid_probability", member.value, 6, 1_000_000);
                profile.no_bid_ppm = ppm.map_or(0, |ppm| ppm as u32);
            }
            "price" => {
                if let Some(price) = price(reader, &member) {
                    profile.price = price;
                }
            }
            "latency_ms" => profile.latency_ns = shape(reader, &member, LATENCY_NS_MAX, 1),
            _ => reader.unknown_member(&member, "a simulation has no_bid_probability, price and latency_ms"),
        }
    }
    profile
}

fn price<'a>(reader: &mut Reader<'a>, member: &Member<'a>) -> Option<Shape> {
    let cent = Cpm::CENT.micros();
    Some(match shape(reader, member, Cpm::MAX.micros(), cent)? {
        Shape::Uniform { low, high, .. } if low % cent != 0 || high % cent != 0 => {
            Shape::Uniform { low, high, step: 1 }
        }
        shape => shape,
    })
}

/// A shape whose numbers have six places and are at most `max`.
fn shape<'a>(reader: &mut Reader<'a>, member: &Member<'a>, max: u64, step: u64) -> Option<Shape> {
    let what = &*member.key;
    let before = reader.count();
    let members = reader.members(what, member.value);
    let shape = match &members[..] {
        [Member { key, value, .. }] if key == "constant" => {
            reader.number(what, value, 6, max).map(Shape::Constant)
        }
        [Member { key, value, .. }] if key == "uniform" => match reader.items("uniform", value)[..] {
            [low, high] => {
                let ends = (reader.number("uniform", low, 6, max), reader.number("uniform", high, 6, max));
                let (Some(low), Some(high)) = ends else {
                    return None;
                };
                Some(Shape::Uniform { low, high, step })
            }
            _ => None,
        },
        [Member { key, value, .. }] if key == "lognormal" => lognormal(reader, value, max, step),
        _ => None,
    };
    match shape.map(Shape::check) {
        Some(Ok(shape)) => return Some(shape),
        Some(Err(error)) => reader.problem(reader.at(member.value), format!("{what} {error}")),
        None if before == reader.count() => {
            reader.problem(reader.at(member.value), format!("{what} is no distribution: {SHAPES}"));
        }
        None => {}
    }
    None
}

fn lognormal<'a>(reader: &mut Reader<'a>, raw: &'a RawValue, max: u64, step: u64) -> Option<Shape> {
    let (mut median, mut sigma_ppm) = (None, None);
    for member in reader.members("lognormal", raw) {
        match &*member.key {
            "median" => median = reader.number("median", member.value, 6, max),
            // Over 10 is refused below by its own name.
            "sigma" => sigma_ppm = reader.number("sigma", member.value, 6, u64::MAX),
            _ => reader.unknown_member(&member, "a lognormal distribution has median and sigma"),
        }
    }
    Some(Shape::Lognormal { median: median?, sigma_ppm: sigma_ppm?, step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_exactly() {
        let ms = 1_000_000;
        let cents =
            |low: u64, high: u64| Shape::Uniform { low: low * 10_000, high: high * 10_000, step: 10_000 };
        let default = Profile::DEFAULT;
        for (text, expected) in [
            ("{}", default),
            (r#"{"no_bid_probability":0.25}"#, Profile { no_bid_ppm: 250_000, ..default }),
            (r#"{"price":{"uniform":[0.05,0.60]}}"#, Profile { price: cents(5, 60), ..default }),
            (
                r#"{"price":{"uniform":[0.05,0.601]}}"#,
                Profile { price: Shape::Uniform { low: 50_000, high: 601_000, step: 1 }, ..default },
            ),
            (r#"{"price":{"constant":0.000001}}"#, Profile { price: Shape::Constant(1), ..default }),
            (
                r#"{"price":{"lognormal":{"median":0.5,"sigma":0.6}}}"#,
                Profile {
                    price: Shape::Lognormal { median: 500_000, sigma_ppm: 600_000, step: 10_000 },
                    ..default
                },
            ),
            (
                r#" { "latency_ms" : { "lognormal" : { "sigma" : 6e-1 , "median" : 40 } } } "#,
                Profile {
                    latency_ns: Some(Shape::Lognormal { median: 40 * ms, sigma_ppm: 600_000, step: 1 }),
                    ..default
                },
            ),
            (
                r#"{"latency_ms":{"uniform":[0,12.5]}}"#,
                Profile { latency_ns: Some(Shape::Uniform { low: 0, high: 12_500_000, step: 1 }), ..default },
            ),
        ] {
            assert_eq!(profile_of(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_describes_no_distribution_is_refused_by_name() {
        for (text, expected) in [
            ("", "is not JSON: EOF"),
            ("[]", "simulation must be an object, not an array"),
            (r#"{"no_bid_probability":1.5}"#, "no_bid_probability is over 1"),
            (r#"{"no_bid_probability":"0.1"}"#, "no_bid_probability must be a number, not a string"),
            (r#"{"price":{"uniform":[2,1]}}"#, "price has a low end over its high end"),
            (r#"{"price":{"uniform":[1]}}"#, "price is no distribution: write"),
            (r#"{"price":{"uniform":[1,-2]}}"#, "uniform is negative"),
            (r#"{"price":{"constant":1000001}}"#, "price is over 1000000"),
            (r#"{"price":{"constant":0.0000001}}"#, "price has too many decimal places"),
            (r#"{"price":{"normal":1}}"#, "price is no distribution: write"),
            (r#"{"price":{"constant":1,"uniform":[1,2]}}"#, "price is no distribution: write"),
            (r#"{"latency_ms":{"lognormal":{"median":0,"sigma":1}}}"#, "latency_ms has a median of 0"),
            (r#"{"latency_ms":{"lognormal":{"median":1,"sigma":11}}}"#, "latency_ms has a sigma over 10"),
            (r#"{"latency_ms":{"lognormal":{"median":1}}}"#, "latency_ms is no distribution"),
            (r#"{"latency_ms":{"constant":3600001}}"#, "latency_ms is over 3600000"),
            (r#"{"latency":1}"#, "unknown member \"latency\""),
        ] {
            let error = profile_of(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
