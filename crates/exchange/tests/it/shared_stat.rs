//! The statistics that instances keep together in Redis or Redis Cluster: the same from each, and exact.

use crate::catalogues;
use crate::client::{any_bid, bid_body, micros};
use crate::fleet::{Fleet, shared};
use crate::ledger::{Ledger, members};
use crate::nginx::Nginx;
use crate::redis::{Cluster, Redis};
use crate::server::{Home, Server, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

type Hash = BTreeMap<String, String>;

/// What clients are told who ask at once; with Redis there, every fourth request is one too many for its address.
/// `round` gives them addresses of their own.
fn clients(address: SocketAddr, round: usize) -> Ledger {
    let client = |client: usize| {
        let mut connection = crate::client::Connection::open(address);
        let mut told = Ledger::default();
        for request in 0..100 {
            let body = bid_body("supply1", &format!("10.{round}.{client}.{}", request / 4));
            let body = body.replace("US", if request % 8 < 4 { "US" } else { "GB" });
            told.note(&connection.bid(body));
        }
        told
    };
    let mut told = Ledger::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|n| scope.spawn(move || client(n))).collect();
        clients.into_iter().for_each(|client| told.add(client.join().unwrap()));
    });
    told
}

/// What the hash of a supply has to hold, by what /stat says of it.
fn layout(stat: &str) -> Hash {
    let totals = members(members(stat)["supply1"].get());
    let mut fields = Hash::from([("total_reqs".to_owned(), totals["total_reqs"].to_string())]);
    for (country, n) in members(totals["reqs_per_country"].get()) {
        fields.insert(format!("country:{country}"), n.to_string());
    }
    for (id, counts) in members(totals["bidders"].get()) {
        let counts = members(counts.get());
        for (field, value) in [
            ("wins", counts["wins"].to_string()),
            ("revenue_micros", micros(counts["total_revenue"].get()).to_string()),
            ("no_bids", counts["no_bids"].to_string()),
            ("timeouts", counts["timeouts"].to_string()),
        ] {
            fields.insert(format!("bidder:{id}:{field}"), value);
        }
    }
    // What is zero was never counted up.
    fields.retain(|_, value| value != "0");
    fields
}

/// The instances that have a part in a hash.
fn instances(hash: &Hash) -> Vec<String> {
    let ids = hash.keys().filter_map(|field| field.strip_prefix("instance:"));
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())), "{ids:?}");
    ids
}

/// Waits until each instance says what the clients were told, and Redis has it in its layout.
fn says_everywhere(fleet: &Fleet, told: &Ledger, hash: impl Fn() -> Hash) {
    for instance in &fleet.instances {
        eventually("an instance says what the clients were told", || {
            Ledger::of_stat(&instance.get("/stat"), "supply1") == *told
        });
    }
    let stats: Vec<_> = fleet.instances.iter().map(|instance| instance.get("/stat")).collect();
    assert!(stats.iter().all(|stat| stat.body == stats[0].body), "{stats:?}");
    assert!(stats.iter().all(|stat| stat.header("warning").is_none()), "{stats:?}");
    let mut fields = hash();
    assert_eq!(instances(&fields).len(), 3);
    fields.retain(|field, _| !field.starts_with("instance:"));
    assert_eq!(fields, layout(stats[0].text()));
}

#[test]
fn each_of_three_instances_says_what_the_clients_were_told() {
    let redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), &[]);
    let nginx = Nginx::before(&fleet.addresses());
    let mut told = Ledger::default();
    for round in 0..3 {
        told.add(clients(nginx.address, round));
        says_everywhere(&fleet, &told, || redis.hgetall("stats:supply1"));
    }
    let asked = redis.command(&["INFO", "commandstats"]);
    assert!(asked.contains("cmdstat_evalsha:"), "{asked}");
    assert!(!asked.contains("cmdstat_keys:"), "KEYS stops everybody for as long as it looks: {asked}");
}

#[test]
fn a_cluster_has_the_same_sums_also_after_the_master_that_has_them_is_gone() {
    let mut cluster = Cluster::start(1);
    let fleet = Fleet::start(&cluster.urls(), &[]);
    let nginx = Nginx::before(&fleet.addresses());
    let mut told = Ledger::default();
    for (round, hangs) in [false, true].into_iter().enumerate() {
        told.add(clients(nginx.address, round));
        says_everywhere(&fleet, &told, || cluster.hgetall("stats:supply1"));
        let master = cluster.master_of("stats:supply1");
        if hangs {
            cluster.pause(master);
        } else {
            cluster.kill(master);
        }
        told.add(clients(nginx.address, 10 + round));
        cluster.has_replaced(master);
        told.add(clients(nginx.address, 20 + round));
        says_everywhere(&fleet, &told, || cluster.hgetall("stats:supply1"));
        if hangs {
            cluster.resume(master);
        } else {
            cluster.restart(master);
        }
        cluster.settled();
    }
    told.add(clients(nginx.address, 30));
    says_everywhere(&fleet, &told, || cluster.hgetall("stats:supply1"));
}

