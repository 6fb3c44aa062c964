//! `bourse check`: ok where all is well, and what to do where something is not, against the real parts.

use crate::database::Postgres;
use crate::programs::free_port;
use crate::redis::{Cluster, Redis};
use crate::server::{Home, Said, said};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::SystemTime;

/// A home whose settings are all right on any machine: a small journal, few connections, a free port.
fn sound(home: Home) -> Home {
    home.set("BOURSE_JOURNAL_RETAIN_MIB", &64)
        .set("BOURSE_JOURNAL_SEGMENT_MIB", &1)
        .set("BOURSE_JOURNAL_SEGMENT_MAX_MIB", &1)
        .set("BOURSE_HTTP_CONNECTIONS_MAX", &100)
        .set("BOURSE_LISTEN", &format!("127.0.0.1:{}", free_port()))
}

/// Each line of the check by its name: whether it is ok, and its detail.
fn lines(said: &Said) -> BTreeMap<String, (bool, String)> {
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(report["ok"], Value::Bool(said.ok), "{said:?}");
    let line = |check: &Value| {
        let text = |name: &str| check[name].as_str().expect("text").to_owned();
        (text("name"), (check["ok"].as_bool().expect("yes or no"), text("detail")))
    };
    report["checks"].as_array().expect("a list").iter().map(line).collect()
}

/// Checks that exactly this line is wrong, and says all of these.
#[track_caller]
fn only_wrong(said: &Said, name: &str, parts: &[&str]) {
    let lines = lines(said);
    let wrong: Vec<&str> = lines.iter().filter(|(_, (ok, _))| !ok).map(|(name, _)| name.as_str()).collect();
    assert_eq!(wrong, [name], "{said:?}");
    let detail = &lines[name].1;
    assert!(parts.iter().all(|part| detail.contains(part)), "{detail}");
}

#[test]
fn before_the_first_start_all_is_well_and_nothing_is_made() {
    let home = sound(Home::empty());
    let text = home.run(&["check"]).done();
    assert!(text.lines().count() >= 7 && text.lines().all(|line| line.starts_with("ok ")), "{text}");
    assert!(!home.data_dir().exists(), "it has made something");
}

#[test]
fn with_postgresql_redis_and_a_running_server_all_is_well() {
    let (postgres, redis) = (Postgres::new(), Redis::start());
    let home = sound(Home::empty()).set("BOURSE_DATABASE_URL", &postgres.url);
    let home = home.set("BOURSE_DATABASE_REPLICA_URLS", &postgres.url).set("BOURSE_REDIS_URL", &redis.url());
    let server = home.usual().serve();
    let mut check = server.home.command(&["check", "--json"]);
    check.env("BOURSE_LISTEN", server.address.to_string());
    let said = said(check);
    let lines = lines(&said);
    assert!(said.ok, "{lines:?}");
    for (name, part) in [
        ("database", "1 supplies and 12 bidders"),
        ("replica", "revision 0001"),
        ("redis", "one Redis"),
        ("server", &format!("process {} serves", server.pid())),
        ("clock", "Redis"),
    ] {
        assert!(lines[name].1.contains(part), "{name}: {lines:?}");
    }
}

#[test]
fn a_redis_cluster_is_well_with_a_node_for_every_key() {
    let mut cluster = Cluster::start(0);
    let home = sound(Home::empty()).set("BOURSE_REDIS_URL", &cluster.urls());
    let well = home.run(&["check", "--json"]);
    assert!(lines(&well)["redis"].1.contains("3 masters"), "{well:?}");
    let master = cluster.master_of("limit:check");
    cluster.kill(master);
    only_wrong(&home.run(&["check", "--json"]), "redis", &["redis.url"]);
}

#[test]
fn a_redis_that_is_away_is_named() {
    let mut redis = Redis::start();
    let home = sound(Home::empty()).set("BOURSE_REDIS_URL", &redis.url());
    redis.kill();
    only_wrong(&home.run(&["check", "--json"]), "redis", &["redis.url", "refused"]);
}

#[test]
fn a_schema_at_another_revision_says_what_to_run() {
    let postgres = Postgres::new();
    let home = sound(Home::empty()).set("BOURSE_DATABASE_URL", &postgres.url);
    only_wrong(&home.run(&["check", "--json"]), "database", &["base", "bourse db upgrade head"]);
    home.run(&["db", "upgrade"]).done();
    home.run(&["check"]).done();
    postgres.sql("UPDATE _sqlx_migrations SET version = 900 WHERE version = 1");
    only_wrong(&home.run(&["check", "--json"]), "database", &["0900", "newer bourse"]);
}

#[test]
fn a_database_that_is_away_is_named_without_its_password() {
    let url = format!("postgres://u:hunter2@127.0.0.1:{}/d", free_port());
    let said = sound(Home::empty()).set("BOURSE_DATABASE_URL", &url).run(&["check", "--json"]);
    only_wrong(&said, "database", &["/d", "database.url", "refused"]);
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"), "{said:?}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let home = sound(Home::empty());
    home.write("file", "");
    for (dir, part) in [("file/data", "is a file"), ("/proc/bourse", "cannot be written")] {
        let said = home.run(&["check", "--json", "--data-dir", dir]);
        let (ok, detail) = lines(&said)["data"].clone();
        assert!(!ok && detail.contains(part) && detail.contains("--data-dir"), "{dir}: {said:?}");
    }
}

#[test]
fn a_journal_that_may_outgrow_its_disk_is_told_what_to_lower() {
    let home = sound(Home::empty()).set("BOURSE_JOURNAL_RETAIN_MIB", &1_000_000_000);
    only_wrong(&home.run(&["check", "--json"]), "data", &["MiB free", "journal.retain_mib"]);
}

#[test]
fn an_address_that_somebody_else_has_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let home = sound(Home::empty()).set("BOURSE_LISTEN", &address);
    only_wrong(&home.run(&["check", "--json"]), "server", &[&address, "in use"]);
}

#[test]
fn a_server_that_uses_the_data_directory_and_does_not_answer_is_named() {
    let server = sound(Home::empty()).usual().serve();
    server.signal("STOP");
    let said = server.home.run(&["check", "--json"]);
    server.signal("CONT");
    let process = format!("process {}", server.pid());
    only_wrong(&said, "server", &[&process, "does not answer"]);
}

#[test]
fn too_few_open_files_say_how_to_raise_them() {
    let home = sound(Home::empty()).set("BOURSE_HTTP_CONNECTIONS_MAX", &1000);
    let few = home.command_under(&["prlimit", "--nofile=512:512"], &["check", "--json"]);
    only_wrong(&said(few), "files", &["512", "LimitNOFILE", "http.connections_max"]);
}

#[test]
fn a_clock_before_what_is_recorded_is_told() {
    let home = sound(Home::empty());
    let settings = journal::Settings::new(home.data_dir().join("journal"), 1);
    let (journal, mut writers) = journal::Journal::open(settings).unwrap();
    let now_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
    writers[0].append(now_us + 3_600_000_000, b"?").unwrap();
    drop((writers, journal));
    only_wrong(&home.run(&["check", "--json"]), "clock", &["before what is in the journal", "NTP"]);
}

#[test]
fn settings_that_cannot_be_read_are_the_only_line() {
    let home = sound(Home::empty()).set("BOURSE_WORKERS", "many");
    let said = home.run(&["check", "--json"]);
    only_wrong(&said, "settings", &["BOURSE_WORKERS", "many"]);
    assert_eq!(lines(&said).len(), 1, "{said:?}");
}
