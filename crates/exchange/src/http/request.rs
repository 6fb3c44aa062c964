//! The body of POST /bid, from bytes to types that cannot be wrong.
//!
//! One meaning per body: strict JSON (RFC 8259) in UTF-8, no member of the object twice, bounded in depth before it is
//! parsed. Members other than the four are ignored whole, whatever JSON they hold. Numbers are read from their text:
//!
//! | `tmax` | |
//! |---|---|
//! | `200`, `200.0`, `2e2` | 200: the number is whole, however it is written |
//! | `-0`, `0`, `5001`, `200.5`, `1e400`, thirty digits | 422: no whole number from 1 to 5000 |
//! | `"200"`, `null`, `true` | 422: no number |

use super::problem::{Code, FieldError, Refusal};
use auction::{Country, Id, decimal};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// What tmax is if left out, in milliseconds.
pub const TMAX_DEFAULT_MS: u32 = 200;
/// The longest tmax, in milliseconds.
pub const TMAX_MAX_MS: u32 = 5000;

/// A valid body.
#[derive(Debug, PartialEq, Eq)]
pub struct BidRequest<'a> {
    /// The supply asked for.
    pub supply_id: Cow<'a, str>,
    /// The user's address.
    pub ip: IpAddr,
    /// The user's country.
    pub country: Country,
    /// Milliseconds the bidders have.
    pub tmax_ms: u32,
}

/// Reads a body, nested at most `depth_max` levels. The address is told as soon as it is known, whatever comes of the
/// rest.
pub fn parse(body: &[u8], depth_max: usize, told: impl FnOnce(IpAddr)) -> Result<BidRequest<'_>, Refusal> {
    let malformed = |detail: String| Refusal::new(Code::MalformedJson, detail);
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(format!("the body is not UTF-8 (byte {})", error.valid_up_to())))?;
    if deeper_than(body, depth_max) {
        return Err(malformed(format!("the body is nested deeper than {depth_max} levels")));
    }
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Refusal::invalid(vec![field("body", "must be a JSON object")]),
            Err(error) => malformed(sentence(&error)),
        });
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| malformed(sentence(&error)))?;
    members.check(told).map_err(Refusal::invalid)
}

fn sentence(error: &serde_json::Error) -> String {
    format!("the body is not JSON: {error}")
}

fn field(field: &str, detail: &str) -> FieldError {
    FieldError { field: field.to_owned(), detail: detail.to_owned() }
}

/// Whether brackets outside strings nest deeper than `max`. Right for JSON; for anything else the parser speaks next.
fn deeper_than(body: &[u8], max: usize) -> bool {
    let opening = |&&b: &&u8| b == b'{' || b == b'[';
    // The usual body has one bracket, and only one with more of them than `max` can nest deeper.
    if body.iter().filter(opening).count() <= max {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &b in body {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max {
            return true;
        }
    }
    false
}

/// The members of the object as they are written; the others only by name, so that none is there twice.
#[derive(Default)]
struct Members<'a> {
    supply_id: Option<&'a RawValue>,
    ip: Option<&'a RawValue>,
    country: Option<&'a RawValue>,
    tmax: Option<&'a RawValue>,
    ignored: Vec<Cow<'a, str>>,
    twice: Vec<String>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let value = map.next_value::<&RawValue>()?;
            let member = match &*name {
                "supply_id" => &mut members.supply_id,
                "ip" => &mut members.ip,
                "country" => &mut members.country,
                "tmax" => &mut members.tmax,
                _ => {
                    members.ignored.push(name);
                    continue;
                }
            };
            if member.replace(value).is_some() {
                members.twice.push(name.into_owned());
            }
        }
        members.ignored.sort_unstable();
        let repeated = members.ignored.windows(2).filter(|pair| pair[0] == pair[1]);
        members.twice.extend(repeated.map(|pair| pair[0].clone().into_owned()));
        members.twice.dedup();
        Ok(members)
    }
}

/// A member's name, borrowed unless it is written with escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'a> Members<'a> {
    /// Every rule is checked, so that the answer names every member that breaks one.
    fn check(self, told: impl FnOnce(IpAddr)) -> Result<BidRequest<'a>, Vec<FieldError>> {
        let mut errors: Vec<_> = self.twice.iter().map(|name| field(name, "appears twice")).collect();
        let mut keep = |name, detail: String| errors.push(FieldError { field: String::from(name), detail });
        let ip = text(self.ip)
            .and_then(|ip| ip.parse().map_err(|_| "must be an IPv4 or IPv6 address".to_owned()))
            .inspect(|ip| told(*ip));
        let supply_id = text(self.supply_id)
            .and_then(|id| Id::check(&id).map(|()| id).map_err(|error| error.to_string()))
            .map_err(|detail| keep("supply_id", detail));
        let ip = ip.map_err(|detail| keep("ip", detail));
        let country = text(self.country)
            .and_then(|code| {
                Country::from_code(&code).ok_or_else(|| "must be a country code of ISO 3166-1".to_owned())
            })
            .map_err(|detail| keep("country", detail));
        let tmax_ms = tmax_ms(self.tmax).map_err(|detail| keep("tmax", detail));
        match (supply_id, ip, country, tmax_ms) {
            (Ok(supply_id), Ok(ip), Ok(country), Ok(tmax_ms)) if errors.is_empty() => {
                Ok(BidRequest { supply_id, ip, country, tmax_ms })
            }
            _ => Err(errors),
        }
    }
}

/// The text of a member that must be there and be a string.
fn text(member: Option<&RawValue>) -> Result<Cow<'_, str>, String> {
    let raw = member.ok_or("is missing")?.get();
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Err("must be a string".to_owned()),
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => match serde_json::from_str::<String>(raw) {
            Ok(text) => Ok(Cow::Owned(text)),
            // Half of a surrogate pair stands for no character.
            Err(_) => Err("holds an escape that is no character".to_owned()),
        },
    }
}

fn tmax_ms(member: Option<&RawValue>) -> Result<u32, String> {
    let Some(raw) = member else { return Ok(TMAX_DEFAULT_MS) };
    match decimal::scaled(raw.get(), 0) {
        Ok(ms) if (1..=u64::from(TMAX_MAX_MS)).contains(&ms) => Ok(ms as u32),
        _ => Err(format!("must be a whole number from 1 to {TMAX_MAX_MS}")),
    }
}

#[cfg(test)]
mod tests;
