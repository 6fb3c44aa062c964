//! `bourse events export`: the auctions of a span of time as files, core after core.
//!
//! * A file is written under another name, and gets its own once it is whole and on disk.

use super::csv;
use crate::cli::{self, Format};
use crate::journal_commands::{Times, begin, between, tell, trouble};
use crate::progress::Progress;
use anyhow::{Context, Result};
use journal::TIME_SLACK_US;
use reporting::Auctions;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use streams::flat::{self, Cells, Flat};
use streams::json::Json;
#[cfg(feature = "lake")]
use streams::parquet;
use streams::{Event, EventId};

/// Between two words about the progress.
const EVENTS: u64 = 4096;

pub(super) fn run(dir: &Path, export: &cli::Export, now_us: u64) -> Result<()> {
    let times = between(&export.span, now_us)?;
    let mut out = open(export)?;
    let exported = walk(dir, times, &mut *out).and_then(|exported| {
        out.finish()?;
        Ok(exported)
    });
    match exported {
        // Whoever reads standard output has enough.
        Err(error) if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == ErrorKind::BrokenPipe) => {
        }
        exported => eprintln!("{} auctions exported", exported?),
    }
    Ok(())
}

/// Hands every auction of these times to `out`; returns how many they are.
fn walk(dir: &Path, (from, to): Times, out: &mut dyn Output) -> Result<u64> {
    let instance = journal::read_instance(dir)?.unwrap_or(0);
    let mut lanes = Vec::new();
    for core in journal::cores(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let auctions = Auctions::open(dir, core, begin(from))?;
        let until = auctions.prepared()?;
        lanes.push((core, auctions, until));
    }
    let bytes = |(_, auctions, until): &(u32, Auctions, journal::Offset)| {
        until.get().saturating_sub(auctions.offset().get())
    };
    let total: u64 = lanes.iter().map(bytes).sum();
    let (mut done, mut exported, mut events) = (0, 0, 0u64);
    let mut progress = Progress::start();
    for (core, auctions, until) in &mut lanes {
        let (core, until, begun) = (*core, *until, auctions.offset().get());
        let mut step = |event: reporting::Event<'_>| {
            let reporting::Event::Auction { offset, supply, record, .. } = event else {
                if let Some(trouble) = trouble(core, &event) {
                    tell(&trouble);
                }
                return Ok(true);
            };
            let time_us = record.received_at_us;
            if offset >= until || to.is_some_and(|to| time_us >= to.saturating_add(TIME_SLACK_US)) {
                return Ok(false);
            }
            if time_us >= from && to.is_none_or(|to| time_us < to) {
                out.add(&Event { id: EventId { instance, core, offset }, record, supply })?;
                exported += 1;
            }
            anyhow::Ok(true)
        };
        while auctions.next(&mut step)?.transpose()?.unwrap_or(false) {
            events += 1;
            if events.is_multiple_of(EVENTS) {
                let at = done + auctions.offset().get().min(until.get()).saturating_sub(begun);
                progress.show("exporting, MiB", at >> 20, total >> 20);
            }
        }
        done += until.get().saturating_sub(begun);
    }
    progress.finish();
    Ok(exported)
}

/// What events are written into.
trait Output {
    fn add(&mut self, event: &Event<'_>) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

fn open(export: &cli::Export) -> Result<Box<dyn Output>> {
    let path = &export.output;
    if export.format == Format::Jsonl {
        let out = if path.as_os_str() == "-" { Fresh::stdout() } else { Fresh::create(path)? };
        return Ok(Box::new(Lines { json: Json::default(), line: Vec::new(), out }));
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
    let file = |name: &str, extension| Fresh::create(&path.join(name).with_extension(extension));
    Ok(match export.format {
        #[cfg(feature = "lake")]
        Format::Parquet => Box::new(Tables {
            flat: Flat::default(),
            auctions: parquet::Table::auctions(file("auctions", "parquet")?)?,
            bids: parquet::Table::bids(file("bids", "parquet")?)?,
            finish: |table| Ok(table.finish()?),
        }),
        _ => Box::new(Tables {
            flat: Flat::default(),
            auctions: csv::Table::new(flat::AUCTIONS, file("auctions", "csv")?)?,
            bids: csv::Table::new(flat::BIDS, file("bids", "csv")?)?,
            finish: csv::Table::finish,
        }),
    })
}

struct Lines {
    json: Json,
    line: Vec<u8>,
    out: Fresh,
}

impl Output for Lines {
    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        self.line.clear();
        self.json.write(event, &mut self.line);
        self.line.push(b'\n');
        Ok(self.out.write_all(&self.line)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.finish()
    }
}

struct Tables<T> {
    flat: Flat,
    auctions: T,
    bids: T,
    finish: fn(T) -> Result<Fresh>,
}

impl<T: Cells> Output for Tables<T> {
    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        self.flat.auction(event, &mut self.auctions);
        self.flat.bids(event, &mut self.bids);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        (self.finish)(self.auctions)?.finish()?;
        (self.finish)(self.bids)?.finish()
    }
}

/// A file that has its name only once it is whole; or standard output.
struct Fresh {
    out: BufWriter<Box<dyn Write + Send>>,
    file: Option<(File, PathBuf)>,
}

impl Fresh {
    fn stdout() -> Self {
        Self { out: BufWriter::new(Box::new(io::stdout())), file: None }
    }

    fn create(path: &Path) -> Result<Self> {
        let open = || File::create(part(path)).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, file) = open().with_context(|| format!("cannot write {}", part(path).display()))?;
        Ok(Self { out: BufWriter::new(Box::new(out)), file: Some((file, path.to_owned())) })
    }

    fn finish(mut self) -> Result<()> {
        self.out.flush()?;
        let Some((file, path)) = self.file else { return Ok(()) };
        let named = file.sync_all().and_then(|()| fs::rename(part(&path), &path));
        named.with_context(|| format!("cannot write {}: check its disk's space", path.display()))
    }
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a file is called until it is whole.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
