//! Unsigned LEB128: seven bits a byte, the lowest first. So ClickHouse writes lengths, Parquet its runs, and we what is
//! usually small.

/// Writes a number.
#[inline]
pub fn leb128(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Takes a number off the front of `from`; None: there is no whole one, or it is none of 64 bits.
pub fn read_leb128(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_groups_of_seven_bits() {
        for (number, bytes) in
            [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2]), (16_384, &[0x80, 0x80, 1])]
        {
            let mut written = Vec::new();
            leb128(number, &mut written);
            assert_eq!(written, bytes, "{number}");
        }
    }

    #[test]
    fn a_number_is_read_as_it_was_written_and_nothing_else_is() {
        for number in (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut written = Vec::new();
            leb128(number, &mut written);
            assert_eq!(read_leb128(&mut &written[..written.len() - 1]), None, "{number}, cut");
            written.push(7);
            let mut from = &written[..];
            assert_eq!((read_leb128(&mut from), from), (Some(number), &[7][..]));
        }
        let too_long = [&[0xff; 9][..], &[2]].concat();
        assert_eq!([&too_long[..], &[0x80; 11]].map(|mut bytes| read_leb128(&mut bytes)), [None; 2]);
    }
}
