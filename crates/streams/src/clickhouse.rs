//! ClickHouse: auctions, bids and `/stat` in SQL, each auction once on any server from 18.16 on.
//!
//! * A batch is two statements, see `statements`. Each leaves out what is there already when it runs, however often
//!   and however late it comes.
//! * That is exact because no two of a core's statements of a kind run at once: they have the same query id, and the
//!   server refuses the second.
//! * Over replicas, which do not know each other's queries, it is exact by the batch's deduplication token.
//! * Errors: what the server says, on one line; what is missing there, with the command that makes it.

mod rows;
pub mod schema;
mod statements;

use crate::{Batch, Event, Sink};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use reqwest::{Client, Url, header};
use rows::Rows;
use schema::{Dialect, NAMES};
use statements::Step;
use std::collections::{BTreeMap, HashSet};

/// How much of a server's complaint is shown.
const COMPLAINT_BYTES: usize = 400;

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://user:password@host:8123`.
    pub url: Url,
    /// The database that they are in.
    pub database: String,
}

impl Settings {
    /// None: that is no address of an HTTP server.
    pub fn new(url: &str, database: String) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        Some(Self { url, database })
    }
}

/// The sink.
#[derive(Debug)]
pub struct ClickHouse {
    client: Client,
    settings: Settings,
    /// What the server is; None: not looked at since the last failure.
    dialect: Option<Dialect>,
    rows: Rows,
    /// The batch's body, once its rows are all there.
    body: Option<Bytes>,
    /// The earliest time of each core's auctions that may not be counted yet, in microseconds since 1970.
    uncounted_us: BTreeMap<u32, u64>,
}

impl ClickHouse {
    /// A sink that connects with its first batch.
    pub fn open(settings: Settings) -> Result<Self> {
        // Refused where another part of the program was first, with the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().user_agent(concat!("bourse/", env!("CARGO_PKG_VERSION"))).build()?;
        let (rows, uncounted_us) = (Rows::default(), BTreeMap::new());
        Ok(Self { client, settings, dialect: None, rows, body: None, uncounted_us })
    }

    async fn store(&mut self, batch: &Batch, dialect: Dialect) -> Result<()> {
        let rows = &mut self.rows;
        let body = self.body.get_or_insert_with(|| rows.take().into()).clone();
        let database = &self.settings.database;
        let since_us = *self
            .uncounted_us
            .entry(batch.core)
            .and_modify(|us| *us = (*us).min(batch.times_us.0))
            .or_insert(batch.times_us.0);
        self.run(&Step::store(database, batch, dialect), Some(body))
            .await
            .context("auctions not inserted")?;
        self.run(&Step::count(database, batch, since_us, dialect), None)
            .await
            .context("auctions not counted")?;
        self.uncounted_us.remove(&batch.core);
        Ok(())
    }

    async fn run(&self, step: &Step, body: Option<Bytes>) -> Result<()> {
        self.ask(&step.query, step.parameters(), body).await.map(drop)
    }

    /// Looks at what the server is, and whether everything is there that a batch needs.
    async fn look(&self) -> Result<Dialect> {
        let database = &self.settings.database;
        let query = format!(
            "SELECT 'version', version() UNION ALL \
             SELECT '', name FROM system.tables WHERE database = '{database}' UNION ALL \
             SELECT table, name FROM system.columns WHERE database = '{database}' AND table = 'auctions' \
             FORMAT TabSeparated"
        );
        let answer = self.ask(&query, Vec::new(), None).await.context("cannot look at the server")?;
        let found: HashSet<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
        let version = found.iter().find(|(kind, _)| *kind == "version").map_or("", |(_, version)| *version);
        let dialect = Dialect::of_version(version);
        let dialect = dialect.with_context(|| format!("this is no ClickHouse: {}", complaint(&answer)))?;
        let missing: Vec<&str> = NAMES.into_iter().filter(|name| !found.contains(&("", *name))).collect();
        ensure!(
            missing.is_empty(),
            "database {database} lacks {}; `bourse events schema clickhouse --server {version}` prints what \
             creates it, for `clickhouse-client --multiquery`",
            missing.join(", ")
        );
        let mut alters = dialect.fields();
        alters.retain(|field| !found.contains(&("auctions", field.name.as_str())));
        if !alters.is_empty() {
            let alters = alters.iter().map(|field| {
                format!("ALTER TABLE {database}.auctions ADD COLUMN `{}` {}", field.name, field.kind)
            });
            let alters = alters.collect::<Vec<_>>().join("; ");
            bail!("the table is older than this bourse, bring it up to date: {alters}");
        }
        Ok(dialect)
    }

    /// What the server answers, once it has done all of it.
    async fn ask(
        &self,
        query: &str,
        mut parameters: Vec<(&str, String)>,
        rows: Option<Bytes>,
    ) -> Result<String> {
        // Its status is that of the end, not of the beginning.
        parameters.push(("wait_end_of_query", "1".to_owned()));
        let mut url = self.settings.url.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        let request = match rows {
            Some(rows) => {
                url.query_pairs_mut().append_pair("query", query);
                self.client.post(url).header(header::CONTENT_TYPE, rows::content_type()).body(rows)
            }
            None => self.client.post(url).body(query.to_owned()),
        };
        // The address has the statement in it, which is long.
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        let text = answer.text().await.map_err(reqwest::Error::without_url)?;
        ensure!(status.is_success(), "{status}: {}", complaint(&text));
        Ok(text)
    }
}

impl Sink for ClickHouse {
    /// So that a batch has the same token after a crash.
    const REPEATS: bool = true;

    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        self.rows.add(event);
        Ok(())
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<()> {
        // Whatever fails or is dropped on the way, the server is looked at again.
        let dialect = match self.dialect.take() {
            Some(dialect) => dialect,
            None => self.look().await?,
        };
        self.store(batch, dialect).await?;
        self.dialect = Some(dialect);
        Ok(())
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.body = None;
    }
}

/// The beginning of what a server says, on one line.
fn complaint(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = (0..=COMPLAINT_BYTES.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    line[..end.unwrap_or(0)].to_owned()
}
