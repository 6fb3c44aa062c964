//! Loading a catalogue file into the database: what is new is added, what exists becomes what the file says.
//!
//! * All of it or none: one transaction, in which other writers wait and readers see the catalogue as it was.
//! * Rows that the file does not name stay as they are, and a row that is already as the file says is not written.
//! * The answer is true: after `Ok` it is in the database, after `Err` it is not. If the connection breaks just while
//!   the database commits, the database is asked again what became of the transaction.
//! * The file is staged in temporary tables, as JSON by the thousand rows, and compared there as sets.

mod sql;

use crate::database::{Database, Dialect, plain};
use crate::file::{File, FileBidder, FileSupply};
use anyhow::{Result, anyhow, bail};
use hashbrown::HashSet;
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection as _, Transaction};
use std::time::Duration;

/// What a load did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Supplies that were not there.
    pub supplies_new: u64,
    /// Supplies whose rule, floor or bidders are others now.
    pub supplies_changed: u64,
    /// Bidders that were not there.
    pub bidders_new: u64,
    /// Bidders whose country or simulation is another now.
    pub bidders_changed: u64,
}

/// Told the step, how much of it is done, and of how much.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// Rows to one statement: enough that its overhead is lost, few enough that progress moves.
const CHUNK: usize = 5_000;

/// From so many new links on, PostgreSQL checks its foreign keys once for all of them, which is ten times as fast as
/// once for each. That needs the tables for itself: who starts to read them then waits until the load is over.
const BULK_LINKS: usize = 100_000;

