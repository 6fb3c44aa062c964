//! What an event costs in each format: one supply with 12 bidders, who draw as bidders do by default.

#![expect(clippy::expect_used, reason = "the inputs are fixed")]

use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Id, Imp,
    Opportunity, Profile, Record, Reply, Supply, clear, invite,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use journal::Offset;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use streams::flat::Flat;
use streams::json::Json;
use streams::parquet::Table;
use streams::{Event, EventId};

const BIDDERS: usize = 12;
const TMAX_MS: u32 = 200;
/// As many as a file has.
const EVENTS: u64 = 50_000;
/// Half a millisecond apart.
const EVERY_US: u64 = 500;

fn supply() -> Arc<Supply> {
    let id = |text: &str| Id::new(text).expect("an id");
    let us = Country::from_code("US").expect("a country");
    let bidder = |n| Arc::new(Bidder::new(id(&format!("bidder{n}")), us, Profile::DEFAULT));
    let bidders = (1..=BIDDERS).map(bidder).collect();
    Arc::new(Supply::new(id("supply1"), AuctionType::FirstPrice, Cpm::CENT, bidders))
}

/// What is kept of an auction until it is an event.
type Held = (Answers, Clearing);

fn hold(supply: &Supply, sequence: u64) -> Held {
    let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
    let chance = Chance::new(7, sequence);
    for (slot, bidder) in (0..).zip(supply.bidders()) {
        let (latency_ns, answer, price) = bidder.profile.answer(TMAX_MS, chance.bidder(bidder.key));
        answers.replies.push(Reply { slot, answer, latency_ns });
        if answer == Answer::Bid {
            answers.bids.push(Bid { slot, imp: 0, price });
        }
    }
    clearing.lots.push(supply.lot(&Imp::PLAIN));
    clear(&mut clearing, &answers.bids, chance);
    (answers, clearing)
}

fn each(supply: &Arc<Supply>, held: &[Held], mut use_it: impl FnMut(&Event<'_>)) {
    for (sequence, (answers, clearing)) in (0..).zip(held) {
        let opportunity = Opportunity {
            supply_id: "supply1",
            ip: Ipv4Addr::from_bits((sequence as u32) << 8).into(),
            country: Country::from_code("US").expect("a country"),
            tmax_ms: TMAX_MS,
            imps: &[Imp::PLAIN],
        };
        let record = Record {
            id: AuctionId { seed: 7, sequence },
            received_at_us: 1_780_833_600_000_000 + sequence * EVERY_US,
            catalogue_revision: 10,
            opportunity: &opportunity,
            supply,
            invitations: &invite(&opportunity, supply),
            answers,
            clearing,
        };
        let id = EventId { instance: 7, core: 0, offset: Offset::new(64 + sequence * 232) };
        use_it(&Event { id, record: &record, supply });
    }
}

fn formats(criterion: &mut Criterion) {
    let supply = supply();
    let held: Vec<Held> = (0..EVENTS).map(|sequence| hold(&supply, sequence)).collect();
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.bench_function("json", |bench| {
        let (mut json, mut line) = (Json::default(), Vec::new());
        bench.iter(|| {
            each(&supply, &held, |event| {
                line.clear();
                json.write(event, &mut line);
                black_box(&line);
            });
        });
    });
    group.bench_function("parquet", |bench| {
        bench.iter(|| {
            let mut flat = Flat::default();
            let mut auctions = Table::auctions(Vec::new()).expect("a table");
            let mut bids = Table::bids(Vec::new()).expect("a table");
            each(&supply, &held, |event| {
                flat.auction(event, &mut auctions);
                flat.bids(event, &mut bids);
            });
            black_box([auctions.finish().expect("a file"), bids.finish().expect("a file")])
        });
    });
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
