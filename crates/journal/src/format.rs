//! The bytes on disk, version 1: what a segment's header and a record look like. `docs/journal.md` is the
//! page for people.
//!
//! * All numbers are little-endian; everything begins at a multiple of eight.
//! * Every byte of a segment is covered by a checksum or must be zero, so any damaged byte is found.
//! * A record's checksum also covers its offset and is keyed by the instance: bytes that merely look like a
//!   record, in a payload or left over from elsewhere, are not taken for one.

/// What a segment file begins with.
pub(crate) const MAGIC: [u8; 8] = *b"bourse.j";
/// The version that this code writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
/// Where the first record stands.
pub(crate) const HEADER_BYTES: usize = 64;
/// What stands before a payload: length and kind, checksum, time.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;
/// The record that ends a segment has no payload.
pub(crate) const END_BYTES: usize = RECORD_HEADER_BYTES;
/// The longest payload of one record.
pub const PAYLOAD_BYTES_MAX: usize = (4 << 20) - RECORD_HEADER_BYTES;
/// The most offsets that one segment may own.
pub(crate) const SPAN_MAX: u64 = 1 << 30;

const LENGTH_BITS: u32 = 24;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const KIND_RECORD: u32 = 0;
const KIND_END: u32 = 1;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) core: u32,
    /// The offset of the header's first byte.
    pub(crate) base: u64,
    /// How many offsets belong to this segment; the next one's base is `base + span`.
    pub(crate) span: u64,
    pub(crate) instance: u64,
    pub(crate) created_at_us: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged,
    /// Written by a later version of this program.
    Newer(u16),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.core.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.span.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.instance.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_at_us.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < HEADER_BYTES
            || bytes[0..8] != MAGIC
            || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60)
        {
            return Err(HeaderFault::Damaged);
        }
        match u16::from_le_bytes([bytes[8], bytes[9]]) {
            VERSION => Ok(Self {
                core: u32_at(bytes, 12),
                base: u64_at(bytes, 16),
                span: u64_at(bytes, 24),
                instance: u64_at(bytes, 32),
                created_at_us: u64_at(bytes, 40),
            }),
            newer => Err(HeaderFault::Newer(newer)),
        }
    }
}

/// What the first word of a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing was written here yet.
    Unwritten,
    /// A record with so many bytes of payload.
    Record(usize),
    /// The segment ends here.
    End,
    /// No record begins with this.
    Damaged,
}

impl Word {
    pub(crate) fn of(word: u32) -> Self {
        let length = (word & LENGTH_MASK) as usize;
        match word >> LENGTH_BITS {
            KIND_RECORD if word == 0 => Self::Unwritten,
            KIND_RECORD
                if (RECORD_HEADER_BYTES..=RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX).contains(&length) =>
            {
                Self::Record(length - RECORD_HEADER_BYTES)
            }
            KIND_END if length == END_BYTES => Self::End,
            _ => Self::Damaged,
        }
    }

    /// The word of a record with so many bytes of payload.
    pub(crate) fn record(payload_bytes: usize) -> u32 {
        (KIND_RECORD << LENGTH_BITS) | (RECORD_HEADER_BYTES + payload_bytes) as u32
    }

    /// The word of the record that ends a segment.
    pub(crate) const END: u32 = (KIND_END << LENGTH_BITS) | END_BYTES as u32;
}

/// What a record with so many bytes of payload takes: how far it is from the next one.
pub const fn stride(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes + 7) & !7
}

/// What the checksums of one core's records begin with.
pub(crate) fn key(instance: u64, core: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&instance.to_le_bytes()), &core.to_le_bytes())
}

/// The checksum of the record at `offset`; `rest` is what stands after it: time, payload, padding.
pub(crate) fn checksum(key: u32, offset: u64, word: u32, rest: &[u8]) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&offset.to_le_bytes());
    place[8..].copy_from_slice(&word.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(key, &place), rest)
}

/// Writes all of a record but its word; what follows it is marked as not written. `record` holds the stride
/// and the next word.
pub(crate) fn fill(record: &mut [u8], key: u32, offset: u64, word: u32, time_us: u64, payload_end: usize) {
    let stride = record.len() - 4;
    record[8..16].copy_from_slice(&time_us.to_le_bytes());
    // A payload abandoned here by a panic may have left more than zeros.
    record[payload_end..].fill(0);
    let crc = checksum(key, offset, word, &record[8..stride]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written_and_any_flipped_byte_is_found() {
        let header =
            Header { core: 3, base: 1 << 40, span: 1 << 26, instance: 0xDEAD_BEEF, created_at_us: 1_700 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..HEADER_BYTES {
            let mut flipped = bytes;
            flipped[at] ^= 0xFF;
            assert_eq!(Header::decode(&flipped), Err(HeaderFault::Damaged), "byte {at}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = Header { core: 0, base: 0, span: 64, instance: 1, created_at_us: 0 }.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Newer(2)));
    }

    #[test]
    fn words_say_what_stands_there() {
        for (word, says) in [
            (0, Word::Unwritten),
            (15, Word::Damaged),
            (16, Word::Record(0)),
            (Word::record(250), Word::Record(250)),
            (Word::record(PAYLOAD_BYTES_MAX), Word::Record(PAYLOAD_BYTES_MAX)),
            (Word::record(PAYLOAD_BYTES_MAX) + 1, Word::Damaged),
            (Word::END, Word::End),
            (Word::END + 1, Word::Damaged),
            (2 << LENGTH_BITS | 16, Word::Damaged),
        ] {
            assert_eq!(Word::of(word), says, "{word:#x}");
        }
    }

    #[test]
    fn strides_are_multiples_of_eight() {
        for (payload, bytes) in [(0, 16), (1, 24), (8, 24), (9, 32), (250, 272)] {
            assert_eq!(stride(payload), bytes);
        }
    }
}
