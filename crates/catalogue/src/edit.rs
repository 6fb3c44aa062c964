//! Editing: one supply or bidder read, put or deleted, or a whole file loaded, on a condition.
//!
//! * A change goes the way of a load: the same checks and messages, one transaction in which other writers wait.
//! * An entry is JSON as a catalogue file has it after the id, so that what was read can be put back.
//! * A tag tells one content of an entry from another; that of the whole catalogue is its revision. The condition is
//!   judged inside the transaction: of two who edit the same content, the second is refused.
//! * Errors: [`Refused`]; then nothing was changed.

mod merge;

use crate::Snapshot;
use crate::database::{Database, Dialect, plain};
use crate::file::{File, Problems};
use crate::load::{Loaded, begin, commit, failed, write};
use crate::read::rows_within;
use anyhow::{Result, anyhow};
use auction::Cpm;
use auction::chance::bidder_key;
use serde_json::json;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection as _, Transaction};

/// What a catalogue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who sells.
    Supply,
    /// Who buys.
    Bidder,
}

/// A supply or a bidder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What a catalogue file has after the id.
    pub json: String,
}

impl Entry {
    /// Tells this content from another: 16 hexadecimal digits.
    pub fn tag(&self) -> String {
        format!("{:016x}", bidder_key(&self.json))
    }
}

/// What there must be before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Anything,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// Content of one of these tags.
    Tagged(Vec<String>),
}

impl Expected {
    fn check(&self, tag: Option<&str>) -> Result<(), Refused> {
        let holds = match (self, tag) {
            (Self::Anything, _) | (Self::Absent, None) | (Self::Present, Some(_)) => true,
            (Self::Tagged(tags), Some(tag)) => tags.iter().any(|expected| expected == tag),
            _ => false,
        };
        if holds { Ok(()) } else { Err(Refused::Unexpected { tag: tag.map(str::to_owned) }) }
    }
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// What was sent is no part of a catalogue.
    Problems(Problems),
    /// There is something else than was expected.
    Unexpected {
        /// What there is, if anything.
        tag: Option<String>,
    },
    /// There is no such entry.
    Missing,
    /// Supplies list the bidder.
    Listed {
        /// The first of them, in order of id.
        supplies: Vec<String>,
        /// Whether there are more.
        more: bool,
    },
    /// The database could not do it.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Problems>() {
            Ok(problems) => Self::Problems(problems),
            Err(error) => Self::Failed(error),
        }
    }
}

/// What a change did to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// As it was.
    pub before: Option<Entry>,
    /// As it is.
    pub after: Option<Entry>,
}

/// Of how many supplies a refusal tells.
const LISTED_MAX: usize = 10;

/// One entry, if there is one.
pub async fn get(db: &Database, kind: Kind, id: &str) -> Result<Option<Entry>> {
    let mut connection = db.open().await?;
    let entry = one(&mut connection, db.dialect(), kind, id).await.map_err(unread)?;
    let _ = connection.close().await;
    Ok(entry)
}

/// The first `limit` entries whose ids come after `after`, in order of id.
pub async fn list(db: &Database, kind: Kind, after: &str, limit: u32) -> Result<Vec<Entry>> {
    let mut connection = db.open().await?;
    let order = collate(db.dialect());
    let which = format!("id{order} > $1 ORDER BY id{order} LIMIT {limit}");
    let entries = entries(&mut connection, db.dialect(), kind, &which, after).await.map_err(unread)?;
    let _ = connection.close().await;
    Ok(entries)
}

/// Puts what `make` makes of the entry as it is.
pub async fn put(
    db: &Database,
    kind: Kind,
    id: &str,
    expected: &Expected,
    make: impl FnOnce(Option<&Entry>) -> Result<File, Refused>,
) -> Result<Edited, Refused> {
    let dialect = db.dialect();
    let mut connection = db.open().await?;
    let mut transaction = begin(&mut connection, dialect, false).await.map_err(failed)?;
    let before = one(&mut transaction, dialect, kind, id).await.map_err(failed)?;
    expected.check(before.as_ref().map(Entry::tag).as_deref())?;
    let file = make(before.as_ref())?;
    write(&mut transaction, dialect, &file, false, &mut |_, _, _| {}).await?;
    let after = one(&mut transaction, dialect, kind, id).await.map_err(failed)?;
    commit(db, transaction).await?;
    let _ = connection.close().await;
    Ok(Edited { before, after })
}

