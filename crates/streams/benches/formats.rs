//! What an event costs a stream, but for its sink's own client: read from the journal, and made a line, a message, rows
//! or files. One supply with 12 bidders, who draw as bidders do by default.

#![expect(clippy::expect_used, reason = "the inputs are fixed")]

use auction::encoding::{auction_bytes, supply_bytes, write_auction, write_supply};
use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Id, Imp,
    Opportunity, Profile, Record, Reply, Supply, clear, invite,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use journal::{Begin, Journal, Offset, Settings, record_bytes};
use reporting::Auctions;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use streams::json::Json;
use streams::lake::{self, Lake};
use streams::{Batch, Event, EventId, Sink, clickhouse};

const BIDDERS: usize = 12;
const TMAX_MS: u32 = 200;
/// As many as a file has.
const EVENTS: u64 = 50_000;
/// Half a millisecond apart.
const EVERY_US: u64 = 500;
const SEED: u64 = 7;
/// 2026-06-07T12:00:00Z.
const NOON_US: u64 = 1_780_833_600_000_000;

fn supply() -> Supply {
    let id = |text: &str| Id::new(text).expect("an id");
    let us = Country::from_code("US").expect("a country");
    let bidder = |n| Arc::new(Bidder::new(id(&format!("bidder{n}")), us, Profile::DEFAULT));
    let bidders = (1..=BIDDERS).map(bidder).collect();
    Supply::new(id("supply1"), AuctionType::FirstPrice, Cpm::CENT, bidders)
}

fn hold(supply: &Supply, sequence: u64, use_it: impl FnOnce(&Record<'_>)) {
    let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
    let chance = Chance::new(SEED, sequence);
    for (slot, bidder) in (0..).zip(supply.bidders()) {
        let (latency_ns, answer, price) = bidder.profile.answer(TMAX_MS, chance.bidder(bidder.key));
        answers.replies.push(Reply { slot, answer, latency_ns });
        if answer == Answer::Bid {
            answers.bids.push(Bid { slot, imp: 0, price });
        }
    }
    clearing.lots.push(supply.lot(&Imp::PLAIN));
    clear(&mut clearing, &answers.bids, chance);
    let opportunity = Opportunity {
        supply_id: "supply1",
        ip: Ipv4Addr::from_bits((sequence as u32) << 8).into(),
        country: Country::from_code("US").expect("a country"),
        tmax_ms: TMAX_MS,
        imps: &[Imp::PLAIN],
    };
    use_it(&Record {
        id: AuctionId { seed: SEED, sequence },
        received_at_us: NOON_US + sequence * EVERY_US,
        catalogue_revision: 10,
        opportunity: &opportunity,
        supply,
        invitations: &invite(&opportunity, supply),
        answers: &answers,
        clearing: &clearing,
    });
}

/// A journal of these auctions, in one segment.
fn record(dir: &Path) {
    let settings = Settings {
        segment_bytes: 64 << 20,
        segment_bytes_max: 0,
        ahead_bytes: 32 << 20,
        ..Settings::new(dir, 1)
    };
    let (_journal, mut writers) = Journal::open(settings).expect("a journal");
    let supply = supply();
    let supply_record = record_bytes(supply_bytes(&supply));
    let mut stands_at = None;
    for sequence in 0..EVENTS {
        hold(&supply, sequence, |record| {
            let bytes = auction_bytes(record).expect("it is small");
            let mut room = loop {
                match writers[0].room(supply_record + record_bytes(bytes)) {
                    Ok(_) => break writers[0].room(supply_record + record_bytes(bytes)).expect("as before"),
                    Err(_) => std::thread::yield_now(),
                }
            };
            let stands_at = *stands_at.get_or_insert_with(|| {
                let at = room.position().get();
                room.append(0, &write_supply(SEED, at, &supply)).expect("there is room");
                at
            });
            let back = (room.position().get() - stands_at) as u32;
            let write = |to: &mut [u8]| write_auction(record, back, to);
            room.append_with(record.received_at_us, bytes, write).expect("there is room");
        });
    }
}

/// Reads them all; returns the batch that they are.
fn each(journal: &Path, mut use_it: impl FnMut(&Event<'_>)) -> Batch {
    let mut auctions = Auctions::open(journal, 0, Begin::Oldest).expect("a journal");
    let mut batch = None;
    while let Some(()) = auctions
        .next(|event| {
            let reporting::Event::Auction { offset, end, segment, supply, record } = event else { return };
            use_it(&Event { id: EventId { instance: 7, core: 0, offset }, record, supply });
            let first = batch.get_or_insert((segment, offset, end, 0));
            (first.2, first.3) = (end, first.3 + 1);
        })
        .expect("it can be read")
    {}
    let (segment, from, to, auctions) = batch.unwrap_or((Offset::new(0), Offset::new(0), Offset::new(0), 0));
    assert_eq!(auctions, EVENTS);
    Batch { instance: 7, core: 0, segment, from, to, auctions, times_us: (NOON_US, NOON_US) }
}

fn sink<S: Sink>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, journal: &Path, mut sink: S) {
    group.bench_function(name, |bench| {
        bench.iter(|| {
            let batch = each(journal, |event| sink.add(event).expect("it is taken"));
            sink.prepare(&batch).expect("it is whole");
            sink.clear();
        });
    });
}

fn formats(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    record(dir.path());
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.bench_function("read", |bench| bench.iter(|| each(dir.path(), |event| _ = black_box(event.id))));
    group.bench_function("json", |bench| {
        let (mut json, mut line) = (Json::default(), Vec::new());
        bench.iter(|| {
            each(dir.path(), |event| {
                line.clear();
                json.write(event, &mut line);
                black_box(&line);
            })
        });
    });
    #[cfg(feature = "kafka")]
    group.bench_function("protobuf", |bench| {
        let (mut protobuf, mut message) = (streams::protobuf::Protobuf::default(), Vec::new());
        bench.iter(|| {
            each(dir.path(), |event| {
                message.clear();
                protobuf.write(event, &mut message);
                black_box(&message);
            })
        });
    });
    let settings = clickhouse::Settings::new("http://127.0.0.1:8123", "bourse".to_owned());
    let clickhouse = clickhouse::ClickHouse::open(settings.expect("an address")).expect("a sink");
    sink(&mut group, "clickhouse", dir.path(), clickhouse);
    let url = format!("file://{}/lake", dir.path().display()).parse().expect("a URL");
    let lake = Lake::open(&lake::Settings { url, options: Vec::new() }).expect("a sink");
    sink(&mut group, "parquet", dir.path(), lake);
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
