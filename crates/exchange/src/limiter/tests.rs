//! The limiter against tables, threads, and an obvious second implementation.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const SECOND: u64 = 1_000_000;

fn limiter(requests: u32, window_s: u64, addresses_max: usize, when_full: WhenFull) -> Limiter {
    Limiter::new(Limit { requests, window_us: window_s * SECOND, addresses_max, when_full })
}

fn ip(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(n).into()
}

#[test]
fn three_pass_in_any_sixty_seconds() {
    let limiter = limiter(3, 60, 1000, WhenFull::Deny);
    let limited = |seconds| Verdict::Limited { retry_after_us: seconds * SECOND };
    for (at_s, expected) in [
        (0, Verdict::Admitted),
        (10, Verdict::Admitted),
        (50, Verdict::Admitted),
        (59, limited(1)),
        (60, Verdict::Admitted),
        (61, limited(9)),
        (70, Verdict::Admitted),
        (71, limited(39)),
        (200, Verdict::Admitted),
    ] {
        assert_eq!(limiter.admit(ip(1), at_s * SECOND), expected, "at {at_s} s");
    }
}

#[test]
fn an_address_is_its_ipv4_or_its_64_bit_prefix() {
    let limiter = limiter(1, 60, 1000, WhenFull::Deny);
    for (address, passes) in [
        ("192.168.1.100", true),
        ("::ffff:192.168.1.100", false),
        ("192.168.1.101", true),
        ("2001:db8::1", true),
        ("2001:db8::ffff:1", false),
        ("2001:db8:0:1::1", true),
        ("::c0a8:164", true), // the same bits as the first address, in the other family
        ("::1", false),       // in the same /64 as the one before
    ] {
        let verdict = limiter.admit(address.parse().unwrap(), 0);
        assert_eq!(verdict == Verdict::Admitted, passes, "{address}: {verdict:?}");
    }
}

#[test]
fn what_passed_is_known_for_a_window() {
    let limiter = limiter(3, 60, 1_000_000, WhenFull::Deny);
    for n in 0..100 {
        [0, 10, 20, 30].iter().for_each(|at_s| _ = limiter.admit(ip(n), at_s * SECOND));
    }
    for (at_s, expected) in [(30, &[10, 20, 30][..]), (65, &[45, 55]), (79, &[59]), (80, &[])] {
        let ages: Vec<u64> = expected.iter().map(|age_s| age_s * SECOND).collect();
        assert_eq!(limiter.passed(ip(7), at_s * SECOND), ages, "at {at_s} s");
    }
    assert!(limiter.passed(ip(100), 80 * SECOND).is_empty(), "nothing of a stranger");
}

#[test]
fn a_forgotten_address_has_all_its_requests_again_and_no_other() {
    let limiter = limiter(3, 60, 1_000_000, WhenFull::Deny);
    let spend = |n| (0..3).all(|_| limiter.admit(ip(n), SECOND) == Verdict::Admitted);
    assert!((0..100).all(spend));
    (0..100).step_by(2).for_each(|n| limiter.forget(ip(n)));
    limiter.forget(ip(1000));
    for n in 0..100 {
        assert_eq!(spend(n), n % 2 == 0, "{n}");
        assert_eq!(limiter.passed(ip(n), SECOND).len(), 3, "{n}");
    }
    assert_eq!(limiter.addresses(), 100);
}

