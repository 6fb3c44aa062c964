use crate::scratch::{Scratch, head};
use catalogue::schema::{DECLARED, Migrations, State, Target, downgrade, revision, state, upgrade};
use catalogue::{Database, Dialect};
use sqlx::{AnyConnection, Connection as _};
use std::fs;

/// All that the database says about its schema, but for sqlx's own table.
async fn described(scratch: &Scratch) -> Vec<String> {
    let mut connection = AnyConnection::connect(&scratch.url).await.unwrap();
    let query = match scratch.db.dialect() {
        Dialect::Sqlite => {
            "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master
             WHERE tbl_name <> '_sqlx_migrations' ORDER BY 1"
        }
        Dialect::Postgres => {
            "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, is_identity)
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'
             UNION ALL SELECT tgname || ' ' || tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
               WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> '_sqlx_migrations'
             UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
        }
    };
    sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn up_then_down_returns_to_the_schema_before() {
    for scratch in Scratch::bare().await {
        let mut before = vec![described(&scratch).await];
        assert!(before[0].is_empty(), "{before:?}");
        assert_eq!(state(&scratch.db, &head()).await.unwrap(), State::Empty);
        for step in head().history() {
            let at = upgrade(&scratch.db, &head(), Target::Up(1)).await.unwrap();
            assert!(at == State::Head(step.revision) || at == State::Behind(step.revision), "{at}");
            before.push(described(&scratch).await);
        }
        for earlier in before.iter().rev().skip(1) {
            downgrade(&scratch.db, &head(), Target::Down(1)).await.unwrap();
            assert_eq!(&described(&scratch).await, earlier);
        }
        upgrade(&scratch.db, &head(), Target::Head).await.unwrap();
        assert_eq!(Some(&described(&scratch).await), before.last());
    }
}

#[tokio::test]
async fn instances_that_start_and_upgrade_at_once_all_succeed() {
    let [sqlite, postgres] = Scratch::bare().await;
    let fresh = format!("sqlite:{}/fresh.sqlite", sqlite.dir.path().display());
    for url in [&fresh, &postgres.url] {
        let instance = || {
            let url = url.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let db = Database::connect(&url, &[]).await?;
                    upgrade(&db, &head(), Target::Head).await
                })
            })
        };
        let instances: Vec<_> = (0..6).map(|_| instance()).collect();
        for done in instances {
            let at = done.join().unwrap().unwrap();
            assert!(matches!(at, State::Head(_)), "{at}");
        }
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_refused_and_nothing_moves() {
    for scratch in Scratch::both().await {
        let count = head().history().len();
        for (up, target, expected) in [
            (true, "+1".to_owned(), "there are only 0 revisions above"),
            (true, "0099".to_owned(), "there is no revision 0099; the newest is"),
            (true, "base".to_owned(), "an upgrade goes up"),
            (false, format!("-{}", count + 1), "revisions below"),
            (false, "head".to_owned(), "a downgrade goes down"),
            (false, "99".to_owned(), "there is no revision 0099"),
        ] {
            let target: Target = target.parse().unwrap();
            let moved = match up {
                true => upgrade(&scratch.db, &head(), target).await,
                false => downgrade(&scratch.db, &head(), target).await,
            };
            let error = moved.unwrap_err().to_string();
            assert!(error.contains(expected), "{target:?}: {error}");
        }
        assert!(matches!(state(&scratch.db, &head()).await.unwrap(), State::Head(_)));
    }
}

#[tokio::test]
async fn a_revision_of_a_newer_program_is_left_alone() {
    for scratch in Scratch::both().await {
        let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                      VALUES (9999, 'newer', true, '', 0)";
        scratch.sql(insert).await;
        let at = state(&scratch.db, &head()).await.unwrap();
        assert_eq!(at.to_string(), "9999 (unknown to this program)");
        for error in [
            upgrade(&scratch.db, &head(), Target::Head).await.unwrap_err(),
            downgrade(&scratch.db, &head(), Target::Base).await.unwrap_err(),
        ] {
            assert!(error.to_string().starts_with("the database is at revision 9999, which"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_revision_is_applied_whole_or_not_at_all() {
    for scratch in Scratch::both().await {
        let before = described(&scratch).await;
        let next = head().history().len() + 1;
        let file = |direction| scratch.dir.path().join(format!("{next:04}_half.{direction}.sql"));
        fs::write(file("up"), "CREATE TABLE half (no INTEGER); INSERT INTO no_such_table VALUES (1);")
            .unwrap();
        fs::write(file("down"), "DROP TABLE half;").unwrap();
        let migrations = Migrations::load(Some(scratch.dir.path())).unwrap();
        let error = upgrade(&scratch.db, &migrations, Target::Head).await.unwrap_err().to_string();
        assert!(
            error.contains("failed and left nothing behind") && error.contains("no_such_table"),
            "{error}"
        );
        assert_eq!(described(&scratch).await, before);
        // and the next try is not locked out
        fs::write(file("up"), "CREATE TABLE half (no INTEGER);").unwrap();
        let migrations = Migrations::load(Some(scratch.dir.path())).unwrap();
        upgrade(&scratch.db, &migrations, Target::Head).await.unwrap();
        fs::write(file("up"), "CREATE TABLE whole (no INTEGER);").unwrap();
        let migrations = Migrations::load(Some(scratch.dir.path())).unwrap();
        let error = upgrade(&scratch.db, &migrations, Target::Head).await.unwrap_err().to_string();
        assert!(error.contains("was edited after this database applied it"), "{error}");
    }
}

#[tokio::test]
async fn what_autogenerate_writes_runs_on_both_databases_and_back() {
    let declared = format!(
        "{}\nCREATE TABLE deals (no INTEGER PRIMARY KEY, supply_no INTEGER NOT NULL REFERENCES supplies (no));
         CREATE INDEX deals_supply_no ON deals (supply_no);",
        DECLARED.replace("country TEXT NOT NULL,", "country TEXT NOT NULL, seat TEXT NOT NULL DEFAULT 'own',")
    );
    for scratch in Scratch::both().await {
        let before = described(&scratch).await;
        let dir = scratch.dir.path();
        revision(dir, "by hand", None).await.unwrap();
        revision(dir, "deals", Some(&declared)).await.unwrap();
        let migrations = Migrations::load(Some(dir)).unwrap();
        upgrade(&scratch.db, &migrations, Target::Head).await.unwrap();
        scratch.sql("INSERT INTO bidders (no, id, country, seat) VALUES (1, 'b', 'US', 's')").await;
        scratch.sql("DELETE FROM deals").await;
        downgrade(&scratch.db, &migrations, Target::Down(2)).await.unwrap();
        if scratch.db.dialect() == Dialect::Postgres {
            assert_eq!(described(&scratch).await, before);
        }
        assert!(matches!(state(&scratch.db, &head()).await.unwrap(), State::Head(_)));
    }
}
