//! Chaos: the program is killed, its disk fills up, fails and lies. What was answered is in the books all the same.
//!
//! * Each request has an address of its own, of which the journal keeps enough to know its record again. So a
//!   [`Ledger`] of what was answered is compared with the [`Book`] of what was recorded one by one: answered ⊆ recorded
//!   ⊆ sent, none twice, each with the winner and the price that the client was told; and /stat is their plain sum.
//!   Guests, who have IPv4 addresses, are only counted.
//! * Short by default; as long as `BOURSE_TEST_CHAOS_SECONDS` says where it is set, and with as many answers between two
//!   kills as `BOURSE_TEST_CHAOS_BURST` says, where a stream is followed.

mod clickhouse;
mod cluster;
mod crash_points;
mod disk;
mod express;
mod flips;
#[cfg(feature = "kafka")]
mod kafka;
mod kill;
mod lake;
mod limit;
mod redis;
mod rolling;
mod streams;
#[path = "../../../../journal/tests/it/tiny.rs"]
mod tiny;

use crate::client::{Answer, Connection, JSON, bid_body, micros};
use crate::server::Home;
use auction::{Id, Record};
use journal::Begin;
use reporting::{Auctions, BidderTotals, Event, SupplyTotals};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// How long a test goes on; None: only as long as it must.
pub(crate) fn time() -> Option<Duration> {
    let seconds = std::env::var("BOURSE_TEST_CHAOS_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("BOURSE_TEST_CHAOS_SECONDS is a whole number")))
}

/// How many answers at most there are between two kills: `few`, or as many as `cargo xtask chaos --burst` says.
fn burst(few: usize) -> usize {
    let answers = std::env::var("BOURSE_TEST_CHAOS_BURST").ok();
    answers.map_or(few, |answers| answers.parse().expect("BOURSE_TEST_CHAOS_BURST is a whole number"))
}

/// Draws numbers below what it is asked with, by a seed that it prints.
fn dice() -> impl FnMut(usize) -> usize {
    let mut seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as usize | 1;
    println!("seed {seed}");
    move |n| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    }
}

/// What to ask for: so that a segment of 1 MiB is soon full, and every fate is met.
pub(crate) const MIXED: &[&str] = &["wide", "narrow", "wide", "wide", "nobody"];

/// Supplies whose auctions have all fates. A record of `wide` takes 16 kB, of `middle` less than 1 kB.
pub(crate) fn catalogue() -> Value {
    let bulk = json!({"country": "US", "simulation": {"no_bid_probability": 0, "price": {"constant": 0.01},
        "latency_ms": {"constant": 1}}});
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let (bulky, drawn) = (names("bulk", 1_000), names("drawn", 4));
    let mut bidders: Map<String, Value> = bulky.iter().map(|id| (id.clone(), bulk.clone())).collect();
    bidders.extend(drawn.iter().map(|id| (id.clone(), json!({"country": "US"}))));
    bidders.insert("abroad".to_owned(), json!({"country": "GB"}));
    let (wide, middle) = ([&bulky[..], &drawn].concat(), [&bulky[..40], &drawn].concat());
    let narrow = [&drawn[..], &["abroad".to_owned()]].concat();
    json!({"bidders": bidders, "supplies": {"wide": wide, "middle": middle, "nobody": ["abroad"],
        "narrow": {"bidders": narrow, "auction": "second_price", "bid_floor": 0.2}}})
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The winner, and its price in micros.
    Sold(String, u64),
    /// An auction was held and nobody bought.
    Unsold,
    /// No auction was held; the code.
    Refused(String),
    /// The connection broke before an answer: recorded or not.
    Open,
}

impl Outcome {
    /// What the record of an auction says.
    pub(crate) fn of_record(record: &Record<'_>) -> Self {
        match record.clearing.sales[..] {
            [Ok(sale)] => {
                let winner = record.supply.bidders()[sale.slot as usize].id.to_string();
                Self::Sold(winner, sale.price.micros())
            }
            [Err(_)] => Self::Unsold,
            _ => panic!("one imp was offered: {record:?}"),
        }
    }

    /// Whether the client was told of an auction.
    const fn is_held(&self) -> bool {
        matches!(self, Self::Sold(..) | Self::Unsold)
    }

