//! Settings of the auction stream: what holds for every sink, and each sink's own.

use super::Settings;
#[cfg(feature = "kafka")]
use super::table::{COMPRESSIONS, LOGINS, SECURITIES};
use anyhow::{Result, bail};
use std::time::Duration;
#[cfg(any(feature = "clickhouse", feature = "lake"))]
use streams::Pace;
use streams::Policy;

/// Where auctions go beside the journal.
#[derive(Debug, Clone)]
pub struct StreamsConfig {
    /// What holds for every sink.
    pub policy: Policy,
    /// As Parquet; None: nowhere.
    #[cfg(feature = "lake")]
    pub lake: Option<(streams::lake::Settings, Pace)>,
    /// The database in ClickHouse, set or not.
    #[cfg(feature = "clickhouse")]
    pub clickhouse_database: String,
    /// As rows of ClickHouse; None: nowhere.
    #[cfg(feature = "clickhouse")]
    pub clickhouse: Option<(streams::clickhouse::Settings, Pace)>,
    /// As messages in Kafka; None: nowhere.
    #[cfg(feature = "kafka")]
    pub kafka: Option<(streams::kafka::Settings, Pace)>,
}

impl StreamsConfig {
    pub(super) fn from(settings: &Settings) -> Result<Self> {
        // So that a stream counts what it gives up before retention removes it unread.
        let retain_mib_max = settings.number::<u64>("journal.retain_mib")? * 3 / 4;
        let policy = Policy {
            retain_bytes: settings.number::<u64>("streams.retain_mib")?.min(retain_mib_max) << 20,
            retry_max: Duration::from_millis(settings.number("streams.retry_max_ms")?),
            timeout: Duration::from_millis(settings.number("streams.timeout_ms")?),
        };
        #[cfg(not(feature = "clickhouse"))]
        is_set(settings, "clickhouse.url", false)?;
        #[cfg(not(feature = "kafka"))]
        is_set(settings, "kafka.brokers", false)?;
        Ok(Self {
            policy,
            #[cfg(feature = "lake")]
            lake: lake(settings)?,
            #[cfg(feature = "clickhouse")]
            clickhouse_database: settings.parse("clickhouse.database", name)?,
            #[cfg(feature = "clickhouse")]
            clickhouse: clickhouse(settings)?,
            #[cfg(feature = "kafka")]
            kafka: kafka(settings)?,
        })
    }
}

/// Whether this sink is set, which is its first setting's being not empty.
pub(super) fn is_set(settings: &Settings, key: &str, is_built: bool) -> Result<bool> {
    if settings.text(key).is_empty() {
        return Ok(false);
    }
    let named = settings.named(key);
    if !is_built {
        let feature = key.split('.').next().unwrap_or(key);
        bail!("{named}: this bourse was built without it; build it with `--features {feature}`");
    }
    if settings.text("journal.enabled") == "false" {
        bail!("{named}: streams read the journal; leave one of {key} and journal.enabled = false out");
    }
    Ok(true)
}

#[cfg(feature = "lake")]
fn lake(settings: &Settings) -> Result<Option<(streams::lake::Settings, Pace)>> {
    let pace = Pace {
        bytes: settings.number::<u64>("lake.batch_mib")? << 20,
        age: Duration::from_secs(settings.number("lake.batch_s")?),
    };
    if !is_set(settings, "lake.url", true)? {
        return Ok(None);
    }
    let url = settings.parse("lake.url", |url| url::Url::parse(url).ok())?;
    // Clouds have names of their own for what a store needs; ours win.
    let clouds = ["aws_", "azure_", "google_"];
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let theirs = texts.map(|(name, value)| (name.to_lowercase(), value));
    let mut options: Vec<_> =
        theirs.filter(|(name, _)| clouds.iter().any(|cloud| name.starts_with(cloud))).collect();
    for (key, option) in [
        ("lake.endpoint", "aws_endpoint"),
        ("lake.region", "aws_region"),
        ("lake.key_id", "aws_access_key_id"),
        ("lake.secret", "aws_secret_access_key"),
    ] {
        let value = settings.text(key);
        if !value.is_empty() {
            options.push((option.to_owned(), value.to_owned()));
        }
    }
    Ok(Some((streams::lake::Settings { url, options }, pace)))
}

