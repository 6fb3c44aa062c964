//! The writing end of one core: where each auction is counted.

use super::block::{Block, Counts};
use super::{Counted, Shelf};
use crate::activity::{Activity, Calls};
use crate::prefetch::prefetch;
use auction::{AuctionType, Cpm, Id, Record, Supply};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The writing end of one core.
#[derive(Debug)]
pub struct Tally {
    pub(super) shelf: Arc<Shelf>,
    activity: Arc<Activity>,
    seats: RefCell<HashMap<Id, Seat, foldhash::fast::RandomState>>,
    /// By seat.
    met: RefCell<Vec<Option<Met>>>,
}

/// What a core knows a supply by, whatever becomes of its bidders: the first one it meets by 1, the next by 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat(NonZeroU32);

impl Seat {
    /// Its place among all seats, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Where a core counts the auctions of a supply it has met.
#[derive(Debug)]
struct Met {
    supply: Arc<Supply>,
    /// Those of the block.
    counts: Counts,
    /// By slot.
    calls: Box<[Arc<Calls>]>,
    block: Arc<Block>,
}

/// So many lines of a supply's counts are fetched ahead: some twelve bidders. With more of them there is more to do
/// meanwhile, too.
const LINES_AHEAD: usize = 7;
/// Eight bidders each.
const CALL_LINES_AHEAD: usize = 2;

impl Tally {
    pub(super) fn new(shelf: Arc<Shelf>, activity: Arc<Activity>) -> Self {
        Self { shelf, activity, seats: RefCell::default(), met: RefCell::default() }
    }

    /// Makes room for so many supplies: while they are met, no auction waits for a table of all others to be moved.
    pub fn reserve(&self, supplies: usize) {
        let mut seats = self.seats.borrow_mut();
        let more = supplies.saturating_sub(seats.len());
        seats.reserve(more);
        self.met.borrow_mut().reserve(more);
        self.shelf.lock().reserve(supplies);
    }

    /// Goes on from what was counted before.
    pub fn start_from(&self, counted: Counted) {
        let Counted { supply, upto, totals } = counted;
        // Without one nothing was counted.
        let Some((&country, _)) = totals.reqs_per_country.iter().next() else { return };
        // Its bidders are those of the first auction to come; until then they are kept by name.
        let placeholder = Supply::new(supply, AuctionType::FirstPrice, Cpm::ZERO, Vec::new());
        self.shelf.lock().put(Arc::new(Block::new(Arc::new(placeholder), country, upto, totals)));
    }

    /// Up to which offset the auctions of this supply are counted.
    pub fn upto(&self, supply: &Id) -> u64 {
        self.shelf.lock().get(supply).map_or(0, |block| block.upto())
    }

    /// Where the supply with this id is counted, as long as this lives.
    pub fn seat(&self, supply: &Id) -> Seat {
        let mut seats = self.seats.borrow_mut();
        let next = Seat(NonZeroU32::MIN.saturating_add(seats.len() as u32));
        let seat = *seats.entry_ref(supply).or_insert(next);
        if seat == next {
            self.met.borrow_mut().push(None);
        }
        seat
    }

    /// To be called as soon as it is known that an auction will be counted there: what it changes is then fetched while
    /// it is held.
    pub fn expect(&self, seat: Seat) {
        if let Some(Some(met)) = self.met.borrow().get(seat.index()) {
            met.counts.lines().take(LINES_AHEAD).for_each(prefetch);
            met.calls.iter().step_by(8).take(CALL_LINES_AHEAD).for_each(prefetch);
        }
    }

    /// Counts one auction of `supply`, whose seat this is and whose record in the journal ends before `upto`.
    pub fn count(&self, seat: Seat, supply: &Arc<Supply>, record: &Record<'_>, upto: u64) {
        let mut met = self.met.borrow_mut();
        let met = match &mut met[seat.index()] {
            Some(met) if Arc::ptr_eq(&met.supply, supply) => met,
            met => met.insert(self.open(supply, record)),
        };
        met.counts.count(record, upto, |country| met.block.requests_from(country).add(1));
        self.activity.count(record, &met.calls);
        self.passed(upto);
    }

    /// Nothing below this offset is left to count.
    pub fn passed(&self, upto: u64) {
        self.shelf.upto.set(upto);
    }

    /// A block for a supply met for the first time, or changed since; the old block's counts move into it.
    #[cold]
    fn open(&self, supply: &Arc<Supply>, record: &Record<'_>) -> Met {
        let calls = self.activity.calls(supply);
        let mut shelf = self.shelf.lock();
        let (upto, totals) = shelf.get(&supply.id).map(|block| block.totals()).unwrap_or_default();
        let block = Arc::new(Block::new(Arc::clone(supply), record.opportunity.country, upto, totals));
        shelf.put(Arc::clone(&block));
        Met { supply: Arc::clone(supply), counts: block.counts().clone(), calls, block }
    }
}
