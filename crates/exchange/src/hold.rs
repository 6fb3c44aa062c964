//! The order of one auction, and nothing else: snapshot → limiter → invite → callout → clearing → journal → counters.
//!
//! Whoever holds auctions walks through the same rooms here and brings its own callout, seed and use of the record: a
//! door makes an answer of it.

use crate::callout::{Callout, Simulated};
use crate::limiter::shared::{Asker, Shared};
use crate::limiter::{Knock, Limiter, Verdict};
use crate::log;
use crate::recorder::Recorder;
use crate::trace::{Parent, Tracer, Traces};
use auction::{Answers, AuctionId, Chance, Clearing, Id, NoSale, Opportunity, Record, Supply, clear, invite};
use catalogue::{Live, Snapshot};
use crossbeam_utils::CachePadded;
use journal::{Journal, Offset, Synced, Unavailable};
use reporting::redis::Others;
use reporting::scrub::Damage;
use reporting::{Seat, Statistics, SupplyTotals, Tally};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What all cores share.
#[derive(Debug)]
pub struct Exchange {
    /// The catalogue in force.
    pub catalogue: Arc<Live>,
    /// None: no limit.
    pub limiter: Option<Limiter>,
    /// The limit that instances keep together; None: each its own.
    pub shared_limit: Option<Arc<Shared>>,
    /// What the other instances have counted; None: there is no Redis that knows.
    pub others: Option<Others>,
    /// How simulated bidders are asked.
    pub callout: Simulated,
    /// What was counted.
    pub statistics: Arc<Statistics>,
    /// With more bidders, the metrics have no series for each.
    pub bidders_max: usize,
    /// Where auctions are recorded; None: nowhere.
    pub journal: Option<Arc<Journal>>,
    /// How many damaged or unreadable places of it the start came to.
    pub damaged_at_start: u64,
    /// Where it was found damaged since.
    pub damage: Arc<Damage>,
    /// With an auction's number, its random stream.
    pub seed: u64,
    /// One auction in so many is logged; 0 is none. Written hardly ever, so that reading it costs no core anything.
    pub log_one_in: AtomicU32,
    /// Where some auctions are told as traces; None: nowhere.
    pub traces: Option<Traces>,
    /// The zero of all times.
    pub started_at: Instant,
    /// The same moment by the calendar as it is now, in microseconds since 1970 (UTC).
    pub started_at_us: AtomicU64,
    /// The next auction's number; by itself, for every core writes it, and reads the rest.
    pub next: CachePadded<AtomicU64>,
}

impl Exchange {
    /// How many auctions were held.
    pub fn auctions(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Places where the journal is damaged or cannot be read, as far as known.
    pub fn damaged(&self) -> u64 {
        // Whoever looked since has seen the same places.
        self.damage.places().max(self.damaged_at_start)
    }

    /// Follows the calendar, which may be set, and goes on while a machine sleeps; to be called once in a while.
    pub fn follow_calendar(&self) {
        let zero_us = unix_us(SystemTime::now()).saturating_sub(self.started_at.elapsed().as_micros() as u64);
        self.started_at_us.store(zero_us, Ordering::Relaxed);
    }

    /// What every supply has done, with the bidders it lists now.
    pub fn report(&self) -> BTreeMap<Id, SupplyTotals> {
        self.report_with(&BTreeMap::new())
    }

    /// The same, with what other instances have counted.
    pub fn report_with(&self, others: &BTreeMap<Id, SupplyTotals>) -> BTreeMap<Id, SupplyTotals> {
        let mut report = BTreeMap::new();
        self.each_with(others, |id, totals| _ = report.insert(id, totals));
        report
    }

    /// The same, one by one and in no order: who needs only sums need not hold all of it.
    pub fn each_with(&self, others: &BTreeMap<Id, SupplyTotals>, mut visit: impl FnMut(Id, SupplyTotals)) {
        let snapshot = self.catalogue.snapshot();
        let mut visit = |id: Id, mut totals: SupplyTotals| {
            totals.list(snapshot.supply(id.as_str()).map_or(&[][..], |supply| supply.bidders()));
            visit(id, totals);
        };
        let ours = self.statistics.marks();
        for (id, counts) in others.iter().filter(|(id, _)| !ours.contains_key(*id)) {
            visit(id.clone(), counts.clone());
        }
        for id in ours.into_keys() {
            let (_, mut totals) = self.statistics.supply(&id);
            if let Some(counts) = others.get(&id) {
                totals.add(counts.clone());
            }
            visit(id, totals);
        }
    }
}

/// Microseconds since 1970 (UTC).
pub fn unix_us(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Why no auction was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The address has had its requests.
    RateLimited {
        /// Microseconds until the next one passes.
        retry_after_us: u64,
    },
    /// The limiter has no room for another address.
    LimiterFull {
        /// Microseconds until it may have.
        retry_after_us: u64,
    },
    /// The shared limiter is away, and without it nobody passes.
    LimiterAway,
    /// The catalogue has no such supply.
    UnknownSupply,
    /// The auction cannot be recorded, so it is not answered.
    Unrecorded(Unavailable),
}

/// Whose request it is: the address that the rate limit counts by, and the span that asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    address: IpAddr,
    knock: Option<Knock>,
    parent: Option<Parent>,
}

