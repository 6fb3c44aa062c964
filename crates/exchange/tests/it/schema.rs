//! `bourse db`: revisions as Alembic's users know them, on both databases.

use crate::catalogues::usual;
use crate::database::{Postgres, on_both};
use crate::server::{Home, Said};
use std::path::PathBuf;

/// A revision beside the built-in ones that adds a column.
fn with_second_revision(home: &Home) {
    home.run(&["db", "revision", "-m", "Add notes!"]).done();
    let [up, down] = ["up", "down"].map(|direction| migration(home, &format!(".{direction}.sql")));
    std::fs::write(up, "ALTER TABLE bidders ADD COLUMN notes TEXT;\n").unwrap();
    std::fs::write(down, "ALTER TABLE bidders DROP COLUMN notes;\n").unwrap();
}

/// Where revisions of one's own are.
fn migrations(home: &Home) -> PathBuf {
    home.data_dir().join("migrations")
}

/// The one file of the migrations directory whose name ends like this.
fn migration(home: &Home, end: &str) -> PathBuf {
    let files = std::fs::read_dir(migrations(home)).expect("a migrations directory");
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(end));
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

fn db(home: &Home, words: &str) -> Said {
    home.run(&[&["db"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
}

fn current(home: &Home) -> String {
    db(home, "current").done().trim().to_owned()
}

#[test]
fn upgrade_and_downgrade_go_where_they_are_told() {
    on_both(|home| {
        with_second_revision(&home);
        for (command, expected) in [
            ("upgrade", "0002 (head)"),
            ("downgrade -1", "0001"),
            ("upgrade +1", "0002 (head)"),
            ("downgrade 0001", "0001"),
            ("downgrade base", "base"),
            ("upgrade 0001", "0001"),
            ("upgrade head", "0002 (head)"),
            ("upgrade head", "0002 (head)"),
            ("downgrade base", "base"),
            ("upgrade +2", "0002 (head)"),
            ("downgrade -2", "base"),
        ] {
            db(&home, command).done();
            assert_eq!(current(&home), expected, "{command}");
        }
        db(&home, "upgrade 0001").done();
        for (command, named) in [
            ("upgrade 0009", "0009"),
            ("upgrade nonsense", "nonsense"),
            ("upgrade +5", ""),
            ("downgrade -5", ""),
            ("downgrade 0002", ""),
            ("upgrade base", ""),
            ("downgrade head", ""),
            ("upgrade -1", ""),
            ("downgrade +1", ""),
        ] {
            let said = db(&home, command);
            assert!(!said.ok && said.err.contains(named), "{command}: {said:?}");
            assert_eq!(current(&home), "0001", "{command} changed nothing");
        }
    });
}

#[test]
fn history_lists_every_revision() {
    let home = Home::empty();
    with_second_revision(&home);
    let history = db(&home, "history").done();
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(
        lines[0].contains("0002") && lines[0].contains("head") && lines[0].contains("notes"),
        "{history}"
    );
    assert!(lines[1].contains("0001"), "{history}");
}

#[test]
fn a_revision_is_a_new_pair_and_data_survives_it() {
    on_both(|home| {
        home.run(&["db", "upgrade"]).done();
        home.load(&usual()).done();
        with_second_revision(&home);
        db(&home, "upgrade").done();
        db(&home, "downgrade -1").done();
        db(&home, "upgrade").done();
        assert_eq!(home.serve().supplies(), ["supply1"]);
    });
}

#[test]
fn autogenerate_writes_the_difference_and_it_leads_there_and_back() {
    on_both(|home| {
        let declared = include_str!("../../../catalogue/schema.sql");
        let nothing = db(&home, "revision -m nothing --autogenerate").done();
        assert!(!migrations(&home).exists(), "no difference, no files: {nothing}");
        let more = declared.replacen(
            "    country TEXT NOT NULL,\n",
            "    country TEXT NOT NULL,\n    notes TEXT,\n",
            1,
        ) + "\nCREATE TABLE deals (no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);\nCREATE INDEX deals_id ON deals (id);\n";
        home.write("schema.sql", &more);
        let written = home.run(&[
            "db",
            "revision",
            "--autogenerate",
            "-m",
            "deals and notes",
            "--schema",
            "schema.sql",
        ]);
        written.done();
        let up = std::fs::read_to_string(migration(&home, ".up.sql")).unwrap().to_lowercase();
        assert!(up.contains("notes") && up.contains("deals"), "{up}");
        for (command, expected) in
            [("upgrade", "0002 (head)"), ("downgrade -1", "0001"), ("upgrade", "0002 (head)")]
        {
            db(&home, command).done();
            assert_eq!(current(&home), expected);
        }
        let again =
            home.run(&["db", "revision", "--autogenerate", "-m", "again", "--schema", "schema.sql"]).done();
        assert_eq!(std::fs::read_dir(migrations(&home)).unwrap().count(), 2, "{again}");
    });
}

#[test]
fn autogenerate_refuses_by_name_what_it_cannot_express() {
    let home = Home::empty();
    let declared = include_str!("../../../catalogue/schema.sql");
    for (from, to, named) in [
        ("country TEXT NOT NULL", "country INTEGER NOT NULL", "country"),
        ("id TEXT NOT NULL UNIQUE,\n    country", "id TEXT NOT NULL,\n    country", "bidders"),
        ("bid_floor_micros >= 0", "bid_floor_micros >= 1", "bid_floor_micros"),
    ] {
        let changed = declared.replacen(from, to, 1);
        assert_ne!(changed, declared, "{from}");
        home.write("schema.sql", changed);
        let said = home.run(&["db", "revision", "--autogenerate", "-m", "x", "--schema", "schema.sql"]);
        assert!(!said.ok && said.err.contains(named), "{to}: {said:?}");
        assert!(!migrations(&home).exists(), "{to}: nothing is written");
    }
    home.write("schema.sql", "CREATE TABLE");
    assert!(!home.run(&["db", "revision", "--autogenerate", "-m", "x", "--schema", "schema.sql"]).ok);
}

#[test]
fn upgrades_at_once_are_safe() {
    on_both(|home| {
        with_second_revision(&home);
        for _ in 0..3 {
            let running: Vec<_> =
                (0..4).map(|_| home.command(&["db", "upgrade"]).spawn().expect("a process")).collect();
            for child in running {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            assert_eq!(current(&home), "0002 (head)");
            db(&home, "downgrade base").done();
        }
    });
}

#[test]
fn a_revision_that_fails_leaves_the_database_where_it_was() {
    on_both(|home| {
        with_second_revision(&home);
        db(&home, "upgrade 0001").done();
        let up = migration(&home, ".up.sql");
        std::fs::write(
            up,
            "ALTER TABLE bidders ADD COLUMN notes TEXT;\nALTER TABLE nowhere ADD COLUMN x TEXT;\n",
        )
        .unwrap();
        let said = db(&home, "upgrade");
        assert!(!said.ok && said.err.contains("nowhere"), "{said:?}");
        assert_eq!(current(&home), "0001");
        home.load(&usual()).one_line_error();
    });
}

#[test]
fn serve_brings_sqlite_to_head_by_itself() {
    let home = Home::empty().with(&usual());
    with_second_revision(&home);
    let server = home.serve();
    assert_eq!(server.supplies(), ["supply1"]);
    assert_eq!(current(&server.home), "0002 (head)");
}

#[test]
fn serve_refuses_another_revision_of_postgresql_and_names_the_command() {
    let postgres = Postgres::new();
    let home = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
    let serve = |home: &Home| {
        let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
        said.one_line_error().to_owned()
    };
    assert!(serve(&home).contains("bourse db upgrade"), "an empty database");
    assert_eq!(current(&home), "base", "it was left as it was");
    with_second_revision(&home);
    db(&home, "upgrade 0001").done();
    assert!(serve(&home).contains("bourse db upgrade"), "an older revision");
    db(&home, "upgrade").done();
    let older = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
    let line = serve(&older);
    assert!(line.contains("0002"), "a newer revision: {line}");
    assert_eq!(home.with(&usual()).serve().supplies(), ["supply1"]);
}
