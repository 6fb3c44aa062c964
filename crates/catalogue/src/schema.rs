//! The schema and its revisions: upgrade, downgrade, and what the database is at.
//!
//! * A revision is a pair of SQL files, `0001_name.up.sql` and `0001_name.down.sql`, that run on both databases. What
//!   only PostgreSQL needs stands in `0001_name.up.postgres.sql`, run after, and `0001_name.down.postgres.sql`, run
//!   before.
//! * The files are in the binary, and are also read from a directory, so that a revision written beside an installed
//!   binary works without a rebuild. A file that is in both must be the same.
//! * A revision is applied whole or not at all, and any number of instances may upgrade at once: the others wait, then
//!   find it done. PostgreSQL is locked by sqlx, SQLite by a file beside the database.

mod diff;
mod revision;
mod target;

pub use revision::{Written, revision};
pub use target::Target;

use crate::database::{Database, Dialect, plain};
use anyhow::{Context as _, Result, anyhow, bail};
use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, SqlSafeStr as _};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The schema as this program declares it, in portable SQL.
pub const DECLARED: &str = include_str!("../schema.sql");

/// A revision's number; shown with four digits at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub(crate) i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// What the database is at, seen from the revisions that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No revision was ever applied.
    Empty,
    /// There are newer ones.
    Behind(Revision),
    /// At the newest.
    Head(Revision),
    /// At one that this program does not know.
    Ahead(Revision),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("base"),
            Self::Behind(at) => write!(f, "{at}"),
            Self::Head(at) => write!(f, "{at} (head)"),
            Self::Ahead(at) => write!(f, "{at} (unknown to this program)"),
        }
    }
}

/// Every revision that this program knows, oldest first.
#[derive(Debug, Clone)]
pub struct Migrations {
    steps: Vec<Step>,
}

/// One revision with its texts.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number.
    pub revision: Revision,
    /// What it is about, from its files' name.
    pub name: String,
    up: Script,
    down: Script,
}

#[derive(Debug, Clone, Default)]
struct Script {
    portable: Option<String>,
    postgres: Option<String>,
}

impl Migrations {
    /// The revisions in the binary and those in `dir`; a `dir` that does not exist has none.
    pub fn load(dir: Option<&Path>) -> Result<Self> {
        let mut files: BTreeMap<String, String> =
            EMBEDDED.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        let embedded: Vec<i64> =
            EMBEDDED.iter().map(|(name, _)| Ok(FileName::parse(name)?.version)).collect::<Result<_>>()?;
        if let Some(dir) = dir {
            for (name, text) in read_dir(dir)? {
                let version = FileName::parse(&name)?.version;
                if embedded.contains(&version) && files.get(&name) != Some(&text) {
                    bail!(
                        "{} is not what this program was built with: leave revision {} as it was and write a new one",
                        dir.join(&name).display(),
                        Revision(version)
                    );
                }
                files.insert(name, text);
            }
        }
        Self::assemble(files)
    }

    fn assemble(files: BTreeMap<String, String>) -> Result<Self> {
        let mut steps: BTreeMap<i64, Step> = BTreeMap::new();
        for (file, text) in files {
            let parsed = FileName::parse(&file)?;
            let step = steps.entry(parsed.version).or_insert_with(|| Step {
                revision: Revision(parsed.version),
                name: parsed.name.to_owned(),
                up: Script::default(),
                down: Script::default(),
            });
            if step.name != parsed.name {
                bail!("two revisions are numbered {}: {} and {}", step.revision, step.name, parsed.name);
            }
            let script = if parsed.up { &mut step.up } else { &mut step.down };
            *(if parsed.postgres { &mut script.postgres } else { &mut script.portable }) = Some(text);
        }
        for step in steps.values() {
            for (direction, script) in [("up", &step.up), ("down", &step.down)] {
                if script.portable.is_none() {
                    bail!("revision {0} has no {0}_{1}.{direction}.sql", step.revision, step.name);
                }
            }
        }
        Ok(Self { steps: steps.into_values().collect() })
    }

    /// Every revision, oldest first.
    pub fn history(&self) -> &[Step] {
        &self.steps
    }

    /// The newest revision.
    pub fn head(&self) -> Option<Revision> {
        self.steps.last().map(|step| step.revision)
    }

    fn state(&self, at: Option<Revision>) -> State {
        match at {
            None => State::Empty,
            Some(at) if Some(at) == self.head() => State::Head(at),
            Some(at) if self.steps.iter().any(|step| step.revision == at) => State::Behind(at),
            Some(at) => State::Ahead(at),
        }
    }

    fn migrator(&self, dialect: Dialect) -> Migrator {
        let migration = |step: &Step, kind, text: String| {
            let sql = AssertSqlSafe(text).into_sql_str();
            Migration::new(step.revision.0, step.name.clone().into(), kind, sql, false)
        };
        let both = self.steps.iter().flat_map(|step| {
            [
                migration(step, MigrationType::ReversibleUp, step.up(dialect)),
                migration(step, MigrationType::ReversibleDown, step.down(dialect)),
            ]
        });
        Migrator::with_migrations(both.collect())
    }
}

