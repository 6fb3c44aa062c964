use super::*;

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

const PAIR: [(&str, &str); 2] =
    [("0002_notes.up.sql", "CREATE TABLE notes (text TEXT);"), ("0002_notes.down.sql", "DROP TABLE notes;")];

#[test]
fn a_directory_that_contradicts_the_binary_or_itself_is_refused() {
    for (files, expected) in [
        (&[("0001_catalogue.up.sql", "SELECT 1;")][..], "leave revision 0001 as it was"),
        (&[("0001_catalogue.up.postgres.sql", "")], "leave revision 0001 as it was"),
        (&[("0001_other.up.sql", "")], "leave revision 0001 as it was"),
        (&[PAIR[0]], "revision 0002 has no 0002_notes.down.sql"),
        (&[PAIR[0], ("0002_x.up.sql", "")], "two revisions are numbered 0002"),
        (&[("notes.sql", "")], "notes.sql is not named as a migration is"),
        (&[("0000_notes.up.sql", "")], "0000_notes.up.sql is not named"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), files);
        let error = Migrations::load(Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_directory_adds_to_the_binary_and_may_repeat_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), EMBEDDED);
    write(dir.path(), &PAIR);
    write(dir.path(), &[("README.md", "")]);
    let migrations = Migrations::load(Some(dir.path())).unwrap();
    let names: Vec<_> =
        migrations.history().iter().map(|step| format!("{} {}", step.revision, step.name)).collect();
    assert_eq!(names, ["0001 catalogue", "0002 notes"]);
    assert!(Migrations::load(Some(Path::new("/no/such/dir"))).is_ok());
}

#[tokio::test]
async fn a_revision_is_written_once_as_the_next_pair() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/the/way");
    let written = |up: &str| Written::Pair {
        up: dir.join(format!("{up}.up.sql")),
        down: dir.join(format!("{up}.down.sql")),
    };
    assert_eq!(revision(&dir, "By hand", None).await.unwrap(), written("0002_by_hand"));
    let declared = format!("{DECLARED}\nCREATE TABLE deals (no INTEGER PRIMARY KEY);");
    assert_eq!(revision(&dir, "add deals", Some(&declared)).await.unwrap(), written("0003_add_deals"));
    let up = fs::read_to_string(dir.join("0003_add_deals.up.sql")).unwrap();
    assert!(up.ends_with("CREATE TABLE deals (no INTEGER PRIMARY KEY);\n"), "{up}");
    assert_eq!(revision(&dir, "again", Some(&declared)).await.unwrap(), Written::NoDifference);
    let refused = declared.replace("country TEXT NOT NULL", "country TEXT");
    revision(&dir, "refused", Some(&refused)).await.unwrap_err();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
}
