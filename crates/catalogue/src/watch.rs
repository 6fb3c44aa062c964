//! Keeping the snapshot in force what the database says, while the server runs.
//!
//! * A change is in force within a second: SQLite's `data_version` is looked at five times a second; PostgreSQL
//!   notifies, and its counter of changes is looked at twice a second in case it could not.
//! * Whatever is wrong, the last good snapshot stays in force, and [`Live::keep`] says why: the database is away, its
//!   schema is another, a row is no part of a catalogue, or there are no supplies any more, which is taken for half a
//!   load. It is tried again until it is right; one log line tells of each change between right and wrong.
//! * Changes that come in bursts are read together, but none waits for more than 100 ms for the others.

use crate::database::{Database, Dialect, plain};
use crate::read::read_through;
use crate::schema::Revision;
use crate::snapshot::Live;
use anyhow::{Result, anyhow};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AnyConnection, Row as _};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

const SQLITE_INTERVAL: Duration = Duration::from_millis(200);
const POSTGRES_INTERVAL: Duration = Duration::from_millis(500);

/// A look at the database that takes longer is one at a database that is away.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading it all may take longer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a burst of changes is waited out: four times this at most.
const SETTLE: Duration = Duration::from_millis(25);
/// A database that is away is called again after this, then twice this, up to `BACKOFF_MAX`.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A catalogue that could not be read, and has not changed since, is tried again after this.
const REREAD: Duration = Duration::from_secs(5);

/// Keeps `live` what `db` says, until dropped. `schema` is the revision that the server was started on.
pub async fn watch(db: Database, schema: Revision, live: Arc<Live>) -> Infallible {
    let mut watcher = Watcher {
        db: &db,
        schema,
        live: &live,
        connection: None,
        file: None,
        seen: None,
        failed: None,
        trouble: None,
        backoff: BACKOFF_MIN,
    };
    match db.dialect() {
        Dialect::Sqlite => Box::pin(watcher.run(SQLITE_INTERVAL)).await,
        Dialect::Postgres => tokio::select! {
            never = Box::pin(watcher.run(POSTGRES_INTERVAL)) => never,
            never = Box::pin(listen(&db, &live.wake)) => never,
        },
    }
}

/// Why the snapshot in force could not be confirmed.
#[derive(Debug)]
struct Trouble {
    kind: Kind,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Away,
    Schema,
    Content,
    NoSupplies,
}

impl Kind {
    fn because(self, reason: impl Into<String>) -> Trouble {
        Trouble { kind: self, reason: reason.into() }
    }
}

/// What moves with every change: the database's own count of them, and the schema's revision. Of SQLite's the count
/// means something to the connection alone that asked for it.
type Mark = (i64, Option<i64>);

struct Watcher<'a> {
    db: &'a Database,
    schema: Revision,
    live: &'a Live,
    /// To the primary.
    connection: Option<AnyConnection>,
    /// Which file the connection has open.
    file: Option<FileIdentity>,
    /// The mark of the snapshot in force.
    seen: Option<Mark>,
    /// The mark of a catalogue that could not be read, why not, and when it is tried again.
    failed: Option<(Mark, Trouble, Instant)>,
    trouble: Option<Kind>,
    backoff: Duration,
}

