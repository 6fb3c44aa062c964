//! Reads all cores at once, a thread for each, and shows how far that is.

use super::begin;
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow};
use journal::Offset;
use reporting::{Auctions, Event};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// Between two words about the progress.
const EVENTS: u32 = 4096;

/// One core's way through the journal, up to what there was when it began.
pub(super) struct Walk {
    auctions: Auctions,
    until: Offset,
    /// What of the way was told.
    told: Offset,
    events: u32,
    progress: Sender<u64>,
}

impl Walk {
    /// Hands the next event to `use_it`; None at the end.
    pub(super) fn next<T>(&mut self, use_it: impl FnOnce(&Event<'_>) -> T) -> Result<Option<T>> {
        self.events += 1;
        if self.events.is_multiple_of(EVENTS) {
            self.tell();
        }
        let until = self.until;
        let met = self.auctions.next(|event| match event {
            Event::Auction { offset, .. } if offset >= until => None,
            event => Some(use_it(&event)),
        })?;
        Ok(met.flatten())
    }

    fn tell(&mut self) {
        let at = self.auctions.offset().min(self.until);
        // Whoever listened has gone only if the command is at its end.
        let _ = self.progress.send(at.get().saturating_sub(self.told.get()));
        self.told = at;
    }
}

/// Lets `walk` go through each core's auctions from a time on, all at once; what each returned, in order of core.
pub(super) fn each_core<T: Send>(
    dir: &Path,
    from_us: u64,
    step: &str,
    walk: impl Fn(u32, &mut Walk) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (sender, told) = mpsc::channel();
    let mut walks = Vec::new();
    for core in journal::cores(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let auctions = Auctions::open(dir, core, begin(from_us))?;
        let (until, told) = (auctions.prepared()?, auctions.offset());
        walks.push((core, Walk { auctions, until, told, events: 0, progress: sender.clone() }));
    }
    drop(sender);
    let total: u64 = walks.iter().map(|(_, walk)| walk.until.get().saturating_sub(walk.told.get())).sum();
    let mut progress = Progress::start();
    let walked = thread::scope(|scope| {
        let walk = &walk;
        let walking: Vec<_> =
            walks.into_iter().map(|(core, mut own)| scope.spawn(move || walk(core, &mut own))).collect();
        let mut done = 0;
        // Ends when every walk has.
        for more in told {
            done += more;
            progress.show(step, done >> 20, total >> 20);
        }
        let ended = |one: thread::ScopedJoinHandle<'_, Result<T>>| {
            one.join().map_err(|_| anyhow!("a core's journal could not be read"))?
        };
        walking.into_iter().map(ended).collect()
    });
    progress.finish();
    walked
}
