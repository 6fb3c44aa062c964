//! What was written is read back, by this version and by one that is older than the writer.

use super::*;
use crate::{Bidder, Chance, Id, Invitations, Profile, Shape, clear};
use proptest::prelude::*;
use std::sync::Arc;

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(low, high, step)| Shape::Uniform {
            low,
            high,
            step
        }),
        (1..u64::MAX, 0..=10_000_000u64, any::<u64>())
            .prop_map(|(median, sigma_ppm, step)| Shape::Lognormal { median, sigma_ppm, step }),
        any::<u64>().prop_map(Shape::Constant),
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    let given = (proptest::option::of(shape()), 0..=1_000_000u32, shape())
        .prop_map(|(latency_ns, no_bid_ppm, price)| Profile { latency_ns, no_bid_ppm, price });
    prop_oneof![Just(Profile::DEFAULT), given]
}

fn id() -> impl Strategy<Value = Id> {
    "[^\\p{Cc}]{1,128}".prop_filter_map("an id", |text| Id::new(&text).ok())
}

fn rule() -> impl Strategy<Value = AuctionType> {
    prop_oneof![Just(AuctionType::FirstPrice), Just(AuctionType::SecondPrice)]
}

fn a_supply() -> impl Strategy<Value = Supply> {
    let bidder = (id(), 0..Country::COUNT, profile()).prop_map(|(id, country, profile)| {
        Arc::new(Bidder::new(id, Country::from_index(country).unwrap(), profile))
    });
    let floor = (0..=Cpm::MAX.micros()).prop_map(Cpm::from_micros);
    (id(), rule(), floor, proptest::collection::vec(bidder, 0..12))
        .prop_map(|(id, rule, floor, bidders)| Supply::new(id, rule, floor, bidders))
}

/// Any answers to any opportunity of a supply, cleared.
#[derive(Debug, Clone)]
struct Held {
    ip: IpAddr,
    country: Country,
    tmax_ms: u32,
    imps: Vec<Imp>,
    answers: Answers,
    clearing: Clearing,
}

fn held(supply: &Supply) -> impl Strategy<Value = Held> + use<> {
    let slots = supply.bidders().len() as u32;
    let imp = (0..100u64, proptest::option::of(rule()))
        .prop_map(|(floor, auction)| Imp { bid_floor: Cpm::from_micros(floor), auction });
    let imps = proptest::collection::vec(imp, 0..3);
    let answers = (proptest::collection::vec((0..3u16, any::<u64>()), slots as usize), any::<u64>());
    let bids = proptest::collection::vec((0..slots.max(1), 0..3u32, 0..200u64), 0..(slots * 2 + 1) as usize);
    let supply = Supply::new(supply.id.clone(), supply.auction, supply.bid_floor, supply.bidders().to_vec());
    (any::<IpAddr>(), 0..Country::COUNT, any::<u32>(), imps, answers, bids).prop_map(
        move |(ip, country, tmax_ms, imps, (replies, seed), bids)| {
            let replies = (0..).zip(replies).map(|(slot, (code, latency_ns))| Reply {
                slot,
                answer: answer(code + 1).unwrap(),
                latency_ns: latency_ns % 5_000_000_000,
            });
            let bids = bids.into_iter().filter(|_| slots > 0);
            let bids = bids.map(|(slot, imp, micros)| Bid { slot, imp, price: Cpm::from_micros(micros) });
            let answers = Answers { replies: replies.collect(), bids: bids.collect() };
            let lots = imps.iter().map(|imp| supply.lot(imp)).collect();
            let mut clearing = Clearing { lots, ..Clearing::default() };
            clear(&mut clearing, &answers.bids, Chance::new(seed, 0));
            let country = Country::from_index(country).unwrap();
            Held { ip, country, tmax_ms, imps, answers, clearing }
        },
    )
}

impl Held {
    fn with<T>(&self, supply: &Supply, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let opportunity = Opportunity {
            supply_id: supply.id.as_str(),
            ip: self.ip,
            country: self.country,
            tmax_ms: self.tmax_ms,
            imps: &self.imps,
        };
        let invitations: Invitations<'_> = invite(&opportunity, supply);
        use_it(&Record {
            id: AuctionId { seed: 7, sequence: 1 << 40 },
            received_at_us: 1_700,
            catalogue_revision: u64::MAX - 1,
            opportunity: &opportunity,
            supply,
            invitations: &invitations,
            answers: &self.answers,
            clearing: &self.clearing,
        })
    }