impl Caller {
    /// The same, within the trace that it has begun.
    #[must_use]
    pub fn within(self, parent: Option<Parent>) -> Self {
        Self { parent, ..self }
    }
}

/// The snapshot in force, as one core holds it.
#[derive(Debug)]
struct InForce {
    /// By a pointer that this core alone counts the holders of: with a shared count every core would write to the same
    /// line for every auction.
    snapshot: Arc<Snapshot>,
    /// Where each of its supplies is counted on this core, as far as it was asked for.
    seats: RefCell<Vec<Option<Seat>>>,
}

impl InForce {
    fn new(snapshot: Arc<Snapshot>, tally: &Tally) -> Rc<Self> {
        tally.reserve(snapshot.supplies().len());
        let seats = RefCell::new(vec![None; snapshot.supplies().len()]);
        Rc::new(Self { snapshot, seats })
    }

    fn find(&self, id: &str, tally: &Tally) -> Option<(Seat, &Arc<Supply>)> {
        let place = self.snapshot.place(id)?;
        let supply = &self.snapshot.supplies()[place];
        let seat = *self.seats.borrow_mut()[place].get_or_insert_with(|| tally.seat(&supply.id));
        Some((seat, supply))
    }
}

/// One core's end of the exchange: what an auction needs and no other core touches.
#[derive(Debug)]
pub struct Desk {
    recorder: Option<RefCell<Recorder>>,
    /// Set if an answer waits until its record is on disk.
    synced: Option<Synced>,
    exchange: Arc<Exchange>,
    /// None: this instance keeps the limit by itself.
    asker: Option<Rc<Asker>>,
    tracer: Option<Tracer>,
    tally: Tally,
    in_force: RefCell<Rc<InForce>>,
    /// Answers and clearings of past auctions, to be used again.
    papers: RefCell<Vec<(Answers, Clearing)>>,
}

impl Desk {
    /// The desk of this core; each core has one.
    pub fn new(exchange: &Arc<Exchange>, core: usize, recorder: Option<Recorder>, sync_first: bool) -> Self {
        let tally = exchange.statistics.tally(core);
        Self {
            synced: recorder.as_ref().filter(|_| sync_first).map(Recorder::synced),
            recorder: recorder.map(RefCell::new),
            exchange: Arc::clone(exchange),
            asker: exchange.shared_limit.as_ref().map(Asker::new),
            tracer: exchange.traces.as_ref().and_then(Traces::tracer),
            in_force: RefCell::new(InForce::new(exchange.catalogue.snapshot(), &tally)),
            tally,
            papers: RefCell::default(),
        }
    }

    /// To be called once in a while.
    pub fn rest(&self) {
        self.recorder.iter().for_each(|recorder| recorder.borrow_mut().rest());
    }

    /// Finds the instances that this one shares a limit with, if they can be found at once.
    pub async fn meet(&self) {
        if let Some(asker) = &self.asker {
            asker.meet().await;
        }
    }

    /// What all cores share.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether a request's traceparent is of interest.
    pub fn is_traced(&self) -> bool {
        self.tracer.is_some()
    }

    /// The caller at `address`, whom the rate limit counts by. To be called as soon as it is known: what the limiter
    /// remembers is then fetched while the rest of the request is read.
    pub fn caller(&self, address: IpAddr) -> Caller {
        let limiter = self.exchange.limiter.as_ref().filter(|_| self.asker.is_none());
        Caller { address, knock: limiter.map(|limiter| limiter.knock(address)), parent: None }
    }

