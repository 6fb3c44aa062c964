//! Where things lie in the data directory, and how a small file is replaced.
//!
//! ```text
//! lock                          held by the process that writes; its id inside
//! instance                      who wrote here, in 16 hex digits; survives restarts
//! core-0/00000000000000000000.seg
//! readers/redis                 how far the reader named redis has come
//! ```

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A segment's file, named by its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
}

pub(crate) fn core_dir(dir: &Path, core: u32) -> PathBuf {
    dir.join(format!("core-{core}"))
}

pub(crate) fn segment_path(core_dir: &Path, base: u64) -> PathBuf {
    core_dir.join(format!("{base:020}.seg"))
}

pub(crate) fn readers_dir(dir: &Path) -> PathBuf {
    dir.join("readers")
}

/// The cores that have ever written into the directory, in order.
pub fn cores(dir: &Path) -> io::Result<Vec<u32>> {
    let mut cores: Vec<u32> =
        names(dir)?.iter().filter_map(|name| name.strip_prefix("core-")?.parse().ok()).collect();
    cores.sort_unstable();
    Ok(cores)
}

/// A core's segments, oldest first.
pub(crate) fn segments(core_dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = names(core_dir)?
        .iter()
        .filter_map(|name| {
            let base = name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()?;
            Some(Entry { base, path: core_dir.join(name) })
        })
        .collect();
    entries.sort_unstable_by_key(|entry| entry.base);
    Ok(entries)
}

/// The names in a directory; one that does not exist is empty.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// The file holds `bytes`, whole, or what it held before.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("no file's path"));
    };
    let fresh = dir.join(format!(".{}.new", name.to_string_lossy()));
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| {
        // Half of a file would only take room that is missing.
        let _ = fs::remove_file(&fresh);
    })?;
    sync_dir(dir)
}

/// What was created, renamed or removed in `dir` survives a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Holds the directory for this process as long as the file lives.
pub fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file =
        open.with_context(|| format!("cannot open {}: check its owner and mode", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Whoever holds the lock may not have written its id yet.
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim();
            bail!(
                "process {} is using {}: stop it, or give each instance a data directory of its own",
                if pid.is_empty() { "(unknown)" } else { pid },
                dir.display()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}: use a local disk", path.display()));
        }
    }
    // The lock holds without the id, which only a message needs; on a full disk there may be no room for it.
    let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

/// Who writes in this directory; None where nobody has.
pub fn read_instance(dir: &Path) -> Result<Option<u64>> {
    let path = dir.join("instance");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let digits = Some(text.trim()).filter(|digits| digits.len() == 16);
    let instance = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).with_context(|| {
        format!("{} must hold 16 hex digits: restore it, or remove it to be a new instance", path.display())
    })?;
    Ok(Some(instance))
}

/// Who writes in this directory, from its first start on.
pub(crate) fn instance(dir: &Path) -> Result<u64> {
    if let Some(instance) = read_instance(dir)? {
        return Ok(instance);
    }
    let mut random = [0; 8];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).context("no randomness")?;
    let instance = u64::from_le_bytes(random);
    replace(&dir.join("instance"), format!("{instance:016x}\n").as_bytes()).with_context(|| {
        format!("cannot write into {}: check its mode and its disk's space", dir.display())
    })?;
    Ok(instance)
}

/// Microseconds since 1970 (UTC).
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
