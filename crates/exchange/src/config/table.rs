//! The table of settings: every name there is, with what it takes.

/// One setting.
#[derive(Debug)]
pub(super) struct Spec {
    /// Its name in TOML; the environment's follows from it.
    pub(super) key: &'static str,
    /// Its value if nobody says otherwise.
    pub(super) default: &'static str,
    /// The unit of its number, if it has one.
    pub(super) unit: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
    /// What it is for.
    pub(super) help: &'static str,
}

/// What a setting takes.
#[derive(Debug)]
pub(super) enum Takes {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// The same, or this word.
    NumberOr(u64, u64, &'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// What this says.
    Text(&'static str),
    /// A text with a password in it; shown without.
    Secret(&'static str),
    /// A secret and nothing else; never shown.
    Password(&'static str),
    /// SHA-256 sums with commas; shown by their first digits.
    Digests(&'static str),
}

impl Spec {
    const fn new(
        key: &'static str,
        default: &'static str,
        unit: &'static str,
        takes: Takes,
        help: &'static str,
    ) -> Self {
        Self { key, default, unit, takes, help }
    }

    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("BOURSE_{}", self.key.to_uppercase().replace('.', "_"))
    }

    /// What it takes, in words.
    pub(super) fn range(&self) -> String {
        match &self.takes {
            Takes::Number(low, high) => format!("{low} to {high}"),
            Takes::NumberOr(low, high, word) => format!("{word}, or {low} to {high}"),
            Takes::OneOf(words) => words.join(" | "),
            Takes::Text(words) | Takes::Secret(words) | Takes::Password(words) | Takes::Digests(words) => {
                (*words).to_owned()
            }
        }
    }
}

use Takes::{Digests, Number, NumberOr, OneOf, Password, Secret, Text};

/// How Kafka's messages can be compressed.
pub(super) const COMPRESSIONS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];
/// How its brokers can be spoken to.
pub(super) const SECURITIES: &[&str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
/// How to log in there.
pub(super) const LOGINS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Every setting, in the order they are shown.
pub(super) const TABLE: &[Spec] = &[
    Spec::new("listen", "127.0.0.1:8000", "", Text("HOST:PORT; port 0 is any free one"), "where to listen"),
    Spec::new("data_dir", "./bourse-data", "", Text("a directory"), "where data is kept"),
    Spec::new(
        "workers",
        "auto",
        "cores",
        NumberOr(1, 256, "auto"),
        "how many cores serve; auto is all of them",
    ),
    Spec::new(
        "busy_poll",
        "false",
        "",
        OneOf(&["false", "true"]),
        "whether cores never sleep: the least latency, for all of each core's time",
    ),
    Spec::new(
        "seed",
        "random",
        "",
        NumberOr(0, u64::MAX, "random"),
        "the same seed and requests give the same answers",
    ),
    Spec::new(
        "database.url",
        "sqlite:{data_dir}/catalogue.sqlite",
        "",
        Secret("sqlite:PATH | postgres://…"),
        "the catalogue's database",
    ),
    Spec::new(
        "database.replica_urls",
        "",
        "",
        Secret("postgres://…, …"),
        "replicas the catalogue may be read from",
    ),
    Spec::new(
        "database.migrations_dir",
        "{data_dir}/migrations",
        "",
        Text("a directory"),
        "migrations beside the built-in ones",
    ),
    Spec::new(
        "redis.url",
        "",
        "",
        Secret("redis://…; several nodes of a cluster with commas"),
        "limit and statistics of several instances together",
    ),
    Spec::new(
        "redis.timeout_ms",
        "100",
        "ms",
        Number(1, 5000),
        "how long a request waits for the shared limit, at most half of tmax",
    ),
    Spec::new(
        "rate_limit.requests",
        "3",
        "requests",
        Number(0, 1000),
        "per address and window; 0 turns the limit off",
    ),
    Spec::new("rate_limit.window_s", "60", "s", Number(1, 86_400), "the rolling window"),
    Spec::new(
        "rate_limit.key",
        "body",
        "",
        Text("body | peer | forwarded:N (1 to 16)"),
        "what counts as an address",
    ),
    Spec::new(
        "rate_limit.addresses_max",
        "2000000",
        "addresses",
        Number(1024, 1_000_000_000),
        "remembered at once",
    ),
    Spec::new("rate_limit.when_full", "deny", "", OneOf(&["deny", "allow"]), "for a new address beyond them"),
    Spec::new(
        "rate_limit.fallback",
        "local",
        "",
        OneOf(&["local", "allow", "deny"]),
        "who decides while Redis is away: this instance alone, or everybody or nobody passes",
    ),
    Spec::new(
        "simulation.clock",
        "virtual",
        "",
        OneOf(&["virtual", "real"]),
        "whether simulated latencies are waited for",
    ),
    Spec::new(
        "journal.enabled",
        "true",
        "",
        OneOf(&["true", "false"]),
        "whether auctions are recorded; without, statistics start from zero",
    ),
    Spec::new(
        "journal.sync_ms",
        "10",
        "ms",
        Number(0, 60_000),
        "what a power cut may lose; 0: nothing, an answer waits for the disk",
    ),
    Spec::new(
        "journal.segment_mib",
        "64",
        "MiB",
        Number(1, 1024),
        "how long a file of the journal gets at least",
    ),
    Spec::new(
        "journal.segment_max_mib",
        "256",
        "MiB",
        Number(1, 1024),
        "how long where that would be full within 15 s; no more than segment_mib: always that",
    ),
    Spec::new("journal.segment_age_s", "3600", "s", Number(1, 604_800), "how old it gets"),
    Spec::new(
        "journal.retain_hours",
        "168",
        "hours",
        Number(1, 1_000_000),
        "what is older and was read by every reader is removed",
    ),
    Spec::new(
        "journal.retain_mib",
        "16384",
        "MiB",
        Number(1, 1_000_000_000),
        "beyond it the oldest files are removed, read or not",
    ),
    Spec::new(
        "streams.retain_mib",
        "12288",
        "MiB",
        Number(1, 1_000_000_000),
        "of the journal may wait for a sink, at most 3/4 of journal.retain_mib; beyond, it is not given the oldest",
    ),
    Spec::new(
        "streams.retry_max_ms",
        "10000",
        "ms",
        Number(10, 3_600_000),
        "the longest pause before a sink that failed is tried again",
    ),
    Spec::new(
        "streams.timeout_ms",
        "30000",
        "ms",
        Number(100, 3_600_000),
        "how long a sink may take for a batch",
    ),
    Spec::new(
        "lake.url",
        "",
        "",
        Text("file:///FOLDER | s3://BUCKET/PREFIX | gs://BUCKET/PREFIX | az://CONTAINER/PREFIX"),
        "where auctions go as Parquet; empty: nowhere",
    ),
    Spec::new(
        "lake.endpoint",
        "",
        "",
        Text("http://HOST:PORT"),
        "of an S3-compatible store, where it is not Amazon's",
    ),
    Spec::new("lake.region", "", "", Text("us-east-1"), "of S3; else AWS_REGION"),
    Spec::new("lake.key_id", "", "", Text("a key's id"), "for S3; else AWS_ACCESS_KEY_ID"),
    Spec::new("lake.secret", "", "", Password("its secret"), "for S3; else AWS_SECRET_ACCESS_KEY"),
    Spec::new(
        "lake.batch_mib",
        "16",
        "MiB",
        Number(1, 1024),
        "of the journal go into a file at most, a third of that as Parquet",
    ),
    Spec::new("lake.batch_s", "60", "s", Number(1, 86_400), "how long an auction waits for its file at most"),
    Spec::new(
        "clickhouse.url",
        "",
        "",
        Secret("http[s]://USER:PASSWORD@HOST:PORT, of the HTTP interface"),
        "where auctions go as rows of ClickHouse; empty: nowhere",
    ),
    Spec::new(
        "clickhouse.database",
        "bourse",
        "",
        Text("a name of letters, digits and _"),
        "the database of the tables that `bourse events schema clickhouse` prints",
    ),
    Spec::new(
        "clickhouse.batch_mib",
        "8",
        "MiB",
        Number(1, 256),
        "of the journal go into a block at most, three times that as rows",
    ),
    Spec::new(
        "clickhouse.batch_s",
        "2",
        "s",
        Number(1, 86_400),
        "how long an auction waits for its block at most",
    ),
    Spec::new(
        "kafka.brokers",
        "",
        "",
        Text("HOST:PORT,…"),
        "where auctions go as messages: some of Kafka's brokers; empty: nowhere",
    ),
    Spec::new("kafka.topic", "bourse.auctions", "", Text("a topic's name"), "the topic, keyed by supply"),
    Spec::new(
        "kafka.format",
        "json",
        "",
        OneOf(&["json", "protobuf"]),
        "how an event is written; docs/events.md has both",
    ),
    Spec::new("kafka.compression", "lz4", "", OneOf(COMPRESSIONS), "of batches of messages"),
    Spec::new(
        "kafka.batch_mib",
        "1",
        "MiB",
        Number(1, 64),
        "of the journal wait for acknowledgement at once",
    ),
    Spec::new(
        "kafka.batch_ms",
        "100",
        "ms",
        Number(1, 3_600_000),
        "how long an auction waits for its batch at most",
    ),
    Spec::new(
        "kafka.security",
        "plaintext",
        "",
        OneOf(SECURITIES),
        "how brokers are spoken to; ssl is in builds with the feature `tls`",
    ),
    Spec::new(
        "kafka.sasl",
        "PLAIN",
        "",
        OneOf(LOGINS),
        "how to log in, with security sasl_…; SCRAM is in builds with the feature `tls`",
    ),
    Spec::new("kafka.username", "", "", Text("a name"), "to log in with"),
    Spec::new("kafka.password", "", "", Password("its password"), "to log in with"),
    Spec::new("kafka.ca", "", "", Text("a file, PEM"), "whose certificates brokers have; else the system's"),
    Spec::new("kafka.certificate", "", "", Text("a file, PEM"), "our own, for brokers that ask for one"),
    Spec::new("kafka.key", "", "", Text("a file, PEM"), "its key"),
    Spec::new(
        "kafka.options",
        "",
        "",
        Password("NAME=VALUE; NAME=VALUE; …"),
        "any of librdkafka's own settings, such as message.max.bytes; they win",
    ),
    Spec::new(
        "log.auctions",
        "none",
        "",
        Text("none | all | N"),
        "which auctions are logged with their bids; N: one in N",
    ),
    Spec::new(
        "log.level",
        "info",
        "",
        OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
        "nothing below it",
    ),
    Spec::new("log.format", "text", "", OneOf(&["text", "json"]), "for people or for programs"),
    Spec::new(
        "metrics.bidders_max",
        "500",
        "bidders",
        Number(0, 100_000),
        "with more, /metrics has no series for each of them, only for all together",
    ),
    Spec::new(
        "otlp.endpoint",
        "",
        "",
        Text("http://HOST:PORT of an OpenTelemetry collector; then the path is /v1/traces"),
        "where some auctions are told as traces",
    ),
    Spec::new("otlp.sample", "1000", "auctions", Number(1, 1_000_000_000), "of which one is traced"),
    Spec::new(
        "admin.listen",
        "127.0.0.1:8001",
        "",
        Text("HOST:PORT; port 0 is any free one"),
        "where the admin API listens, if there is a token for it",
    ),
    Spec::new(
        "admin.token_sha256",
        "",
        "",
        Digests("64 hexadecimal digits; of several tokens with commas"),
        "whose tokens the admin API takes; `bourse admin token` makes one",
    ),
    Spec::new(
        "admin.allow_remote",
        "false",
        "",
        OneOf(&["false", "true"]),
        "whether it may listen beyond this machine: without TLS in front of it a token can be read on the way",
    ),
    Spec::new("http.body_max_bytes", "65536", "bytes", Number(256, 16_777_216), "the longest body"),
    Spec::new("http.json_depth_max", "32", "levels", Number(1, 512), "the deepest nesting of a body"),
    Spec::new(
        "http.connections_max",
        "20000",
        "connections",
        Number(1, 1_000_000),
        "open at once; 503 beyond",
    ),
    Spec::new(
        "http.head_timeout_ms",
        "2000",
        "ms",
        Number(250, 60_000),
        "for the head of a request to arrive",
    ),
    Spec::new("http.body_timeout_ms", "5000", "ms", Number(50, 60_000), "for a body to arrive"),
    Spec::new("http.idle_timeout_s", "75", "s", Number(1, 3600), "for a connection to wait for a request"),
    Spec::new(
        "http.drain_delay_ms",
        "0",
        "ms",
        Number(0, 600_000),
        "after SIGTERM, how long it still serves everybody while /health/ready says no",
    ),
    Spec::new(
        "http.drain_idle_ms",
        "2000",
        "ms",
        Number(0, 600_000),
        "then, for idle connections to be closed by their clients",
    ),
    Spec::new("http.drain_timeout_s", "10", "s", Number(0, 600), "then, for what is in flight to end"),
    Spec::new(
        "http.subscribers_max",
        "64",
        "pages",
        Number(0, 10_000),
        "that watch the dashboard at once; 503 beyond",
    ),
    Spec::new(
        "http.express",
        "true",
        "",
        OneOf(&["true", "false"]),
        "whether POST /bid in its plain form is read without the HTTP library: faster, with the same answers",
    ),
];

/// The known name nearest to `name`, if one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.map(|other| (distance(name, other), other)).min().filter(|(d, _)| *d <= 3).map(|(_, other)| other)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