    /// Holds one auction and hands its record to `answer`; `received_at` is when the request had been read.
    pub async fn hold<T>(
        &self,
        callout: &impl Callout,
        opportunity: &Opportunity<'_>,
        caller: Caller,
        received_at: Instant,
        answer: impl FnOnce(&Record<'_>) -> T,
    ) -> Result<T, Refused> {
        let exchange = &*self.exchange;
        let in_force = self.in_force();
        let found = in_force.find(opportunity.supply_id, &self.tally);
        if let Some((seat, _)) = found {
            self.tally.expect(seat);
        }
        // First, so that a disk that is full costs nobody one of its requests.
        if let Some(recorder) = &self.recorder {
            recorder.borrow_mut().check(found).map_err(Refused::Unrecorded)?;
        }
        let since_start_us = received_at.duration_since(exchange.started_at).as_micros() as u64;
        match (&exchange.limiter, caller.knock, &self.asker) {
            (Some(limiter), Some(knock), _) => passed(limiter.decide(knock, since_start_us))?,
            (Some(limiter), None, Some(asker)) => {
                let deadline = received_at + patience(opportunity.tmax_ms);
                // In a box: its room is not to be carried through every auction that needs no Redis.
                let asked = Box::pin(asker.admit(limiter, caller.address, since_start_us, deadline));
                passed(asked.await.ok_or(Refused::LimiterAway)?)?;
            }
            _ => {}
        }

        let (seat, supply) = found.ok_or(Refused::UnknownSupply)?;
        let invitations = invite(opportunity, supply);

        let id = AuctionId { seed: exchange.seed, sequence: exchange.next.fetch_add(1, Ordering::Relaxed) };
        let chance = Chance::new(id.seed, id.sequence);
        let (mut answers, mut clearing) = self.papers.borrow_mut().pop().unwrap_or_default();
        callout.ask(opportunity, &invitations, chance, received_at, &mut answers).await;

        offer(opportunity, supply, &mut clearing);
        clear(&mut clearing, &answers.bids, chance);
        if invitations.is_empty() {
            clearing.sales.fill(Err(NoSale::NoEligibleBidders));
        }

        let record = Record {
            id,
            received_at_us: exchange.started_at_us.load(Ordering::Relaxed) + since_start_us,
            catalogue_revision: in_force.snapshot.revision(),
            opportunity,
            supply,
            invitations: &invitations,
            answers: &answers,
            clearing: &clearing,
        };
        let offset = self.record(seat, supply, &record)?;
        if let Some(synced) = &self.synced {
            Box::pin(synced.wait(offset)).await.map_err(Refused::Unrecorded)?;
        }
        let answer = answer(&record);
        if let Some(tracer) = &self.tracer {
            tracer.look(supply, &record, caller.parent, received_at);
        }
        self.papers.borrow_mut().push((answers, clearing));
        Ok(answer)
    }

    fn in_force(&self) -> Rc<InForce> {
        let now = self.exchange.catalogue.pointer().load();
        let mut held = self.in_force.borrow_mut();
        if !Arc::ptr_eq(&now, &held.snapshot) {
            *held = InForce::new(Arc::clone(&now), &self.tally);
        }
        Rc::clone(&held)
    }

    /// What is not in the journal is neither counted nor answered.
    fn record(&self, seat: Seat, supply: &Arc<Supply>, record: &Record<'_>) -> Result<Offset, Refused> {
        let stands = match &self.recorder {
            Some(recorder) => {
                recorder.borrow_mut().record(seat, supply, record).map_err(Refused::Unrecorded)?
            }
            None => Offset::new(0)..Offset::new(0),
        };
        self.tally.count(seat, supply, record, stands.end.get());
        let one_in = self.exchange.log_one_in.load(Ordering::Relaxed);
        if one_in > 0 && record.id.sequence.is_multiple_of(one_in.into()) {
            log::auction(record);
        }
        Ok(stands.start)
    }
}

fn passed(verdict: Verdict) -> Result<(), Refused> {
    match verdict {
        Verdict::Admitted => Ok(()),
        Verdict::Limited { retry_after_us } => Err(Refused::RateLimited { retry_after_us }),
        Verdict::Full { retry_after_us } => Err(Refused::LimiterFull { retry_after_us }),
    }
}

/// How much of tmax the shared limiter may take; a few milliseconds it always has, or a small tmax would be a way around
/// the limit.
fn patience(tmax_ms: u32) -> Duration {
    Duration::from_millis(tmax_ms.into()).mul_f32(0.5).max(Duration::from_millis(5))
}

fn offer(opportunity: &Opportunity<'_>, supply: &Supply, clearing: &mut Clearing) {
    clearing.lots.clear();
    clearing.lots.extend(opportunity.imps.iter().map(|imp| supply.lot(imp)));
}