/// The file that makes an entry what a JSON merge patch (RFC 7396) says; an entry that is not there is not patched.
pub fn patched(kind: Kind, entry: Option<&Entry>, name: &str, patch: &str) -> Result<File, Refused> {
    let entry = entry.ok_or(Refused::Missing)?;
    let merged = merge::merged(Some(&entry.json), patch)
        .map_err(|message| Refused::Problems(Problems::one(name, patch, 0, &message)))?;
    let file = match kind {
        Kind::Supply => File::supply(name, &entry.id, merged.into_bytes()),
        Kind::Bidder => File::bidder(name, &entry.id, merged.into_bytes()),
    };
    file.map_err(Refused::Problems)
}

/// Deletes an entry; a bidder only if no supply lists it.
pub async fn delete(db: &Database, kind: Kind, id: &str, expected: &Expected) -> Result<Edited, Refused> {
    let dialect = db.dialect();
    let mut connection = db.open().await?;
    let mut transaction = begin(&mut connection, dialect, false).await.map_err(failed)?;
    let before = one(&mut transaction, dialect, kind, id).await.map_err(failed)?;
    expected.check(before.as_ref().map(Entry::tag).as_deref())?;
    if before.is_none() {
        return Err(Refused::Missing);
    }
    if kind == Kind::Bidder {
        nobody_lists(&mut transaction, dialect, id).await?;
    }
    let steps: &[&'static str] = match kind {
        Kind::Supply => &[
            "DELETE FROM supply_bidders WHERE supply_no IN (SELECT no FROM supplies WHERE id = $1)",
            "DELETE FROM supplies WHERE id = $1",
        ],
        Kind::Bidder => &["DELETE FROM bidders WHERE id = $1"],
    };
    for step in steps {
        sqlx::query(*step).bind(id.to_owned()).execute(&mut *transaction).await.map_err(failed)?;
    }
    commit(db, transaction).await?;
    let _ = connection.close().await;
    Ok(Edited { before, after: None })
}

async fn nobody_lists(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    bidder: &str,
) -> Result<(), Refused> {
    let query = format!(
        "SELECT s.id FROM bidders b JOIN supply_bidders x ON x.bidder_no = b.no JOIN supplies s ON s.no = x.supply_no
         WHERE b.id = $1 ORDER BY s.id{} LIMIT {}",
        collate(dialect),
        LISTED_MAX + 1
    );
    let query = sqlx::query_scalar(AssertSqlSafe(query)).bind(bidder.to_owned());
    let mut supplies: Vec<String> = query.fetch_all(&mut **transaction).await.map_err(failed)?;
    if supplies.is_empty() {
        return Ok(());
    }
    let more = supplies.len() > LISTED_MAX;
    supplies.truncate(LISTED_MAX);
    Err(Refused::Listed { supplies, more })
}

/// What loading a file did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// How much was new or changed.
    pub loaded: Loaded,
    /// The catalogue's revision after it.
    pub revision: String,
}

/// Loads a file if the catalogue's revision is as expected. A dry run does all of it but the commit.
pub async fn import(
    db: &Database,
    file: &File,
    expected: &Expected,
    dry_run: bool,
) -> Result<Imported, Refused> {
    let dialect = db.dialect();
    let mut connection = db.open().await?;
    let mut transaction = begin(&mut connection, dialect, false).await.map_err(failed)?;
    if *expected != Expected::Anything {
        expected.check(Some(&snapshot(&mut transaction, dialect).await?.revision_text()))?;
    }
    let loaded = write(&mut transaction, dialect, file, false, &mut |_, _, _| {}).await?;
    let revision = snapshot(&mut transaction, dialect).await?.revision_text();
    if dry_run {
        transaction.rollback().await.map_err(failed)?;
    } else {
        commit(db, transaction).await?;
    }
    let _ = connection.close().await;
    Ok(Imported { loaded, revision })
}