    fn written(&self, supply: &Supply) -> Vec<u8> {
        self.with(supply, |record| {
            let mut bytes = vec![0xAB; auction_bytes(record).unwrap()];
            write_auction(record, 360, &mut bytes);
            bytes
        })
    }

    fn check(&self, supply: &Supply, read: &Record<'_>) {
        let mut answers = self.answers.clone();
        for reply in &mut answers.replies {
            reply.latency_ns = reply.latency_ns.div_ceil(1_000).min(u64::from(u32::MAX)) * 1_000;
        }
        assert_eq!(read.answers.replies, answers.replies);
        assert_eq!(read.answers.bids, answers.bids);
        assert_eq!(read.clearing.fates, self.clearing.fates);
        assert_eq!(read.clearing.sales, self.clearing.sales);
        assert_eq!(read.clearing.lots, self.clearing.lots);
        let opportunity = read.opportunity;
        assert_eq!((opportunity.country, opportunity.tmax_ms), (self.country, self.tmax_ms));
        assert_eq!((opportunity.ip, opportunity.imps), (truncated(self.ip), &*self.imps));
        assert_eq!((read.id, read.received_at_us), (AuctionId { seed: 7, sequence: 1 << 40 }, 1_700));
        assert_eq!((read.catalogue_revision, read.supply), (u64::MAX - 1, supply));
    }
}

fn pair() -> impl Strategy<Value = (Arc<Supply>, Held)> {
    a_supply().prop_flat_map(|supply| {
        let held = held(&supply);
        (Just(Arc::new(supply)), held)
    })
}

proptest! {
    #[test]
    fn an_auction_and_its_supply_read_back_as_they_were((supply, held) in pair()) {
        let written = write_supply(7, 640, &supply);
        prop_assert_eq!(supply_bytes(&supply), written.len());
        let terms = read_supply(&written).unwrap();
        prop_assert_eq!((terms.seed, terms.at, &terms.supply), (7, 640, &supply));
        let written = held.written(&supply);
        prop_assert_eq!(Kind::of(&written), Kind::Auction);
        prop_assert_eq!(supply_at(1_000, &written), Ok(640));
        Papers::default().read_auction(&written, 1_700, &terms, |record| held.check(&supply, record)).unwrap();
    }

    /// A later version lengthens the head and every entry, and appends.
    #[test]
    fn what_a_later_version_adds_is_passed_over((supply, held) in pair(), more in 1u8..9) {
        let written = held.written(&supply);
        let longer = lengthened(&written, more);
        let mut papers = Papers::default();
        let terms = Terms { seed: 7, at: 640, supply: Arc::clone(&supply) };
        papers.read_auction(&longer, 1_700, &terms, |record| held.check(&supply, record)).unwrap();
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        (supply, held) in pair(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let terms = Terms { seed: 0, at: 0, supply: Arc::clone(&supply) };
        for mut bytes in [held.written(&supply), write_supply(7, 640, &supply)] {
            let changed = at.index(bytes.len());
            bytes[changed] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = read_supply(&bytes);
            let _ = Papers::default().read_auction(&bytes, 0, &terms, |_| ());
        }
    }
}

fn lengthened(written: &[u8], more: u8) -> Vec<u8> {
    let counts = [6, 8, 10].map(|at| usize::from(u16_at(written, at)));
    let mut longer = written[..HEAD_BYTES].to_vec();
    longer[2..6].iter_mut().for_each(|length| *length += more);
    let new = vec![0xEE; usize::from(more)];
    longer.extend(&new);
    let mut rest = Take(&written[HEAD_BYTES..]);
    for (length, count) in [IMP_BYTES, REPLY_BYTES, BID_BYTES].into_iter().zip(counts) {
        for entry in rest.entries(length, count).unwrap() {
            longer.extend(entry);
            longer.extend(&new);
        }
    }
    longer.extend(&new);
    longer
}

#[test]
fn another_version_is_named_and_another_kind_passed_over() {
    let supply = Supply::new(Id::new("s").unwrap(), AuctionType::FirstPrice, Cpm::ZERO, vec![]);
    let mut bytes = write_supply(7, 640, &supply);
    bytes[1] = 2;
    assert_eq!(read_supply(&bytes), Err(Fault::Newer(2)));
    assert_eq!(Kind::of(&[9, 1]), Kind::Other(9));
    assert_eq!(Kind::of(&[]), Kind::Other(0));
}
