//! The catalogue as the running server holds it: immutable, indexed, swapped whole.
//!
//! [`Live`] is the one place where the catalogue changes. Readers on the hot path load a pointer; nothing they hold
//! ever changes under them.

use arc_swap::ArcSwap;
use auction::Supply;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How long [`Live::reload`] waits for the watcher.
const RELOAD_MAX: Duration = Duration::from_secs(10);

/// Every supply with its bidders, at one moment of the database.
#[derive(Debug)]
pub struct Snapshot {
    revision: u64,
    bidders: usize,
    supplies: Box<[Arc<Supply>]>,
    /// Their ids, one after the other, and where each ends. Apart from the supplies, so that looking for one of very many
    /// reads little memory, most of which is in a cache.
    ids: Box<str>,
    id_ends: Box<[usize]>,
    /// Places in `supplies`, by id.
    by_id: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl Snapshot {
    /// A snapshot of `supplies` with distinct ids. `revision` identifies the content, `bidders` counts all bidders.
    pub fn new(revision: u64, bidders: usize, mut supplies: Vec<Arc<Supply>>) -> Self {
        supplies.sort_by(|a, b| a.id.cmp(&b.id));
        let hasher = foldhash::fast::RandomState::default();
        let mut by_id = HashTable::with_capacity(supplies.len());
        let hash = |place: &u32| hasher.hash_one(supplies[*place as usize].id.as_str());
        for place in 0..supplies.len() as u32 {
            by_id.insert_unique(hash(&place), place, hash);
        }
        let ids: String = supplies.iter().map(|supply| supply.id.as_str()).collect();
        let ends = supplies.iter().scan(0, |end, supply| {
            *end += supply.id.as_str().len();
            Some(*end)
        });
        let id_ends = ends.collect();
        Self { revision, bidders, supplies: supplies.into(), ids: ids.into(), id_ends, by_id, hasher }
    }

    /// Where the supply with this id stands in [`Snapshot::supplies`]. The time does not depend on how many there are.
    pub fn place(&self, id: &str) -> Option<usize> {
        let is_it = |place: &u32| {
            let place = *place as usize;
            let begin = place.checked_sub(1).map_or(0, |before| self.id_ends[before]);
            self.ids.as_bytes()[begin..self.id_ends[place]] == *id.as_bytes()
        };
        self.by_id.find(self.hasher.hash_one(id), is_it).map(|place| *place as usize)
    }

    /// The supply with this id.
    pub fn supply(&self, id: &str) -> Option<&Arc<Supply>> {
        self.place(id).map(|place| &self.supplies[place])
    }

    /// Every supply, in order of id.
    pub fn supplies(&self) -> &[Arc<Supply>] {
        &self.supplies
    }

    /// How many bidders the catalogue has, listed by a supply or not.
    pub fn bidders(&self) -> usize {
        self.bidders
    }

    /// A hash of the content: the same on every instance and every database that holds the same catalogue.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same as people see it: 16 hexadecimal digits.
    pub fn revision_text(&self) -> String {
        format!("{:016x}", self.revision)
    }
}

/// How well the snapshot in force is known to be the database's.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// When it was last known to be what the database holds.
    pub confirmed_at: Instant,
    /// Why it could not be confirmed or replaced since, if so.
    pub trouble: Option<String>,
}

/// The snapshot in force.
#[derive(Debug)]
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    freshness: Mutex<Freshness>,
    /// Snapshots that a core may still hold. Kept so that none of them gives a large one's memory back: that takes
    /// milliseconds, and an auction would wait for it.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    /// Wakes the watcher.
    pub(crate) wake: Notify,
    /// How often a reading was asked for.
    asked: watch::Sender<u64>,
    /// Which of them have been answered, and why the last one failed, if so.
    answered: watch::Sender<(u64, Option<String>)>,
}

