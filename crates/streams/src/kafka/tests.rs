//! The sink against librdkafka's own cluster, which fails in the ways of brokers.

use super::{Format, Kafka, Settings};
use crate::held::{NOON_US, Process, hold, usual};
use crate::{Batch, Event, EventId, Pace, Policy, Sink, Stream, start};
use auction::Imp;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr::{self, *};
use rdkafka::types::{RDKafkaApiKey, RDKafkaApiKey as Api};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TOPIC: &str = "auctions";
const PARTITIONS: i32 = 3;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = Cluster::new(3).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    cluster
}

fn settings(brokers: &str) -> Settings {
    let options = [
        ("bootstrap.servers", brokers),
        ("linger.ms", "1"),
        ("retry.backoff.ms", "5"),
        ("retry.backoff.max.ms", "20"),
        ("reconnect.backoff.ms", "5"),
        ("reconnect.backoff.max.ms", "20"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Settings { topic: TOPIC.to_owned(), format: Format::Json, options }
}

fn stream(process: &Process, settings: Settings) -> Stream {
    let pace = Pace { bytes: 4 << 10, age: Duration::from_millis(1) };
    let (retry_max, timeout) = (Duration::from_millis(20), Duration::from_secs(2));
    let policy = Policy { retain_bytes: 1 << 30, retry_max, timeout };
    start("kafka", process.source(), pace, policy, || Kafka::open(settings)).unwrap()
}

/// Waits until so many are delivered.
#[track_caller]
fn delivers(stream: &Stream, auctions: u64) {
    let until = Instant::now() + Duration::from_secs(30);
    while stream.meters().delivered.load(Ordering::Relaxed) < auctions {
        assert!(Instant::now() < until, "{:?}", stream.meters());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How often each event is in the topic.
fn events(brokers: &str) -> BTreeMap<String, u32> {
    let mut events = BTreeMap::new();
    ids(brokers).into_iter().for_each(|id| *events.entry(id).or_default() += 1);
    events
}

/// The events in the topic, each partition's in their order.
fn ids(brokers: &str) -> Vec<String> {
    let config = [("bootstrap.servers", brokers), ("group.id", "test"), ("enable.partition.eof", "true")];
    let consumer: BaseConsumer =
        ClientConfig::from_iter(config.map(|(name, value)| (name.to_owned(), value.to_owned())))
            .create()
            .unwrap();
    let mut assigned = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assigned.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let (mut ids, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(Duration::from_secs(10)).expect("messages, or an end") {
            Ok(message) => {
                let event = message.headers().unwrap().iter().find(|header| header.key == "event").unwrap();
                let id = String::from_utf8(event.value.unwrap().to_vec()).unwrap();
                let line: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
                assert_eq!((line["event"].as_str(), message.key()), (Some(&*id), Some(&br#"s "1""#[..])));
                ids.push(id);
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    ids
}

/// What brokers answer to the next requests of a kind, and whether librdkafka gets over it by itself.
const ANSWERS: &[(RDKafkaApiKey, &[RDKafkaRespErr], bool)] = &[
    (Api::Produce, &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 2], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR__TRANSPORT; 3], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE], false),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 2], false),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED], false),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_INVALID_MSG; 2], true),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_POLICY_VIOLATION], false),
    (Api::Produce, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH], true),
    (Api::InitProducerId, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2], true),
    (Api::InitProducerId, &[RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED], false),
    (Api::Metadata, &[RD_KAFKA_RESP_ERR__TRANSPORT; 2], true),
];

#[test]
fn whatever_brokers_answer_every_event_arrives() {
    for (api, errors, is_retried) in ANSWERS {
        let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
        let brokers = cluster.bootstrap_servers();
        let mut process = Process::start(dir.path(), 2);
        // The first thing a producer does.
        if matches!(api, Api::InitProducerId | Api::Metadata) {
            cluster.request_errors(*api, errors);
        }
        let stream = stream(&process, settings(&brokers));
        (0..100).for_each(|number| process.record(number as usize % 2, number));
        delivers(&stream, 100);
        if *api == Api::Produce {
            cluster.request_errors(*api, errors);
        }
        (100..200).for_each(|number| process.record(number as usize % 2, number));
        delivers(&stream, 200);
        let failures = stream.meters().failures.load(Ordering::Relaxed);
        assert!(*is_retried || failures > 0, "{errors:?}: nothing failed");
        stream.stop(Instant::now() + Duration::from_secs(10));
        stream.join();
        assert_eq!(events(&brokers).len(), 200, "{errors:?}");
        println!("{errors:?}: {failures} failures");
    }
}

