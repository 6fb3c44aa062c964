//! PostgreSQL away: the last snapshot serves, `/` says so, and nothing has to be restarted.

use crate::catalogues::{constant, constants};
use crate::client::{any_bid, bid_body};
use crate::database::{Postgres, Way};
use crate::server::{Home, Server, eventually};
use crate::watching::watch;
use serde_json::{Value, json};

fn served(postgres: &Postgres) -> (Way, Server) {
    let _ = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url).with(&constants(&[("b", 0, 0.5)]));
    let way = Way::to(&postgres.url);
    let server = Home::empty().set("BOURSE_DATABASE_URL", &way.url).serve();
    (way, server)
}

fn catalogue(server: &Server) -> Value {
    server.json("/")["catalogue"].clone()
}

#[test]
fn without_its_database_the_last_snapshot_serves_and_the_front_page_says_so() {
    let postgres = Postgres::new();
    let (way, server) = served(&postgres);
    assert!(catalogue(&server).get("trouble").is_none(), "{}", catalogue(&server));
    way.cut();
    let mut connection = server.connect();
    eventually("the trouble is told", || {
        assert_eq!(connection.bid(any_bid()).status, 200);
        catalogue(&server).get("trouble").is_some()
    });
    eventually("the staleness is told", || catalogue(&server)["stale_s"].as_f64() > Some(1.0));
    let told = watch(&server).next().expect("an event");
    assert!(
        told["health"]["catalogue"]["trouble"].is_string(),
        "the dashboard is told, too: {}",
        told["health"]
    );
    assert_eq!(server.get("/health/ready").status, 200, "it serves");
    assert_eq!(
        server.json("/stat")["supply1"]["bidders"]["b"]["wins"],
        server.json("/stat")["supply1"]["total_reqs"]
    );

    let changed = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
    let more = json!({"supplies": {"new": ["b"]}, "bidders": {"b": constant(0, 0.7)}});
    changed.load(&more).done();
    assert_eq!(server.supplies(), ["supply1"]);
    way.mend();
    eventually("it is well again", || catalogue(&server).get("trouble").is_none());
    eventually("the change is in force", || connection.bid(bid_body("new", "192.0.2.1")).status == 200);
    assert_eq!(connection.bid(any_bid()).sale(), Some(("b".to_owned(), 700_000)));
}

#[test]
fn a_dropped_session_is_opened_again() {
    let postgres = Postgres::new();
    let (_way, server) = served(&postgres);
    for round in 0..3 {
        postgres.sql("SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
        let id = format!("new{round}");
        let changed = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
        changed.load(&json!({"supplies": {id.as_str(): ["b"]}})).done();
        eventually("the change is in force", || server.supplies().contains(&id));
    }
    assert_eq!(server.bid(any_bid()).status, 200);
}

#[test]
fn plain_sql_is_seen_as_a_load_is() {
    let postgres = Postgres::new();
    let (_way, server) = served(&postgres);
    postgres.sql("UPDATE supplies SET bid_floor_micros = 900000");
    eventually("the floor is in force", || server.bid(any_bid()).status == 400);
    server.bid(any_bid()).is_refusal(400, "no_bids");
}

#[test]
fn a_catalogue_that_becomes_nonsense_is_not_taken_over() {
    let postgres = Postgres::new();
    let (_way, server) = served(&postgres);
    for nonsense in
        ["UPDATE bidders SET country = 'XX'", "UPDATE bidders SET simulation = '{'", "DELETE FROM supplies"]
    {
        postgres.sql(nonsense);
        eventually(nonsense, || catalogue(&server).get("trouble").is_some());
        assert_eq!(server.bid(any_bid()).sale(), Some(("b".to_owned(), 500_000)), "{nonsense}");
        let home = Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
        home.load(&constants(&[("b", 0, 0.5)])).done();
        eventually("it is well again", || catalogue(&server).get("trouble").is_none());
    }
}

#[test]
fn a_postgresql_that_is_not_there_at_the_start_is_one_line() {
    let home = Home::empty().set("BOURSE_DATABASE_URL", "postgres://nobody@127.0.0.1:1/bourse");
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["db", "current"], &["db", "upgrade"]] {
        let said = home.run(command);
        assert!(said.one_line_error().contains("127.0.0.1:1"), "{said:?}");
    }
}
