//! What the parts of an auction cost by themselves, without the kernel and HTTP: `cargo xtask bench core`.
//!
//! One supply with 12 bidders that all buy where the request comes from and draw as bidders do by default.

#![expect(clippy::expect_used, reason = "the inputs are fixed")]

use auction::encoding::{auction_bytes, write_auction};
use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Id, Imp,
    Opportunity, Profile, Record, Reply, Supply, clear, invite,
};
use criterion::{Criterion, criterion_group, criterion_main};
use exchange::http::request::parse;
use exchange::limiter::{Limit, Limiter, Verdict, WhenFull};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const BIDDERS: usize = 12;
const TMAX_MS: u32 = 200;
/// How many addresses a limiter knows.
const KNOWN: u32 = 1_000_000;
/// Coprime to [`KNOWN`]: neighbours in time are far from each other in number.
const STRIDE: u64 = 648_059;

const BODY: &[u8] = br#"{"supply_id":"supply1","ip":"192.168.1.100","country":"US","tmax":200}"#;

fn country() -> Country {
    Country::from_code("US").expect("a country")
}

fn supply(auction: AuctionType) -> Supply {
    let id = |text: &str| Id::new(text).expect("an id");
    let bidder = |n| Arc::new(Bidder::new(id(&format!("bidder{n}")), country(), Profile::DEFAULT));
    Supply::new(id("supply1"), auction, Cpm::CENT, (1..=BIDDERS).map(bidder).collect())
}

fn opportunity() -> Opportunity<'static> {
    Opportunity {
        supply_id: "supply1",
        ip: Ipv4Addr::new(192, 168, 1, 100).into(),
        country: country(),
        tmax_ms: TMAX_MS,
        imps: &[Imp::PLAIN],
    }
}

/// Asks every invited bidder, as a virtual clock does.
fn ask(opportunity: &Opportunity<'_>, supply: &Supply, chance: Chance, answers: &mut Answers) {
    answers.clear();
    for (slot, bidder) in invite(opportunity, supply).iter() {
        let (latency_ns, answer, price) = bidder.profile.answer(TMAX_MS, chance.bidder(bidder.key));
        if answer == Answer::Bid {
            answers.bids.push(Bid { slot, imp: 0, price });
        }
        answers.replies.push(Reply { slot, answer, latency_ns });
    }
}

fn doors(criterion: &mut Criterion) {
    criterion.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(BODY), 32, |_| {})));
}

/// The address of this number, scattered.
fn address(number: u64, pool: u64) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | (number % pool * STRIDE % pool) as u32).into()
}

fn limiter(criterion: &mut Criterion) {
    let limit = Limit {
        requests: 3,
        window_us: u64::from(KNOWN),
        addresses_max: 4 * KNOWN as usize,
        when_full: WhenFull::Deny,
    };
    let limiter = Limiter::new(limit);
    // A microsecond each: an address comes again when the window has just passed, so that all are known and none is
    // refused.
    let mut now_us = 0;
    let mut admit = |pool| {
        now_us += 1;
        limiter.admit(address(now_us, pool), now_us)
    };
    (0..KNOWN)
        .for_each(|_| assert_eq!(admit(u64::from(KNOWN)), Verdict::Admitted, "an address asks too often"));
    criterion.bench_function("limiter_known", |bencher| bencher.iter(|| admit(u64::from(KNOWN))));

    let limiter = Limiter::new(limit);
    let mut now_us = 0;
    criterion.bench_function("limiter_new", |bencher| {
        bencher.iter(|| {
            now_us += 1;
            limiter.admit(address(now_us, 1 << 24), now_us)
        });
    });
}

fn auction(criterion: &mut Criterion) {
    let (supply, opportunity) = (supply(AuctionType::SecondPrice), opportunity());
    let chance = Chance::new(7, 42);
    criterion.bench_function("invite", |bencher| {
        bencher.iter(|| invite(black_box(&opportunity), black_box(&supply)).iter().count());
    });

    let mut answers = Answers::default();
    let mut sequence = 0;
    criterion.bench_function("draws", |bencher| {
        bencher.iter(|| {
            sequence += 1;
            ask(black_box(&opportunity), &supply, Chance::new(7, sequence), &mut answers);
            answers.bids.len()
        });
    });

    let mut clearing = Clearing { lots: vec![supply.lot(&Imp::PLAIN)], ..Clearing::default() };
    let bids: Vec<Bid> = (0..BIDDERS as u32)
        .map(|slot| Bid { slot, imp: 0, price: Cpm::from_micros(10_000 * u64::from(slot * 7 % 12 + 1)) })
        .collect();
    criterion.bench_function("clearing", |bencher| {
        bencher.iter(|| {
            clear(&mut clearing, black_box(&bids), chance);
            clearing.sales.first().copied()
        });
    });
    record(criterion, &supply, &opportunity);
}

fn record(criterion: &mut Criterion, supply: &Supply, opportunity: &Opportunity<'_>) {
    let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
    let mut written = vec![0; 4096];
    let invitations = invite(opportunity, supply);
    let mut hold = |sequence, then: &mut dyn FnMut(&Record<'_>)| {
        let chance = Chance::new(7, sequence);
        ask(opportunity, supply, chance, &mut answers);
        clearing.lots.clear();
        clearing.lots.push(supply.lot(&Imp::PLAIN));
        clear(&mut clearing, &answers.bids, chance);
        then(&Record {
            id: AuctionId { seed: 7, sequence },
            received_at_us: 1_780_000_000_000_000,
            catalogue_revision: 1,
            opportunity,
            supply,
            invitations: &invitations,
            answers: &answers,
            clearing: &clearing,
        });
    };
    let mut sequence = 0;
    criterion.bench_function("auction", |bencher| {
        bencher.iter(|| {
            sequence += 1;
            hold(sequence, &mut |record| encode(record, &mut written));
        });
    });
    hold(42, &mut |record| {
        criterion
            .bench_function("record", |bencher| bencher.iter(|| encode(black_box(record), &mut written)));
    });
}

fn encode(record: &Record<'_>, to: &mut [u8]) {
    let bytes = auction_bytes(record).expect("a record");
    write_auction(record, 512, &mut to[..bytes]);
    black_box(&to[..bytes]);
}

criterion_group!(core, doors, limiter, auction);
criterion_main!(core);
