//! Loading a catalogue file into the database: what is new is added, what exists becomes what the file says.
//!
//! * All of it or none: one transaction, in which other writers wait and readers see the catalogue as it was.
//! * Rows that the file does not name stay as they are, and a row that is already as the file says is not written.
//! * The answer is true: after `Ok` it is in the database, after `Err` it is not. If the connection breaks just while
//!   the database commits, the database is asked again what became of the transaction.
//! * The file is staged in temporary tables, as JSON by the thousand rows, and compared there as sets.

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

const STAGE: &str = "
    CREATE TEMPORARY TABLE staged_bidders
        (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, country TEXT, simulation TEXT, no INTEGER);
    CREATE TEMPORARY TABLE staged_supplies
        (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, auction TEXT NOT NULL, bid_floor_micros BIGINT NOT NULL,
         bidders TEXT NOT NULL, no INTEGER, is_new INTEGER NOT NULL DEFAULT 0);
    CREATE TEMPORARY TABLE staged_links
        (supply_no INTEGER NOT NULL, bidder_no INTEGER NOT NULL, PRIMARY KEY (supply_no, bidder_no));
    CREATE TEMPORARY TABLE staged_changes (supply_no INTEGER PRIMARY KEY)";

/// Loads `file`.
pub async fn load(db: &Database, file: &File, progress: Progress<'_>) -> Result<Loaded> {
    let failed = |error: sqlx::Error| anyhow!("nothing was loaded: {}", plain(&error));
    let mut connection = db.open().await?;
    let mut transaction = begin(&mut connection, db.dialect()).await.map_err(failed)?;
    stage(&mut transaction, db.dialect(), file, &mut *progress).await.map_err(failed)?;
    let unknown = unknown_bidders(&mut transaction).await.map_err(failed)?;
    let problems = file.unknown_bidders(|bidder| unknown.contains(&i64::from(bidder)));
    if !problems.is_empty() {
        bail!(problems);
    }
    let loaded = apply(&mut transaction, db.dialect(), &mut *progress).await.map_err(failed)?;
    let number = number(&mut transaction, db.dialect()).await.map_err(failed)?;
    if let Err(error) = transaction.commit().await {
        drop(connection);
        let Some(number) = number else {
            return Err(failed(error));
        };
        if !committed(db, number).await? {
            return Err(failed(error));
        }
        return Ok(loaded);
    }
    // It is loaded; how the connection ends changes nothing.
    let _ = connection.close().await;
    Ok(loaded)
}

async fn begin(connection: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<Transaction<'_, Any>> {
    match dialect {
        Dialect::Sqlite => {
            sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(&mut *connection).await?;
            // Waits for another writer here, where that is no failure, rather than in the middle.
            connection.begin_with("BEGIN IMMEDIATE").await
        }
        Dialect::Postgres => {
            let mut transaction = connection.begin().await?;
            let lock = "SET LOCAL lock_timeout = '30s';
                LOCK TABLE bidders, supplies, supply_bidders IN SHARE ROW EXCLUSIVE MODE";
            sqlx::raw_sql(lock).execute(&mut *transaction).await?;
            Ok(transaction)
        }
    }
}

async fn stage(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    file: &File,
    progress: Progress<'_>,
) -> sqlx::Result<()> {
    sqlx::raw_sql(STAGE).execute(&mut **transaction).await?;
    let rows = match dialect {
        Dialect::Sqlite => "json_each($1) AS r",
        Dialect::Postgres => "json_array_elements($1::json) AS r(value)",
    };

    let insert = format!(
        "INSERT INTO staged_bidders (place, id, country, simulation)
         SELECT CAST(r.value ->> 0 AS INTEGER), r.value ->> 1, r.value ->> 2, r.value ->> 3 FROM {rows}"
    );
    let mut done = 0;
    for chunk in file.bidders.chunks(CHUNK) {
        let json = bidders_json(done, chunk);
        sqlx::query(AssertSqlSafe(insert.as_str())).bind(json).execute(&mut **transaction).await?;
        done += chunk.len();
        progress("staging bidders", done as u64, file.bidders.len() as u64);
    }

    let insert = format!(
        "INSERT INTO staged_supplies (place, id, auction, bid_floor_micros, bidders)
         SELECT CAST(r.value ->> 0 AS INTEGER), r.value ->> 1, r.value ->> 2, CAST(r.value ->> 3 AS BIGINT),
         r.value ->> 4 FROM {rows}"
    );
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
        json!([place, supply.id.as_str(), supply.auction.name(), supply.bid_floor.micros(), supply.bidders])
    };
    Value::Array((first..).zip(supplies).map(row).collect()).to_string()
}

/// The places of those that the file only mentions and the database does not have.
async fn unknown_bidders(transaction: &mut Transaction<'_, Any>) -> sqlx::Result<HashSet<i64>> {
    let unknown = sqlx::query_scalar(
        "SELECT s.place FROM staged_bidders s
         WHERE s.country IS NULL AND NOT EXISTS (SELECT 1 FROM bidders b WHERE b.id = s.id)",
    );
    Ok(unknown.fetch_all(&mut **transaction).await?.into_iter().collect())
}