/// A name that needs no quotes in SQL.
#[cfg(feature = "clickhouse")]
fn name(text: &str) -> Option<String> {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_plain && text.starts_with(|c: char| !c.is_ascii_digit())).then(|| text.to_owned())
}

#[cfg(feature = "clickhouse")]
fn clickhouse(settings: &Settings) -> Result<Option<(streams::clickhouse::Settings, Pace)>> {
    let pace = Pace {
        bytes: settings.number::<u64>("clickhouse.batch_mib")? << 20,
        age: Duration::from_secs(settings.number("clickhouse.batch_s")?),
    };
    if !is_set(settings, "clickhouse.url", true)? {
        return Ok(None);
    }
    let database = settings.parse("clickhouse.database", name)?;
    let Some(sink) = streams::clickhouse::Settings::new(settings.text("clickhouse.url"), database) else {
        // Without its text, which may have a password.
        bail!("{}: it takes http[s]://USER:PASSWORD@HOST:PORT", settings.named("clickhouse.url"));
    };
    Ok(Some((sink, pace)))
}

/// What Kafka allows a topic to be called.
#[cfg(feature = "kafka")]
fn topic(text: &str) -> Option<String> {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_name = (1..=249).contains(&text.len()) && !matches!(text, "." | "..");
    (is_plain && is_name).then(|| text.to_owned())
}

/// Pairs of `NAME=VALUE` with semicolons between.
#[cfg(feature = "kafka")]
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    pairs.map(pair).collect()
}

#[cfg(feature = "kafka")]
fn kafka(settings: &Settings) -> Result<Option<(streams::kafka::Settings, Pace)>> {
    use streams::kafka::Format;
    let pace = Pace {
        bytes: settings.number::<u64>("kafka.batch_mib")? << 20,
        age: Duration::from_millis(settings.number("kafka.batch_ms")?),
    };
    if !is_set(settings, "kafka.brokers", true)? {
        return Ok(None);
    }
    let formats = [("json", Format::Json), ("protobuf", Format::Protobuf)];
    let words = [("kafka.compression", COMPRESSIONS), ("kafka.security", SECURITIES), ("kafka.sasl", LOGINS)];
    for (key, words) in words {
        settings.parse(key, |text| words.contains(&text).then_some(()))?;
    }
    let security = settings.text("kafka.security");
    for (key, needed) in [("kafka.username", "sasl"), ("kafka.ca", "ssl"), ("kafka.certificate", "ssl")] {
        if !settings.text(key).is_empty() && !security.contains(needed) {
            bail!("{}: it is for kafka.security = sasl_ssl, which is {security}", settings.named(key));
        }
    }
    let needs_tls =
        security.contains("ssl") || security == "sasl_plaintext" && settings.text("kafka.sasl") != "PLAIN";
    if needs_tls && !cfg!(feature = "tls") {
        let named = settings.named("kafka.security");
        bail!("{named}: this bourse was built without it; build it with `--features kafka,tls`");
    }
    let mut options = Vec::new();
    for (key, option) in [
        ("kafka.brokers", "bootstrap.servers"),
        ("kafka.compression", "compression.type"),
        ("kafka.security", "security.protocol"),
        ("kafka.sasl", "sasl.mechanism"),
        ("kafka.username", "sasl.username"),
        ("kafka.password", "sasl.password"),
        ("kafka.ca", "ssl.ca.location"),
        ("kafka.certificate", "ssl.certificate.location"),
        ("kafka.key", "ssl.key.location"),
    ] {
        let value = settings.text(key);
        if !value.is_empty() {
            options.push((option.to_owned(), value.to_owned()));
        }
    }
    let Some(others) = pairs(settings.text("kafka.options")) else {
        // Without its text, which may have a password.
        bail!("{}: it takes NAME=VALUE; NAME=VALUE; …", settings.named("kafka.options"));
    };
    options.extend(others);
    let topic = settings.parse("kafka.topic", topic)?;
    let format = settings.choice("kafka.format", &formats)?;
    Ok(Some((streams::kafka::Settings { topic, format, options }, pace)))
}
