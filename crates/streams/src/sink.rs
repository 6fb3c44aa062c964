//! What a sink is: whoever takes batches of events and says when they are safe.
//!
//! * A batch is of one core and within one segment of its journal. It is added event by event, then delivered.
//! * [`Sink::deliver`] comes again with the same batch until it says Ok, or until the stream gives the batch up. After a
//!   crash a batch comes again as well; with [`Sink::REPEATS`] then with the same bounds, so that what is named after
//!   them overwrites itself.
//! * A delivery may be dropped half done at any await: when it takes too long, and at the end.

use crate::Event;
use anyhow::Result;
use journal::Offset;

/// Where events go. It lives on its stream's thread, in a tokio runtime with time and network.
pub trait Sink {
    /// Whether a batch that may have been delivered before the process died must come again with the same bounds. It
    /// costs a sync of the disk for each batch; leave it off where events are told apart by their id.
    const REPEATS: bool;

    /// Takes an event into the batch at hand. No I/O here: nobody else has the thread meanwhile.
    fn add(&mut self, event: &Event<'_>) -> Result<()>;

    /// Ends the batch: work for this thread alone, which no timeout counts. Comes before each delivery.
    fn prepare(&mut self, _batch: &Batch) -> Result<()> {
        Ok(())
    }

    /// Delivers what was added since [`Sink::clear`]. Ok: it survives whatever happens to us or to them. An error is
    /// logged, and tried again later.
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<()>>;

    /// Forgets what was added, delivered or not.
    fn clear(&mut self);
}

/// What is known of the events added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whose journal they stand in.
    pub instance: u64,
    /// Of which core.
    pub core: u32,
    /// The segment, by its first offset.
    pub segment: Offset,
    /// Where the first one stands.
    pub from: Offset,
    /// The first offset after the last one.
    pub to: Offset,
    /// How many they are; at least one.
    pub auctions: u64,
    /// The earliest and the latest of their times, in microseconds since 1970.
    pub times_us: (u64, u64),
}