impl Step {
    fn up(&self, dialect: Dialect) -> String {
        let Script { portable, postgres } = &self.up;
        let own = postgres.as_deref().filter(|_| dialect == Dialect::Postgres);
        [portable.as_deref(), own].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    fn down(&self, dialect: Dialect) -> String {
        let Script { portable, postgres } = &self.down;
        let own = postgres.as_deref().filter(|_| dialect == Dialect::Postgres);
        [own, portable.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

/// The parts of `0001_name.up.postgres.sql`.
struct FileName<'a> {
    version: i64,
    name: &'a str,
    up: bool,
    postgres: bool,
}

impl<'a> FileName<'a> {
    fn parse(file: &'a str) -> Result<Self> {
        let parts = || {
            let stem = file.strip_suffix(".sql")?;
            let (stem, postgres) = match stem.strip_suffix(".postgres") {
                Some(stem) => (stem, true),
                None => (stem, false),
            };
            let (stem, up) = match stem.strip_suffix(".up") {
                Some(stem) => (stem, true),
                None => (stem.strip_suffix(".down")?, false),
            };
            let (digits, name) = stem.split_once('_')?;
            let version = digits.parse().ok().filter(|&version| version > 0 && !name.is_empty())?;
            Some(Self { version, name, up, postgres })
        };
        parts().with_context(|| {
            format!("{file} is not named as a migration is: 0002_what_it_does.up.sql or .down.sql")
        })
    }
}

fn read_dir(dir: &Path) -> Result<Vec<(String, String)>> {
    let shown = || format!("cannot read the migrations in {}", dir.display());
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && name.ends_with(".sql")
        {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((name.to_owned(), text));
        }
    }
    Ok(files)
}

/// What the database is at.
pub async fn state(db: &Database, migrations: &Migrations) -> Result<State> {
    Ok(migrations.state(applied(db).await?))
}

/// Brings the schema up to `target`; there already, nothing happens. Gives the state after.
pub async fn upgrade(db: &Database, migrations: &Migrations, target: Target) -> Result<State> {
    let _lock = db.lock().await?;
    let to = target.above(migrations, applied(db).await?)?;
    let mut connection = db.open().await?;
    let migrator = migrations.migrator(db.dialect());
    // Outside a pool, so that a failure closes the connection, and with it the lock that sqlx holds on PostgreSQL.
    migrator.run_direct(Some(to.map_or(0, |to| to.0)), &mut connection, false).await.map_err(explain)?;
    close(connection).await;
    state(db, migrations).await
}

/// Takes the schema down to `target`. Gives the state after.
pub async fn downgrade(db: &Database, migrations: &Migrations, target: Target) -> Result<State> {
    let _lock = db.lock().await?;
    let to = target.below(migrations, applied(db).await?)?;
    let mut connection = db.open().await?;
    let migrator = migrations.migrator(db.dialect());
    undo(&migrator, &mut connection, to.map_or(0, |to| to.0)).await.map_err(explain)?;
    close(connection).await;
    state(db, migrations).await
}

/// As [`Migrator::undo`], whose future no other thread may run.
async fn undo(migrator: &Migrator, connection: &mut AnyConnection, to: i64) -> Result<(), MigrateError> {
    let table = &*migrator.table_name;
    connection.lock().await?;
    connection.ensure_migrations_table(table).await?;
    let applied = connection.list_applied_migrations(table).await?;
    for migration in migrator.migrations.iter().rev() {
        let is_down = migration.migration_type.is_down_migration();
        let is_applied = applied.iter().any(|applied| applied.version == migration.version);
        if is_down && is_applied && migration.version > to {
            connection.revert(table, migration).await?;
        }
    }
    connection.unlock().await
}

async fn close(connection: AnyConnection) {
    // The work is done; how the connection ends changes nothing.
    let _ = connection.close().await;
}

async fn applied(db: &Database) -> Result<Option<Revision>> {
    let mut connection = db.open().await?;
    let exists = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'"
        }
        Dialect::Postgres => "SELECT count(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')",
    };
    let read = async {
        if sqlx::query_scalar::<_, i64>(exists).fetch_one(&mut connection).await? == 0 {
            return Ok(None);
        }
        let version = sqlx::query_scalar::<_, Option<i64>>("SELECT max(version) FROM _sqlx_migrations");
        Ok::<_, sqlx::Error>(version.fetch_one(&mut connection).await?.map(Revision))
    };
    let read = read.await;
    read.map_err(|error| anyhow!("cannot read the revision of {}: {}", db.shown(), plain(&error)))
}

fn explain(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::ExecuteMigration(error, version) => {
            anyhow!("revision {} failed and left nothing behind: {}", Revision(version), plain(&error))
        }
        MigrateError::VersionMissing(version) => unknown(Revision(version)),
        MigrateError::VersionMismatch(version) => anyhow!(
            "revision {} was edited after this database applied it: put its files back and write a new revision",
            Revision(version)
        ),
        MigrateError::Execute(error) => anyhow!("cannot change the schema: {}", plain(&error)),
        other => anyhow!("cannot change the schema: {other}"),
    }
}

fn unknown(at: Revision) -> anyhow::Error {
    anyhow!(
        "the database is at revision {at}, which this program does not know: use the newer program, or give it that migration"
    )
}

#[cfg(test)]
mod tests;
