use crate::scratch::{Scratch, head, shown, sql_at, variable, with_database};
use catalogue::schema::{Target, upgrade};
use catalogue::{Database, read};
use std::time::{Duration, Instant};

const CATALOGUE: &str = r#"{"supplies":{"s1":["b1"]},"bidders":{"b1":{"country":"US"}}}"#;

#[tokio::test]
async fn a_replica_is_read_once_it_has_caught_up_and_skipped_if_it_does_not() {
    let scratch = Scratch::bare_postgres().await;
    upgrade(&scratch.db, &head(), Target::Head).await.unwrap();
    scratch.load(CATALOGUE).await.unwrap();
    let replica = variable("BOURSE_TEST_POSTGRES_REPLICA_URL");
    let own = with_database(&replica, scratch.name.as_deref().unwrap());
    let dead = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let db = Database::connect(&scratch.url, &[dead, own]).await.unwrap();

    for country in ["FR", "DE", "GB"] {
        scratch.sql(&format!("UPDATE bidders SET country = '{country}'")).await;
        let snapshot = read(&db, None).await.unwrap();
        assert_eq!(shown(&snapshot), format!("s1 first_price 0.00: b1/{country}"));
    }

    sql_at(&replica, "SELECT pg_wal_replay_pause()").await;
    scratch.sql("UPDATE bidders SET country = 'SE'").await;
    let start = Instant::now();
    let snapshot = read(&db, None).await;
    let took = start.elapsed();
    sql_at(&replica, "SELECT pg_wal_replay_resume()").await;
    assert_eq!(shown(&snapshot.unwrap()), "s1 first_price 0.00: b1/SE");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
