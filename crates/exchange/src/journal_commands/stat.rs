//! `bourse journal stat`: what `/stat` says, counted from the journal alone.

use super::walk::each_core;
use super::{Times, print, tell, trouble};
use anyhow::Result;
use auction::{Id, Record, Supply};
use hashbrown::HashMap;
use journal::TIME_SLACK_US;
use reporting::{Event, Statistics, Tally};
use std::path::Path;
use std::sync::Arc;

pub(super) fn run(dir: &Path, (from, to): Times) -> Result<()> {
    let cores = journal::cores(dir)?.last().map_or(0, |last| *last as usize + 1);
    let statistics = Statistics::new(cores);
    let counted = each_core(dir, from, "counting, MiB", |core, walk| {
        let mut count =
            Count { tally: statistics.tally(core as usize), times: (from, to), last: HashMap::default() };
        while walk.next(|event| count.event(core, event))?.unwrap_or(false) {}
        Ok(count.last)
    })?;
    let mut report = statistics.report();
    for (id, last) in newest(counted) {
        if let Some(totals) = report.get_mut(&id) {
            totals.list(last.supply.bidders());
        }
    }
    print(|out| {
        out.write_all(&crate::stat::to_json(report))?;
        Ok(out.write_all(b"\n")?)
    })
}

/// Counts one core's auctions.
struct Count {
    tally: Tally,
    times: Times,
    last: LastHeld,
}

type LastHeld = HashMap<Id, Last, foldhash::fast::RandomState>;

/// A supply as it was at its last auction.
struct Last {
    time_us: u64,
    supply: Arc<Supply>,
}

impl Count {
    /// Whether there may be more to count.
    fn event(&mut self, core: u32, event: &Event<'_>) -> bool {
        let (from, to) = self.times;
        let Event::Auction { end, supply, record, .. } = event else {
            if let Some(trouble) = trouble(core, event) {
                tell(&trouble);
            }
            return true;
        };
        let time_us = record.received_at_us;
        if time_us >= from && to.is_none_or(|to| time_us < to) {
            self.tally.count(self.tally.seat(&supply.id), supply, record, end.get());
            self.remember(supply, record);
        }
        to.is_none_or(|to| time_us < to.saturating_add(TIME_SLACK_US))
    }

    fn remember(&mut self, supply: &Arc<Supply>, record: &Record<'_>) {
        match self.last.get_mut(supply.id.as_str()) {
            Some(last) => {
                last.time_us = record.received_at_us;
                if !Arc::ptr_eq(&last.supply, supply) {
                    last.supply = Arc::clone(supply);
                }
            }
            None => {
                let last = Last { time_us: record.received_at_us, supply: Arc::clone(supply) };
                self.last.insert(supply.id.clone(), last);
            }
        }
    }
}

/// Of each supply, as it was last on whichever core.
fn newest(cores: Vec<LastHeld>) -> LastHeld {
    cores.into_iter().fold(LastHeld::default(), |mut newest, core| {
        for (id, last) in core {
            if newest.get(&id).is_none_or(|other| other.time_us < last.time_us) {
                newest.insert(id, last);
            }
        }
        newest
    })
}