impl Live {
    /// Puts the first snapshot in force.
    pub fn new(snapshot: Snapshot) -> Self {
        let freshness = Freshness { confirmed_at: Instant::now(), trouble: None };
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            freshness: Mutex::new(freshness),
            retired: Mutex::default(),
            wake: Notify::new(),
            asked: watch::Sender::new(0),
            answered: watch::Sender::default(),
        }
    }

    /// Has the watcher read the database now. After `Ok` what was committed before the call is in force; an error says
    /// why it is not yet: the watcher goes on trying.
    pub async fn reload(&self) -> Result<(), String> {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        self.wake.notify_one();
        let mut answers = self.answered.subscribe();
        let answered = answers.wait_for(|(answered, _)| *answered >= number);
        match tokio::time::timeout(RELOAD_MAX, answered).await {
            Ok(Ok(answer)) => answer.1.clone().map_or(Ok(()), Err),
            _ => Err(format!("the database was not read within {} s", RELOAD_MAX.as_secs())),
        }
    }

    /// How often a reading was asked for, and whether the last one still waits.
    pub(crate) fn asked(&self) -> (u64, bool) {
        let asked = *self.asked.borrow();
        (asked, asked > self.answered.borrow().0)
    }

    /// Tells who asked, up to the `asked`th, how the reading went.
    pub(crate) fn answer(&self, asked: u64, trouble: Option<String>) {
        self.answered.send_replace((asked, trouble));
    }

    /// The pointer to the snapshot in force, for per-core caching.
    pub fn pointer(&self) -> &ArcSwap<Snapshot> {
        &self.snapshot
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another snapshot in force, for every request that has not looked its supply up yet.
    pub fn swap(&self, snapshot: Snapshot) {
        let retired = self.snapshot.swap(Arc::new(snapshot));
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(retired);
        self.confirm();
    }

    /// Notes that the snapshot in force is what the database holds now.
    pub fn confirm(&self) {
        self.set_freshness(Freshness { confirmed_at: Instant::now(), trouble: None });
        self.retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// Notes that the database could not be read, or that what it holds is no catalogue; the snapshot stays in force.
    pub fn keep(&self, trouble: String) {
        let confirmed_at = self.freshness().confirmed_at;
        self.set_freshness(Freshness { confirmed_at, trouble: Some(trouble) });
    }

    /// How well the snapshot in force is known to be the database's.
    pub fn freshness(&self) -> Freshness {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_freshness(&self, freshness: Freshness) {
        *self.freshness.lock().unwrap_or_else(PoisonError::into_inner) = freshness;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supply_and_no_other_is_found_by_its_id() {
        let ids = ["", "a", "ab", "abc", "b", "bc", "é", "c"];
        let supply = |id: &&str| {
            let id = auction::Id::new(id).unwrap();
            Arc::new(Supply::new(id, auction::AuctionType::FirstPrice, auction::Cpm::ZERO, vec![]))
        };
        for some in (0..1u32 << (ids.len() - 1)).map(|chosen| chosen << 1) {
            let listed = |place: usize| some >> place & 1 == 1;
            let supplies = ids.iter().enumerate().filter(|(place, _)| listed(*place));
            let snapshot = Snapshot::new(1, 0, supplies.map(|(_, id)| supply(id)).collect());
            for (place, id) in ids.iter().enumerate() {
                let found = snapshot.supply(id).map(|supply| supply.id.as_str());
                assert_eq!(found, listed(place).then_some(*id), "{id:?} of {some:b}");
            }
        }
    }

    #[test]
    fn a_retired_snapshot_is_freed_by_the_watcher_and_not_by_its_last_reader() {
        let live = Live::new(Snapshot::new(1, 0, vec![]));
        let read = live.snapshot();
        let watched = Arc::downgrade(&read);
        live.swap(Snapshot::new(2, 0, vec![]));
        live.confirm();
        drop(read);
        assert!(watched.upgrade().is_some(), "the reader's drop frees nothing");
        live.confirm();
        assert!(watched.upgrade().is_none(), "the watcher's next look does");
        assert_eq!(live.snapshot().revision(), 2);
    }
}
