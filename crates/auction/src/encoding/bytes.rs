//! Numbers and pieces of a payload; nothing reads beyond its end.

use super::Fault;

/// What is left of a payload.
#[derive(Debug)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    /// The next `n` bytes.
    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Fault::Malformed("length"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `count` entries of `length` bytes each.
    pub(super) fn entries(
        &mut self,
        length: usize,
        count: usize,
    ) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, Fault> {
        let all = length.checked_mul(count).ok_or(Fault::Malformed("length"))?;
        Ok(self.bytes(all)?.chunks_exact(length))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.bytes(2).map(|bytes| u16_at(bytes, 0))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes(4).map(|bytes| u32_at(bytes, 0))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.bytes(8).map(|bytes| u64_at(bytes, 0))
    }
}

/// The number at a place that is known to be there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The number at a place that is known to be there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The number at a place that is known to be there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
