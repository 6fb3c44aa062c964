use crate::scratch::{Scratch, head, shown, sql_at, until, variable};
use catalogue::schema::{Target, downgrade, upgrade};
use catalogue::{Dialect, Live, watch};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const CATALOGUE: &str = r#"{"supplies":{"s1":["b1","b2"],"s2":["b2"]},
    "bidders":{"b1":{"country":"US"},"b2":{"country":"GB"}}}"#;
const SHOWN: &str = "s1 first_price 0.00: b2/GB b1/US; s2 first_price 0.00: b2/GB";
const SECOND: Duration = Duration::from_secs(1);

/// A watched database.
struct Watched {
    scratch: Scratch,
    live: Arc<Live>,
    watching: JoinHandle<std::convert::Infallible>,
}

impl Watched {
    async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Scratch::both().await;
        [Self::start(sqlite).await, Self::start(postgres).await]
    }

    async fn start(scratch: Scratch) -> Self {
        scratch.load(CATALOGUE).await.unwrap();
        let live = Arc::new(Live::new(scratch.read().await));
        let watching = tokio::spawn(watch(scratch.db.clone(), head().head().unwrap(), Arc::clone(&live)));
        let watched = Self { scratch, live, watching };
        let start = Instant::now();
        until("it watches", || watched.live.freshness().confirmed_at > start).await;
        watched
    }

    fn shown(&self) -> String {
        shown(&self.live.snapshot())
    }

    fn trouble(&self) -> String {
        self.live.freshness().trouble.unwrap_or_default()
    }

    async fn until_trouble(&self, expected: &str) {
        until(expected, || self.trouble().contains(expected)).await;
        assert_eq!(self.shown(), SHOWN, "the last good snapshot stays");
    }

    async fn until_well(&self) {
        until("it is well again", || self.live.freshness().trouble.is_none()).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[tokio::test]
async fn a_change_made_by_hand_is_in_force_within_a_second() {
    for watched in Watched::both().await {
        let before = watched.live.snapshot();
        for (sql, expected) in [
            ("UPDATE bidders SET country = 'fr' WHERE id = 'b1'", "b1/FR"),
            (
                "UPDATE supplies SET auction = 'second_price', bid_floor_micros = 5 WHERE id = 's2'",
                "0.000005",
            ),
            ("INSERT INTO bidders (id, country) VALUES ('b3', 'SE')", ""),
            (
                "INSERT INTO supply_bidders SELECT s.no, b.no FROM supplies s, bidders b WHERE b.id = 'b3'",
                "b3/SE",
            ),
            ("DELETE FROM supplies WHERE id = 's2'", "b2/GB b3/SE"),
        ] {
            watched.scratch.sql(sql).await;
            let took = until(sql, || watched.shown().contains(expected)).await;
            assert!(took < SECOND, "{took:?} until {sql}");
        }
        assert_eq!(shown(&before), SHOWN, "what a reader holds never changes");
    }
}

#[tokio::test]
async fn a_supply_that_has_not_changed_stays_the_same_one() {
    for watched in Watched::both().await {
        let before = watched.live.snapshot();
        watched.scratch.sql("UPDATE bidders SET country = 'FR' WHERE id = 'b1'").await;
        until("it changes", || watched.shown().contains("FR")).await;
        let after = watched.live.snapshot();
        assert!(Arc::ptr_eq(before.supply("s2").unwrap(), after.supply("s2").unwrap()));
        assert!(!Arc::ptr_eq(before.supply("s1").unwrap(), after.supply("s1").unwrap()));
        // a change to and fro is none: the snapshot itself stays
        watched.scratch.sql("UPDATE bidders SET country = 'FR' WHERE id = 'b1'").await;
        let start = Instant::now();
        until("it looks again", || watched.live.freshness().confirmed_at > start + SECOND / 2).await;
        assert!(Arc::ptr_eq(&after, &watched.live.snapshot()));
    }
}

#[tokio::test]
async fn half_a_load_by_hand_is_not_taken_over() {
    for watched in Watched::both().await {
        watched.scratch.sql("DELETE FROM supplies").await;
        watched.until_trouble("no supplies any more").await;
        watched.scratch.sql("INSERT INTO supplies (id) VALUES ('s9')").await;
        watched.until_well().await;
        assert_eq!(watched.shown(), "s9 first_price 0.00: ");
    }
}

#[tokio::test]
async fn rows_that_are_no_catalogue_keep_the_last_good_one() {
    for watched in Watched::both().await {
        for (sql, expected, back) in [
            (
                "UPDATE bidders SET country = 'UK' WHERE id = 'b2'",
                "bidders, id \"b2\": country \"UK\" is no",
                "UPDATE bidders SET country = 'GB' WHERE id = 'b2'",
            ),
            (
                "UPDATE bidders SET simulation = '{' WHERE id = 'b2'",
                "bidders, id \"b2\": simulation: is not JSON",
                "UPDATE bidders SET simulation = NULL WHERE id = 'b2'",
            ),
        ] {
            watched.scratch.sql(sql).await;
            watched.until_trouble(expected).await;
            watched.scratch.sql(back).await;
            watched.until_well().await;
            assert_eq!(watched.shown(), SHOWN);
        }
    }
}

#[tokio::test]
async fn what_only_sqlite_lets_into_a_table_is_named_too() {
    let [watched, _] = Watched::both().await;
    for (sql, expected, back) in [
        (
            "UPDATE supplies SET bid_floor_micros = 'free' WHERE id = 's2'",
            "supplies, no 2: invalid type: string \"free\"",
            "UPDATE supplies SET bid_floor_micros = 0",
        ),
        (
            "PRAGMA foreign_keys = OFF; INSERT INTO supply_bidders VALUES (1, 99)",
            "supply \"s1\" lists bidder_no 99, which is no bidder",
            "DELETE FROM supply_bidders WHERE bidder_no = 99",
        ),
        (
            "PRAGMA foreign_keys = OFF; INSERT INTO supply_bidders VALUES (99, 1)",
            "supply_no 99 is no supply",
            "DELETE FROM supply_bidders WHERE supply_no = 99",
        ),
    ] {
        watched.scratch.sql(sql).await;
        watched.until_trouble(expected).await;
        watched.scratch.sql(back).await;
        watched.until_well().await;
    }
}

#[tokio::test]
async fn another_schema_keeps_the_last_good_catalogue() {
    for watched in Watched::both().await {
        downgrade(&watched.scratch.db, &head(), Target::Base).await.unwrap();
        until("it is in trouble", || !watched.trouble().is_empty()).await;
        upgrade(&watched.scratch.db, &head(), Target::Head).await.unwrap();
        watched.until_trouble("no supplies any more").await;
        watched.scratch.load(CATALOGUE).await.unwrap();
        watched.until_well().await;
        let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                      VALUES (9999, 'newer', true, '', 0)";
        watched.scratch.sql(insert).await;
        watched.until_trouble("the schema is at 9999, this server was started on").await;
        watched.scratch.sql("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
        watched.until_well().await;
    }
}

#[tokio::test]
async fn a_database_that_was_away_is_found_again() {
    let [sqlite, postgres] = Watched::both().await;
    let file = sqlite.scratch.dir.path().join("catalogue.sqlite");
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    sqlite.until_trouble("catalogue.sqlite is gone").await;
    std::fs::rename(&aside, &file).unwrap();
    sqlite.until_well().await;

    let server = variable("BOURSE_TEST_POSTGRES_URL");
    let name = postgres.scratch.name.clone().unwrap();
    let away = format!(
        "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    sql_at(&server, &away).await;
    until("it is in trouble", || !postgres.trouble().is_empty()).await;
    assert_eq!(postgres.shown(), SHOWN);
    sql_at(&server, &format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")).await;
    postgres.until_well().await;

    for watched in [sqlite, postgres] {
        watched.scratch.sql("UPDATE bidders SET country = 'FR' WHERE id = 'b1'").await;
        until("a change is seen", || watched.shown().contains("b1/FR")).await;
    }
}

#[tokio::test]
async fn changes_without_a_pause_do_not_starve_the_reader() {
    for watched in Watched::both().await {
        let seen = until_seen(&watched);
        let changing = async {
            let sqlite = watched.scratch.db.dialect() == Dialect::Sqlite;
            for floor in 1.. {
                watched.scratch.sql(&format!("UPDATE supplies SET bid_floor_micros = {floor}")).await;
                tokio::time::sleep(Duration::from_millis(if sqlite { 2 } else { 1 })).await;
            }
        };
        let took = tokio::select! { took = seen => took, () = changing => SECOND };
        assert!(took < SECOND, "{took:?}");
    }
}

async fn until_seen(watched: &Watched) -> Duration {
    until("a change is seen", || watched.live.snapshot().supplies()[0].bid_floor.micros() > 0).await
}
