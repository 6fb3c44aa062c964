//! Where batches end, written down before they are delivered: after a crash they come again with the same bounds.
//!
//! * A plan counts only for a reader that goes on where it begins, so it needs no step in common with the cursor.
//! * Layout: a line for each core, `CORE FROM UNTIL`, in a file that is replaced whole.

use anyhow::{Context, Result};
use journal::Offset;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The batches that may have been delivered.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
    batches: BTreeMap<u32, (Offset, Offset)>,
}

impl Plan {
    /// The plan of the stream of this name, beside the readers of the journal in `dir`.
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self> {
        let plans = dir.join("plans");
        fs::create_dir_all(&plans).with_context(|| format!("cannot create {}", plans.display()))?;
        let path = plans.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let batches: Option<_> = text.lines().map(parse).collect();
        let remedy = || format!("{} is damaged: remove it, and a batch may come twice", path.display());
        Ok(Self { batches: batches.with_context(remedy)?, path })
    }

    /// Where the batch ended that began here.
    pub(crate) fn until(&self, core: u32, from: Offset) -> Option<Offset> {
        self.batches.get(&core).filter(|(begin, _)| *begin == from).map(|(_, until)| *until)
    }

    /// Puts the bounds of a batch on disk.
    pub(crate) fn set(&mut self, core: u32, from: Offset, until: Offset) -> Result<()> {
        if self.until(core, from) == Some(until) {
            return Ok(());
        }
        self.batches.insert(core, (from, until));
        let mut text = String::new();
        for (core, (from, until)) in &self.batches {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{core} {from} {until}");
        }
        let failed = || format!("cannot write {}: check its disk's space and mode", self.path.display());
        journal::replace(&self.path, text.as_bytes()).with_context(failed)
    }
}

fn parse(line: &str) -> Option<(u32, (Offset, Offset))> {
    let mut words = line.split(' ');
    let core = words.next()?.parse().ok()?;
    let mut offset = || words.next()?.parse().ok().map(Offset::new);
    let bounds = (offset()?, offset()?);
    words.next().is_none().then_some((core, bounds))
}
