//! The limit that instances keep together in Redis or Redis Cluster: exact over all of them, and not in the way when
//! Redis is away.

use crate::catalogues::constants;
use crate::client::{Connection, bid_body};
use crate::fleet::{Fleet, patient_bid, shared};
use crate::redis::{Cluster, Redis};
use crate::server::{Home, Quiet, Server, eventually};
use exchange::limiter::{Limit, Limiter, Verdict, WhenFull};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// One instance with a bidder that always bids.
fn alone(redis_url: &str, settings: &[(&str, &str)]) -> Server {
    started(Home::empty(), redis_url, settings)
}

fn started(home: Home, redis_url: &str, settings: &[(&str, &str)]) -> Server {
    let home = shared(home.with(&constants(&[("b", 0, 0.5)])), redis_url);
    settings.iter().fold(home, |home, (name, value)| home.set(name, value)).serve_with(&["--workers", "2"])
}

/// An address for each number.
fn address(n: usize) -> String {
    Ipv4Addr::from_bits((10 << 24) + n as u32).to_string()
}

#[test]
fn who_is_refused_by_one_instance_is_refused_by_all() {
    let redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), &[]);
    for first in 0..3 {
        let body = patient_bid(&address(first));
        (0..3).for_each(|_| assert_ne!(fleet.instances[first].bid(&body).status, 429));
        for instance in (first..first + 3).map(|n| &fleet.instances[n % 3]) {
            let answer = instance.bid(&body);
            answer.is_refusal(429, "rate_limited");
            assert!((50..=60).contains(&answer.retry_after_s()), "{answer:?}");
        }
    }
}

#[test]
fn the_window_rolls_over_all_instances() {
    let redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), &[("BOURSE_RATE_LIMIT_WINDOW_S", "1")]);
    let mut connections: Vec<_> = fleet.instances.iter().map(Server::connect).collect();
    let body = patient_bid("192.0.2.1");
    let mut passes: Vec<(Instant, Instant)> = Vec::new();
    let mut passed_at = [0; 3];
    let mut next = (0..3).cycle();
    eventually("9 requests have passed, some of them at each instance", || {
        let instance = next.next().unwrap();
        let asked_at = Instant::now();
        let answer = connections[instance].bid(&body);
        if answer.status == 429 {
            assert_eq!(answer.retry_after_s(), 1);
        } else {
            passes.push((asked_at, Instant::now()));
            passed_at[instance] += 1;
        }
        passes.len() >= 9 && !passed_at.contains(&0)
    });
    for (first, fourth) in passes.iter().zip(&passes[3..]) {
        let apart = fourth.1 - first.0;
        assert!(apart >= Duration::from_secs(1), "4 passed within {apart:?}");
    }
}

#[test]
fn an_address_leaves_redis_with_its_window() {
    let redis = Redis::start();
    let server = alone(&redis.url(), &[]);
    for (ip, key) in [
        ("198.51.100.7", "limit:c6336407"),
        ("::ffff:198.51.100.8", "limit:c6336408"),
        ("2001:db8::1", "limit:20010db800000000"),
    ] {
        assert_eq!(server.bid(patient_bid(ip)).status, 200);
        let left_ms: u32 = redis.command(&["PTTL", key]).parse().expect("an address that leaves");
        assert!(left_ms <= 60_000, "{ip}: {left_ms}");
    }
}

#[test]
fn without_redis_the_fallback_decides_until_it_is_back() {
    for (fallback, verdicts) in [
        // It has seen the two that Redis admitted.
        ("local", ["200", "429 rate_limited", "429 rate_limited"]),
        ("allow", ["200", "200", "200"]),
        ("deny", ["503 overloaded", "503 overloaded", "503 overloaded"]),
    ] {
        let mut redis = Redis::start();
        let server = alone(&redis.url(), &[("BOURSE_RATE_LIMIT_FALLBACK", fallback)]);
        let body = patient_bid("198.51.100.7");
        (0..2).for_each(|_| assert_eq!(server.bid(&body).status, 200));
        redis.kill();
        for verdict in verdicts {
            let answer = server.bid(&body);
            assert_eq!(answer.verdict(), verdict, "{fallback}");
            assert!(answer.status == 200 || answer.retry_after_s() <= 60, "{answer:?}");
        }
        let undecided = server.metric("bourse_limiter_fallbacks_total");
        assert!((1..=3).contains(&undecided), "{fallback}: {undecided}");
        assert_eq!(server.metric("bourse_limiter_shared"), 0, "{fallback}");

        redis.restart();
        shared_again(&server);
        let undecided = server.metric("bourse_limiter_fallbacks_total");
        let body = patient_bid("198.51.100.8");
        (0..3).for_each(|_| assert_eq!(server.bid(&body).status, 200, "{fallback}"));
        server.bid(&body).is_refusal(429, "rate_limited");
        assert_eq!(redis.command(&["LLEN", "limit:c6336408"]), "3", "{fallback}");
        assert_eq!(server.metric("bourse_limiter_fallbacks_total"), undecided, "{fallback}");
    }
}

