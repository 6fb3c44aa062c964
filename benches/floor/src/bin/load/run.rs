//! The run: what is due is sent, what has come is taken, round and round.

use super::Options;
use super::addresses::request;
use super::client::{Answer, Client};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long answers may take after the last request.
const GRACE: Duration = Duration::from_secs(10);

/// What there is to tell, in JSON.
#[derive(Serialize)]
pub(crate) struct Outcome {
    /// Requests sent.
    asked: u64,
    /// Answers that were no sale.
    wrong: u64,
    /// From the first request to the last answer.
    seconds: f64,
    /// Answers a second.
    rate: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

/// When each request is due.
struct Schedule {
    start: Instant,
    interval_ns: Option<f64>,
    total: u64,
    until: Duration,
}

impl Schedule {
    fn new(options: &Options, start: Instant) -> Self {
        let until = Duration::from_secs_f64(options.seconds);
        let by_rate = options.rate.map_or(u64::MAX, |rate| (rate as f64 * options.seconds) as u64);
        Self {
            start,
            interval_ns: options.rate.map(|rate| 1e9 / rate as f64),
            total: by_rate.min(options.requests.unwrap_or(u64::MAX)),
            until,
        }
    }

    /// When the request of this number is due, if that is now or before.
    fn due(&self, number: u64, now: Instant) -> Option<Instant> {
        match self.interval_ns {
            Some(interval_ns) => {
                let due = self.start + Duration::from_nanos((number as f64 * interval_ns) as u64);
                (due <= now).then_some(due)
            }
            None => Some(now),
        }
    }

    fn is_over(&self, asked: u64, now: Instant) -> bool {
        asked >= self.total || (self.interval_ns.is_none() && now.duration_since(self.start) >= self.until)
    }
}

/// Connections, and which of them wait for something to ask.
struct Clients {
    all: Vec<Client>,
    idle: VecDeque<usize>,
    poll: OwnedFd,
}

impl Clients {
    fn connect(options: &Options) -> Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC).context("no epoll")?;
        let mut all = Vec::new();
        for place in 0..options.connections {
            let client = Client::new(options.target)?;
            epoll::add(&poll, &client.stream, EventData::new_u64(place), EventFlags::IN)?;
            all.push(client);
        }
        Ok(Self { idle: (0..all.len()).collect(), all, poll })
    }
}

/// Counts of one run.
struct Tally {
    latencies_ns: Histogram<u64>,
    answered: u64,
    wrong: u64,
    counts_from: Instant,
}

impl Tally {
    fn take(&mut self, answer: Answer, due: Instant, now: Instant) {
        self.answered += 1;
        if let Answer::Wrong(text) = answer {
            if self.wrong == 0 {
                eprintln!("wrong answer: {text}");
            }
            self.wrong += 1;
        }
        if due >= self.counts_from {
            self.latencies_ns.saturating_record(now.duration_since(due).as_nanos() as u64);
        }
    }
}

/// Runs until everything asked is answered.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let mut clients = Clients::connect(options)?;
    let mut next = request(options.first, options.pool, options.supplies);
    let schedule = Schedule::new(options, Instant::now());
    let mut tally = Tally {
        latencies_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        answered: 0,
        wrong: 0,
        counts_from: schedule.start + Duration::from_secs_f64(options.warmup),
    };
    let mut asked = 0;
    let mut events = Vec::with_capacity(clients.all.len());
    let mut last_asked = schedule.start;
    loop {
        let now = Instant::now();
        let over = schedule.is_over(asked, now);
        if over && tally.answered == asked {
            return Ok(outcome(&tally, asked, now.duration_since(schedule.start)));
        }
        if !over
            && let Some(due) = schedule.due(asked, now)
            && let Some(place) = clients.idle.pop_front()
        {
            clients.all[place].send(due, &next)?;
            (asked, last_asked) = (asked + 1, now);
            // Made ready now, so that it costs nothing when it is due.
            next = request(options.first + asked, options.pool, options.supplies);
        }
        ensure!(
            now.duration_since(last_asked) < GRACE,
            "{} requests are not answered",
            asked - tally.answered
        );
        receive(&mut clients, &mut events, &mut tally)?;
    }
}

fn receive(clients: &mut Clients, events: &mut Vec<epoll::Event>, tally: &mut Tally) -> Result<()> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match epoll::wait(&clients.poll, spare_capacity(events), Some(&at_once)) {
        Err(Errno::INTR) => return Ok(()),
        waited => waited.context("cannot wait for events")?,
    };
    for event in events.drain(..) {
        let place = event.data.u64() as usize;
        let client = &mut clients.all[place];
        if let Some(answer) = client.receive()? {
            tally.take(answer, client.due, Instant::now());
            clients.idle.push_back(place);
        }
    }
    Ok(())
}

fn outcome(tally: &Tally, asked: u64, took: Duration) -> Outcome {
    let quantile_us = |quantile| tally.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
    Outcome {
        asked,
        wrong: tally.wrong,
        seconds: took.as_secs_f64(),
        rate: tally.answered as f64 / took.as_secs_f64(),
        p50_us: quantile_us(0.5),
        p90_us: quantile_us(0.9),
        p99_us: quantile_us(0.99),
        p999_us: quantile_us(0.999),
        max_us: tally.latencies_ns.max() as f64 / 1e3,
    }
}