    fn of(answer: &Answer) -> Self {
        match answer.sale() {
            Some((winner, price)) => Self::Sold(winner, price),
            None => match answer.code().as_str() {
                "no_bids" | "no_eligible_bidders" => Self::Unsold,
                code => Self::Refused(code.to_owned()),
            },
        }
    }
}

/// A request: for which supply, and what became of it.
#[derive(Debug, Clone)]
struct Line {
    supply: &'static str,
    outcome: Outcome,
}

/// A client that remembers everything.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Mutex<BTreeMap<u32, Line>>,
    next: AtomicU32,
    held: AtomicUsize,
    /// A refusal, too, may have been recorded: with `journal.sync_ms = 0` a record whose sync failed is not taken back.
    refusals_may_be_recorded: bool,
}

/// The address of the request of this number; no other has its /48.
fn address(number: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2a00 << 112 | u128::from(number) << 80 | 1).into()
}

/// The number of this address; None of a guest's, which is any of IPv4.
fn number(address: IpAddr) -> Option<u32> {
    let IpAddr::V6(address) = address else { return None };
    assert_eq!(address.segments()[0], 0x2a00, "{address} was never sent");
    Some((address.to_bits() >> 80) as u32)
}

impl Ledger {
    /// For a server that answers when a record is on disk, while its disk fails.
    pub(crate) fn of_failing_syncs() -> Self {
        Self { refusals_may_be_recorded: true, ..Self::default() }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<u32, Line>> {
        self.lines.lock().unwrap()
    }

    /// How many auctions were answered.
    pub(crate) fn answered(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Asks for an auction; None if the connection ended without an answer.
    pub(crate) fn ask(&self, connection: &mut Connection, supply: &'static str) -> Option<Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lines().insert(number, Line { supply, outcome: Outcome::Open });
        let body = bid_body(supply, &address(number).to_string());
        let answer = connection.try_request("POST", "/bid", JSON, body.as_bytes())?;
        let outcome = Outcome::of(&answer);
        self.held.fetch_add(usize::from(outcome.is_held()), Ordering::Relaxed);
        self.lines().insert(number, Line { supply, outcome });
        Some(answer)
    }

    /// So many clients ask at once, each so often or until the server is gone, for these supplies in turn.
    pub(crate) fn load(&self, server: SocketAddr, clients: usize, each: usize, supplies: &[&'static str]) {
        let client = || {
            let Ok(mut connection) = Connection::try_open(server) else { return };
            for supply in supplies.iter().cycle().take(each) {
                if self.ask(&mut connection, supply).is_none() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| (0..clients).for_each(|_| _ = scope.spawn(client)));
    }

    /// Compares with what is recorded under these data directories, which has all that ever was, and with a /stat.
    #[track_caller]
    pub(crate) fn check(&self, data_dirs: &[&Path], stat: &Answer) {
        self.check_book(&Book::read(data_dirs), stat);
    }

    /// The same, with what somebody else's book has.
    #[track_caller]
    fn check_book(&self, book: &Book, stat: &Answer) {
        assert_eq!(book.faults, Vec::<String>::new());
        self.compare(book);
        for (number, line) in self.lines().iter() {
            assert!(
                !line.outcome.is_held() || book.auctions.contains_key(number),
                "answered, not recorded: {line:?}"
            );
        }
        assert_eq!(Stat::parse(stat.text()), book.stat, "what is counted is what is recorded");
    }

    /// The same where retention has removed old segments: what was under way at the last kill is still there.
    #[track_caller]
    pub(crate) fn check_retained(&self, data_dirs: &[&Path], stat: &Answer) {
        let book = Book::read(data_dirs);
        self.compare(&book);
        let mut sales: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut held = 0;
        for (number, line) in self.lines().iter_mut() {
            if line.outcome == Outcome::Open
                && let Some((_, outcome)) = book.auctions.get(number)
            {
                // Known from now on, also once its segment is removed.
                line.outcome = outcome.clone();
            }
            held += u64::from(line.outcome.is_held());
            if let Outcome::Sold(winner, price) = &line.outcome {
                let (wins, revenue) = sales.entry(winner.clone()).or_default();
                (*wins, *revenue) = (*wins + 1, *revenue + price);
            }
        }
        let stat = Stat::parse(stat.text());
        let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (id, bidder) in stat.supplies.values().flat_map(|supply| &supply.bidders) {
            let (wins, revenue) = counted.entry(id.clone()).or_default();
            (*wins, *revenue) = (*wins + bidder.wins, *revenue + bidder.revenue_micros);
        }
        counted.retain(|_, sums| *sums != (0, 0));
        assert_eq!(counted, sales);
        assert_eq!(stat.supplies.values().map(|supply| supply.total_reqs).sum::<u64>(), held);
    }

    /// Whatever is recorded was sent, and was not answered otherwise.
    #[track_caller]
    fn compare(&self, book: &Book) {
        let lines = self.lines();
        for (number, (supply, recorded)) in &book.auctions {
            let line = lines.get(number).unwrap_or_else(|| panic!("{number} was never sent"));
            assert_eq!(supply, line.supply);
            match &line.outcome {
                Outcome::Open => {}
                Outcome::Refused(code) => {
                    assert!(self.refusals_may_be_recorded, "{number} was refused, {code}, and is recorded");
                    assert_eq!(code, "journal_unavailable");
                }
                answered => assert_eq!(answered, recorded, "{number}"),
            }
        }
    }
}

/// What journals hold.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By number of the request: for which supply, and what came of it.
    auctions: BTreeMap<u32, (String, Outcome)>,
    /// What /stat should say.
    pub(crate) stat: Stat,
    /// Damage, gaps and what could not be read.
    pub(crate) faults: Vec<String>,
}

impl Book {
    /// Reads everything; fails if a request was recorded twice.
    #[track_caller]
    pub(crate) fn read(data_dirs: &[&Path]) -> Self {
        let mut book = Self::default();
        for dir in data_dirs.iter().map(|dir| dir.join("journal")) {
            for core in journal::cores(&dir).unwrap() {
                let mut auctions = Auctions::open(&dir, core, Begin::Oldest).unwrap();
                while auctions.next(|event| book.note(&event)).unwrap().is_some() {}
            }
        }
        book
    }

    fn note(&mut self, event: &Event<'_>) {
        let Event::Auction { record, .. } = event else { return self.faults.push(format!("{event:?}")) };
        let outcome = Outcome::of_record(record);
        self.stat.add(record, &outcome);
        let Some(number) = number(record.opportunity.ip) else { return };
        let twice = self.auctions.insert(number, (record.supply.id.to_string(), outcome));
        assert!(twice.is_none(), "{number} is recorded twice: {twice:?}");
    }
}

/// What one bidder did, in the words of /stat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BidderStat {
    wins: u64,
    revenue_micros: u64,
    no_bids: u64,
    timeouts: u64,
}

/// What one supply did; bidders that did nothing are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SupplyStat {
    total_reqs: u64,
    by_country: BTreeMap<String, u64>,
    bidders: BTreeMap<String, BidderStat>,
}

/// A /stat, by supply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    supplies: BTreeMap<String, SupplyStat>,
}

