//! Where the catalogue lives: one SQLite file, or a PostgreSQL server with any number of read replicas.
//!
//! * Connections are opened when needed and closed after: the catalogue is read on a change, never by an auction, so
//!   there is no pool to keep healthy.
//! * Errors are one line that names the setting and says what to do. No password is ever shown: a server is named by
//!   host, port and database only.

use anyhow::{Context as _, Result, anyhow, bail};
use sqlx::AnyConnection;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded default.
    Sqlite,
    /// Several instances share it.
    Postgres,
}

/// The catalogue's database.
#[derive(Debug, Clone)]
pub struct Database {
    primary: Server,
    replicas: Vec<Server>,
}

/// One place that connections can be opened to.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    options: AnyConnectOptions,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Postgres { shown: String, setting: &'static str },
}

impl Database {
    /// The database at `url`, and its read replicas. Makes the SQLite file if there is none; a PostgreSQL server must
    /// answer within 5 s. Replicas are not tried here: one that is away is skipped when it is needed.
    pub async fn connect(url: &str, replica_urls: &[String]) -> Result<Self> {
        // Gives the drivers' names to sqlx; the second time it has them.
        sqlx::any::install_default_drivers();
        let primary = Server::parse(url, "database.url")?;
        if primary.dialect() == Dialect::Sqlite && !replica_urls.is_empty() {
            bail!("database.replica_urls needs a PostgreSQL database.url; an SQLite file has no replicas");
        }
        let mut replicas = Vec::new();
        for url in replica_urls {
            let replica = Server::parse(url, "database.replica_urls")?;
            if replica.dialect() == Dialect::Sqlite {
                bail!("database.replica_urls: write postgres://USER:PASSWORD@HOST/DATABASE, one per replica");
            }
            replicas.push(replica);
        }
        let db = Self { primary, replicas };
        db.try_out().await?;
        Ok(db)
    }

    async fn try_out(&self) -> Result<()> {
        let primary = &self.primary;
        // SQLite does not wait for another that changes the journal mode too: it fails.
        let _lock = self.lock().await?;
        if let Some(file) = self.file() {
            // Only here: a file that goes later is a database that is away, not an empty one.
            let made = File::options().create(true).append(true).open(file);
            made.with_context(|| format!("cannot open {}; {}", file.display(), primary.advice()))?;
        }
        let mut connection = primary.open().await?;
        if self.dialect() == Dialect::Sqlite {
            // Readers then see a whole catalogue while a load is writing the next one. Kept in the file.
            sqlx::query("PRAGMA journal_mode = WAL")
                .execute(&mut connection)
                .await
                .map_err(|error| primary.explain(&error))?;
        }
        connection.close().await.map_err(|error| primary.explain(&error))
    }

    /// On SQLite, the sole right to change the schema, until dropped: sqlx has no lock there.
    pub(crate) async fn lock(&self) -> Result<Option<File>> {
        let Some(file) = self.file() else {
            return Ok(None);
        };
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let failed = format!("cannot lock {}; {}", path.display(), self.primary.advice());
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        });
        locked.await?.map(Some).context(failed)
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.primary.dialect()
    }

    /// Where it is, for people: the file's path, or host, port and database.
    pub fn shown(&self) -> String {
        match &self.primary.place {
            Place::File(path) => path.display().to_string(),
            Place::Postgres { shown, .. } => shown.clone(),
        }
    }

    /// A connection to where changes are made.
    pub(crate) async fn open(&self) -> Result<AnyConnection> {
        self.primary.open().await
    }

    pub(crate) fn primary(&self) -> &Server {
        &self.primary
    }

    pub(crate) fn replicas(&self) -> &[Server] {
        &self.replicas
    }

    /// Each replica as a database by itself, to look at.
    pub fn each_replica(&self) -> impl Iterator<Item = Self> {
        self.replicas.iter().map(|replica| Self { primary: replica.clone(), replicas: Vec::new() })
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.primary.place {
            Place::File(path) => Some(path),
            Place::Postgres { .. } => None,
        }
    }

    /// How to reach the primary other than through sqlx's `Any`, which cannot listen for notifications.
    pub(crate) fn postgres_options(&self) -> Result<PgConnectOptions> {
        Ok(PgConnectOptions::from_url(&self.primary.options.database_url)?.disable_statement_logging())
    }
}

