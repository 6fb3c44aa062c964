//! The two statements of a batch: its auctions are inserted, then counted.
//!
//! * Inserted are those whose offset is not in the table. Only parts of the batch's own time are looked at, so that
//!   costs little.
//! * Counted are those in the table from where the sums end to where the batch does. The sums and their end are one part,
//!   written as a whole: one block, and no partitions.

use super::rows::{NAME, structure};
use super::schema::{COUNTED, Dialect, sent_fields};
use crate::Batch;

/// A statement and its settings.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) query: String,
    /// Two of the same never run at once.
    query_id: String,
    /// By which a server knows a block again that it has had.
    token: Option<String>,
    has_rows: bool,
}

impl Step {
    /// Inserts those auctions of the batch that are not there.
    pub(super) fn store(database: &str, batch: &Batch, dialect: Dialect) -> Self {
        let columns = quoted(sent_fields().iter().map(|field| field.name.as_str()));
        let within = within(batch, batch.times_us.0);
        let Batch { from, to, .. } = batch;
        let query = format!(
            "INSERT INTO {database}.auctions ({columns}) SELECT {columns} FROM {NAME} WHERE offset NOT IN \
             (SELECT offset FROM {database}.auctions WHERE {within} AND offset >= {from} AND offset < {to})"
        );
        Self::new(query, "store", batch, dialect, true)
    }

    /// Counts what is in the table and not in the sums, up to the batch's end. `since_us` is the earliest time of such
    /// an auction.
    pub(super) fn count(database: &str, batch: &Batch, since_us: u64, dialect: Dialect) -> Self {
        let columns = quoted(COUNTED);
        let (within, to) = (within(batch, since_us), batch.to);
        let Batch { instance, core, .. } = batch;
        let query = format!(
            "INSERT INTO {database}.stat_feed ({columns}) SELECT {columns} FROM {database}.auctions WHERE {within} \
             AND offset < {to} AND offset >= (SELECT maxMerge(next) FROM {database}.stat_sums \
             WHERE instance = {instance} AND core = {core})"
        );
        Self::new(query, "count", batch, dialect, false)
    }

    fn new(query: String, kind: &str, batch: &Batch, dialect: Dialect, has_rows: bool) -> Self {
        let Batch { instance, core, from, to, .. } = batch;
        let query_id = format!("bourse-{instance:016x}-{core}-{kind}");
        let token = (dialect == Dialect::Now).then(|| format!("{query_id}-{from}-{to}"));
        Self { query, query_id, token, has_rows }
    }

    /// The settings, and what the rows are.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("query_id", self.query_id.clone()),
            // One thread and no bound: one block, so that what it makes is one part.
            ("max_threads", "1".to_owned()),
            ("min_insert_block_size_rows", "1000000000000".to_owned()),
            ("min_insert_block_size_bytes", "1000000000000000".to_owned()),
        ];
        if let Some(token) = &self.token {
            parameters.push(("insert_deduplication_token", token.clone()));
            parameters.push(("deduplicate_blocks_in_dependent_materialized_views", "1".to_owned()));
        }
        if self.has_rows {
            parameters.push(("batch_format", "RowBinary".to_owned()));
            parameters.push(("batch_structure", structure()));
        }
        parameters
    }
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Rows of this core from this time to the batch's last.
fn within(batch: &Batch, since_us: u64) -> String {
    let Batch { instance, core, times_us, .. } = batch;
    let (since_s, until_s) = (since_us / 1_000_000, times_us.1 / 1_000_000 + 1);
    format!(
        "instance = {instance} AND core = {core} AND time >= toDateTime({since_s}) AND time <= toDateTime({until_s})"
    )
}
