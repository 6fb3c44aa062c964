//! Limiter: at most `requests` in any rolling window, per address, exact under any concurrency.
//!
//! * Rule: a request passes if fewer than `requests` passed in the last `window` for its address. A refused request is
//!   not counted, so whoever waits as long as told gets through.
//! * Addresses: an IPv4-mapped IPv6 address is its IPv4 address; IPv6 is counted by /64.
//! * Time: microseconds since the process started, as an argument; it never runs backwards for an address.
//! * Memory: one slot of 8 + 8 × `requests` bytes an address in tables kept 70% to 88% full: at most 46 bytes for the
//!   default of 3. Addresses whose window has passed are dropped when room is needed, and by [`Limiter::sweep`].
//! * Bound: `addresses_max`, kept per shard; what happens to a new address beyond it is [`WhenFull`].
//! * Sharing: 1,024 shards, each behind a lock that is held for some tens of nanoseconds.

pub mod shared;

use reporting::prefetch::prefetch;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 1024;

/// What happens to an address that finds the limiter full of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is turned away: the limit stays exact.
    Deny,
    /// It passes uncounted: the exchange stays open.
    Allow,
}

/// What the limiter is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many requests may pass in a window, from 1.
    pub requests: u32,
    /// The window, in microseconds.
    pub window_us: u64,
    /// How many addresses are remembered.
    pub addresses_max: usize,
    /// What happens beyond them.
    pub when_full: WhenFull,
}

impl Limit {
    const fn addresses_max_per_shard(&self) -> usize {
        self.addresses_max.div_ceil(SHARDS)
    }
}

/// The limiter's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Admitted,
    /// The address has had its requests; the next one passes after this many microseconds.
    Limited {
        /// Microseconds to wait.
        retry_after_us: u64,
    },
    /// No room to remember the address; there will be after this many microseconds.
    Full {
        /// Microseconds to wait.
        retry_after_us: u64,
    },
}

/// A rolling-window limiter.
#[derive(Debug)]
pub struct Limiter {
    limit: Limit,
    shards: Box<[Shard]>,
    /// Keyed at random, so that nobody outside can choose addresses that collide.
    hasher: foldhash::quality::RandomState,
    full: AtomicU64,
}

/// On a cache line of its own: neighbours are locked by other cores.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Table>);

