//! `bourse events offsets`: how far each stream has come, and sends one elsewhere.
//!
//! * A running server knows its streams' places by heart: they are changed only while none holds the journal.
//! * Whoever changes one is told what follows, and asked.

use crate::calendar::When;
use crate::cli::Offsets;
use crate::journal_commands::print;
use crate::streaming::NAMES;
use anyhow::{Context, Result, bail, ensure};
use journal::{Begin, Cursor, Offset, Reader};
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

pub(super) fn show(dir: &Path) -> Result<()> {
    let readers = journal::readers(dir)?;
    let streams = readers.iter().filter(|reader| NAMES.contains(&reader.name.as_str()));
    print(|out| {
        writeln!(out, "{:<12} {:>4}  {:>20}  {:>12}", "stream", "core", "offset", "bytes behind")?;
        for reader in streams {
            for place in &reader.places {
                let (name, offset) = (&reader.name, place.offset.get());
                writeln!(out, "{name:<12} {:>4}  {offset:>20}  {:>12}", place.core, place.behind_bytes)?;
            }
        }
        Ok(())
    })
}

pub(super) fn change(dir: &Path, change: &Offsets, now_us: u64) -> Result<()> {
    let (Offsets::Reset { stream, yes, .. } | Offsets::Forget { stream, yes }) = change;
    let known = journal::reader_names(dir)?;
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|name| NAMES.contains(name)).collect();
    ensure!(known.contains(&stream.as_str()), "no stream {stream} has read this journal; there is {known:?}");
    let _lock = journal::lock(dir)?;
    match change {
        Offsets::Reset { to, .. } => {
            let places = places(dir, to, now_us)?;
            let follows =
                "what it was given from there on it is given again: a lake in files beside the old ones";
            if !agreed(&format!("{stream} goes on from {to}; {follows}"), *yes)? {
                return Ok(());
            }
            let mut cursor = Cursor::begin(dir, stream)?;
            places.iter().for_each(|(core, offset)| cursor.set(*core, *offset));
            cursor.save()
        }
        Offsets::Forget { .. } => {
            let follows =
                "what it has not read may be removed, and set again it begins at the oldest auction";
            if !agreed(&format!("{stream} is forgotten; {follows}"), *yes)? {
                return Ok(());
            }
            Cursor::open(dir, stream)?.forget()
        }
    }
}

/// Where each core's auctions begin that are meant.
fn places(dir: &Path, to: &str, now_us: u64) -> Result<Vec<(u32, Offset)>> {
    let place = |core| match to {
        "oldest" => journal::oldest(dir, core),
        "now" => Reader::open(dir, core, Begin::Oldest)?.prepared(),
        time => {
            let when: When = time.parse().with_context(|| format!("--to {time}: neither oldest nor now"))?;
            Ok(Reader::open(dir, core, Begin::Time(when.at_us(now_us)))?.offset())
        }
    };
    let cores = journal::cores(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    cores.into_iter().map(|core| Ok((core, place(core)?))).collect()
}

/// Whether a person agrees to this, or did so before.
fn agreed(what: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("{what}; add --yes to agree");
    }
    eprint!("{what}. Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("no answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