#[test]
fn a_hanging_redis_costs_only_the_first_requests_time() {
    let quiet = Quiet::wait();
    let redis = Redis::start();
    let settings = [("BOURSE_REDIS_TIMEOUT_MS", "50"), ("BOURSE_RATE_LIMIT_FALLBACK", "allow")];
    // Who has less time than Redis may take must not wait again and again, either.
    let servers = [200, 60].map(|tmax_ms| {
        let server = started(Home::empty_in(&quiet), &redis.url(), &settings);
        // Some for each core.
        let connections: Vec<Connection> = (0..8).map(|_| server.connect()).collect();
        (server, connections, tmax_ms)
    });
    let mut addresses = (0..).map(address);
    let mut bid = |connection: &mut Connection, tmax_ms: u32| {
        let body = bid_body("supply1", &addresses.next().unwrap());
        let body = body.replace('}', &format!(",\"tmax\":{tmax_ms}}}"));
        let asked_at = Instant::now();
        assert_eq!(connection.bid(body).status, 200);
        asked_at.elapsed()
    };
    redis.pause();
    for (_server, mut connections, tmax_ms) in servers {
        let mut well_since = Instant::now();
        // A busy machine is late now and then, too, but not in every second.
        eventually("a second in which every answer comes within 20 ms", || {
            for connection in &mut connections {
                if bid(connection, tmax_ms) > Duration::from_millis(20) {
                    well_since = Instant::now();
                }
            }
            well_since.elapsed() >= Duration::from_secs(1)
        });
    }
}

#[test]
fn redis_that_hangs_and_goes_on_decides_again() {
    let redis = Redis::start();
    let server = alone(&redis.url(), &[("BOURSE_REDIS_TIMEOUT_MS", "500")]);
    redis.pause();
    assert_eq!(server.bid(patient_bid("198.51.100.7")).status, 200, "the fallback decides");
    redis.resume();
    shared_again(&server);
    assert_eq!(server.bid(patient_bid("198.51.100.8")).status, 200);
    assert_eq!(redis.command(&["LLEN", "limit:c6336408"]), "1");
}

/// Waits until Redis has decided everything for a while, for all addresses.
fn shared_again(server: &Server) {
    let mut others = (1 << 20..).map(address);
    eventually("the limit is shared again", || {
        server.bid(patient_bid(&others.next().unwrap()));
        server.metric("bourse_limiter_shared") == 1
    });
}

#[test]
fn when_a_replica_takes_over_the_limit_is_shared_again() {
    let mut cluster = Cluster::start(1);
    let server = alone(&cluster.urls(), &[("BOURSE_REDIS_TIMEOUT_MS", "500")]);
    // First the one that only falls silent: an error would have made the client look again.
    for (hangs, ip, key) in
        [(true, "198.51.100.7", "limit:c6336407"), (false, "198.51.100.8", "limit:c6336408")]
    {
        let master = cluster.master_of(key);
        if hangs {
            cluster.pause(master);
        } else {
            cluster.kill(master);
        }
        let body = patient_bid(ip);
        assert_eq!(server.bid(&body).status, 200, "the fallback decides");
        assert_eq!(server.metric("bourse_limiter_shared"), 0);
        cluster.has_replaced(master);
        shared_again(&server);
        // The one that passed without Redis is known here.
        let verdicts: Vec<u16> = (0..4).map(|_| server.bid(&body).status).collect();
        assert_eq!(verdicts, [200, 200, 429, 429]);
        if hangs {
            cluster.resume(master);
        } else {
            cluster.restart(master);
        }
        cluster.settled();
    }
}

/// Gives a script the time in its third and fourth argument.
const TOLD_THE_TIME: &str = "
local real = redis
local redis = {call = function(command, ...)
    if command == 'TIME' then return {ARGV[3], ARGV[4]} end
    return real.call(command, ...)
end}
";

#[test]
fn the_script_keeps_the_rule_of_the_local_limiter() {
    const SECOND: u64 = 1_000_000;
    let redis = Redis::start();
    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let script = [TOLD_THE_TIME, include_str!("../../src/limiter/admit.lua")].concat();
    let mut ask = |key: &str, requests: u32, now_us: u64| {
        let mut eval = ::redis::cmd("EVAL");
        eval.arg(&script).arg(1).arg(key).arg(requests).arg(60 * SECOND);
        eval.arg(now_us / SECOND).arg(now_us % SECOND);
        match eval.query::<u64>(&mut connection).unwrap() {
            0 => Verdict::Admitted,
            retry_after_us => Verdict::Limited { retry_after_us },
        }
    };
    let (ask, case) = (RefCell::new(&mut ask), Cell::new(0));
    // Any moment, and moments at which windows end.
    let later = prop_oneof![0..40 * SECOND, (0..4u64).prop_map(|n| n * 20 * SECOND)];
    let asks = proptest::collection::vec((0u32..3, later), 1..60);
    let compared = TestRunner::new(Config::with_cases(100)).run(&(1u32..5, asks), |(requests, asks)| {
        let limit =
            Limit { requests, window_us: 60 * SECOND, addresses_max: 1_000_000, when_full: WhenFull::Deny };
        let limiter = Limiter::new(limit);
        case.set(case.get() + 1);
        let mut now_us = 1_800_000_000 * SECOND;
        for (n, later_us) in asks {
            now_us += later_us;
            let key = format!("limit:{}:{n}", case.get());
            let verdict = (ask.borrow_mut())(&key, requests, now_us);
            prop_assert_eq!(verdict, limiter.admit(Ipv4Addr::from_bits(n).into(), now_us));
        }
        Ok(())
    });
    compared.unwrap();
}
