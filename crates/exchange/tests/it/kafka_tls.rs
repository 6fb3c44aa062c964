//! Kafka by TLS, and of who is not let in: what was wrong is said, and the journal keeps what the topic lacks.

use crate::kafka::{Broker, Tls};
use crate::kafka_sink::{bids, has_delivered, home, is_all_there};
use crate::server::{Home, eventually};

const PASSWORD: &str = "a-password-that-nobody-else-has";

fn trusting(home: Home, tls: &Tls) -> Home {
    home.set("BOURSE_KAFKA_SECURITY", "ssl").set("BOURSE_KAFKA_CA", &tls.file("ca.pem"))
}

fn certified(home: Home, tls: &Tls) -> Home {
    home.set("BOURSE_KAFKA_CERTIFICATE", &tls.file("cert.pem")).set("BOURSE_KAFKA_KEY", &tls.file("key.pem"))
}

#[test]
fn a_broker_and_an_exchange_that_prove_themselves_to_each_other() {
    let (broker, tls) = Broker::behind_tls();
    let server = certified(trusting(home(broker.address), &tls), &tls).serve();
    bids(&server, 0, 30);
    has_delivered(&server, 30);
    is_all_there(&broker, &server.home, 30);
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let (broker, tls) = Broker::behind_tls();
    let strict = Broker::that_knows_nobody();
    let login = |home: Home| home.set("BOURSE_KAFKA_USERNAME", "bob").set("BOURSE_KAFKA_PASSWORD", PASSWORD);
    let scram = home(strict.address).set("BOURSE_KAFKA_SECURITY", "sasl_plaintext");
    for (home, why) in [
        (home(broker.address).set("BOURSE_KAFKA_SECURITY", "ssl"), &["certificate verify failed"][..]),
        // Whichever comes first of what a client without a certificate gets.
        (trusting(home(broker.address), &tls), &["closed by peer", "reset by peer", "certificate required"]),
        (login(scram.set("BOURSE_KAFKA_SASL", "SCRAM-SHA-512")), &["unknown-user"]),
    ] {
        let server = home.serve();
        bids(&server, 0, 3);
        eventually(why[0], || why.iter().any(|why| server.log().contains(why)));
        let failures = || server.metric("bourse_stream_failures_total{stream=\"kafka\"}");
        eventually("it is tried again and again", || failures() > 8);
        let lines = server.log().matches("a stream waits").count();
        assert!(lines <= 4, "each reason is said once: {}", server.log());
        assert_eq!(server.metric("bourse_stream_delivered_auctions_total{stream=\"kafka\"}"), 0);
        assert!(!server.log().contains(PASSWORD), "{}", server.log());
        assert_eq!(server.get("/health/ready").status, 200, "auctions go on");
    }
}