impl Stat {
    /// Reads the page; revenue from its text, exact to the micro.
    pub(crate) fn parse(page: &str) -> Self {
        type Members = BTreeMap<String, Box<RawValue>>;
        let members = |raw: &RawValue| serde_json::from_str::<Members>(raw.get()).expect("an object");
        let bidder = |raw: &RawValue| {
            let members = members(raw);
            let number = |of: &str| members[of].get().parse().expect("a whole number");
            BidderStat {
                wins: number("wins"),
                revenue_micros: micros(members["total_revenue"].get()),
                no_bids: number("no_bids"),
                timeouts: number("timeouts"),
            }
        };
        let supply = |raw: &RawValue| {
            let of = members(raw);
            let bidders = members(&of["bidders"]).into_iter().map(|(id, raw)| (id, bidder(&raw)));
            SupplyStat {
                total_reqs: of["total_reqs"].get().parse().expect("a whole number"),
                by_country: serde_json::from_str(of["reqs_per_country"].get()).expect("whole numbers"),
                bidders: bidders.filter(|(_, did)| *did != BidderStat::default()).collect(),
            }
        };
        let page: Members = serde_json::from_str(page).expect("an object");
        Self { supplies: page.into_iter().map(|(id, raw)| (id, supply(&raw))).collect() }
    }

