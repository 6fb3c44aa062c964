//! Reading the whole catalogue: one consistent moment of the database as a [`Snapshot`].
//!
//! * Every row is checked; one that is no part of a catalogue fails the reading and is named.
//! * With replicas it is read from the first that has seen every change that the primary has; one that has not within
//!   half a second, or fails, is skipped with a warning.
//! * A supply's bidders come as one row: rows are what costs time here.

use crate::Snapshot;
use crate::build::{BidderRow, Rows, SupplyRow};
use crate::database::{Database, Dialect, Server, plain};
use anyhow::{Result, anyhow};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Connection as _, Decode, Row as _, Transaction, Type};
use std::time::Duration;
use tracing::warn;

/// How long a replica may take to catch up: a change is to be in force within a second.
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
        for replica in db.replicas() {
            let caught_up = tokio::time::timeout(CATCH_UP, caught_up(replica, wanted)).await;
            match caught_up {
                Err(_) => warn!(%replica, "replica is behind, skipped"),
                Ok(Err(error)) => warn!(%replica, "replica skipped: {error}"),
                Ok(Ok(mut connection)) => match rows(&mut connection, db.dialect()).await {
                    Ok(rows) => return rows.build(previous),
                    Err(error) => warn!(%replica, "replica skipped: {error}"),
                },
            }
        }
    }
    rows(primary, db.dialect()).await?.build(previous)
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
async fn rows(connection: &mut AnyConnection, dialect: Dialect) -> Result<Rows> {
    let begin = match dialect {
        Dialect::Sqlite => "BEGIN",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
    let rows = Rows {
        bidders: bidders(&mut transaction).await?,
        supplies: supplies(&mut transaction).await?,
        links: links(&mut transaction, dialect).await?,
    };
    transaction.commit().await.map_err(failed)?;
    Ok(rows)
}

async fn bidders(transaction: &mut Transaction<'_, Any>) -> Result<Vec<BidderRow>> {
    let rows = sqlx::query("SELECT no, id, country, simulation FROM bidders").fetch_all(&mut **transaction);
    let row = |row: AnyRow| {
        let no = field(&row, 0, "bidders", "no")?;
        let column = |name| move |_| anyhow!("bidders, no {no}: {name} is not text");
        Ok(BidderRow {
            no,
            id: row.try_get(1).map_err(column("id"))?,
            country: row.try_get(2).map_err(column("country"))?,
            simulation: row.try_get(3).map_err(column("simulation"))?,
        })
    };
    rows.await.map_err(failed)?.into_iter().map(row).collect()
}

async fn supplies(transaction: &mut Transaction<'_, Any>) -> Result<Vec<SupplyRow>> {
    let rows =
        sqlx::query("SELECT no, id, auction, bid_floor_micros FROM supplies").fetch_all(&mut **transaction);
    let row = |row: AnyRow| {
        let no = field(&row, 0, "supplies", "no")?;
        let column = |name, kind| move |_| anyhow!("supplies, no {no}: {name} is not {kind}");
        Ok(SupplyRow {
            no,
            id: row.try_get(1).map_err(column("id", "text"))?,
            auction: row.try_get(2).map_err(column("auction", "text"))?,
            bid_floor_micros: row.try_get(3).map_err(column("bid_floor_micros", "a whole number"))?,
        })
    };
    rows.await.map_err(failed)?.into_iter().map(row).collect()
}

/// Each supply's number and its bidders' numbers, with commas.
async fn links(transaction: &mut Transaction<'_, Any>, dialect: Dialect) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query(match dialect {
        Dialect::Sqlite => "SELECT supply_no, group_concat(bidder_no) FROM supply_bidders GROUP BY supply_no",
        Dialect::Postgres => {
            "SELECT supply_no, string_agg(CAST(bidder_no AS text), ',') FROM supply_bidders GROUP BY supply_no"
        }
    });
    let row = |row: AnyRow| {
        Ok((field(&row, 0, "supply_bidders", "supply_no")?, field(&row, 1, "supply_bidders", "bidder_no")?))
    };
    rows.fetch_all(&mut **transaction).await.map_err(failed)?.into_iter().map(row).collect()
}

fn field<'r, T: Decode<'r, Any> + Type<Any>>(
    row: &'r AnyRow,
    at: usize,
    table: &str,
    name: &str,
) -> Result<T> {
    row.try_get(at).map_err(|_| anyhow!("{table}: a {name} is no number"))
}

fn failed(error: sqlx::Error) -> anyhow::Error {
    anyhow!("cannot read the catalogue: {}", plain(&error))
}
