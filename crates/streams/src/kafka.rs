//! Kafka: a message for each auction, keyed by its supply.
//!
//! * A batch is delivered when the brokers have acknowledged every message of it: all replicas in sync have it.
//! * At least once: the producer is idempotent, so nothing is doubled or overtaken while this process and its connection
//!   live; after a crash or a fatal error a message may come again, with the same key and the same event id.
//! * An attempt that fails leaves its messages in librdkafka's queue, which tries for ever. The next attempt waits for
//!   them and sends only what was refused, so trying again doubles nothing.
//! * A batch is handed over in parts of one request's size, each once the one before is acknowledged. librdkafka has one
//!   request of an idempotent producer's partition under way, and while another one waits behind it polls without a pause.
//! * Headers: `schema`, `event` (the id that doubles are known by), `content-type`.
//! * Errors: what librdkafka says of the brokers, or of a setting that is wrong.

mod acks;
#[cfg(test)]
mod tests;

use crate::json::Json;
use crate::protobuf::Protobuf;
use crate::{Batch, Event, EventId, SCHEMA, Sink, text};
use acks::{Acks, Context, opaque};
use anyhow::{Context as _, Result, anyhow, bail};
use auction::Supply;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long an attempt waits while nothing is acknowledged at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks at what librdkafka has to say and has left. No thread waits for it: the library's own never sleeps in
/// the last millisecond of each tenth of a second.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// What a message takes in a request, at most, without its key and value.
const MESSAGE_BYTES: usize = 200;

/// What holds unless a setting says otherwise.
const DEFAULTS: [(&str, &str); 8] = [
    // These bound a request, and so a part.
    ("batch.size", "1000000"),
    ("message.max.bytes", "1000000"),
    ("batch.num.messages", "10000"),
    ("client.id", "bourse"),
    // As the clients in Java choose it, so that a supply's auctions meet what others say of it.
    ("partitioner", "murmur2_random"),
    // Enough for a part to be handed over.
    ("linger.ms", "5"),
    // Tried for ever: who gives an auction up is the stream.
    ("message.timeout.ms", "0"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `docs/events.md` says.
    Json,
    /// As `proto/bourse/events/v1/event.proto` says.
    Protobuf,
}

impl Format {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

/// Where messages go, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The topic, which must be there or be created by the broker.
    pub topic: String,
    /// How an event is written.
    pub format: Format,
    /// librdkafka's own settings; of two with one name the last holds.
    pub options: Vec<(String, String)>,
}

/// One event of the batch.
#[derive(Debug)]
struct Message {
    supply: Arc<Supply>,
    id: EventId,
    /// Where its bytes end.
    end: usize,
}

/// The sink.
pub struct Kafka {
    settings: Settings,
    /// None: it has failed for ever, or has messages of a batch that was given up.
    producer: Option<BaseProducer<Context>>,
    acks: Arc<Acks>,
    json: Json,
    protobuf: Protobuf,
    headers: OwnedHeaders,
    /// Of the event that is handed over.
    id_text: Vec<u8>,
    messages: Vec<Message>,
    bytes: Vec<u8>,
    /// Which of them librdkafka does not have.
    unsent: VecDeque<u32>,
    /// How many bytes it may have, and how many it has been given since it had none.
    part: usize,
    handed: usize,
}

impl Kafka {
    /// A sink that connects by itself; refuses what librdkafka does not take.
    pub fn open(settings: Settings) -> Result<Self> {
        let acks = Arc::new(Acks::default());
        let producer = Some(produce(&settings, &acks)?);
        let (part, headers) = (part_bytes(&settings), headers(settings.format));
        Ok(Self {
            settings,
            producer,
            acks,
            json: Json::default(),
            protobuf: Protobuf::default(),
            headers,
            id_text: Vec::new(),
            messages: Vec::new(),
            bytes: Vec::new(),
            unsent: VecDeque::new(),
            part,
            handed: 0,
        })
    }

    /// Hands librdkafka the next part, or what it has room for.
    fn send(&mut self) -> Result<()> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => produce(&self.settings, &self.acks)?,
        };
        let producer = self.producer.insert(producer);
        if producer.in_flight_count() == 0 {
            self.handed = 0;
        }
        while let Some(index) = self.unsent.front().copied() {
            let at = index as usize;
            let begin = at.checked_sub(1).map_or(0, |before| self.messages[before].end);
            let Message { supply, id, end } = &self.messages[at];
            let bytes = end - begin + supply.id.as_str().len() + MESSAGE_BYTES;
            // One that is larger than a part goes alone.
            if self.handed > 0 && self.handed + bytes > self.part {
                return Ok(());
            }
            self.id_text.clear();
            text::event_id(*id, &mut self.id_text);
            let record = BaseRecord::with_opaque_to(&self.settings.topic, opaque(self.acks.round(), index))
                .key(supply.id.as_str())
                .payload(&self.bytes[begin..*end])
                .headers(self.headers.clone().insert(Header { key: "event", value: Some(&self.id_text) }));
            match producer.send(record) {
                Ok(()) => {
                    self.unsent.pop_front();
                    self.handed += bytes;
                }
                Err((error, _)) => {
                    if error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                        return Ok(());
                    }
                    let (bytes, hint) = (end - begin, hint(&error));
                    return Err(anyhow!("event {id} of {bytes} bytes is not taken: {error}{hint}"));
                }
            }
        }
        Ok(())
    }

    /// Hears what librdkafka has to say.
    fn listen(&self) {
        let Some(producer) = &self.producer else { return };
        let mut heard = None;
        // One thing at a time.
        while heard != Some(self.acks.heard()) {
            heard = Some(self.acks.heard());
            producer.poll(Duration::ZERO);
        }
    }

    /// How many messages librdkafka has.
    fn waiting(&self) -> usize {
        self.producer.as_ref().map_or(0, |producer| producer.in_flight_count().max(0) as usize)
    }

    /// Why the producer failed for ever, if it has. It gives back what it has, and is replaced with the next attempt. It may
    /// take too long to tell of each message: then all of the batch are sent again.
    fn bury(&mut self) -> Option<String> {
        let (code, why) = self.producer.as_ref()?.client().fatal_error()?;
        let (had, failed) = (self.waiting(), self.acks.failed());
        self.producer = None;
        self.handed = 0;
        if self.acks.failed() - failed < had {
            self.acks.begin();
            self.unsent = (0..self.messages.len() as u32).collect();
        }
        Some(format!("{}{}", acks::timeless(&why), hint(&KafkaError::Global(code))))
    }
}