#[test]
fn brokers_that_are_away_and_slow_ones_get_every_event_once() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let brokers = cluster.bootstrap_servers();
    let mut process = Process::start(dir.path(), 2);
    let stream = stream(&process, settings(&brokers));
    let failures = || stream.meters().failures.load(Ordering::Relaxed);
    (0..100).for_each(|number| process.record(number as usize % 2, number));
    delivers(&stream, 100);
    (1..=3).for_each(|id| cluster.broker_down(id).unwrap());
    (100..200).for_each(|number| process.record(number as usize % 2, number));
    let until = Instant::now() + Duration::from_secs(30);
    while failures() == 0 {
        assert!(Instant::now() < until, "no failure is told");
        std::thread::sleep(Duration::from_millis(1));
    }
    (1..=3).for_each(|id| cluster.broker_up(id).unwrap());
    delivers(&stream, 200);
    (1..=3).for_each(|id| cluster.broker_round_trip_time(id, Duration::from_millis(150)).unwrap());
    (200..300).for_each(|number| process.record(number as usize % 2, number));
    delivers(&stream, 300);
    // Another broker leads meanwhile.
    (0..PARTITIONS).for_each(|partition| cluster.partition_leader(TOPIC, partition, Some(2)).unwrap());
    (300..400).for_each(|number| process.record(number as usize % 2, number));
    delivers(&stream, 400);
    (1..=3).for_each(|id| cluster.broker_round_trip_time(id, Duration::ZERO).unwrap());
    let events = events(&brokers);
    assert_eq!((events.len(), events.values().sum::<u32>()), (400, 400));
    stream.stop(Instant::now() + Duration::from_secs(10));
    stream.join();
}

#[test]
fn a_part_is_bounded_by_whatever_bounds_a_request_first() {
    for (options, bytes) in [
        (&[][..], 1_000_000),
        (&[("batch.size", "5000")], 5_000),
        (&[("batch.size", "4000000")], 1_000_000),
        (&[("batch.size", "4000000"), ("message.max.bytes", "4000000")], 2_000_000),
        (&[("batch.num.messages", "10")], 2_000),
        (&[("batch.size", "5000"), ("batch.size", "6000")], 6_000),
        (&[("batch.size", "0x10")], 1_000_000),
    ] {
        let mut settings = settings("127.0.0.1:1");
        settings
            .options
            .extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        assert_eq!(super::part_bytes(&settings), bytes, "{options:?}");
    }
}

fn add_hundred(sink: &mut Kafka, instance: u64) -> Batch {
    let (supply, offset) = (usual(), journal::Offset::new);
    for number in 0..100 {
        hold(&supply, number, NOON_US, &[Imp::PLAIN], |record| {
            let id = EventId { instance, core: 0, offset: offset(100 + number) };
            sink.add(&Event { id, record, supply: &supply }).unwrap();
        });
    }
    let (from, to) = (offset(100), offset(200));
    Batch { instance, core: 0, segment: from, from, to, auctions: 100, times_us: (NOON_US, NOON_US) }
}

#[tokio::test]
async fn a_supplys_events_keep_their_order_when_the_first_of_them_are_refused() {
    let cluster = cluster();
    let mut settings = settings(&cluster.bootstrap_servers());
    settings.options.push(("batch.size".to_owned(), "20000".to_owned()));
    let mut sink = Kafka::open(settings).unwrap();
    let batch = add_hundred(&mut sink, 7);
    cluster.request_errors(Api::Produce, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    sink.deliver(&batch).await.expect_err("they are refused");
    // It is refused here, too, until librdkafka looks at the topic again.
    while sink.deliver(&batch).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let expected: Vec<String> = (100..200).map(|offset| format!("0000000000000007-0-{offset}")).collect();
    assert_eq!(ids(&cluster.bootstrap_servers()), expected);
}

#[tokio::test]
async fn a_producer_that_dies_before_anything_is_sent_is_told_once_and_replaced() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    cluster.request_errors(Api::InitProducerId, &[RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED]);
    let mut sink = Kafka::open(settings(&brokers)).unwrap();
    let batch = add_hundred(&mut sink, 7);
    let until = Instant::now() + Duration::from_secs(30);
    while sink.producer.as_ref().unwrap().client().fatal_error().is_none() {
        assert!(Instant::now() < until, "it does not die");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = sink.deliver(&batch).await.expect_err("it has died").to_string();
    assert!(error.contains("uthoriz"), "{error}");
    sink.deliver(&batch).await.unwrap();
    let events = events(&brokers);
    assert_eq!((events.len(), events.values().sum::<u32>()), (100, 100));
}

/// With a second request of a partition in its queue librdkafka polls without a pause.
#[tokio::test]
async fn no_more_than_one_request_takes_is_with_librdkafka_at_once() {
    let cluster = cluster();
    (1..=3).for_each(|id| cluster.broker_round_trip_time(id, Duration::from_millis(20)).unwrap());
    let brokers = cluster.bootstrap_servers();
    for (part, most_messages) in [("20000", 20_000 / 500), ("1", 1)] {
        let mut settings = settings(&brokers);
        settings.options.push(("batch.size".to_owned(), part.to_owned()));
        let mut sink = Kafka::open(settings).unwrap();
        let batch = add_hundred(&mut sink, part.len() as u64);
        assert!(sink.bytes.len() > 100 * 300, "{} bytes", sink.bytes.len());
        let (acks, mut most) = (Arc::clone(&sink.acks), 0);
        let mut delivery = pin!(sink.deliver(&batch));
        loop {
            most = most.max(acks.waiting());
            tokio::select! {
                delivered = &mut delivery => break delivered.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        assert!((1..=most_messages).contains(&most), "{most} messages were with librdkafka");
    }
    let events = events(&brokers);
    assert_eq!((events.len(), events.values().sum::<u32>()), (200, 200));
}
