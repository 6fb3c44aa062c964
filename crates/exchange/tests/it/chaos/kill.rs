//! The server is killed at any moment, again and again, while clients ask.

use super::{Ledger, Stat, catalogue};
use crate::redis::Redis;
use crate::server::{Home, eventually, rounds};
use std::thread;
use std::time::SystemTime;

const SUPPLIES: &[&str] = &["narrow", "middle", "nobody"];

#[test]
fn a_server_killed_at_any_moment_loses_no_answer_and_counts_none_twice() {
    let redis = Redis::start();
    let ledger = Ledger::default();
    let mut home = Home::empty().with(&catalogue()).set("BOURSE_REDIS_URL", &redis.url());
    let mut seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as usize | 1;
    println!("seed {seed}");
    let mut kills = 0;
    for round in rounds(100) {
        let server = home.serve_with(&["--workers", "2"]);
        if round % 25 == 24 {
            ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let enough = ledger.answered() + (seed >> 33) % 300;
        thread::scope(|scope| {
            scope.spawn(|| ledger.load(server.address, 8, usize::MAX, SUPPLIES));
            eventually("there are answers", || ledger.answered() >= enough);
            server.signal("KILL");
        });
        home = server.killed();
        kills += 1;
    }
    let server = home.serve();
    let stat = server.get("/stat");
    ledger.check(&[&server.home.data_dir()], &stat);
    let expected = Stat::parse(stat.text());
    eventually("Redis has all of it", || Stat::in_redis(SUPPLIES, |key| redis.hgetall(key)) == expected);
    println!("{kills} kills, {} answers", ledger.answered());
}

#[test]
fn counts_saved_while_they_grow_are_exact_after_a_kill() {
    let ledger = Ledger::default();
    let server = Home::empty().with(&catalogue()).serve_with(&["--workers", "2"]);
    let saved = server.home.data_dir().join("statistics");
    let at_start = std::fs::read(&saved).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| ledger.load(server.address, 4, usize::MAX, SUPPLIES));
        eventually("what was counted meanwhile is saved", || {
            std::fs::read(&saved).is_ok_and(|now| now != at_start)
        });
        let enough = ledger.answered() + 100;
        eventually("there are answers", || ledger.answered() >= enough);
        server.signal("KILL");
    });
    let server = server.killed().serve();
    ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
    // And so is what a clean end saves.
    ledger.load(server.address, 4, 50, SUPPLIES);
    let server = server.stop().serve();
    ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
}
