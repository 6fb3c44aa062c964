use super::*;

const OLD: &str =
    "CREATE TABLE a (no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, n BIGINT DEFAULT 0 CHECK (n >= 0));
    CREATE TABLE b (a_no INTEGER NOT NULL REFERENCES a (no) ON DELETE CASCADE, tag TEXT, PRIMARY KEY (a_no));
    CREATE INDEX b_tag ON b (tag);";

async fn check(declared: &str) -> Result<Option<(String, String)>> {
    between(&[OLD], declared).await
}

#[tokio::test]
async fn what_is_written_otherwise_but_means_the_same_is_no_difference() {
    let same = OLD
        .replace("BIGINT DEFAULT 0 CHECK (n >= 0)", "bigint -- how many, really\n default 0 check(n>=0)")
        .replace("ON b (tag)", "on b(tag)");
    assert!(check(&same).await.unwrap().is_none());
}

#[tokio::test]
async fn portable_sql_is_written_for_what_it_can_change() {
    for (from, to, up, down) in [
        ("tag TEXT,", "tag TEXT, note TEXT,", "ALTER TABLE b ADD COLUMN note TEXT", "DROP COLUMN note"),
        ("tag TEXT,", "tag TEXT, n INT NOT NULL DEFAULT 5,", "n INT NOT NULL DEFAULT 5", "DROP COLUMN n"),
        ("tag TEXT,", "tag TEXT, a2 INT REFERENCES a (no),", "a2 INT REFERENCES a (no)", "DROP COLUMN a2"),
        ("CREATE INDEX b_tag ON b (tag);", "", "DROP INDEX b_tag", "CREATE INDEX b_tag ON b (tag)"),
        (
            "b_tag ON b (tag)",
            "b_tag ON b (tag, a_no)",
            "DROP INDEX b_tag;\nCREATE INDEX b_tag",
            "ON b (tag);",
        ),
        (
            ", n BIGINT DEFAULT 0 CHECK (n >= 0)",
            "",
            "DROP COLUMN n",
            "ADD COLUMN n BIGINT DEFAULT 0 CHECK (n >= 0)",
        ),
        (
            "CREATE INDEX",
            "CREATE TABLE c (x INT CHECK (x > 0));\nCREATE INDEX c_x ON c (x);\nCREATE INDEX",
            "CREATE TABLE c (x INT CHECK (x > 0));\nCREATE INDEX c_x ON c (x);",
            "DROP INDEX c_x;\nDROP TABLE c;",
        ),
    ] {
        let declared = OLD.replacen(from, to, 1);
        let (ups, downs) = check(&declared).await.unwrap().unwrap();
        assert!(ups.contains(up) && downs.contains(down), "{to}:\n{ups}\n{downs}");
    }
    let (ups, downs) = check(OLD.split_once(';').unwrap().0).await.unwrap().unwrap();
    assert_eq!(ups, "DROP TABLE b;\n");
    assert!(downs.starts_with("CREATE TABLE b") && downs.contains("CREATE INDEX b_tag"), "{downs}");
}

#[tokio::test]
async fn what_it_cannot_change_is_refused_by_name() {
    for (from, to, expected) in [
        ("n BIGINT", "n TEXT", "a.n: its type changes"),
        ("tag TEXT,", "tag TEXT NOT NULL,", "b.tag: its nullability changes"),
        ("DEFAULT 0", "DEFAULT 1", "a.n: its default changes"),
        ("n >= 0", "n >= 1", "a.n: its check changes"),
        ("PRIMARY KEY (a_no)", "PRIMARY KEY (a_no, tag)", "b.tag: its place in the primary key changes"),
        (
            "PRIMARY KEY (a_no)",
            "PRIMARY KEY (a_no), CHECK (tag <> '')",
            "b.( tag < > '' ): a table's check is added",
        ),
        ("NOT NULL UNIQUE", "NOT NULL", "a.id: a unique constraint is dropped"),
        ("tag TEXT,", "tag TEXT UNIQUE,", "b.tag: a unique constraint is added"),
        (" ON DELETE CASCADE", "", "b.a_no → a(no) NO ACTION CASCADE: a foreign key is dropped"),
        ("tag TEXT,", "tag TEXT, m INT NOT NULL,", "b.m: NOT NULL without a default"),
        ("tag TEXT,", "tag TEXT, m INT UNIQUE,", "b.m: a unique column cannot be added"),
        ("tag TEXT,", "tag TEXT, m TEXT DEFAULT CURRENT_DATE,", "b.m: its default is not a constant"),
        ("id TEXT NOT NULL UNIQUE, ", "", "a.id is dropped, and there is no way back"),
        ("CREATE TABLE a", "CREATE TABEL a", "the declared schema cannot be run: near \"TABEL\""),
    ] {
        let error = check(&OLD.replacen(from, to, 1)).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{to}: {error}");
    }
}

#[tokio::test]
async fn the_migrations_give_the_declared_schema() {
    let migrations = crate::schema::Migrations::load(None).unwrap();
    let ups: Vec<&str> = migrations.history().iter().filter_map(|step| step.up.portable.as_deref()).collect();
    assert_eq!(between(&ups, crate::schema::DECLARED).await.unwrap(), None);
}