impl Server {
    fn parse(url: &str, setting: &'static str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::sqlite(path.strip_prefix("//").unwrap_or(path));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // The parser's own message is left out where it could repeat a part of the password.
            let unreadable = || {
                anyhow!(
                    "{setting}: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters"
                )
            };
            let options: AnyConnectOptions = url.parse().map_err(|_| unreadable())?;
            let parts = PgConnectOptions::from_url(&options.database_url).map_err(|_| unreadable())?;
            let shown = format!(
                "{}:{}/{}",
                parts.get_host(),
                parts.get_port(),
                parts.get_database().unwrap_or_else(|| parts.get_username())
            );
            let place = Place::Postgres { shown, setting };
            return Ok(Self { options: options.disable_statement_logging(), place });
        }
        bail!("{setting}: write sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")
    }

    fn sqlite(path: &str) -> Result<Self> {
        if path.is_empty() || path == ":memory:" || path.contains('?') {
            bail!("database.url: write sqlite:PATH with the path of a file, and nothing after it");
        }
        let path = Path::new(path);
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let name = name.with_context(|| format!("database.url: {} is no file", path.display()))?;
        // Resolved once: the url below must have no `..` to fold, and the lock file must stand beside the real file.
        let parent = parent.canonicalize().with_context(|| {
            format!("database.url: cannot open the directory {}; create it first", parent.display())
        })?;
        let path = parent.join(name);
        let mut url = String::from("sqlite:");
        for byte in path.to_string_lossy().bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => url.push(byte as char),
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url.push_str("?mode=rw");
        let options: AnyConnectOptions = url.parse().context("database.url")?;
        Ok(Self { options: options.disable_statement_logging(), place: Place::File(path) })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.place {
            Place::File(_) => Dialect::Sqlite,
            Place::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// A connection. On SQLite with foreign keys on and 5 s of patience for a lock, as sqlx has them.
    pub(crate) async fn open(&self) -> Result<AnyConnection> {
        let opening = async {
            let mut connection = self.options.connect().await?;
            let set = match self.dialect() {
                // Notices such as "relation already exists, skipping" are not for the operator's log.
                Dialect::Postgres => "SET client_min_messages = warning",
                // Pages are read where the kernel has them, without a call for each.
                Dialect::Sqlite => "PRAGMA mmap_size = 268435456",
            };
            sqlx::raw_sql(set).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(anyhow!("{} did not answer within 5 s; {}", self, self.advice())),
        }
    }

    fn explain(&self, error: &sqlx::Error) -> anyhow::Error {
        anyhow!("cannot open {self}: {}; {}", plain(error), self.advice())
    }

    fn advice(&self) -> String {
        match &self.place {
            Place::File(_) => "check that this user may write the file and its directory".into(),
            Place::Postgres { setting, .. } => format!("check {setting} and that the server runs"),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "the SQLite file {}", path.display()),
            Place::Postgres { shown, .. } => write!(f, "PostgreSQL at {shown}"),
        }
    }
}

/// What a database said, without the wrapping that repeats it, on one line.
pub(crate) fn plain(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_made_once_and_one_that_has_gone_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let db = Database::connect(&format!("sqlite:{}", path.display()), &[]).await.unwrap();
        db.open().await.unwrap().close().await.unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(db.open().await.is_err() && !path.exists());
    }

    #[tokio::test]
    async fn a_url_that_names_no_database_is_refused_with_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let missing = format!("sqlite:{}/no/such/dir/c.sqlite", dir.path().display());
        std::fs::create_dir(dir.path().join("directory")).unwrap();
        let directory = format!("sqlite:{}/directory", dir.path().display());
        for (url, expected) in [
            ("mysql://root:hunter2@h/d", "database.url: write sqlite:PATH or postgres://"),
            ("", "database.url: write sqlite:PATH or postgres://"),
            ("sqlite::memory:", "database.url: write sqlite:PATH"),
            ("sqlite:c.sqlite?mode=ro", "database.url: write sqlite:PATH"),
            ("postgres://u:hunter2@h:x/d", "database.url: write postgres://USER"),
            ("postgres://u:hunter2@127.0.0.1:1/d", "cannot open PostgreSQL at 127.0.0.1:1/d: "),
            (&missing, "create it first"),
            (&directory, "check that this user may write"),
        ] {
            let error = format!("{:#}", Database::connect(url, &[]).await.unwrap_err());
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
        let sqlite = format!("sqlite:{}/c.sqlite", dir.path().display());
        let error = Database::connect(&sqlite, &["postgres://h/d".to_owned()]).await.unwrap_err();
        assert!(error.to_string().starts_with("database.replica_urls"), "{error}");
    }

    #[tokio::test]
    async fn any_path_is_a_file_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a b.sqlite", "50%25 #1.sqlite", "日本.sqlite", "c..d"] {
            let url = format!(
                "sqlite:{}/../{}/{name}",
                dir.path().display(),
                dir.path().file_name().unwrap().display()
            );
            Database::connect(&url, &[]).await.unwrap();
            assert!(dir.path().join(name).is_file(), "{name}");
        }
    }
}
