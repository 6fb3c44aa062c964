//! The tarball: the same bytes from the same files, whoever packs them and when.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::workspace::{Workspace, ask};

/// A file of the tarball.
pub(super) struct Entry {
    to: String,
    from: PathBuf,
    mode: u32,
}

impl Entry {
    /// What is read.
    pub(super) fn file(to: String, from: PathBuf) -> Self {
        Self { to, from, mode: 0o644 }
    }

    /// What is run.
    pub(super) fn program(to: &str, from: &Path) -> Self {
        Self { to: to.to_owned(), from: from.to_owned(), mode: 0o755 }
    }
}

/// Packs the entries, in order of their names, under the directory `name`.
pub(super) fn write(tarball: &Path, name: &str, mut entries: Vec<Entry>, date: u64) -> Result<()> {
    entries.sort_by(|one, other| one.to.cmp(&other.to));
    let file = File::create(tarball).with_context(|| format!("cannot write {}", tarball.display()))?;
    let mut tar = Builder::new(GzBuilder::new().mtime(0).write(file, Compression::best()));
    for Entry { to, from, mode } in entries {
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(date);
        tar.append_data(&mut header, format!("{name}/{to}"), &*bytes)?;
    }
    tar.into_inner()?.finish()?.sync_all().context("the tarball is not on disk")
}

/// What its files are dated: `SOURCE_DATE_EPOCH`, or the last commit.
pub(super) fn date(workspace: &Workspace) -> u64 {
    let given = env::var("SOURCE_DATE_EPOCH").ok();
    let root = workspace.root.to_string_lossy();
    let date = given.or_else(|| ask("git", &["-C", &root, "log", "-1", "--format=%ct"]));
    date.and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_in_any_order_give_the_same_bytes() {
        let dir = env::temp_dir().join(format!("bourse-pack-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.join(name));
        fs::write(&a, "one").unwrap();
        fs::write(&b, "other").unwrap();
        let entry = |name: &str, from: &Path| Entry::file(name.to_owned(), from.to_owned());
        let [first, second] = ["1.tar.gz", "2.tar.gz"].map(|name| dir.join(name));
        write(&first, "x", vec![entry("a", &a), Entry::program("b", &b)], 7).unwrap();
        fs::write(&a, "one").unwrap();
        write(&second, "x", vec![Entry::program("b", &b), entry("a", &a)], 7).unwrap();
        let same = fs::read(&first).unwrap() == fs::read(&second).unwrap();
        let bytes = flate2::read::GzDecoder::new(File::open(&first).unwrap());
        let mut tar = tar::Archive::new(bytes);
        let seen: Vec<(String, u32)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
            })
            .collect();
        fs::remove_dir_all(&dir).unwrap();
        assert!(same);
        assert_eq!(seen, [("x/a".to_owned(), 0o644), ("x/b".to_owned(), 0o755)]);
    }
}
