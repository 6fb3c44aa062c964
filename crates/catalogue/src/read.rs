//! Reading the whole catalogue: one consistent moment of the database as a [`Snapshot`].
//!
//! * Every row is checked; one that is no part of a catalogue fails the reading and is named.
//! * With replicas it is read from the first that has seen every change that the primary has; one that has not in
//!   its share of half a second, or fails, is skipped with a warning.
//! * Rows come aggregated, many in one: rows are what costs time here.

use crate::Snapshot;
use crate::build::{Rows, SupplyRow};
use crate::database::{Database, Dialect, Server, plain};
use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection as _, Transaction};
use std::time::Duration;
use tracing::warn;

/// How long the replicas together may take to catch up: a change is to be in force within a second.
const CATCH_UP: Duration = Duration::from_millis(500);

/// The catalogue as the database has it now. What has not changed since `previous` is shared with it: such a supply
/// is the same `Arc`.
pub async fn read(db: &Database, previous: Option<&Snapshot>) -> Result<Snapshot> {
    let mut connection = db.open().await?;
    let snapshot = read_through(db, &mut connection, previous).await?;
    // The catalogue is read; how the connection ends changes nothing.
    let _ = connection.close().await;
    Ok(snapshot)
}

/// As [`read`], over a connection to the primary that is there already.
pub(crate) async fn read_through(
    db: &Database,
    primary: &mut AnyConnection,
    previous: Option<&Snapshot>,
) -> Result<Snapshot> {
    if !db.replicas().is_empty() {
        let wanted = changes(primary).await.map_err(failed)?;
        // Shared by all of them: the primary is asked in time however many are away.
        let bound = CATCH_UP / db.replicas().len() as u32;
        for replica in db.replicas() {
            let caught_up = tokio::time::timeout(bound, caught_up(replica, wanted)).await;
            match caught_up {
                Err(_) => warn!(%replica, "replica is behind, skipped"),
                Ok(Err(error)) => warn!(%replica, "replica skipped: {error}"),
                Ok(Ok(mut connection)) => match rows(replica, &mut connection).await {
                    Ok(rows) => return rows.build(previous),
                    Err(error) => warn!(%replica, "replica skipped: {error}"),
                },
            }
        }
    }
    rows(db.primary(), primary).await?.build(previous)
}

/// How many changes the catalogue has seen.
async fn changes(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count FROM catalogue_changes").fetch_one(connection).await
}

/// A connection to a replica once it has seen as many changes; it can only see more later.
async fn caught_up(replica: &Server, wanted: i64) -> Result<AnyConnection> {
    let mut connection = replica.open().await?;
    while changes(&mut connection).await.map_err(failed)? < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(connection)
}