impl Watcher<'_> {
    async fn run(&mut self, interval: Duration) -> Infallible {
        loop {
            let (asked, is_awaited) = self.live.asked();
            if is_awaited {
                (self.seen, self.failed) = (None, None);
            }
            match self.look().await {
                Ok(()) => {
                    self.live.answer(asked, None);
                    if self.trouble.take().is_some() {
                        info!(
                            revision = self.live.snapshot().revision_text(),
                            "catalogue is confirmed again"
                        );
                    }
                }
                Err(Trouble { kind, reason }) => {
                    if self.trouble.replace(kind) != Some(kind) {
                        warn!(reason, "catalogue stays as it was");
                    }
                    self.live.keep(reason.clone());
                    self.live.answer(asked, Some(reason));
                }
            }
            let pause = if self.connection.is_some() {
                self.backoff = BACKOFF_MIN;
                interval
            } else {
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                self.backoff / 2
            };
            // Woken or not, it looks.
            let _ = timeout(pause, self.live.wake.notified()).await;
        }
    }

    /// Looks once whether anything has changed, and if so takes it over.
    async fn look(&mut self) -> Result<(), Trouble> {
        let mark = self.mark().await?;
        if mark.1 != Some(self.schema.0) {
            self.seen = None;
            let at = mark.1.map_or("base".to_owned(), |at| Revision(at).to_string());
            let reason = format!("the schema is at {at}, this server was started on {}", self.schema);
            return Err(Kind::Schema.because(reason));
        }
        if self.seen == Some(mark) {
            self.live.confirm();
            return Ok(());
        }
        if let Some((failed, Trouble { kind, reason }, again_at)) = &self.failed
            && *failed == mark
            && Instant::now() < *again_at
        {
            return Err(kind.because(reason.as_str()));
        }
        let mark = self.settle(mark).await?;
        self.seen = None;
        match self.take_over().await {
            Ok(()) => {
                (self.seen, self.failed) = (Some(mark), None);
                Ok(())
            }
            Err(Trouble { kind, reason }) => {
                self.failed = Some((mark, kind.because(reason.as_str()), Instant::now() + REREAD));
                Err(kind.because(reason))
            }
        }
    }

    /// Waits until a burst of changes is over, or for long enough.
    async fn settle(&mut self, mut mark: Mark) -> Result<Mark, Trouble> {
        for _ in 0..4 {
            sleep(SETTLE).await;
            let now = self.mark().await?;
            if now == mark {
                break;
            }
            mark = now;
        }
        Ok(mark)
    }

    /// Reads the catalogue and puts it in force if it is another.
    async fn take_over(&mut self) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connection else {
            return Err(Kind::Away.because("the database is away"));
        };
        let current = self.live.snapshot();
        let Ok(read) = timeout(READ_TIMEOUT, read_through(self.db, connection, Some(&current))).await else {
            self.connection = None;
            return Err(Kind::Away.because("the catalogue could not be read within 60 s"));
        };
        let snapshot = read.map_err(|error| Kind::Content.because(format!("{error:#}")))?;
        if snapshot.supplies().is_empty() && !current.supplies().is_empty() {
            let reason = "the catalogue has no supplies any more, which is taken for half a load; \
                          a restart would take it over";
            return Err(Kind::NoSupplies.because(reason));
        }
        if snapshot.revision() == current.revision() {
            self.live.confirm();
            return Ok(());
        }
        let (revision, supplies, bidders) =
            (snapshot.revision_text(), snapshot.supplies().len(), snapshot.bidders());
        self.live.swap(snapshot);
        info!(revision, supplies, bidders, "catalogue changed");
        Ok(())
    }

    /// The database's mark, over the connection that is there or a new one.
    async fn mark(&mut self) -> Result<Mark, Trouble> {
        if let Some(path) = self.db.file() {
            let file = identity(path);
            if file != self.file {
                self.connection = None;
                self.file = file;
            }
            if self.file.is_none() {
                // Opening it would make an empty one.
                return Err(Kind::Away.because(format!("{} is gone", path.display())));
            }
        }
        if self.connection.is_none() {
            let connection = self.db.open().await;
            self.connection = Some(connection.map_err(|error| Kind::Away.because(format!("{error:#}")))?);
            (self.seen, self.failed) = (None, None);
        }
        let Some(connection) = &mut self.connection else {
            return Err(Kind::Away.because("the database is away"));
        };
        let query = match self.db.dialect() {
            Dialect::Sqlite => {
                "SELECT (SELECT data_version FROM pragma_data_version), (SELECT max(version) FROM _sqlx_migrations)"
            }
            Dialect::Postgres => {
                "SELECT (SELECT count FROM catalogue_changes), (SELECT max(version) FROM _sqlx_migrations)"
            }
        };
        let row = match timeout(LOOK_TIMEOUT, sqlx::raw_sql(query).fetch_one(connection)).await {
            Ok(Ok(row)) => row,
            Ok(Err(error)) => {
                self.seen = None;
                let kind = if is_missing_table(&error) { Kind::Schema } else { Kind::Away };
                if kind == Kind::Away {
                    self.connection = None;
                }
                return Err(kind.because(format!("the catalogue could not be looked at: {}", plain(&error))));
            }
            Err(_) => {
                self.connection = None;
                return Err(Kind::Away.because("the database did not answer within 5 s"));
            }
        };
        let mark = || Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?));
        mark().map_err(|error| {
            Kind::Schema.because(format!("the catalogue could not be looked at: {}", plain(&error)))
        })
    }
}

/// SQLite's generic error, or PostgreSQL's class of errors in a statement, which is sound where the tables are there.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "1" || code.starts_with("42"))
}

/// What tells a file from another that was put in its place.
type FileIdentity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<FileIdentity> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<FileIdentity> {
    path.metadata().ok().map(|_| (0, 0))
}

/// Wakes the watcher when PostgreSQL says that something has changed. Without it the watcher is only slower.
async fn listen(db: &Database, wake: &Notify) -> Infallible {
    loop {
        let Err(error) = listen_once(db, wake).await;
        tracing::debug!("not listening for changes: {error:#}");
        sleep(BACKOFF_MAX).await;
    }
}

async fn listen_once(db: &Database, wake: &Notify) -> Result<Infallible> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(LOOK_TIMEOUT);
    let pool = pool.connect_lazy_with(db.postgres_options()?);
    let mut listener = PgListener::connect_with(&pool).await.map_err(|error| anyhow!(plain(&error)))?;
    listener.listen("bourse_catalogue").await?;
    loop {
        listener.recv().await?;
        wake.notify_one();
    }
}