async fn snapshot(transaction: &mut Transaction<'_, Any>, dialect: Dialect) -> Result<Snapshot> {
    rows_within(transaction, dialect).await?.build(None)
}

async fn one(
    connection: &mut AnyConnection,
    dialect: Dialect,
    kind: Kind,
    id: &str,
) -> sqlx::Result<Option<Entry>> {
    Ok(entries(connection, dialect, kind, "id = $1", id).await?.pop())
}

/// The entries for which `which`, the end of a statement with one parameter, holds; in order of id.
async fn entries(
    connection: &mut AnyConnection,
    dialect: Dialect,
    kind: Kind,
    which: &str,
    parameter: &str,
) -> sqlx::Result<Vec<Entry>> {
    match kind {
        Kind::Supply => supplies(connection, dialect, which, parameter).await,
        Kind::Bidder => bidders(connection, which, parameter).await,
    }
}

/// A supply's id, rule and floor, and one of its bidders, if it has any.
type Listing = (String, String, i64, Option<String>);

async fn supplies(
    connection: &mut AnyConnection,
    dialect: Dialect,
    which: &str,
    parameter: &str,
) -> sqlx::Result<Vec<Entry>> {
    let order = collate(dialect);
    let query = format!(
        "SELECT s.id, s.auction, s.bid_floor_micros, b.id
         FROM (SELECT no, id, auction, bid_floor_micros FROM supplies WHERE {which}) AS s
         LEFT JOIN supply_bidders x ON x.supply_no = s.no LEFT JOIN bidders b ON b.no = x.bidder_no
         ORDER BY s.id{order}, b.id{order}"
    );
    let query = sqlx::query_as(AssertSqlSafe(query)).bind(parameter.to_owned());
    let rows: Vec<Listing> = query.fetch_all(connection).await?;
    let supply = |rows: &[Listing]| {
        let (id, auction, floor, _) = &rows[0];
        let bidders: Vec<&str> = rows.iter().filter_map(|row| row.3.as_deref()).collect();
        let floor = Cpm::from_micros(u64::try_from(*floor).unwrap_or_default());
        let json = format!(
            "{{\"bidders\":{},\"auction\":{},\"bid_floor\":{floor}}}",
            json!(bidders),
            json!(auction)
        );
        Entry { id: id.clone(), json }
    };
    Ok(rows.chunk_by(|a, b| a.0 == b.0).map(supply).collect())
}

async fn bidders(connection: &mut AnyConnection, which: &str, parameter: &str) -> sqlx::Result<Vec<Entry>> {
    let query = format!("SELECT id, country, simulation FROM bidders WHERE {which}");
    let query = sqlx::query_as(AssertSqlSafe(query)).bind(parameter.to_owned());
    let rows: Vec<(String, String, Option<String>)> = query.fetch_all(connection).await?;
    let bidder = |(id, country, simulation): (String, String, Option<String>)| {
        // As it was written, but on one line; inside a string there are none of these.
        let on_one_line = |text: String| text.replace(['\n', '\r', '\t'], " ");
        let simulation =
            simulation.map_or_else(String::new, |text| format!(",\"simulation\":{}", on_one_line(text)));
        Entry { id, json: format!("{{\"country\":{}{simulation}}}", json!(country)) }
    };
    Ok(rows.into_iter().map(bidder).collect())
}

/// By bytes, as a snapshot orders; PostgreSQL may be set to another order.
const fn collate(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "",
        Dialect::Postgres => " COLLATE \"C\"",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn unread(error: sqlx::Error) -> anyhow::Error {
    anyhow!("the catalogue could not be read: {}", plain(&error))
}