impl Limiter {
    /// A limiter that has seen nobody.
    pub fn new(limit: Limit) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { limit, shards, hasher: foldhash::quality::RandomState::default(), full: AtomicU64::new(0) }
    }

    /// What it is set to.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether a request of `ip` at `now_us` may go on.
    pub fn admit(&self, ip: IpAddr, now_us: u64) -> Verdict {
        self.decide(self.place(ip), now_us)
    }

    /// Begins to fetch what is remembered of `ip`: among a million addresses that takes as long as an auction. Where
    /// another core is at the same shard it is not worth a wait.
    pub fn knock(&self, ip: IpAddr) -> Knock {
        let knock = self.place(ip);
        if let Ok(table) = self.shards[knock.shard()].0.try_lock() {
            table.prefetch(&self.limit, knock.hash);
        }
        knock
    }

    fn place(&self, ip: IpAddr) -> Knock {
        let address = Address::of(ip);
        Knock { address, hash: self.hasher.hash_one(address) }
    }

    /// As [`Limiter::admit`], for who has knocked.
    pub fn decide(&self, knock: Knock, now_us: u64) -> Verdict {
        let Knock { address, hash } = knock;
        let rehash = |prefix, v4| self.hasher.hash_one(Address { prefix, v4 });
        let mut table = self.lock(knock.shard());
        let verdict = table.admit(&self.limit, address, hash, self.clock_us(now_us), rehash);
        drop(table);
        match verdict {
            Verdict::Full { .. } => {
                self.full.fetch_add(1, Ordering::Relaxed);
                if self.limit.when_full == WhenFull::Allow { Verdict::Admitted } else { verdict }
            }
            _ => verdict,
        }
    }

    /// If this address has had its requests: how many microseconds until the next one passes. Nothing is counted.
    pub fn limited(&self, ip: IpAddr, now_us: u64) -> Option<u64> {
        let knock = self.place(ip);
        let now_us = self.clock_us(now_us);
        self.lock(knock.shard()).limited(&self.limit, knock.address, knock.hash, now_us)
    }

    /// Remembers that somebody else refused this address: it is [`Limiter::limited`] for so long, and what passed here
    /// counts on. Without room for another address it is not remembered.
    pub fn refuse(&self, ip: IpAddr, now_us: u64, retry_after_us: u64) {
        let knock = self.place(ip);
        let until_us = self.clock_us(now_us) + retry_after_us.min(self.limit.window_us);
        let rehash = |prefix, v4| self.hasher.hash_one(Address { prefix, v4 });
        let mut table = self.lock(knock.shard());
        table.refuse(&self.limit, knock.address, knock.hash, self.clock_us(now_us), until_us, rehash);
    }

    /// How long ago, in microseconds, each request of this address in the window at hand passed, the latest first.
    pub fn passed(&self, ip: IpAddr, now_us: u64) -> Vec<u64> {
        let knock = self.place(ip);
        let now_us = self.clock_us(now_us);
        self.lock(knock.shard()).passed(&self.limit, knock.address, knock.hash, now_us)
    }

    /// Forgets what passed of this address: it has all its requests again.
    pub fn forget(&self, ip: IpAddr) {
        let knock = self.place(ip);
        self.lock(knock.shard()).forget(&self.limit, knock.address, knock.hash);
    }

    /// One window later, so that a time one window before now is none before the start.
    const fn clock_us(&self, now_us: u64) -> u64 {
        now_us + self.limit.window_us
    }

    /// Gives the memory of addresses whose window has passed back, in one shard; call it with every number in turn.
    pub fn sweep(&self, turn: usize, now_us: u64) {
        self.lock(turn % SHARDS).shrink(&self.limit, self.clock_us(now_us), |prefix, v4| {
            self.hasher.hash_one(Address { prefix, v4 })
        });
    }

    /// How many turns of [`Limiter::sweep`] visit every shard.
    pub const SWEEP_TURNS: usize = SHARDS;

    /// How many addresses are remembered, those included whose window has passed and who were not swept yet.
    pub fn addresses(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).used).sum()
    }

    /// How many requests found no room for their address.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Table> {
        self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address on its way through the limiter.
#[derive(Debug, Clone, Copy)]
pub struct Knock {
    address: Address,
    hash: u64,
}

impl Knock {
    /// The top ten bits choose it.
    const fn shard(self) -> usize {
        (self.hash >> 54) as usize
    }
}

/// What is counted as one: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Address {
    prefix: u64,
    v4: bool,
}

impl Address {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self { prefix: u64::from(ip.to_bits()), v4: true },
            IpAddr::V6(ip) => Self { prefix: (ip.to_bits() >> 64) as u64, v4: false },
        }
    }
}

/// An open-addressing table of slots. A slot is `1 + requests` words: the prefix, then the stamps of the requests that
/// passed, latest first. A stamp is (microseconds + 1) × 2, plus 1 for IPv4: zero is an empty slot, and the two
/// families never meet.
#[derive(Debug, Default)]
struct Table {
    words: Box<[u64]>,
    used: usize,
    /// The latest time seen: two cores may bring theirs in the other order, and none may undo what was decided on it.
    latest_us: u64,
    /// While the bound is reached: when the first address leaves. Nobody is looked for before.
    full_until_us: u64,
}

const fn stamp(now_us: u64, v4: bool) -> u64 {
    (now_us + 1) << 1 | v4 as u64
}

const fn stamped_us(stamp: u64) -> u64 {
    (stamp >> 1) - 1
}

