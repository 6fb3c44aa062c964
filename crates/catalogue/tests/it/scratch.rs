//! A database for one test, on either engine, and the hands of a person who edits it with plain SQL.

use catalogue::schema::{Migrations, Target, upgrade};
use catalogue::{Database, File, Loaded, Snapshot, load, read};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) struct Scratch {
    pub(crate) db: Database,
    pub(crate) url: String,
    /// The SQLite file's directory, or one for files beside the database.
    pub(crate) dir: TempDir,
    /// On PostgreSQL, the database's name.
    pub(crate) name: Option<String>,
}

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run cargo xtask test, which starts PostgreSQL"))
}

/// The server's URL with another database in it.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

pub(crate) fn head() -> Migrations {
    Migrations::load(None).unwrap()
}

impl Scratch {
    /// One empty database of each engine.
    pub(crate) async fn bare() -> [Self; 2] {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/catalogue.sqlite", dir.path().display());
        let sqlite = Self { db: Database::connect(&url, &[]).await.unwrap(), url, dir, name: None };
        [sqlite, Self::bare_postgres().await]
    }

    pub(crate) async fn bare_postgres() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bourse_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = variable("BOURSE_TEST_POSTGRES_URL");
        sql_at(&server, &format!("CREATE DATABASE {name}")).await;
        let url = with_database(&server, &name);
        let dir = tempfile::tempdir().unwrap();
        Self { db: Database::connect(&url, &[]).await.unwrap(), url, dir, name: Some(name) }
    }

    /// One database of each engine with the schema at head.
    pub(crate) async fn both() -> [Self; 2] {
        let both = Self::bare().await;
        for scratch in &both {
            upgrade(&scratch.db, &head(), Target::Head).await.unwrap();
        }
        both
    }

    pub(crate) async fn sql(&self, sql: &str) {
        sql_at(&self.url, sql).await;
    }

    pub(crate) async fn load(&self, text: &str) -> anyhow::Result<Loaded> {
        let file = File::parse("f", text.as_bytes().to_vec())?;
        load(&self.db, &file, &mut |_, _, _| {}).await
    }

    pub(crate) async fn read(&self) -> Snapshot {
        read(&self.db, None).await.unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        // Another thread, as this one is inside a runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime.block_on(sql_at(&variable("BOURSE_TEST_POSTGRES_URL"), &drop));
        });
        dropping.join().unwrap();
    }
}

pub(crate) async fn sql_at(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await {
        panic!("{sql}: {error}");
    }
    connection.close().await.unwrap();
}

/// Every supply with its rule and its bidders, each with its country, for people to read.
pub(crate) fn shown(snapshot: &Snapshot) -> String {
    let supply = |supply: &std::sync::Arc<auction::Supply>| {
        let bidders: Vec<_> = supply.bidders().iter().map(|b| format!("{}/{}", b.id, b.country)).collect();
        format!("{} {} {}: {}", supply.id, supply.auction, supply.bid_floor, bidders.join(" "))
    };
    snapshot.supplies().iter().map(supply).collect::<Vec<_>>().join("; ")
}

/// Waits until `condition` holds; how long that took.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited 20 s until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}
