//! Redis goes and comes back while clients ask. In the end every sum is exact.

use super::{Ledger, Stat, catalogue};
use crate::redis::Redis;
use crate::server::{Home, Server, eventually, rounds};
use std::collections::BTreeMap;
use std::thread;

const SUPPLIES: &[&str] = &["narrow", "middle", "nobody"];

pub(super) fn served(redis_url: &str) -> Server {
    let home = Home::empty().with(&catalogue()).set("BOURSE_REDIS_URL", &redis_url);
    home.set("BOURSE_RATE_LIMIT_REQUESTS", &3).serve_with(&["--workers", "2"])
}

/// Breaks things while clients ask, then compares what they were told with the journal, /stat and Redis.
pub(super) fn under_load(server: Server, chaos: impl FnOnce(&Ledger)) -> (Ledger, Server) {
    let ledger = Ledger::default();
    let address = server.address;
    let home = thread::scope(|scope| {
        scope.spawn(|| ledger.load(address, 6, usize::MAX, SUPPLIES));
        // However the chaos ends, the server does, and with it the clients.
        let server = server;
        chaos(&ledger);
        server.stop()
    });
    (ledger, home.serve())
}

/// Waits until so many more auctions were answered.
pub(super) fn goes_on(ledger: &Ledger, answers: usize) {
    let enough = ledger.answered() + answers;
    eventually("answers come all the while", || ledger.answered() >= enough);
}

pub(super) fn is_exact(ledger: &Ledger, server: &Server, hgetall: impl Fn(&str) -> BTreeMap<String, String>) {
    let stat = server.get("/stat");
    ledger.check(&[&server.home.data_dir()], &stat);
    let expected = Stat::parse(stat.text());
    eventually("Redis has all of it", || Stat::in_redis(SUPPLIES, &hgetall) == expected);
    println!("{} answers", ledger.answered());
}

#[test]
fn redis_killed_stopped_and_brought_back_empty_ends_with_exact_sums() {
    let mut redis = Redis::start();
    let server = served(&redis.url());
    let (ledger, server) = under_load(server, |ledger| {
        for round in rounds(12) {
            goes_on(ledger, 1500);
            if round % 3 == 2 {
                redis.pause();
                goes_on(ledger, 1500);
                redis.resume();
            } else {
                redis.kill();
                goes_on(ledger, 1500);
                redis.restart();
            }
        }
    });
    is_exact(&ledger, &server, |key| redis.hgetall(key));
}