impl Table {
    fn admit(
        &mut self,
        limit: &Limit,
        address: Address,
        hash: u64,
        now_us: u64,
        rehash: impl Fn(u64, bool) -> u64,
    ) -> Verdict {
        let now_us = self.no_earlier(now_us);
        match self.slot(limit, address, hash, now_us, rehash) {
            Ok(slot) => Self::pass(slot, limit, address, now_us),
            Err(retry_after_us) => Verdict::Full { retry_after_us },
        }
    }

    /// The address's slot, a new one if it has none; or how long until there is room for one.
    fn slot(
        &mut self,
        limit: &Limit,
        address: Address,
        hash: u64,
        now_us: u64,
        rehash: impl Fn(u64, bool) -> u64,
    ) -> Result<&mut [u64], u64> {
        let width = 1 + limit.requests as usize;
        let at = match self.find(width, address, hash) {
            Some((at, true)) => return Ok(&mut self.words[at..at + width]),
            Some((at, false)) if self.has_room(limit) => at,
            _ if now_us < self.full_until_us => return Err(self.full_until_us - now_us),
            _ => {
                if let Some(first_leaves_us) = self.make_room(limit, now_us, &rehash) {
                    self.full_until_us = first_leaves_us;
                    return Err(first_leaves_us.saturating_sub(now_us));
                }
                self.find(width, address, hash).ok_or(limit.window_us)?.0
            }
        };
        self.used += 1;
        Ok(&mut self.words[at..at + width])
    }

    fn limited(&mut self, limit: &Limit, address: Address, hash: u64, now_us: u64) -> Option<u64> {
        let now_us = self.no_earlier(now_us);
        let width = 1 + limit.requests as usize;
        let (at, _) = self.find(width, address, hash).filter(|(_, known)| *known)?;
        Self::wait_us(&self.words[at..at + width], limit, now_us)
    }

    fn passed(&mut self, limit: &Limit, address: Address, hash: u64, now_us: u64) -> Vec<u64> {
        let now_us = self.no_earlier(now_us);
        let width = 1 + limit.requests as usize;
        let Some((at, true)) = self.find(width, address, hash) else { return Vec::new() };
        let stamps = self.words[at + 1..at + width].iter().filter(|&&stamp| stamp != 0);
        let ages = stamps.map(|&stamp| now_us.saturating_sub(stamped_us(stamp)));
        ages.filter(|&age_us| age_us < limit.window_us).collect()
    }

    fn forget(&mut self, limit: &Limit, address: Address, hash: u64) {
        let width = 1 + limit.requests as usize;
        if let Some((at, true)) = self.find(width, address, hash) {
            // The slot stays taken, for others are found past it: as if by a request a window before the start.
            self.words[at + 1] = stamp(0, address.v4);
            self.words[at + 2..at + width].fill(0);
        }
    }

    fn refuse(
        &mut self,
        limit: &Limit,
        address: Address,
        hash: u64,
        now_us: u64,
        until_us: u64,
        rehash: impl Fn(u64, bool) -> u64,
    ) {
        let now_us = self.no_earlier(now_us);
        if let Ok(slot) = self.slot(limit, address, hash, now_us, rehash) {
            slot[0] = address.prefix;
            // As if it had passed so often by then.
            let then = stamp(until_us.saturating_sub(limit.window_us), address.v4);
            slot[1..].iter_mut().for_each(|stamp| *stamp = then.max(*stamp));
        }
    }

    /// How long this slot's address has to wait, if it has to.
    fn wait_us(slot: &[u64], limit: &Limit, now_us: u64) -> Option<u64> {
        let oldest = slot[limit.requests as usize];
        let passed_us = now_us.saturating_sub(stamped_us(oldest.max(2)));
        (oldest != 0 && passed_us < limit.window_us).then(|| limit.window_us - passed_us)
    }

    /// Asks for the memory that [`Table::find`] will look at first.
    fn prefetch(&self, limit: &Limit, hash: u64) {
        let width = 1 + limit.requests as usize;
        let at = Self::home(hash, self.words.len() / width) * width;
        // A slot of the usual width lies in two lines at most.
        self.words.get(at).into_iter().chain(self.words.get(at + width - 1)).for_each(prefetch);
    }

