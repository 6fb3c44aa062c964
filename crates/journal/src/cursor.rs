//! How far a named reader has come, kept in a file that is replaced whole.
//!
//! * A reader is registered from [`Cursor::open`] until [`Cursor::forget`]; retention keeps what it has not
//!   come to.
//! * What [`Cursor::save`] wrote survives a power cut; between saves nothing is kept.
//! * Layout: magic, version, number of cores, then core and offset of each, CRC32C; little-endian.

use crate::format::{u32_at, u64_at};
use crate::{Offset, files};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"bourse.r";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 12;

/// A named reader's offsets, one for each core.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    offsets: BTreeMap<u32, u64>,
}

impl Cursor {
    /// The reader of this name: letters, digits, `-` and `_`. A new one is registered at the journal's start.
    pub fn open(dir: &Path, name: &str) -> Result<Self> {
        let path = path(dir, name)?;
        let place = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(Place::Damaged) = place {
            anyhow::bail!(
                "{} is damaged: remove it, and the reader begins at the journal's start",
                path.display()
            );
        }
        match place {
            Some(Place::At(offsets)) => Self { path, offsets }.registered(),
            _ => Self::begin(dir, name),
        }
    }

    /// The reader of this name at the journal's start, whatever its file says.
    pub fn begin(dir: &Path, name: &str) -> Result<Self> {
        Self { path: path(dir, name)?, offsets: BTreeMap::new() }.registered()
    }

    fn registered(self) -> Result<Self> {
        if let Some(readers) = self.path.parent() {
            fs::create_dir_all(readers).with_context(|| format!("cannot create {}", readers.display()))?;
        }
        self.save()?;
        Ok(self)
    }

    /// Where the reader goes on.
    pub fn offset(&self, core: u32) -> Offset {
        Offset::new(self.offsets.get(&core).copied().unwrap_or(0))
    }

    /// Everything below `offset` is done; counts when saved.
    pub fn set(&mut self, core: u32, offset: Offset) {
        self.offsets.insert(core, offset.get());
    }

    /// Puts the offsets on disk.
    pub fn save(&self) -> Result<()> {
        files::replace(&self.path, &encode(&self.offsets))
            .with_context(|| format!("cannot write {}: check its disk's space and mode", self.path.display()))
    }

    /// The reader is gone: nothing is kept for it any more.
    pub fn forget(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

fn path(dir: &Path, name: &str) -> Result<PathBuf> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ensure!(
        !name.is_empty() && name.len() <= 64 && name.bytes().all(fine),
        "a reader's name has up to 64 letters, digits, - and _: {name:?} has not"
    );
    Ok(files::readers_dir(dir).join(name))
}

/// What a reader's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    At(BTreeMap<u32, u64>),
    /// Taken as the start, so that nothing it may need is removed.
    Damaged,
}

impl Place {
    pub(crate) fn of(&self, core: u32) -> u64 {
        match self {
            Self::At(offsets) => offsets.get(&core).copied().unwrap_or(0),
            Self::Damaged => 0,
        }
    }
}

/// The registered readers.
pub(crate) fn places(dir: &Path) -> io::Result<Vec<(String, Place)>> {
    let readers = files::readers_dir(dir);
    let mut places = Vec::new();
    for name in files::names(&readers)?.into_iter().filter(|name| !name.starts_with('.')) {
        if let Some(place) = read(&readers.join(&name))? {
            places.push((name, place));
        }
    }
    Ok(places)
}

fn read(path: &Path) -> io::Result<Option<Place>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(decode(&bytes).map_or(Place::Damaged, Place::At))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(offsets: &BTreeMap<u32, u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + offsets.len() * ENTRY_BYTES + 4);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((offsets.len() as u32).to_le_bytes());
    for (core, offset) in offsets {
        bytes.extend(core.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<u32, u64>> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let whole = body.len() >= HEAD_BYTES && body[..8] == MAGIC && crc32c::crc32c(body) == u32_at(crc, 0);
    if !whole
        || u32_at(body, 8) != VERSION
        || body.len() != HEAD_BYTES + u32_at(body, 12) as usize * ENTRY_BYTES
    {
        return None;
    }
    Some(
        body[HEAD_BYTES..]
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| (u32_at(entry, 0), u64_at(entry, 4)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_read_as_they_were_written_and_any_damage_is_found() {
        let offsets = BTreeMap::from([(0, 7), (3, u64::MAX)]);
        let bytes = encode(&offsets);
        assert_eq!(decode(&bytes), Some(offsets));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
