//! A rolling restart: three instances behind nginx end and come back, one after another, while clients go on. No client
//! may notice, and every auction that was answered counts once.

use crate::client::{Connection, any_bid};
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::nginx::Nginx;
use crate::redis::Redis;
use crate::server::{AtEnd, eventually, rounds};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Few enough to leave some of nginx's connections idle while an instance drains.
const CLIENTS: usize = 6;

/// Asks on one connection until the end; what it was told.
fn client(address: SocketAddr, is_over: &AtomicBool) -> Ledger {
    let mut told = Ledger::default();
    let mut connection = Connection::open(address);
    while !is_over.load(Ordering::Relaxed) {
        told.note(&connection.bid(any_bid()));
    }
    told
}

#[test]
fn a_rolling_restart_behind_nginx_is_not_noticed_by_any_client() {
    let redis = Redis::start();
    let mut fleet = Fleet::start(&redis.url(), &[("BOURSE_RATE_LIMIT_REQUESTS", "0")]);
    let nginx = Nginx::before(&fleet.addresses());
    let is_over = AtomicBool::new(false);
    let mut told = Ledger::default();
    thread::scope(|scope| {
        let _over = AtEnd(|| is_over.store(true, Ordering::Relaxed));
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(nginx.address, &is_over))).collect();
        for round in rounds(2) {
            for instance in 0..fleet.instances.len() {
                fleet.restart(instance);
                // As an operator does: the next one when this one works again, a second later as the file says.
                let restarted = &fleet.instances[instance];
                eventually("nginx sends requests to it", || restarted.metric("bourse_auctions_total") > 0);
            }
            assert!(clients.iter().all(|client| !client.is_finished()), "round {round}: {}", nginx.log());
        }
        is_over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .for_each(|client| told.add(client.join().expect("a client that noticed nothing")));
    });
    for instance in &fleet.instances {
        eventually("all of it is counted, once", || {
            Ledger::of_stat(&instance.get("/stat"), "supply1") == told
        });
    }
}