/// One instance without a limit.
fn alone(redis_url: &str) -> Server {
    home(redis_url).serve_with(&["--workers", "2"])
}

fn home(redis_url: &str) -> Home {
    shared(Home::empty().with(&catalogues::usual()), redis_url).set("BOURSE_RATE_LIMIT_REQUESTS", &0)
}

fn bids(server: &Server, n: usize, told: &mut Ledger) {
    let mut connection = server.connect();
    (0..n).for_each(|_| told.note(&connection.bid(any_bid())));
}

#[test]
fn an_instance_is_itself_after_kill_9_and_nothing_counts_twice() {
    let redis = Redis::start();
    let (mut home, mut told) = (home(&redis.url()), Ledger::default());
    for _ in 0..4 {
        let server = home.serve_with(&["--workers", "2"]);
        // What was answered last may have come to Redis, or not yet.
        bids(&server, 100, &mut told);
        home = server.killed();
    }
    let server = home.serve_with(&["--workers", "2"]);
    eventually("Redis has everything", || Ledger::of_hash(&redis.hgetall("stats:supply1")) == told);
    let before = instances(&redis.hgetall("stats:supply1"));
    assert_eq!(before.len(), 1);
    bids(&server, 1, &mut told);
    eventually("Redis has one more", || Ledger::of_hash(&redis.hgetall("stats:supply1")) == told);
    assert_eq!(instances(&redis.hgetall("stats:supply1")), before);
    assert_eq!(Ledger::of_stat(&server.get("/stat"), "supply1"), told);
}

#[test]
fn a_redis_that_lost_everything_is_told_everything_again() {
    let mut redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), &[]);
    let nginx = Nginx::before(&fleet.addresses());
    let mut told = Ledger::default();
    for round in 0..3 {
        told.add(clients(nginx.address, round));
        redis.restart();
        told.add(clients(nginx.address, 10 + round));
        says_everywhere(&fleet, &told, || redis.hgetall("stats:supply1"));
    }
}

#[test]
fn without_redis_an_instance_says_what_it_knows_and_that_it_is_not_all() {
    let mut redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), &[("BOURSE_RATE_LIMIT_REQUESTS", "0")]);
    let [first, second] = [0, 1].map(|n| &fleet.instances[n]);
    let mut told = Ledger::default();
    bids(second, 20, &mut told);
    eventually("the first knows of the second", || Ledger::of_stat(&first.get("/stat"), "supply1") == told);
    for gone in [Redis::kill, |redis: &mut Redis| redis.pause()] {
        gone(&mut redis);
        let mut unknown = Ledger::default();
        bids(second, 20, &mut unknown);
        bids(first, 20, &mut told);
        let stat = first.get("/stat");
        assert_eq!(stat.status, 200);
        assert!(stat.header("warning").is_some_and(|warning| warning.starts_with("110 ")), "{stat:?}");
        assert_eq!(Ledger::of_stat(&stat, "supply1"), told, "what it knew of the others, and all of its own");
        eventually("the metrics say so", || first.metric("bourse_redis_up") == 0);

        redis.restart();
        told.add(unknown);
        eventually("nothing is missing", || Ledger::of_stat(&first.get("/stat"), "supply1") == told);
        assert!(first.get("/stat").header("warning").is_none());
        assert_eq!(first.metric("bourse_redis_up"), 1);
    }
}

#[test]
fn a_redis_that_is_not_there_at_the_start_is_not_waited_for() {
    let mut redis = Redis::start();
    redis.kill();
    let (server, mut told) = (alone(&redis.url()), Ledger::default());
    bids(&server, 20, &mut told);
    assert!(server.get("/stat").header("warning").is_some());
    assert_eq!(Ledger::of_stat(&server.get("/stat"), "supply1"), told);
    assert_eq!(server.metric("bourse_redis_up"), 0);
    redis.restart();
    eventually("Redis has everything", || Ledger::of_hash(&redis.hgetall("stats:supply1")) == told);
    eventually("the warning is gone", || server.get("/stat").header("warning").is_none());
}
