//! The limit that instances keep together, by a thousand requests at once.

use crate::fleet::{Crowd, Fleet, patient_bid};
use crate::nginx::Nginx;
use crate::redis::{Cluster, Redis};
use crate::server::rounds;
use std::net::Ipv4Addr;

/// In each round another address, of which a thousand requests come at once through nginx.
fn of_a_thousand_3_pass(redis_url: &str) {
    let fleet = Fleet::start(redis_url, &[]);
    let nginx = Nginx::before(&fleet.addresses());
    let mut crowd = Crowd::of(1000, nginx.address);
    for round in rounds(25) {
        let answers = crowd.bid(&patient_bid(&Ipv4Addr::from_bits((10 << 24) + round as u32).to_string()));
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        let passed = answers.iter().filter(|answer| [200, 400].contains(&answer.status)).count();
        assert_eq!((passed, refused), (3, 997), "round {round}");
    }
    for instance in &fleet.instances {
        assert!(instance.metric("bourse_bids_total{outcome=\"rate_limited\"}") > 0, "each was asked");
        assert_eq!(instance.metric("bourse_limiter_fallbacks_total"), 0, "Redis decided everything");
    }
}

#[test]
fn of_1000_simultaneous_requests_to_three_instances_exactly_3_pass() {
    of_a_thousand_3_pass(&Redis::start().url());
}

#[test]
fn of_1000_simultaneous_requests_exactly_3_pass_with_a_cluster() {
    of_a_thousand_3_pass(&Cluster::start(0).urls());
}
