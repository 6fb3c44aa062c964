//! Auctions read back from one core's journal, also while it is written.
//!
//! * Each auction comes once, in order, as the [`Record`] it was; what is damaged, removed or unreadable comes as an
//!   event of its own, and reading goes on.
//! * A supply stands in the segment of its auctions, twice; one damaged record takes no other with it.
//! * Errors: of the disk only.

use anyhow::Result;
use auction::encoding::{self, Fault, Kind, Papers, Terms};
use auction::{Record, Supply};
use hashbrown::HashMap;
use journal::{Begin, Item, Offset, Reader};
use std::path::Path;
use std::sync::Arc;

/// What a reader of auctions comes to.
#[derive(Debug, Clone, Copy)]
pub enum Event<'r> {
    /// An auction.
    Auction {
        /// Where it stands.
        offset: Offset,
        /// Where the next record does.
        end: Offset,
        /// The first offset of its segment.
        segment: Offset,
        /// Its supply.
        supply: &'r Arc<Supply>,
        /// All of it.
        record: &'r Record<'r>,
    },
    /// A whole record that this version cannot read, or whose supply is nowhere.
    Unreadable {
        /// Where it stands.
        offset: Offset,
        /// Why.
        fault: Fault,
    },
    /// Bytes that hold no whole record, though some stood there.
    Damaged {
        /// The first of them.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// Segments that were removed before this reader came to them.
    Gap {
        /// Where it wanted to go on.
        from: Offset,
        /// Where it does.
        to: Offset,
    },
}

/// Reads the auctions of one core.
#[derive(Debug)]
pub struct Auctions {
    reader: Reader,
    /// Finds supplies, without moving the reader.
    finder: Reader,
    /// What the auctions of the segment at hand were held under, by where it stands.
    terms: HashMap<u64, Terms, foldhash::fast::RandomState>,
    segment: Option<Offset>,
    papers: Papers,
}

impl Auctions {
    /// Reads the journal of `core` in the directory `dir`.
    pub fn open(dir: &Path, core: u32, begin: Begin) -> Result<Self> {
        Ok(Self {
            reader: Reader::open(dir, core, begin)?,
            finder: Reader::open(dir, core, Begin::Oldest)?,
            terms: HashMap::default(),
            segment: None,
            papers: Papers::default(),
        })
    }

    /// Everything before this offset was read.
    pub fn offset(&self) -> Offset {
        self.reader.offset()
    }

    /// Every auction that there is now stands before this.
    pub fn prepared(&self) -> Result<Offset> {
        self.reader.prepared()
    }

    /// Hands the next event to `use_it`; None if there is nothing more yet.
    pub fn next<T>(&mut self, use_it: impl FnOnce(Event<'_>) -> T) -> Result<Option<T>> {
        let Self { reader, finder, terms, segment, papers } = self;
        loop {
            if reader.segment() != *segment {
                *segment = reader.segment();
                // Auctions are held under what stands in their own segment.
                terms.retain(|at, _| segment.is_some_and(|base| *at >= base.get()));
            }
            let (offset, base, time_us, payload) = match reader.next()? {
                None => return Ok(None),
                Some(Item::Damaged { from, to }) => return Ok(Some(use_it(Event::Damaged { from, to }))),
                Some(Item::Gap { from, to }) => return Ok(Some(use_it(Event::Gap { from, to }))),
                Some(Item::Record { offset, segment, time_us, payload }) => {
                    (offset, segment, time_us, payload)
                }
            };
            match Kind::of(payload) {
                Kind::Auction => {}
                Kind::Supply => {
                    // One that cannot be read is missed by whoever needs it.
                    if let Ok(found) = encoding::read_supply(payload) {
                        terms.entry(found.at).or_insert(found);
                    }
                    continue;
                }
                // What a later version adds is not for us.
                Kind::Other(_) => continue,
            }
            let end = Offset::new(offset.get() + journal::record_bytes(payload.len()) as u64);
            let found = match encoding::supply_at(offset.get(), payload) {
                Ok(at) if terms.contains_key(&at) => Ok(at),
                Ok(at) => find(finder, at)?.map(|found| {
                    terms.insert(at, found);
                    at
                }),
                Err(fault) => Err(fault),
            };
            let mut use_it = Some(use_it);
            let read = found.and_then(|at| {
                let terms = terms.get(&at).ok_or(NO_SUPPLY)?;
                papers.read_auction(payload, time_us, terms, |record| {
                    let supply = &terms.supply;
                    let found = Event::Auction { offset, end, segment: base, supply, record };
                    use_it.take().map(|use_it| use_it(found))
                })
            });
            return Ok(read.unwrap_or_else(|fault| {
                use_it.take().map(|use_it| use_it(Event::Unreadable { offset, fault }))
            }));
        }
    }
}

const NO_SUPPLY: Fault = Fault::Malformed("supply");

/// The supply that stands at this offset, or right behind it if that is damaged.
fn find(finder: &Reader, at: u64) -> Result<Result<Terms, Fault>> {
    let payload = finder.record_at(Offset::new(at))?.filter(|payload| Kind::of(payload) == Kind::Supply);
    let Some(payload) = payload else { return Ok(Err(NO_SUPPLY)) };
    Ok(encoding::read_supply(&payload)
        .and_then(|found| if found.at == at { Ok(found) } else { Err(NO_SUPPLY) }))
}

#[cfg(test)]
mod tests;
