//! How events name things, written without the detours of a formatter: what `Display` shows, byte by byte.

use crate::EventId;
use auction::AuctionId;
use std::io::Write;
use std::net::IpAddr;

pub(crate) fn event_id(id: EventId, to: &mut Vec<u8>) {
    hex(id.instance, to);
    to.push(b'-');
    number(id.core.into(), to);
    to.push(b'-');
    number(id.offset.get(), to);
}

pub(crate) fn auction_id(id: AuctionId, to: &mut Vec<u8>) {
    hex(id.seed, to);
    to.push(b'-');
    number(id.sequence, to);
}

pub(crate) fn ip(ip: IpAddr, to: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, byte) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    to.push(b'.');
                }
                number(byte.into(), to);
            }
        }
        // Writing to memory cannot fail.
        IpAddr::V6(ip) => drop(write!(to, "{ip}")),
    }
}

/// In 16 hexadecimal digits.
pub(crate) fn hex(number: u64, to: &mut Vec<u8>) {
    let digit = |at: usize| b"0123456789abcdef"[(number >> (60 - 4 * at) & 0xf) as usize];
    to.extend_from_slice(&std::array::from_fn::<u8, 16, _>(digit));
}

pub(crate) fn number(number: u64, to: &mut Vec<u8>) {
    if number >= 1_000 {
        return to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    let [a, b, c] = digits(number);
    few([a, b, c, 0, 0, 0, 0, 0], zeros(number), 3, to);
}

/// A number of thousandths: `12.345`.
pub(crate) fn thousandths(thousandths: u64, to: &mut Vec<u8>) {
    let (whole, [d, e, f]) = (thousandths / 1_000, digits(thousandths));
    if whole >= 1_000 {
        number(whole, to);
        return to.extend_from_slice(&[b'.', d, e, f]);
    }
    let [a, b, c] = digits(whole);
    few([a, b, c, b'.', d, e, f, 0], zeros(whole), 7, to);
}

/// How many of the last three digits are zeros before the number.
fn zeros(number: u64) -> usize {
    usize::from(number < 10) + usize::from(number < 100)
}

/// The last three of its digits.
fn digits(number: u64) -> [u8; 3] {
    [number / 100, number / 10, number].map(|digits| b'0' + (digits % 10) as u8)
}

/// Those of the eight from one place to another; all are written, for how long a number is no processor foresees.
fn few(eight: [u8; 8], from: usize, until: usize, to: &mut Vec<u8>) {
    let end = to.len() + until - from;
    to.extend_from_slice(&(u64::from_le_bytes(eight) >> (8 * from)).to_le_bytes());
    to.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::Offset;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut to = Vec::new();
        write(&mut to);
        String::from_utf8(to).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_displayed(a: u64, b: u64, core: u32, address: IpAddr) {
            let event = EventId { instance: a, core, offset: Offset::new(b) };
            let auction = AuctionId { seed: a, sequence: b };
            prop_assert_eq!(written(|to| event_id(event, to)), event.to_string());
            prop_assert_eq!(written(|to| auction_id(auction, to)), auction.to_string());
            prop_assert_eq!(written(|to| ip(address, to)), address.to_string());
            prop_assert_eq!(written(|to| hex(a, to)), format!("{a:016x}"));
            for few in [10, 100, 1_000, 10_000, 100_000, 1_000_000, u64::MAX].map(|below| a % below) {
                prop_assert_eq!(written(|to| number(few, to)), few.to_string());
                let parts = format!("{}.{:03}", few / 1_000, few % 1_000);
                prop_assert_eq!(written(|to| thousandths(few, to)), parts);
            }
        }
    }
}
