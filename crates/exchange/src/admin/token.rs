//! Tokens of the admin API: 256 random bits, of which only the SHA-256 sum is kept.
//!
//! A sum of so many random bits cannot be turned around, so it needs no salt and no slow hash.

use crate::cli;
use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write};
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// The SHA-256 sum of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The sum of this token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The one of `known` that this is, if any. The time says nothing about which, or how nearly.
    pub fn among(&self, known: &[Self]) -> Option<Self> {
        let matches = known.iter().fold(subtle::Choice::from(0), |any, other| any | self.0.ct_eq(&other.0));
        bool::from(matches).then_some(*self)
    }

    /// By which the audit log names it: the first 8 digits.
    pub fn fingerprint(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", self.fingerprint())
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(drop)?;
        }
        Ok(Self(digest))
    }
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    token_sha256: String,
}

/// `bourse admin …`.
pub fn run(command: &cli::Admin) -> Result<()> {
    let cli::Admin::Token { json } = command;
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).context("the system gives no random bits")?;
    let mut token = String::with_capacity(64);
    bits.iter().try_for_each(|byte| write!(token, "{byte:02x}"))?;
    let token_sha256 = Digest::of(token.as_bytes()).to_string();
    if *json {
        println!("{}", serde_json::to_string(&Made { token: &token, token_sha256 })?);
        return Ok(());
    }
    println!(
        "The token; it is shown only now, so keep it where you keep passwords:\n\n  {token}\n\n\
         Its SHA-256, for the settings of `bourse serve`; several stand with commas:\n\n  \
         [admin]\n  token_sha256 = \"{token_sha256}\"\n\n\
         or BOURSE_ADMIN_TOKEN_SHA256 in the environment. Then:\n\n  \
         curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8001/admin/v1/status"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_the_sum_of_its_token() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(abc.to_uppercase().parse(), Ok(Digest::of(b"abc")));
        for bad in ["", &abc[1..], &format!("{abc}0"), &abc.replace('b', "g"), &format!("+{}", &abc[1..])] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn any_of_the_known_tokens_is_taken_and_no_other() {
        let known = [Digest::of(b"a"), Digest::of(b"b")];
        for (token, taken) in [("a", true), ("b", true), ("c", false), ("", false), ("A", false)] {
            assert_eq!(Digest::of(token.as_bytes()).among(&known).is_some(), taken, "{token}");
        }
    }
}
