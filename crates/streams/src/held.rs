//! Auctions of a test's own, and a journal that they are recorded in as the exchange does.

use crate::Source;
use auction::encoding::{auction_bytes, supply_bytes, write_auction, write_supply};
use auction::{
    Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Id, Imp,
    Opportunity, Profile, Record, Reply, Supply, clear, invite,
};
use journal::{Journal, Settings, Writer, record_bytes};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const SEED: u64 = 7;
/// 2026-06-07T12:00:00Z.
pub(crate) const NOON_US: u64 = 1_780_833_600_000_000;

/// A supply of these bidders, each with the country it buys in.
pub(crate) fn supply(id: &str, bidders: &[(&str, &str)]) -> Arc<Supply> {
    let bidder = |(id, country): &(&str, &str)| {
        let country = Country::from_code(country).unwrap();
        Arc::new(Bidder::new(Id::new(id).unwrap(), country, Profile::DEFAULT))
    };
    let bidders = bidders.iter().map(bidder).collect();
    Arc::new(Supply::new(Id::new(id).unwrap(), AuctionType::FirstPrice, Cpm::CENT, bidders))
}

/// The usual one: a comes from elsewhere, d is often late.
pub(crate) fn usual() -> Arc<Supply> {
    supply("s \"1\"", &[("a", "GB"), ("b", "US"), ("c", "US"), ("d", "US")])
}

/// Hands the auction of this number to `use_it`, as it is held `at_us` for imps like these.
pub(crate) fn hold<T>(
    supply: &Supply,
    number: u64,
    at_us: u64,
    imps: &[Imp],
    use_it: impl FnOnce(&Record<'_>) -> T,
) -> T {
    let opportunity = Opportunity {
        supply_id: supply.id.as_str(),
        ip: Ipv4Addr::new(10, (number >> 8) as u8, number as u8, 0).into(),
        country: Country::from_code("US").unwrap(),
        tmax_ms: 200,
        imps,
    };
    let mut draws = Chance::new(SEED, number).bidder(1);
    let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
    // The last one answers first.
    for slot in supply.slots_in(opportunity.country).rev() {
        let answer = [Answer::Bid, Answer::Bid, Answer::NoBid, Answer::Timeout][draws.below(4) as usize];
        answers.replies.push(Reply { slot, answer, latency_ns: draws.below(200_000) * 1_000 });
        if answer == Answer::Bid {
            let bid = |imp| Bid { slot, imp, price: Cpm::from_micros(1 + draws.below(1_000_000)) };
            answers.bids.extend((0..imps.len() as u32).map(bid));
        }
    }
    clearing.lots.extend(imps.iter().map(|imp| supply.lot(imp)));
    clear(&mut clearing, &answers.bids, Chance::new(SEED, number));
    use_it(&Record {
        id: AuctionId { seed: SEED, sequence: number },
        received_at_us: at_us,
        catalogue_revision: 10,
        opportunity: &opportunity,
        supply,
        invitations: &invite(&opportunity, supply),
        answers: &answers,
        clearing: &clearing,
    })
}

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) journal: Arc<Journal>,
    writers: Vec<Writer>,
    dir: std::path::PathBuf,
    supply: Arc<Supply>,
}

impl Process {
    /// With the smallest segments there are, and kept whole.
    pub(crate) fn start(dir: &Path, cores: u32) -> Self {
        let dir = dir.join("journal");
        let settings = Settings {
            segment_bytes: 64 << 10,
            segment_bytes_max: 64 << 10,
            ahead_bytes: 16 << 10,
            retain_bytes: None,
            retain_hours: None,
            ..Settings::new(&dir, cores)
        };
        let (journal, writers) = Journal::open(settings).unwrap();
        Self { journal: Arc::new(journal), writers, dir, supply: usual() }
    }

    pub(crate) fn source(&self) -> Source {
        Source { journal: Arc::clone(&self.journal), dir: self.dir.clone() }
    }

    /// Records the auction of this number, which is held so many milliseconds after noon. The supply is written before
    /// each, which no reader minds.
    pub(crate) fn record(&mut self, core: usize, number: u64) {
        let (supply, writer) = (&self.supply, &mut self.writers[core]);
        hold(supply, number, NOON_US + number * 1_000, &[Imp::PLAIN], |record| {
            let bytes = auction_bytes(record).unwrap();
            let wanted = record_bytes(supply_bytes(supply)) + record_bytes(bytes);
            let begun = Instant::now();
            while let Err(error) = writer.room(wanted) {
                assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
                std::thread::sleep(Duration::from_micros(100));
            }
            let mut room = writer.room(wanted).unwrap();
            let at = room.position();
            room.append(0, &write_supply(SEED, at.get(), supply)).unwrap();
            let back = (room.position().get() - at.get()) as u32;
            room.append_with(record.received_at_us, bytes, |to| write_auction(record, back, to)).unwrap();
        });
    }
}
