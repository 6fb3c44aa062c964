//! Unsigned LEB128: seven bits a byte, the lowest first. So ClickHouse writes lengths, and Parquet its runs.

#[inline]
pub(crate) fn leb128(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
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
}