/// Every row, of one moment.
async fn rows(server: &Server, connection: &mut AnyConnection) -> Result<Rows> {
    let dialect = server.dialect();
    let begin = match dialect {
        Dialect::Sqlite => "BEGIN",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    let mut second = match dialect {
        Dialect::Sqlite => Some(Second::open(server).await?),
        Dialect::Postgres => None,
    };
    let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
    let bidders = table(&mut transaction, dialect, "bidders", "no, id, country, simulation").await?;
    let supplies: Vec<SupplyRow> =
        table(&mut transaction, dialect, "supplies", "no, id, auction, bid_floor_micros").await?;
    let sees_the_same = match &mut second {
        Some(second) => second.sees_the_same().await?,
        None => false,
    };
    let links = match &mut second {
        Some(second) if sees_the_same => {
            let middle = supplies.get(supplies.len() / 2).map_or(0, |supply| supply.no);
            let (mut low, high) = tokio::try_join!(
                links(&mut transaction, dialect, i64::MIN, middle),
                links(&mut second.connection, dialect, middle, i64::MAX),
            )?;
            low.extend(high);
            low
        }
        _ => links(&mut transaction, dialect, i64::MIN, i64::MAX).await?,
    };
    transaction.commit().await.map_err(failed)?;
    Ok(Rows { bidders, supplies, links })
}

/// Another connection to an SQLite file. Most of a reading's time goes into the links, and SQLite reads on one core per
/// connection: two of them share the work if both see the same moment.
struct Second {
    connection: AnyConnection,
    version: i64,
}

impl Second {
    /// To be opened before the first connection begins its transaction.
    async fn open(server: &Server) -> Result<Self> {
        let mut connection = server.open().await?;
        let version = version(&mut connection).await?;
        Ok(Self { connection, version })
    }

    /// Begins a transaction and says whether nobody has changed the file since this was opened: then every transaction
    /// that began in between sees the same.
    async fn sees_the_same(&mut self) -> Result<bool> {
        sqlx::raw_sql("BEGIN").execute(&mut self.connection).await.map_err(failed)?;
        // The first read fixes the moment; `data_version` alone would not.
        sqlx::query("SELECT no FROM supplies LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(failed)?;
        Ok(version(&mut self.connection).await? == self.version)
    }
}

/// Every row, as an open transaction sees it.
pub(crate) async fn rows_within(transaction: &mut Transaction<'_, Any>, dialect: Dialect) -> Result<Rows> {
    Ok(Rows {
        bidders: table(transaction, dialect, "bidders", "no, id, country, simulation").await?,
        supplies: table(transaction, dialect, "supplies", "no, id, auction, bid_floor_micros").await?,
        links: links(transaction, dialect, i64::MIN, i64::MAX).await?,
    })
}

async fn version(connection: &mut AnyConnection) -> Result<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.map_err(failed)
}

/// The rows of `table` as JSON, by the hundred, since each row of an answer costs more than its content.
async fn table<T: DeserializeOwned>(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    table: &str,
    columns: &str,
) -> Result<Vec<T>> {
    let query = match dialect {
        Dialect::Sqlite => {
            format!("SELECT json_group_array(json_array({columns})) FROM {table} GROUP BY no / 256")
        }
        Dialect::Postgres => {
            format!(
                "SELECT CAST(json_agg(json_build_array({columns})) AS text) FROM {table} GROUP BY no / 256"
            )
        }
    };
    let chunks = sqlx::query_scalar::<_, String>(AssertSqlSafe(query)).fetch_all(&mut **transaction).await;
    let mut rows = Vec::new();
    for chunk in chunks.map_err(failed)? {
        match serde_json::from_str::<Vec<T>>(&chunk) {
            Ok(chunk) => rows.extend(chunk),
            Err(error) => {
                return Err(unreadable::<T>(table, &chunk).unwrap_or_else(|| anyhow!("{table}: {error}")));
            }
        }
    }
    Ok(rows)
}

/// The first row of `chunk` that cannot be read, by its number.
fn unreadable<T: DeserializeOwned>(table: &str, chunk: &str) -> Option<anyhow::Error> {
    let rows: Vec<Value> = serde_json::from_str(chunk).ok()?;
    rows.into_iter().find_map(|row| {
        let no = row[0].clone();
        serde_json::from_value::<T>(row).err().map(|error| anyhow!("{table}, no {no}: {error}"))
    })
}

/// The number of each supply from `low` to before `high`, and its bidders' numbers with commas. All numbers, so that
/// signs can part them.
async fn links(
    connection: &mut AnyConnection,
    dialect: Dialect,
    low: i64,
    high: i64,
) -> Result<Vec<(i64, String)>> {
    let query = match dialect {
        Dialect::Sqlite => {
            "SELECT group_concat(supply_no || ':' || list, ';') FROM
             (SELECT supply_no, group_concat(bidder_no) AS list FROM supply_bidders
              WHERE supply_no >= $1 AND supply_no < $2 GROUP BY supply_no)
             GROUP BY supply_no / 256"
        }
        Dialect::Postgres => {
            "SELECT string_agg(supply_no || ':' || list, ';') FROM
             (SELECT supply_no, string_agg(CAST(bidder_no AS text), ',') AS list FROM supply_bidders
              WHERE supply_no >= $1 AND supply_no < $2 GROUP BY supply_no) AS lists
             GROUP BY supply_no / 256"
        }
    };
    let query = sqlx::query_scalar::<_, String>(query).bind(low).bind(high);
    let chunks = query.fetch_all(connection).await.map_err(failed)?;
    let supply = |part: &str| {
        let (supply, list) = part.split_once(':').unwrap_or((part, ""));
        let supply =
            supply.parse().map_err(|_| anyhow!("supply_bidders: supply_no {supply:?} is no number"))?;
        Ok((supply, list.to_owned()))
    };
    chunks.iter().flat_map(|chunk| chunk.split(';')).map(supply).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn failed(error: sqlx::Error) -> anyhow::Error {
    anyhow!("cannot read the catalogue: {}", plain(&error))
}
