//! Recorder: one core's pen. An auction is in the journal before its answer leaves.
//!
//! * Once in each segment a supply is written, twice, before its first auction there: a segment can be read by itself,
//!   and no one damaged record takes others with it.
//! * Errors: [`Unavailable`]; then nothing of the auction is in the journal.

use auction::encoding::{auction_bytes, supply_bytes, write_auction, write_supply};
use auction::{Record, Supply};
use journal::{Offset, Room, Synced, Unavailable, Writer, record_bytes};
use reporting::Seat;
use std::ops::Range;
use std::sync::Arc;

/// What there must be room for before an auction is begun, and for each of its bidders: a reply and a bid.
const USUAL_BYTES: usize = 512;
const BIDDER_BYTES: usize = 16;

/// Writes one core's auctions down.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    seed: u64,
    /// By seat, as what and where each supply was last written. What stands before the segment does not count.
    written: Vec<Option<(Arc<Supply>, Offset)>>,
}

impl Recorder {
    /// Writes with this writer; `seed` is the process's.
    pub fn new(writer: Writer, seed: u64) -> Self {
        Self { writer, seed, written: Vec::new() }
    }

    /// Whether an auction of this supply can be expected to be recorded; None: of any.
    pub fn check(&mut self, supply: Option<(Seat, &Arc<Supply>)>) -> Result<(), Unavailable> {
        let bidders = supply.map_or(0, |(_, supply)| supply.bidders().len());
        let bytes = USUAL_BYTES + BIDDER_BYTES * bidders;
        let segment = self.writer.room(bytes)?.segment();
        match supply {
            Some((seat, supply)) if written_in(&self.written, segment, seat, supply).is_none() => {
                let terms = record_bytes(supply_bytes(supply));
                self.writer.room(2 * terms + bytes).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// To be called once in a while, so that the journal of an idle core is rotated, too.
    pub fn rest(&mut self) {
        self.writer.rest();
    }

    /// What an answer that must survive a power cut waits with.
    pub fn synced(&self) -> Synced {
        self.writer.synced()
    }

    /// Writes one auction of `supply` down. Returns where it stands: to where the next record will.
    pub fn record(
        &mut self,
        seat: Seat,
        supply: &Arc<Supply>,
        record: &Record<'_>,
    ) -> Result<Range<Offset>, Unavailable> {
        let bytes = auction_bytes(record).ok_or(Unavailable::TooLong)?;
        // One room for the question and the answer: the next may be in another segment.
        let mut room = self.writer.room(record_bytes(bytes))?;
        match written_in(&self.written, room.segment(), seat, supply) {
            Some(at) => append(&mut room, record, bytes, at),
            None => self.record_first(seat, supply, record, bytes),
        }
    }

    /// The first auction of a supply in a segment.
    #[cold]
    fn record_first(
        &mut self,
        seat: Seat,
        supply: &Arc<Supply>,
        record: &Record<'_>,
        bytes: usize,
    ) -> Result<Range<Offset>, Unavailable> {
        let mut room = self.writer.room(2 * record_bytes(supply_bytes(supply)) + record_bytes(bytes))?;
        let at = room.position();
        let terms = write_supply(self.seed, at.get(), supply);
        room.append(record.received_at_us, &terms)?;
        room.append(record.received_at_us, &terms)?;
        if self.written.len() <= seat.index() {
            self.written.resize(seat.index() + 1, None);
        }
        self.written[seat.index()] = Some((Arc::clone(supply), at));
        append(&mut room, record, bytes, at)
    }
}

/// Where the supply is written in this segment, if it is.
fn written_in(
    written: &[Option<(Arc<Supply>, Offset)>],
    segment: Offset,
    seat: Seat,
    supply: &Arc<Supply>,
) -> Option<Offset> {
    let (as_was, at) = written.get(seat.index())?.as_ref()?;
    (*at >= segment && Arc::ptr_eq(as_was, supply)).then_some(*at)
}

fn append(
    room: &mut Room<'_>,
    record: &Record<'_>,
    bytes: usize,
    supply_at: Offset,
) -> Result<Range<Offset>, Unavailable> {
    // A segment has at most 2^30 bytes.
    let supply_back = (room.position().get() - supply_at.get()) as u32;
    let write = |to: &mut [u8]| write_auction(record, supply_back, to);
    let at = room.append_with(record.received_at_us, bytes, write)?;
    Ok(at..room.position())
}

#[cfg(test)]
mod tests {
    use super::*;
    use auction::{
        Answer, Answers, AuctionId, AuctionType, Bid, Bidder, Chance, Clearing, Country, Cpm, Id, Imp,
        Opportunity, Profile, Reply, clear, invite,
    };
    use journal::{Begin, Journal, Settings};
    use reporting::{Auctions, Event, Statistics};
    use std::net::Ipv4Addr;

    #[test]
    fn the_largest_supply_with_the_longest_ids_is_recorded_with_a_bid_of_everybody() {
        let us = Country::from_code("US").unwrap();
        let id = |i: usize| Id::new(&format!("{i:04}{}", "\u{10ffff}".repeat(124))).unwrap();
        let profile = Profile { no_bid_ppm: 1, ..Profile::DEFAULT };
        let bidders = (0..Supply::BIDDERS_MAX).map(|i| Arc::new(Bidder::new(id(i), us, profile))).collect();
        let supply = Arc::new(Supply::new(id(9999), AuctionType::SecondPrice, Cpm::ZERO, bidders));
        let opportunity = Opportunity {
            supply_id: supply.id.as_str(),
            ip: Ipv4Addr::LOCALHOST.into(),
            country: us,
            tmax_ms: 200,
            imps: &[Imp::PLAIN],
        };
        let slots = 0..Supply::BIDDERS_MAX as u32;
        let reply = |slot| Reply { slot, answer: Answer::Bid, latency_ns: 1_000 };
        let bid = |slot| Bid { slot, imp: 0, price: Cpm::CENT };
        let answers = Answers { replies: slots.clone().map(reply).collect(), bids: slots.map(bid).collect() };
        let mut clearing = Clearing { lots: vec![supply.lot(&Imp::PLAIN)], ..Clearing::default() };
        clear(&mut clearing, &answers.bids, Chance::new(7, 0));
        let record = Record {
            id: AuctionId { seed: 7, sequence: 0 },
            received_at_us: 1,
            catalogue_revision: 2,
            opportunity: &opportunity,
            supply: &supply,
            invitations: &invite(&opportunity, &supply),
            answers: &answers,
            clearing: &clearing,
        };

        let dir = tempfile::tempdir().unwrap();
        let (_journal, mut writers) = Journal::open(Settings::new(dir.path(), 1)).unwrap();
        let mut recorder = Recorder::new(writers.remove(0), 7);
        let seat = Statistics::new(1).tally(0).seat(&supply.id);
        for _ in 0..3 {
            // Usually less is prepared; once it was asked for it is.
            let begun = std::time::Instant::now();
            while let Err(refused) = recorder.record(seat, &supply, &record) {
                assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{refused}");
                std::thread::yield_now();
            }
        }
        let mut auctions = Auctions::open(dir.path(), 0, Begin::Oldest).unwrap();
        let mut read = 0;
        let mut check = |event: Event<'_>| {
            let Event::Auction { supply: found, record: found_record, .. } = event else {
                panic!("{event:?}")
            };
            assert!(**found == *supply && *found_record.answers.bids == *answers.bids);
            read += 1;
        };
        while auctions.next(&mut check).unwrap().is_some() {}
        assert_eq!(read, 3);
    }

    /// Two catalogues by turns, over many segments: an auction says where its supply stands, as it was, in its own segment.
    #[test]
    fn an_auctions_supply_stands_in_its_segment_as_it_was() {
        let us = Country::from_code("US").unwrap();
        let id = |text: &str| Id::new(text).unwrap();
        let supply = |bidder: &str| {
            let bidders = vec![Arc::new(Bidder::new(id(bidder), us, Profile::DEFAULT))];
            Arc::new(Supply::new(id("s"), AuctionType::FirstPrice, Cpm::ZERO, bidders))
        };
        let (supplies, imps) = ([supply("a"), supply("b")], [Imp::PLAIN]);
        let opportunity = Opportunity {
            supply_id: "s",
            ip: Ipv4Addr::LOCALHOST.into(),
            country: us,
            tmax_ms: 200,
            imps: &imps,
        };
        let dir = tempfile::tempdir().unwrap();
        let small = Settings {
            segment_bytes: 64 << 10,
            segment_bytes_max: 128 << 10,
            ahead_bytes: 32 << 10,
            ..Settings::new(dir.path(), 1)
        };
        let (_journal, mut writers) = Journal::open(small).unwrap();
        let mut recorder = Recorder::new(writers.remove(0), 7);
        let seat = Statistics::new(1).tally(0).seat(&supplies[0].id);
        // Each is in force for a while, and comes back within a segment.
        let in_force = |sequence: u64| &supplies[(sequence / 20 % 2) as usize];
        let begun = std::time::Instant::now();
        for sequence in 0..5_000 {
            let supply = in_force(sequence);
            let (mut answers, mut clearing) = (Answers::default(), Clearing::default());
            answers.replies.push(Reply { slot: 0, answer: Answer::Bid, latency_ns: 0 });
            answers.bids.push(Bid { slot: 0, imp: 0, price: Cpm::CENT });
            clearing.lots.push(supply.lot(&Imp::PLAIN));
            clear(&mut clearing, &answers.bids, Chance::new(7, sequence));
            let record = Record {
                id: AuctionId { seed: 7, sequence },
                received_at_us: 1,
                catalogue_revision: 2,
                opportunity: &opportunity,
                supply,
                invitations: &invite(&opportunity, supply),
                answers: &answers,
                clearing: &clearing,
            };
            while let Err(refused) = recorder.record(seat, supply, &record) {
                assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{refused}");
                std::thread::yield_now();
            }
        }
        let mut reader = journal::Reader::open(dir.path(), 0, Begin::Oldest).unwrap();
        let mut bases = std::collections::BTreeSet::new();
        while let Some(item) = reader.next().unwrap() {
            let journal::Item::Record { offset, segment, payload, .. } = item else { panic!("{item:?}") };
            bases.insert(segment);
            if auction::encoding::Kind::of(payload) == auction::encoding::Kind::Auction {
                let at = auction::encoding::supply_at(offset.get(), payload).unwrap();
                assert!(at >= segment.get(), "{at} is before {segment}");
            }
        }
        assert!(bases.len() > 5, "{} segments", bases.len());
        let mut auctions = Auctions::open(dir.path(), 0, Begin::Oldest).unwrap();
        let mut read = 0;
        let mut check = |event: Event<'_>| {
            let Event::Auction { supply, record, .. } = event else { panic!("{event:?}") };
            assert_eq!((record.id.sequence, &**supply), (read, &**in_force(read)));
            read += 1;
        };
        while auctions.next(&mut check).unwrap().is_some() {}
        assert_eq!(read, 5_000);
    }
}
