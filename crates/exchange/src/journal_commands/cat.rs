//! `bourse journal cat`: every auction as a line of JSON, in order of time over all cores.
//!
//! * Order: each core's next auction waits, the earliest goes first. Within a core the journal's order stays, which goes
//!   back by what an auction takes.
//! * Follow: what is new is looked for every [`POLL`], in order among what a look finds.
//! * Bound: a line per core is held; without follow it ends with what there was at the start.

use super::{Times, begin, between, print, tell, trouble};
use crate::cli;
use anyhow::{Context, Result};
use auction::{AuctionId, Record};
use journal::{Offset, TIME_SLACK_US};
use reporting::{Auctions, Event};
use std::path::Path;
use std::time::Duration;
use streams::EventId;
use streams::json::Json;

/// Between two looks for what is new.
const POLL: Duration = Duration::from_millis(50);

pub(super) fn run(dir: &Path, cat: &cli::Cat, now_us: u64) -> Result<()> {
    let filter = Filter {
        times: between(&cat.span, now_us)?,
        supply: cat.supply.as_deref(),
        bidder: cat.bidder.as_deref(),
        auction: cat.auction,
    };
    let instance = journal::read_instance(dir)?.unwrap_or(0);
    let mut merge = Merge { dir, instance, filter, ends: !cat.follow, lanes: Vec::new() };
    let mut left = cat.limit.unwrap_or(u64::MAX);
    print(|out| {
        merge.look()?;
        while left > 0 {
            match merge.next()? {
                Some(line) => {
                    out.write_all(&line)?;
                    left -= 1;
                }
                None if cat.follow => {
                    out.flush()?;
                    std::thread::sleep(POLL);
                    merge.look()?;
                }
                None => break,
            }
        }
        Ok(())
    })
}

/// Which auctions are shown.
struct Filter<'a> {
    times: Times,
    supply: Option<&'a str>,
    bidder: Option<&'a str>,
    auction: Option<AuctionId>,
}

impl Filter<'_> {
    fn takes(&self, record: &Record<'_>) -> bool {
        let (from, to) = self.times;
        let invited = |id| record.invitations.iter().any(|(_, bidder)| bidder.id.as_str() == id);
        record.received_at_us >= from
            && to.is_none_or(|to| record.received_at_us < to)
            && self.auction.is_none_or(|id| record.id == id)
            && self.supply.is_none_or(|id| record.supply.id.as_str() == id)
            && self.bidder.is_none_or(invited)
    }

    /// Whether nothing after this record is wanted.
    fn is_over(&self, record: &Record<'_>) -> bool {
        self.times.1.is_some_and(|to| record.received_at_us >= to.saturating_add(TIME_SLACK_US))
    }
}

/// All cores in order of time.
struct Merge<'a> {
    dir: &'a Path,
    instance: u64,
    filter: Filter<'a>,
    /// Whether what is recorded from now on is left out.
    ends: bool,
    lanes: Vec<Lane>,
}

impl Merge<'_> {
    /// Looks for what is new, in cores that are new as well.
    fn look(&mut self) -> Result<()> {
        let cores =
            journal::cores(self.dir).with_context(|| format!("cannot list {}", self.dir.display()))?;
        for core in cores {
            if !self.lanes.iter().any(|lane| lane.core == core) {
                let auctions = Auctions::open(self.dir, core, begin(self.filter.times.0))?;
                let until = if self.ends { Some(auctions.prepared()?) } else { None };
                let (instance, json) = (self.instance, Json::default());
                self.lanes.push(Lane { instance, core, auctions, json, until, head: None, is_dry: false });
            }
        }
        self.lanes.iter_mut().for_each(|lane| lane.is_dry = false);
        Ok(())
    }

    /// The next line, or None if there is nothing more yet.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        for lane in &mut self.lanes {
            lane.fill(&self.filter)?;
        }
        let earliest = self.lanes.iter_mut().filter(|lane| lane.head.is_some());
        let earliest = earliest.min_by_key(|lane| lane.head.as_ref().map(|head| (head.time_us, lane.core)));
        Ok(earliest.and_then(|lane| lane.head.take()).map(|head| head.line))
    }
}

/// One core's auctions.
struct Lane {
    instance: u64,
    core: u32,
    auctions: Auctions,
    json: Json,
    /// Where to end.
    until: Option<Offset>,
    head: Option<Head>,
    /// Whether there was nothing more at the last look.
    is_dry: bool,
}

/// The auction that waits for its turn.
struct Head {
    time_us: u64,
    line: Vec<u8>,
}

/// What the next event is for us.
enum Met {
    Wanted(Head),
    Unwanted,
    End,
}

impl Lane {
    /// Reads on until an auction waits, if there is one.
    fn fill(&mut self, filter: &Filter<'_>) -> Result<()> {
        let Self { instance, core, auctions, json, until, .. } = self;
        while self.head.is_none() && !self.is_dry {
            match auctions.next(|event| meet((*instance, *core), &event, *until, filter, json))? {
                Some(Met::Wanted(head)) => self.head = Some(head),
                Some(Met::Unwanted) => {}
                Some(Met::End) | None => self.is_dry = true,
            }
        }
        Ok(())
    }
}

fn meet(
    (instance, core): (u64, u32),
    event: &Event<'_>,
    until: Option<Offset>,
    filter: &Filter<'_>,
    json: &mut Json,
) -> Met {
    let Event::Auction { offset, supply, record, .. } = *event else {
        if let Some(trouble) = trouble(core, event) {
            tell(&trouble);
        }
        return Met::Unwanted;
    };
    if until.is_some_and(|until| offset >= until) || filter.is_over(record) {
        return Met::End;
    }
    if !filter.takes(record) {
        return Met::Unwanted;
    }
    let mut line = Vec::with_capacity(1024);
    json.write(&streams::Event { id: EventId { instance, core, offset }, record, supply }, &mut line);
    line.push(b'\n');
    Met::Wanted(Head { time_us: record.received_at_us, line })
}