#[test]
fn exactly_the_limit_passes_of_any_number_at_once() {
    for round in 0..50 {
        let limiter = limiter(3, 60, 1000, WhenFull::Deny);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u64)
                .map(|thread| {
                    let limiter = &limiter;
                    let admitted = move |i| limiter.admit(ip(7), 100 - thread * 10 + i) == Verdict::Admitted;
                    scope.spawn(move || (0..25u64).filter(|&i| admitted(i)).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 3, "round {round}");
    }
}

#[test]
fn times_out_of_order_let_nobody_through_twice() {
    let limiter = limiter(1, 60, 1_000_000, WhenFull::Deny);
    (0..2_000).for_each(|n| assert_eq!(limiter.admit(ip(n), 0), Verdict::Admitted));
    // Others, just after the window, make every shard drop the first ones and grow.
    (2_000..50_000).for_each(|n| assert_eq!(limiter.admit(ip(n), 60 * SECOND + 1), Verdict::Admitted));
    // A time from just before the window's end arrives late: it counts from the time that decided.
    (0..2_000).for_each(|n| assert_eq!(limiter.admit(ip(n), 60 * SECOND - 1), Verdict::Admitted));
    (0..2_000).for_each(|n| {
        assert_eq!(limiter.admit(ip(n), 120 * SECOND), Verdict::Limited { retry_after_us: 1 });
    });
}

#[test]
fn at_the_bound_a_new_address_is_denied_or_passes_uncounted() {
    for (when_full, max) in [(WhenFull::Deny, 10_240), (WhenFull::Allow, 11_264), (WhenFull::Deny, 20_480)] {
        let limiter = limiter(1, 60, max, when_full);
        let passed = (0..100_000).filter(|&n| limiter.admit(ip(n), 0) == Verdict::Admitted).count();
        assert_eq!(limiter.addresses(), max);
        assert_eq!(limiter.full() as usize, 100_000 - max);
        assert_eq!(passed, if when_full == WhenFull::Allow { 100_000 } else { max });
        // who is known stays known, and room is found again when windows have passed
        let known = (0..100_000)
            .filter(|&n| limiter.admit(ip(n), 1) == Verdict::Limited { retry_after_us: 60 * SECOND - 1 });
        assert_eq!(known.count(), max);
        assert_eq!(limiter.admit(ip(4_000_000), 61 * SECOND), Verdict::Admitted);
    }
}

#[test]
fn who_was_refused_elsewhere_is_limited_for_as_long_as_was_said_there() {
    let limiter = limiter(3, 60, 1000, WhenFull::Deny);
    assert_eq!(limiter.limited(ip(1), 0), None, "nobody has said anything");
    limiter.refuse(ip(1), 10 * SECOND, 5 * SECOND);
    for (at_us, expected) in [
        (10 * SECOND, Some(5 * SECOND)),
        (12 * SECOND, Some(3 * SECOND)),
        (15 * SECOND - 1, Some(1)),
        (15 * SECOND, None),
    ] {
        assert_eq!(limiter.limited(ip(1), at_us), expected, "at {at_us} µs");
    }
    assert_eq!(limiter.limited(ip(2), 15 * SECOND), None, "nor is anybody else");
    // Nobody can be told to wait for longer than a window.
    limiter.refuse(ip(3), 20 * SECOND, 1000 * SECOND);
    assert_eq!(limiter.limited(ip(3), 20 * SECOND), Some(60 * SECOND));
}

#[test]
fn what_passed_here_counts_on_after_a_refusal_elsewhere() {
    let limiter = limiter(3, 60, 1000, WhenFull::Deny);
    let admit = |at_s| limiter.admit(ip(1), at_s * SECOND);
    assert_eq!((admit(50), admit(55)), (Verdict::Admitted, Verdict::Admitted));
    // One has passed elsewhere, at 0 s.
    limiter.refuse(ip(1), 58 * SECOND, 2 * SECOND);
    assert_eq!(admit(59), Verdict::Limited { retry_after_us: SECOND });
    assert_eq!(admit(60), Verdict::Admitted);
    assert_eq!(admit(61), Verdict::Limited { retry_after_us: 49 * SECOND });
}

#[test]
fn a_refusal_elsewhere_takes_nobodys_room() {
    let limiter = limiter(3, 60, SHARDS, WhenFull::Deny);
    (0..100_000).for_each(|n| _ = limiter.admit(ip(n), 0));
    let (known, full) = (limiter.addresses(), limiter.full());
    (0..100_000).for_each(|n| limiter.refuse(ip(n), SECOND, 30 * SECOND));
    assert_eq!((limiter.addresses(), limiter.full()), (known, full));
    let limited = (0..100_000).filter(|&n| limiter.limited(ip(n), SECOND) == Some(30 * SECOND));
    assert_eq!(limited.count(), known, "who is known has been told, nobody else");
}

#[test]
fn an_address_takes_at_most_64_bytes_and_leaves_nothing() {
    let limiter = limiter(3, 60, 10_000_000, WhenFull::Deny);
    let bytes = |limiter: &Limiter| -> usize {
        let tables: usize = (0..SHARDS).map(|shard| limiter.lock(shard).words.len() * 8).sum();
        tables + size_of_val(&*limiter.shards)
    };
    for n in 0..1_000_000u32 {
        limiter.admit(ip(n), 0);
        if n.is_power_of_two() && n > 20_000 {
            assert!(bytes(&limiter) <= 64 * n as usize, "{} bytes for {n} addresses", bytes(&limiter));
        }
    }
    assert_eq!(limiter.addresses(), 1_000_000);
    (0..Limiter::SWEEP_TURNS).for_each(|turn| limiter.sweep(turn, 61 * SECOND));
    assert_eq!((limiter.addresses(), bytes(&limiter)), (0, size_of_val(&*limiter.shards)));
}

/// What can be asked of a limiter.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Admit,
    Limited,
    /// Refused elsewhere for so many seconds.
    Refuse(u64),
}

fn any_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![4 => Just(Ask::Admit), 2 => Just(Ask::Limited), 1 => (0u64..80).prop_map(Ask::Refuse)]
}

proptest! {
    /// Against a list of when each admitted request of an address counts no more. Who was refused elsewhere has had all
    /// of them, and they count at least until the time told.
    #[test]
    fn every_verdict_is_the_one_of_the_obvious_list(
        requests in 1u32..5,
        asks in proptest::collection::vec((0u32..40, 0u64..20, any_ask()), 1..400),
        sweeps in proptest::collection::vec(0usize..400, 0..10),
    ) {
        let limiter = limiter(requests, 60, 1_000_000, WhenFull::Deny);
        let mut oracle: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut now = 0;
        for (i, (address, later_s, ask)) in asks.into_iter().enumerate() {
            now += later_s * SECOND;
            if sweeps.contains(&i) {
                (0..Limiter::SWEEP_TURNS).for_each(|turn| limiter.sweep(turn, now));
            }
            let counted = oracle.entry(address).or_default();
            counted.retain(|&until| until > now);
            let wait = (counted.len() >= requests as usize).then(|| counted[0] - now);
            match ask {
                Ask::Admit => {
                    let expected = wait
                        .map_or(Verdict::Admitted, |retry_after_us| Verdict::Limited { retry_after_us });
                    if wait.is_none() {
                        counted.push(now + 60 * SECOND);
                    }
                    prop_assert_eq!(limiter.admit(ip(address), now), expected);
                }
                Ask::Limited => prop_assert_eq!(limiter.limited(ip(address), now), wait),
                Ask::Refuse(told_s) => {
                    counted.resize(requests as usize, 0);
                    counted.iter_mut().for_each(|until| *until = (*until).max(now + told_s.min(60) * SECOND));
                    counted.sort_unstable();
                    limiter.refuse(ip(address), now, told_s * SECOND);
                }
            }
        }
    }
}
