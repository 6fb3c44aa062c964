//! A stream against a sink that fails in every way a sink can.

use crate::held::Process;
use crate::{Batch, Event, EventId, Pace, Policy, Sink, Stream, start};
use anyhow::{Result, bail};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What is done with an attempt at a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Stored,
    /// Nothing arrives.
    Refused,
    /// It arrives, and the answer does not.
    Lost,
    /// It arrives, and nobody ever answers: our end is a crash then.
    Hung,
}

/// A store whose objects are named after the bounds of batches.
#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<(u32, u64, u64), Vec<u64>>,
    /// What is done with the next attempts; then all are stored.
    script: Vec<Attempt>,
    attempts: usize,
    batches: Vec<Batch>,
    is_hung: bool,
    is_away: bool,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Store>>);

impl Shared {
    fn look(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }
}

struct Storing {
    store: Shared,
    /// How long the thread needs for a batch before it is sent.
    work: Duration,
    events: Vec<(EventId, u64)>,
}

impl Sink for Storing {
    const REPEATS: bool = true;

    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        self.events.push((event.id, event.record.id.sequence));
        Ok(())
    }

    fn prepare(&mut self, _: &Batch) -> Result<()> {
        std::thread::sleep(self.work);
        Ok(())
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<()> {
        if !self.work.is_zero() {
            // A moment for the network, in which a time that is over would be noticed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(batch.auctions, self.events.len() as u64);
        let (first, last) = (self.events[0].0, self.events[self.events.len() - 1].0);
        assert_eq!((first.offset, first.core), (batch.from, batch.core));
        assert!(batch.segment <= batch.from && last.offset < batch.to);
        let attempt = {
            let mut store = self.store.look();
            let attempt = store.script.pop().unwrap_or(Attempt::Stored);
            store.attempts += 1;
            if store.is_away || attempt == Attempt::Refused {
                bail!("away");
            }
            let key = (batch.core, batch.from.get(), batch.to.get());
            store.objects.insert(key, self.events.iter().map(|(_, sequence)| *sequence).collect());
            store.batches.push(batch.clone());
            store.is_hung = attempt == Attempt::Hung;
            attempt
        };
        match attempt {
            Attempt::Lost => bail!("no answer"),
            Attempt::Hung => pending().await,
            _ => Ok(()),
        }
    }

    fn clear(&mut self) {
        self.events.clear();
    }
}

const PACE: Pace = Pace { bytes: 4 << 10, age: Duration::from_millis(1) };
const POLICY: Policy =
    Policy { retain_bytes: 1 << 30, retry_max: Duration::from_millis(2), timeout: Duration::from_secs(3600) };

fn stream(process: &Process, store: &Shared, policy: Policy) -> Stream {
    stream_that_works(process, store, policy, Duration::ZERO)
}

fn stream_that_works(process: &Process, store: &Shared, policy: Policy, work: Duration) -> Stream {
    let store = store.clone();
    let make = move || Ok(Storing { store, work, events: Vec::new() });
    start("test", process.source(), PACE, policy, make).unwrap()
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn end(stream: Stream, deadline: Duration) {
    stream.stop(Instant::now() + deadline);
    stream.join();
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Without telling anything apart by its id: a batch that comes again overwrites itself.
    #[test]
    fn every_auction_is_stored_exactly_once_whatever_fails_and_crashes(
        lives in proptest::collection::vec((1u64..120, proptest::collection::vec(0usize..6, 0..8)), 1..5),
    ) {
        let (dir, store) = (temporary(), Shared::default());
        let mut number = 0;
        for (count, script) in lives {
            let attempts = [Attempt::Stored, Attempt::Refused, Attempt::Lost, Attempt::Hung];
            let script = script.iter().map(|at| attempts[at % 4]);
            store.look().script = script.collect();
            store.look().is_hung = false;
            let mut process = Process::start(dir.path(), 2);
            let stream = stream(&process, &store, POLICY);
            for _ in 0..count {
                process.record(number as usize % 2, number);
                number += 1;
            }
            let meters = Arc::clone(stream.meters());
            eventually("stored, or hung", || {
                let mut store = store.look();
                let stored = store.objects.values().map(|object| object.len() as u64).sum::<u64>();
                if stored >= number {
                    store.script.clear();
                }
                store.is_hung || stored >= number
            });
            // What comes before a crash does not make the batch longer that comes again.
            process.record(0, number);
            number += 1;
            if !store.look().is_hung {
                eventually("no lag", || meters.lag_bytes() == 0 && meters.lag_s() < f64::EPSILON);
            }
            // A hung one crashes, any other comes to its end.
            end(stream, if store.look().is_hung { Duration::ZERO } else { Duration::from_secs(30) });
        }
        let mut process = Process::start(dir.path(), 2);
        store.look().script.clear();
        process.record(0, number);
        end(stream(&process, &store, POLICY), Duration::from_secs(30));
        let mut sequences: Vec<u64> = store.look().objects.values().flatten().copied().collect();
        sequences.sort_unstable();
        prop_assert_eq!(sequences, (0..=number).collect::<Vec<_>>());
    }
}

#[test]
fn batches_are_as_large_as_they_may_be_and_never_of_two_segments() {
    let (dir, store) = (temporary(), Shared::default());
    let mut process = Process::start(dir.path(), 1);
    (0..1_000).for_each(|number| process.record(0, number));
    end(stream(&process, &store, POLICY), Duration::from_secs(30));
    let store = store.look();
    assert_eq!(store.batches.iter().map(|batch| batch.auctions).sum::<u64>(), 1_000);
    let segments: std::collections::BTreeSet<_> = store.batches.iter().map(|batch| batch.segment).collect();
    assert!(segments.len() > 3, "{segments:?}");
    for pair in store.batches.windows(2) {
        let bytes = pair[0].to.get() - pair[0].from.get();
        assert!(bytes < PACE.bytes + 1_000 && pair[0].to <= pair[1].from, "{pair:?}");
        assert!(bytes >= PACE.bytes || pair[0].segment != pair[1].segment, "{pair:?}");
        assert!(pair[0].to.get() <= pair[0].segment.get() + (64 << 10), "{pair:?}");
    }
}

#[test]
fn while_a_sink_is_away_it_lags_and_beyond_the_bound_the_oldest_are_given_up_and_counted() {
    let (dir, store) = (temporary(), Shared::default());
    let mut process = Process::start(dir.path(), 2);
    store.look().is_away = true;
    let stream = stream(&process, &store, Policy { retain_bytes: 200 << 10, ..POLICY });
    let meters = Arc::clone(stream.meters());
    (0..2_000).for_each(|number| process.record(number as usize % 2, number));
    let dropped = || meters.dropped.load(Ordering::Relaxed);
    eventually("within the bound", || dropped() > 0 && meters.lag_bytes() <= 200 << 10);
    assert!(meters.is_failing.load(Ordering::Relaxed) && meters.lag_s() > 0.0);
    let waiting = 2_000 - dropped();
    assert!(meters.lag_auctions().abs_diff(waiting) < waiting / 2, "{meters:?} {waiting}");
    store.look().is_away = false;
    eventually("all delivered", || meters.lag_bytes() == 0);
    end(stream, Duration::from_secs(30));
    let store = store.look();
    let mut sequences: Vec<u64> = store.objects.values().flatten().copied().collect();
    sequences.sort_unstable();
    assert_eq!(sequences.len() as u64 + dropped(), 2_000);
    assert_eq!(meters.delivered.load(Ordering::Relaxed), sequences.len() as u64);
    // The oldest of each core, and nothing in between.
    for core in 0..2 {
        let own: Vec<u64> = sequences.iter().copied().filter(|number| number % 2 == core).collect();
        assert!(own.windows(2).all(|pair| pair[1] == pair[0] + 2), "{own:?}");
        assert_eq!(own.last(), Some(&(1_998 + core)));
    }
    assert!(!meters.is_failing.load(Ordering::Relaxed));
}

#[test]
fn a_sink_that_does_not_answer_in_time_is_tried_again() {
    let (dir, store) = (temporary(), Shared::default());
    let mut process = Process::start(dir.path(), 1);
    process.record(0, 0);
    store.look().script = vec![Attempt::Hung, Attempt::Hung];
    let stream = stream(&process, &store, Policy { timeout: Duration::from_millis(20), ..POLICY });
    let meters = Arc::clone(stream.meters());
    eventually("delivered", || meters.delivered.load(Ordering::Relaxed) == 1);
    assert_eq!((meters.failures.load(Ordering::Relaxed), store.look().attempts), (2, 3));
    assert_eq!(store.look().objects.len(), 1);
    end(stream, Duration::from_secs(30));
}

#[test]
fn the_work_for_a_batch_does_not_count_as_the_time_that_its_sink_takes() {
    let (dir, store) = (temporary(), Shared::default());
    let mut process = Process::start(dir.path(), 1);
    process.record(0, 0);
    let policy = Policy { timeout: Duration::from_millis(300), ..POLICY };
    let stream = stream_that_works(&process, &store, policy, Duration::from_millis(400));
    let meters = Arc::clone(stream.meters());
    eventually("delivered", || meters.delivered.load(Ordering::Relaxed) == 1);
    assert_eq!(meters.failures.load(Ordering::Relaxed), 0);
    end(stream, Duration::from_secs(30));
}

#[test]
fn a_stream_has_a_lower_priority_than_who_starts_it() {
    let (dir, store) = (temporary(), Shared::default());
    let process = Process::start(dir.path(), 1);
    let stream = stream(&process, &store, POLICY);
    let nice = || {
        let tasks =
            std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("stat"));
        let stats = tasks.filter_map(|path| std::fs::read_to_string(path).ok());
        let own = stats.filter(|stat| stat.contains("(stream-test)"));
        // After the name in brackets the state is the first word, nice the seventeenth.
        own.map(|stat| stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(nice().contains(&"10".to_owned()), "{:?}", nice());
    end(stream, Duration::ZERO);
}
