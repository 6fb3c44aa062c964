//! The masters of a Redis Cluster are killed while clients ask, and replicas take their place. In the end every sum is
//! exact, though a replica may not have had what its master confirmed.

use super::redis::{goes_on, is_exact, served, under_load};
use crate::redis::Cluster;
use crate::server::rounds;

#[test]
fn masters_of_a_cluster_killed_one_after_another_end_with_exact_sums() {
    let mut cluster = Cluster::start(1);
    let server = served(&cluster.urls());
    let (ledger, server) = under_load(server, |ledger| {
        for round in rounds(3) {
            goes_on(ledger, 300);
            let masters = cluster.masters();
            let master = masters[round % masters.len()];
            cluster.kill(master);
            cluster.has_replaced(master);
            goes_on(ledger, 300);
            cluster.restart(master);
            cluster.settled();
        }
    });
    is_exact(&ledger, &server, |key| cluster.hgetall(key));
}