const CHANGED_BIDDERS: &str = "
    UPDATE bidders SET country = s.country, simulation = s.simulation FROM staged_bidders s
    WHERE s.id = bidders.id AND s.country IS NOT NULL
      AND (s.country <> bidders.country OR s.simulation IS DISTINCT FROM bidders.simulation)";

const NEW_BIDDERS: &str = "
    INSERT INTO bidders (id, country, simulation)
    SELECT s.id, s.country, s.simulation FROM staged_bidders s
    WHERE s.country IS NOT NULL AND NOT EXISTS (SELECT 1 FROM bidders b WHERE b.id = s.id) ORDER BY s.place";

const NUMBER_KNOWN: &str = "
    UPDATE staged_bidders SET no = b.no FROM bidders b WHERE b.id = staged_bidders.id;
    UPDATE staged_supplies SET no = x.no FROM supplies x WHERE x.id = staged_supplies.id";

const CHANGED_RULES: &str = "
    INSERT INTO staged_changes SELECT s.no FROM staged_supplies s JOIN supplies x ON x.no = s.no
    WHERE s.auction <> x.auction OR s.bid_floor_micros <> x.bid_floor_micros;
    UPDATE supplies SET auction = s.auction, bid_floor_micros = s.bid_floor_micros FROM staged_supplies s
    WHERE s.no = supplies.no AND (s.auction <> supplies.auction OR s.bid_floor_micros <> supplies.bid_floor_micros)";

const NEW_SUPPLIES: &str = "
    INSERT INTO supplies (id, auction, bid_floor_micros)
    SELECT s.id, s.auction, s.bid_floor_micros FROM staged_supplies s WHERE s.no IS NULL ORDER BY s.place";

const NUMBER_NEW: &str = "
    UPDATE staged_supplies SET no = x.no, is_new = 1 FROM supplies x
    WHERE staged_supplies.no IS NULL AND x.id = staged_supplies.id";

const LINKS_SQLITE: &str = "
    INSERT INTO staged_links SELECT s.no, b.no FROM staged_supplies s CROSS JOIN json_each(s.bidders) j
    JOIN staged_bidders b ON b.place = j.value";

const LINKS_POSTGRES: &str = "
    INSERT INTO staged_links SELECT s.no, b.no FROM staged_supplies s
    CROSS JOIN json_array_elements_text(s.bidders::json) AS j(value)
    JOIN staged_bidders b ON b.place = j.value::integer;
    ANALYZE staged_links";

const LOST_LINKS: &str = "
    INSERT INTO staged_changes SELECT DISTINCT x.supply_no FROM supply_bidders x
    WHERE x.supply_no IN (SELECT no FROM staged_supplies WHERE is_new = 0) AND NOT EXISTS
      (SELECT 1 FROM staged_links l WHERE l.supply_no = x.supply_no AND l.bidder_no = x.bidder_no)
    ON CONFLICT DO NOTHING;
    DELETE FROM supply_bidders
    WHERE supply_no IN (SELECT no FROM staged_supplies WHERE is_new = 0) AND NOT EXISTS
      (SELECT 1 FROM staged_links l WHERE l.supply_no = supply_bidders.supply_no
       AND l.bidder_no = supply_bidders.bidder_no)";

const NEW_LINKS: &str = "
    INSERT INTO staged_changes SELECT DISTINCT l.supply_no FROM staged_links l
    WHERE l.supply_no IN (SELECT no FROM staged_supplies WHERE is_new = 0) AND NOT EXISTS
      (SELECT 1 FROM supply_bidders x WHERE x.supply_no = l.supply_no AND x.bidder_no = l.bidder_no)
    ON CONFLICT DO NOTHING;
    INSERT INTO supply_bidders (supply_no, bidder_no) SELECT l.supply_no, l.bidder_no FROM staged_links l
    WHERE NOT EXISTS
      (SELECT 1 FROM supply_bidders x WHERE x.supply_no = l.supply_no AND x.bidder_no = l.bidder_no)";

/// Makes the catalogue what is staged.
async fn apply(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    progress: Progress<'_>,
) -> sqlx::Result<Loaded> {
    let links = if dialect == Dialect::Sqlite { LINKS_SQLITE } else { LINKS_POSTGRES };
    let steps = [
        CHANGED_BIDDERS,
        NEW_BIDDERS,
        NUMBER_KNOWN,
        CHANGED_RULES,
        NEW_SUPPLIES,
        NUMBER_NEW,
        links,
        LOST_LINKS,
        NEW_LINKS,
    ];
    let mut rows = [0; 9];
    for (i, &sql) in steps.iter().enumerate() {
        rows[i] = sqlx::raw_sql(sql).execute(&mut **transaction).await?.rows_affected();
        progress("writing changes", i as u64 + 1, steps.len() as u64);
    }
    let changed = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM staged_changes");
    Ok(Loaded {
        bidders_changed: rows[0],
        bidders_new: rows[1],
        supplies_new: rows[4],
        supplies_changed: changed.fetch_one(&mut **transaction).await?.unsigned_abs(),
    })
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
