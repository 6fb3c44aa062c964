//! The server is killed at any moment while its broker hangs, is cut off or answers nobody: the topic has what the
//! clients were told, once its doubles are left out.

use super::{Book, Ledger, Outcome, burst, catalogue, dice, number};
use crate::client::micros;
use crate::kafka::{Broker, Message, events, json};
use crate::kafka_sink::streams;
use crate::proxy::Way;
use crate::server::{Home, eventually, rounds};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::thread;

const SUPPLIES: &[&str] = &["narrow", "middle", "nobody"];

/// What the topic says, each event once.
fn book(messages: Vec<Message>) -> Book {
    let mut book = Book::default();
    for message in events(messages).values() {
        let event = json(message);
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        // The price by its digits.
        let raw: BTreeMap<&str, &RawValue> = serde_json::from_slice(&message.value).unwrap();
        let outcome = match &*text("outcome") {
            "sold" => Outcome::Sold(text("winner"), micros(raw["price"].get())),
            _ => Outcome::Unsold,
        };
        assert_eq!(message.key, text("supply"));
        let Some(number) = number(text("ip").parse().unwrap()) else { continue };
        let twice = book.auctions.insert(number, (text("supply"), outcome));
        assert!(twice.is_none(), "{number} is two events: {twice:?}");
    }
    book
}

#[test]
fn the_topic_has_what_clients_were_told_whoever_is_killed_or_hangs() {
    let (broker, proxy) = Broker::behind_proxy();
    let ledger = Ledger::default();
    let mut home =
        streams(Home::empty().with(&catalogue()), broker.address).set("BOURSE_STREAMS_TIMEOUT_MS", &500);
    let mut dice = dice();
    for round in rounds(12) {
        let server = home.serve_with(&["--workers", "2"]);
        let delivered = || server.metric("bourse_stream_delivered_auctions_total{stream=\"kafka\"}");
        // Some ends come before the first batch, some in the middle of one, some after many.
        let (answers, least) = (ledger.answered() + 50 + dice(burst(200)), u64::from(dice(3) == 0));
        thread::scope(|scope| {
            scope.spawn(|| ledger.load(server.address, 4, usize::MAX, SUPPLIES));
            eventually("there are answers", || ledger.answered() >= answers && delivered() >= least);
            match round % 5 {
                0 => proxy.set(Way::Cut),
                1 => broker.pause(),
                2 => proxy.set(Way::Deaf),
                3 => proxy.set(Way::Hanging),
                _ => {}
            }
            let answers = ledger.answered() + 50;
            eventually("there are more", || ledger.answered() >= answers);
            server.signal("KILL");
        });
        home = server.killed();
        proxy.set(Way::Open);
        broker.resume();
    }
    let server = home.serve();
    server.drained("kafka");
    // Read once: a million of them take gigabytes.
    let messages = broker.messages();
    let sent = messages.len();
    let (book, recorded) = (book(messages), Book::read(&[&server.home.data_dir()]));
    let missing: Vec<_> =
        recorded.auctions.keys().filter(|number| !book.auctions.contains_key(number)).collect();
    assert!(missing.is_empty(), "{} are not in the topic, the first is {}", missing.len(), missing[0]);
    assert!(book.auctions == recorded.auctions, "what is in the topic is not what was recorded");
    ledger.check(&[&server.home.data_dir()], &server.get("/stat"));
    println!("{} answers, {sent} messages", ledger.answered());
}