    /// Where the address stands, or the empty slot where it would; none in a table without a slot.
    fn find(&self, width: usize, address: Address, hash: u64) -> Option<(usize, bool)> {
        let slots = self.words.len() / width;
        if slots == 0 {
            return None;
        }
        let mut slot = Self::home(hash, slots);
        loop {
            let at = slot * width;
            let (prefix, latest) = (self.words[at], self.words[at + 1]);
            if latest == 0 {
                return Some((at, false));
            }
            if prefix == address.prefix && (latest & 1 == 1) == address.v4 {
                return Some((at, true));
            }
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
        }
    }

    /// The top ten bits chose the shard; the others choose the slot.
    fn home(hash: u64, slots: usize) -> usize {
        ((u128::from(hash << 10) * slots as u128) >> 64) as usize
    }

    fn has_room(&self, limit: &Limit) -> bool {
        let slots = self.words.len() / (1 + limit.requests as usize);
        (self.used + 1) * 8 <= slots * 7 && self.used < limit.addresses_max_per_shard()
    }

    fn no_earlier(&mut self, now_us: u64) -> u64 {
        self.latest_us = self.latest_us.max(now_us);
        self.latest_us
    }

    fn pass(slot: &mut [u64], limit: &Limit, address: Address, now_us: u64) -> Verdict {
        if let Some(retry_after_us) = Self::wait_us(slot, limit, now_us) {
            return Verdict::Limited { retry_after_us };
        }
        slot[0] = address.prefix;
        let last = slot.len() - 1;
        slot.copy_within(1..last, 2);
        slot[1] = stamp(now_us, address.v4);
        Verdict::Admitted
    }

    /// The slots whose last request is still within the window.
    fn alive<'a>(words: &'a [u64], limit: &'a Limit, now_us: u64) -> impl Iterator<Item = &'a [u64]> {
        words
            .chunks_exact(1 + limit.requests as usize)
            .filter(move |slot| slot[1] != 0 && stamped_us(slot[1]) + limit.window_us > now_us)
    }

    /// Drops who has left and grows if that is not enough; at the bound, says when the first of them leaves.
    fn make_room(&mut self, limit: &Limit, now_us: u64, rehash: &impl Fn(u64, bool) -> u64) -> Option<u64> {
        let (mut alive, mut first_leaves_us) = (0, u64::MAX);
        for slot in Self::alive(&self.words, limit, now_us) {
            alive += 1;
            first_leaves_us = first_leaves_us.min(stamped_us(slot[1]) + limit.window_us);
        }
        if alive >= limit.addresses_max_per_shard() {
            return Some(first_leaves_us);
        }
        self.rebuild(limit, alive + 1, now_us, rehash);
        None
    }

    fn shrink(&mut self, limit: &Limit, now_us: u64, rehash: impl Fn(u64, bool) -> u64) {
        let now_us = self.no_earlier(now_us);
        let alive = Self::alive(&self.words, limit, now_us).count();
        if alive * 4 < self.used * 3 {
            self.rebuild(limit, alive, now_us, &rehash);
        }
    }

    /// A table 70% full with `addresses`, holding those still within their window.
    fn rebuild(&mut self, limit: &Limit, addresses: usize, now_us: u64, rehash: &impl Fn(u64, bool) -> u64) {
        let width = 1 + limit.requests as usize;
        let slots = if addresses == 0 { 0 } else { (addresses * 10).div_ceil(7).max(2) };
        let old = std::mem::replace(&mut self.words, vec![0; slots * width].into());
        self.used = 0;
        for slot in Self::alive(&old, limit, now_us) {
            let address = Address { prefix: slot[0], v4: slot[1] & 1 == 1 };
            if let Some((at, _)) = self.find(width, address, rehash(address.prefix, address.v4)) {
                self.words[at..at + width].copy_from_slice(slot);
                self.used += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
