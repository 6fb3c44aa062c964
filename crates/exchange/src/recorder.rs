//! Recorder: one core's pen. An auction is in the journal before its answer leaves.
//!
//! * Once in each segment a supply is written, twice, before its first auction there: a segment can be read by itself,
//!   and no one damaged record takes others with it.
//! * Errors: [`Unavailable`]; then nothing of the auction is in the journal.

use auction::encoding::{auction_bytes, write_auction, write_supply};
use auction::{Record, Supply};
use hashbrown::HashMap;
use journal::{Offset, Room, Synced, Unavailable, Writer, record_bytes};
use std::ops::Range;
use std::sync::Arc;

/// What there must be room for before an auction is begun, and for each of its bidders: a reply and a bid.
const USUAL_BYTES: usize = 512;
const BIDDER_BYTES: usize = 24;

/// Writes one core's auctions down.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    seed: u64,
    /// Where the segment at hand begins.
    segment: Offset,
    /// The supplies in it, by their place in memory, which is kept from being used again.
    written: HashMap<usize, (Arc<Supply>, Offset), foldhash::fast::RandomState>,
}

impl Recorder {
    /// Writes with this writer; `seed` is the process's.
    pub fn new(writer: Writer, seed: u64) -> Self {
        Self { writer, seed, segment: Offset::new(0), written: HashMap::default() }
    }

    /// Whether an auction of this supply can be expected to be recorded; None: of any.
    pub fn check(&mut self, supply: Option<&Arc<Supply>>) -> Result<(), Unavailable> {
        let bidders = supply.map_or(0, |supply| supply.bidders().len());
        let bytes = USUAL_BYTES + BIDDER_BYTES * bidders;
        let segment = self.writer.room(bytes)?.segment();
        match supply {
            Some(supply) if segment != self.segment || !self.written.contains_key(&place(supply)) => {
                let terms = record_bytes(write_supply(self.seed, 0, supply).len());
                self.writer.room(2 * terms + bytes).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What an answer that must survive a power cut waits with.
    pub fn synced(&self) -> Synced {
        self.writer.synced()
    }

    /// Writes one auction of `supply` down. Returns where it stands: to where the next record will.
    pub fn record(
        &mut self,
        supply: &Arc<Supply>,
        record: &Record<'_>,
    ) -> Result<Range<Offset>, Unavailable> {
        let bytes = auction_bytes(record);
        let mut room = self.writer.room(record_bytes(bytes))?;
        if room.segment() == self.segment
            && let Some((_, at)) = self.written.get(&place(supply))
        {
            return append(&mut room, record, bytes, *at);
        }
        self.record_first(supply, record)
    }

    /// The first auction of a supply in a segment.
    #[cold]
    fn record_first(
        &mut self,
        supply: &Arc<Supply>,
        record: &Record<'_>,
    ) -> Result<Range<Offset>, Unavailable> {
        let (bytes, time_us) = (auction_bytes(record), record.received_at_us);
        // Where it will stand does not change how long it is.
        let length = write_supply(self.seed, 0, supply).len();
        let mut room = self.writer.room(2 * record_bytes(length) + record_bytes(bytes))?;
        if room.segment() != self.segment {
            self.segment = room.segment();
            self.written.clear();
        }
        let at = room.position();
        let terms = write_supply(self.seed, at.get(), supply);
        room.append(time_us, &terms)?;
        room.append(time_us, &terms)?;
        self.written.insert(place(supply), (Arc::clone(supply), at));
        append(&mut room, record, bytes, at)
    }
}

/// Where it is in memory: what it is known by while it is held.
fn place(supply: &Arc<Supply>) -> usize {
    Arc::as_ptr(supply).addr()
}

fn append(
    room: &mut Room<'_>,
    record: &Record<'_>,
    bytes: usize,
    supply_at: Offset,
) -> Result<Range<Offset>, Unavailable> {
    let write = |to: &mut [u8]| write_auction(record, supply_at.get(), to);
    let at = room.append_with(record.received_at_us, bytes, write)?;
    Ok(at..room.position())
}