    /// What the hashes in Redis say of these supplies.
    pub(crate) fn in_redis(supplies: &[&str], hgetall: impl Fn(&str) -> BTreeMap<String, String>) -> Self {
        let mut stat = Self::default();
        for supply in supplies {
            let sums = stat.supplies.entry((*supply).to_owned()).or_default();
            for (field, value) in hgetall(&format!("stats:{supply}")) {
                let number = || value.parse().expect("a whole number");
                if field == "total_reqs" {
                    sums.total_reqs = number();
                } else if let Some(country) = field.strip_prefix("country:") {
                    sums.by_country.insert(country.to_owned(), number());
                } else if let Some((id, of)) =
                    field.strip_prefix("bidder:").and_then(|rest| rest.rsplit_once(':'))
                {
                    let bidder = sums.bidders.entry(id.to_owned()).or_default();
                    match of {
                        "wins" => bidder.wins = number(),
                        "revenue_micros" => bidder.revenue_micros = number(),
                        "no_bids" => bidder.no_bids = number(),
                        "timeouts" => bidder.timeouts = number(),
                        other => panic!("{other} is no field"),
                    }
                }
            }
            sums.bidders.retain(|_, did| *did != BidderStat::default());
        }
        stat
    }

    /// Adds what another store says of a supply's requests from a country.
    pub(crate) fn requests(&mut self, supply: &str, country: &str, n: u64) {
        let supply = self.supplies.entry(supply.to_owned()).or_default();
        supply.total_reqs += n;
        *supply.by_country.entry(country.to_owned()).or_default() += n;
    }

    /// Adds what it says of one of the supply's bidders: wins, revenue in micros, no-bids, timeouts.
    pub(crate) fn bidder(&mut self, supply: &str, id: &str, counts: [u64; 4]) {
        let supply = self.supplies.entry(supply.to_owned()).or_default();
        if counts != [0; 4] {
            let bidder = supply.bidders.entry(id.to_owned()).or_default();
            let [wins, revenue_micros, no_bids, timeouts] = counts;
            bidder.wins += wins;
            bidder.revenue_micros += revenue_micros;
            bidder.no_bids += no_bids;
            bidder.timeouts += timeouts;
        }
    }

    /// What was counted, without a server.
    pub(crate) fn of(report: &BTreeMap<Id, SupplyTotals>) -> Self {
        let bidder = |totals: &BidderTotals| BidderStat {
            wins: totals.wins,
            revenue_micros: totals.revenue.micros(),
            no_bids: totals.no_bids,
            timeouts: totals.timeouts,
        };
        let supply = |totals: &SupplyTotals| {
            let bidders = totals.bidders.iter().map(|(id, totals)| (id.to_string(), bidder(totals)));
            SupplyStat {
                total_reqs: totals.total_reqs,
                by_country: totals.reqs_per_country.iter().map(|(c, n)| (c.to_string(), *n)).collect(),
                bidders: bidders.filter(|(_, did)| *did != BidderStat::default()).collect(),
            }
        };
        Self { supplies: report.iter().map(|(id, totals)| (id.to_string(), supply(totals))).collect() }
    }

    /// Adds an auction.
    pub(crate) fn add(&mut self, record: &Record<'_>, outcome: &Outcome) {
        let supply = self.supplies.entry(record.supply.id.to_string()).or_default();
        supply.total_reqs += 1;
        *supply.by_country.entry(record.opportunity.country.to_string()).or_default() += 1;
        for reply in &record.answers.replies {
            let id = record.supply.bidders()[reply.slot as usize].id.to_string();
            match reply.answer {
                auction::Answer::Bid => {}
                auction::Answer::NoBid => supply.bidders.entry(id).or_default().no_bids += 1,
                auction::Answer::Timeout => supply.bidders.entry(id).or_default().timeouts += 1,
            }
        }
        if let Outcome::Sold(winner, price) = outcome {
            let winner = supply.bidders.entry(winner.clone()).or_default();
            winner.wins += 1;
            winner.revenue_micros += price;
        }
    }
}

/// A home with the catalogue of another, so that nobody waits for it to be loaded again.
pub(crate) fn furnished_as(other: &Home) -> Home {
    let home = Home::empty();
    std::fs::create_dir(home.data_dir()).unwrap();
    let file = |home: &Home| home.data_dir().join("catalogue.sqlite");
    std::fs::copy(file(other), file(&home)).unwrap();
    home
}