impl Sink for Kafka {
    /// Doubles are known by their event id.
    const REPEATS: bool = false;

    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        match self.settings.format {
            Format::Json => self.json.write(event, &mut self.bytes),
            Format::Protobuf => self.protobuf.write(event, &mut self.bytes),
        }
        self.unsent.push_back(self.messages.len() as u32);
        let (supply, id, end) = (Arc::clone(event.supply), event.id, self.bytes.len());
        self.messages.push(Message { supply, id, end });
        Ok(())
    }

    async fn deliver(&mut self, _: &Batch) -> Result<()> {
        self.listen();
        self.acks.attempt();
        loop {
            self.listen();
            // Before more is sent: what was acknowledged is seen by what is less.
            self.acks.look(self.waiting());
            let failed = self.acks.take_failed();
            if !failed.is_empty() {
                // Before what comes after them.
                self.unsent.extend(failed);
                self.unsent.make_contiguous().sort_unstable();
            }
            if let Some(complaint) = self.bury().or_else(|| self.acks.complaint()) {
                bail!("{complaint}");
            }
            self.send()?;
            // Whatever is to be told of a message counts until it was.
            let waiting = self.waiting();
            self.acks.expect(waiting);
            if self.unsent.is_empty() && waiting == 0 && self.acks.failed() == 0 {
                self.handed = 0;
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if self.acks.quiet_for() >= PATIENCE {
                bail!("{}", self.acks.silence());
            }
        }
    }

    fn clear(&mut self) {
        // What was given up must not be sent after all.
        if self.handed > 0 {
            self.producer = None;
        }
        self.acks.begin();
        self.handed = 0;
        self.messages.clear();
        self.bytes.clear();
        self.unsent.clear();
    }
}

/// How many bytes are one request at most, however they are cut into messages.
fn part_bytes(settings: &Settings) -> usize {
    let number = |name| option(settings, name).parse::<usize>().ok();
    let messages = number("batch.num.messages").map(|messages| messages.saturating_mul(MESSAGE_BYTES));
    // A number that only librdkafka can read bounds nothing here.
    let bounds = [number("batch.size"), number("message.max.bytes"), messages];
    bounds.into_iter().flatten().min().unwrap_or(1_000_000)
}

/// What is set in the end.
fn option<'a>(settings: &'a Settings, name: &str) -> &'a str {
    let own = settings.options.iter().rfind(|(set, _)| set == name).map(|(_, value)| value.as_str());
    own.unwrap_or_else(|| DEFAULTS.iter().find(|(set, _)| *set == name).map_or("", |(_, value)| value))
}

fn produce(settings: &Settings, acks: &Arc<Acks>) -> Result<BaseProducer<Context>> {
    let mut config = ClientConfig::new();
    for (name, value) in DEFAULTS {
        config.set(name, value);
    }
    for (name, value) in &settings.options {
        config.set(name, value);
    }
    config.set("enable.idempotence", "true");
    config.set("delivery.report.only.error", "true");
    // Nobody reads them.
    config.set("statistics.interval.ms", "0");
    // From here on it says what a connection died of.
    config.set_log_level(RDKafkaLogLevel::Info);
    let refused = |error: KafkaError| match error {
        KafkaError::ClientConfig(_, why, name, _) if !name.is_empty() => anyhow!("{name}: {why}"),
        KafkaError::ClientConfig(_, why, ..) | KafkaError::ClientCreation(why) => anyhow!(why),
        error => anyhow!(error),
    };
    config.create_with_context(Context(Arc::clone(acks))).map_err(refused).context("kafka is not set right")
}

/// What every message has; the event's id is added to a copy, which takes less than to make all of them.
fn headers(format: Format) -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: "schema", value: Some(&SCHEMA.to_string()) })
        .insert(Header { key: "content-type", value: Some(format.content_type()) })
}

/// What to do about it.
fn hint(error: &KafkaError) -> &'static str {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            "; allow more: message.max.bytes in kafka.options, max.message.bytes of the topic"
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            "; create the topic, or name another: kafka.topic"
        }
        _ => "",
    }
}