/// Loads `file`.
pub async fn load(db: &Database, file: &File, progress: Progress<'_>) -> Result<Loaded> {
    let mut connection = db.open().await?;
    let links: usize = file.supplies.iter().map(|supply| supply.bidders.len()).sum();
    let bulk = links >= BULK_LINKS && is_owner(&mut connection, db.dialect()).await.map_err(failed)?;
    let mut transaction = begin(&mut connection, db.dialect(), bulk).await.map_err(failed)?;
    let loaded = write(&mut transaction, db.dialect(), file, bulk, progress).await?;
    commit(db, transaction).await?;
    // It is loaded; how the connection ends changes nothing.
    let _ = connection.close().await;
    Ok(loaded)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
pub(crate) fn failed(error: sqlx::Error) -> anyhow::Error {
    anyhow!("nothing was loaded: {}", plain(&error))
}

/// Makes the catalogue what `file` says, as far as this transaction sees it.
pub(crate) async fn write(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    file: &File,
    bulk: bool,
    progress: Progress<'_>,
) -> Result<Loaded> {
    stage(transaction, dialect, file, &mut *progress).await.map_err(failed)?;
    let unknown = unknown_bidders(transaction).await.map_err(failed)?;
    let problems = file.unknown_bidders(|bidder| unknown.contains(&i64::from(bidder)));
    if !problems.is_empty() {
        bail!(problems);
    }
    apply(transaction, dialect, bulk, progress).await.map_err(failed)
}

/// Commits; after `Ok` it is done, after `Err` it is not.
pub(crate) async fn commit(db: &Database, mut transaction: Transaction<'_, Any>) -> Result<()> {
    let number = number(&mut transaction, db.dialect()).await.map_err(failed)?;
    let Err(error) = transaction.commit().await else { return Ok(()) };
    match number {
        Some(number) if committed(db, number).await? => Ok(()),
        _ => Err(failed(error)),
    }
}

async fn is_owner(connection: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<bool> {
    match dialect {
        Dialect::Sqlite => Ok(false),
        Dialect::Postgres => sqlx::query_scalar(sql::IS_OWNER).fetch_one(connection).await,
    }
}

pub(crate) async fn begin(
    connection: &mut AnyConnection,
    dialect: Dialect,
    bulk: bool,
) -> sqlx::Result<Transaction<'_, Any>> {
    if dialect == Dialect::Sqlite {
        // Links are added between rows that this transaction, the only writer, has just found: nothing to check.
        let fast = "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA foreign_keys = OFF";
        sqlx::raw_sql(fast).execute(&mut *connection).await?;
        // Waits for another writer here, where that is no failure, rather than in the middle.
        return connection.begin_with("BEGIN IMMEDIATE").await;
    }
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '30s'; SET LOCAL work_mem = '64MB'")
        .execute(&mut *transaction)
        .await?;
    // In the order in which they are read, so that neither waits for what the other has.
    let lock = match bulk {
        true => "LOCK TABLE bidders, supplies, supply_bidders IN ACCESS EXCLUSIVE MODE",
        false => "LOCK TABLE bidders, supplies, supply_bidders IN SHARE ROW EXCLUSIVE MODE",
    };
    sqlx::raw_sql(lock).execute(&mut *transaction).await?;
    Ok(transaction)
}

async fn stage(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    file: &File,
    progress: Progress<'_>,
) -> sqlx::Result<()> {
    sqlx::raw_sql(sql::TABLES).execute(&mut **transaction).await?;
    let insert = sql::stage_bidders(dialect);
    let mut done = 0;
    for chunk in file.bidders.chunks(CHUNK) {
        let json = bidders_json(done, chunk);
        sqlx::query(AssertSqlSafe(insert.as_str())).bind(json).execute(&mut **transaction).await?;
        done += chunk.len();
        progress("staging bidders", done as u64, file.bidders.len() as u64);
    }

    let insert = sql::stage_supplies(dialect);
    let mut done = 0;
    for chunk in file.supplies.chunks(CHUNK) {
        let json = supplies_json(done, chunk);
        sqlx::query(AssertSqlSafe(insert.as_str())).bind(json).execute(&mut **transaction).await?;
        done += chunk.len();
        progress("staging supplies", done as u64, file.supplies.len() as u64);
    }
    if dialect == Dialect::Postgres {
        // It knows nothing of a new table's size otherwise, and joins row by row.
        sqlx::raw_sql("ANALYZE staged_bidders; ANALYZE staged_supplies").execute(&mut **transaction).await?;
    }
    Ok(())
}

fn bidders_json(first: usize, bidders: &[FileBidder]) -> String {
    let row = |(place, bidder): (usize, &FileBidder)| {
        let given = bidder.given.as_ref();
        let country = given.map(|given| given.country.alpha2());
        json!([place, bidder.id.as_str(), country, given.and_then(|given| given.simulation.as_deref())])
    };
    Value::Array((first..).zip(bidders).map(row).collect()).to_string()
}

fn supplies_json(first: usize, supplies: &[FileSupply]) -> String {
    let row = |(place, supply): (usize, &FileSupply)| {
        let bidders: Vec<String> = supply.bidders.iter().map(u32::to_string).collect();
        json!([
            place,
            supply.id.as_str(),
            supply.auction.name(),
            supply.bid_floor.micros(),
            bidders.join(",")
        ])
    };
    Value::Array((first..).zip(supplies).map(row).collect()).to_string()
}

async fn unknown_bidders(transaction: &mut Transaction<'_, Any>) -> sqlx::Result<HashSet<i64>> {
    let unknown = sqlx::query_scalar(sql::UNKNOWN_BIDDERS).fetch_all(&mut **transaction).await?;
    Ok(unknown.into_iter().collect())
}

/// Makes the catalogue what is staged.
async fn apply(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    bulk: bool,
    progress: Progress<'_>,
) -> sqlx::Result<Loaded> {
    let mut writer = Writer { transaction, progress, done: 0 };
    let bidders_changed = writer.run(sql::CHANGE_BIDDERS).await?;
    let bidders_new = writer.run(sql::ADD_BIDDERS).await?;
    writer.run(sql::NUMBER_KNOWN).await?;
    writer.run(sql::CHANGE_SUPPLIES).await?;
    let supplies_new = writer.run(sql::ADD_SUPPLIES).await?;
    writer.run(sql::NUMBER_NEW).await?;
    writer.run(sql::stage_links(dialect)).await?;
    writer.run(sql::COMPARE_LINKS).await?;
    writer.run(sql::REMOVE_LINKS).await?;
    if bulk && writer.count("SELECT count(*) FROM staged_added").await? >= BULK_LINKS as u64 {
        writer.add_links_unchecked().await?;
    } else {
        writer.run(sql::ADD_LINKS).await?;
    }
    let supplies_changed = writer.count("SELECT count(*) FROM staged_changes").await?;
    Ok(Loaded { supplies_new, supplies_changed, bidders_new, bidders_changed })
}

/// Runs one statement after the other and tells how far it is.
struct Writer<'a, 'c> {
    transaction: &'a mut Transaction<'c, Any>,
    progress: Progress<'a>,
    done: u64,
}

impl Writer<'_, '_> {
    const STEPS: u64 = 10;

    async fn run(&mut self, sql: &'static str) -> sqlx::Result<u64> {
        let done = sqlx::raw_sql(sql).execute(&mut **self.transaction).await?;
        self.done += 1;
        (self.progress)("writing changes", self.done, Self::STEPS);
        Ok(done.rows_affected())
    }

    async fn count(&mut self, sql: &'static str) -> sqlx::Result<u64> {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut **self.transaction).await?;
        Ok(count.unsigned_abs())
    }

    /// Adds the links with their foreign keys away; bringing those back checks every link.
    async fn add_links_unchecked(&mut self) -> sqlx::Result<()> {
        let keys: Vec<(String, String)> =
            sqlx::query_as(sql::FOREIGN_KEYS).fetch_all(&mut **self.transaction).await?;
        for (away, _) in &keys {
            sqlx::raw_sql(AssertSqlSafe(away.as_str())).execute(&mut **self.transaction).await?;
        }
        self.run(sql::ADD_LINKS).await?;
        for (_, back) in &keys {
            sqlx::raw_sql(AssertSqlSafe(back.as_str())).execute(&mut **self.transaction).await?;
        }
        Ok(())
    }
}

/// The transaction's number, by which PostgreSQL remembers what became of it.
async fn number(transaction: &mut Transaction<'_, Any>, dialect: Dialect) -> sqlx::Result<Option<i64>> {
    match dialect {
        Dialect::Sqlite => Ok(None),
        Dialect::Postgres => {
            sqlx::query_scalar("SELECT txid_current()").fetch_one(&mut **transaction).await.map(Some)
        }
    }
}

/// Whether PostgreSQL has committed transaction `number`, asked over a new connection.
async fn committed(db: &Database, number: i64) -> Result<bool> {
    let unsure = |error: String| {
        anyhow!(
            "the connection broke while PostgreSQL committed, and it cannot be asked whether it did ({error}); \
                 loading the same file again is safe"
        )
    };
    for _ in 0..50 {
        let mut connection = db.open().await.map_err(|error| unsure(error.to_string()))?;
        let status = sqlx::query_scalar::<_, Option<String>>("SELECT txid_status($1)").bind(number);
        match status.fetch_one(&mut connection).await.map_err(|error| unsure(plain(&error)))?.as_deref() {
            Some("committed") => return Ok(true),
            Some("aborted") => return Ok(false),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(unsure("it is still at it after 5 s".into()))
}
