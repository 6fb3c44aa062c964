//! The record of one auction: everything needed to explain it, or to hold it again.

use crate::{Answers, Clearing, Invitations, Opportunity, Supply};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which auction: the seed of its process and its number there. Together they give its random stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuctionId {
    /// The seed.
    pub seed: u64,
    /// The number, from 0.
    pub sequence: u64,
}

/// The seed in 16 hexadecimal digits, a dash, the number: `0000000000000007-42`.
impl fmt::Display for AuctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.seed, self.sequence)
    }
}

impl FromStr for AuctionId {
    type Err = NoAuctionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seed, sequence) = text.split_once('-').ok_or(NoAuctionId)?;
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if seed.len() != 16 || !is_plain(seed) || !is_plain(sequence) {
            return Err(NoAuctionId);
        }
        let seed = u64::from_str_radix(seed, 16).map_err(|_| NoAuctionId)?;
        Ok(Self { seed, sequence: sequence.parse().map_err(|_| NoAuctionId)? })
    }
}

/// The text is no [`AuctionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAuctionId;

impl fmt::Display for NoAuctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not 16 hexadecimal digits, a dash, and a number")
    }
}

impl std::error::Error for NoAuctionId {}

/// One auction that was held, borrowed from the rooms it went through.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which auction.
    pub id: AuctionId,
    /// When its request had been read, in microseconds since 1970 (UTC).
    pub received_at_us: u64,
    /// The catalogue it was held under.
    pub catalogue_revision: u64,
    /// What was offered.
    pub opportunity: &'a Opportunity<'a>,
    /// By whom, with the rules in force.
    pub supply: &'a Supply,
    /// Who was asked, and why each other bidder was not.
    pub invitations: &'a Invitations<'a>,
    /// What they answered, and when.
    pub answers: &'a Answers,
    /// What became of each bid and each imp.
    pub clearing: &'a Clearing,
}

/// The address as it may be written down: IPv4 cut to /24, IPv6 to /48, an IPv4-mapped address as the IPv4 it is.
pub fn truncated(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_auctions_id_reads_back_as_written_and_nothing_else_is_one() {
        for id in [AuctionId { seed: 7, sequence: 42 }, AuctionId { seed: u64::MAX, sequence: u64::MAX }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "-",
            "7-42",
            "0000000000000007",
            "000000000000000g-1",
            "+000000000000007-1",
            "0000000000000007-+1",
        ] {
            assert_eq!(text.parse::<AuctionId>(), Err(NoAuctionId), "{text:?}");
        }
    }

    #[test]
    fn no_written_address_names_a_person() {
        for (ip, expected) in [
            ("192.168.1.100", "192.168.1.0"),
            ("::ffff:192.168.1.100", "192.168.1.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::1", "::"),
        ] {
            assert_eq!(truncated(ip.parse().unwrap()).to_string(), expected, "{ip}");
        }
    }
}
