//! A whole file: tried, loaded, and refused with what `load-data` says of it.

use super::Admin;
use crate::catalogues::{constant, constants};
use crate::client::bid_body;
use crate::database::on_both;
use crate::server::eventually;
use serde_json::json;

const LOAD: &str = "/admin/v1/catalogue/load";

#[test]
fn a_dry_run_says_what_a_load_then_does() {
    on_both(|home| {
        let admin = Admin::start(home.with(&constants(&[("b", 0, 0.5)])));
        let file =
            json!({"supplies": {"supply1": ["b", "c"], "s": ["c"]}, "bidders": {"c": constant(0, 0.9)}});
        let before = admin.get("/admin/v1/catalogue");
        let would = admin.ask("POST", &format!("{LOAD}?dry_run=true"), &[], &file.to_string()).json();
        assert_eq!(would["outcome"], "would be loaded");
        assert_eq!(admin.get("/admin/v1/catalogue")["revision"], before["revision"], "nothing is loaded yet");
        assert_eq!(admin.get("/admin/v1/bidders")["entries"].as_object().unwrap().len(), 1);
        let loaded = admin.make("POST", LOAD, &file);
        assert_eq!((&loaded["counts"], &loaded["revision"]), (&would["counts"], &would["revision"]));
        let counts =
            json!({"supplies_new": 1, "supplies_changed": 1, "bidders_new": 1, "bidders_changed": 0});
        assert_eq!(loaded["counts"], counts);
        assert_eq!(admin.server.bid(bid_body("s", "192.0.2.1")).sale(), Some(("c".to_owned(), 900_000)));
    });
}

#[test]
fn a_load_into_another_catalogue_than_was_meant_is_refused() {
    on_both(|home| {
        let admin = Admin::start(home.with(&constants(&[("b", 0, 0.5)])));
        let read = admin.ask("GET", "/admin/v1/catalogue", &[], "");
        let tag = read.header("etag").unwrap();
        admin.make("PUT", "/admin/v1/supplies/s", &json!(["b"]));
        let file = json!({"supplies": {"t": ["b"]}}).to_string();
        admin.ask("POST", LOAD, &[("if-match", tag)], &file).is_refusal(412, "precondition_failed");
        assert_eq!(admin.server.supplies(), ["s", "supply1"]);
        let read = admin.ask("GET", "/admin/v1/catalogue", &[], "");
        assert_eq!(admin.ask("POST", LOAD, &[("if-match", read.header("etag").unwrap())], &file).status, 200);
        assert_eq!(admin.server.supplies(), ["s", "supply1", "t"]);
    });
}

#[test]
fn a_bad_file_is_refused_with_the_words_of_load_data() {
    let admin = Admin::usual();
    for text in [
        "{\"supplies\":{\"s\":[\"b\",\n\"nobody\"]},\"bidders\":{\"b\":{\"country\":\"US\"}}}",
        "{\"supplies\":{\"s\":{\"bidders\":[],\"auction\":\"third_price\",\n\"bid_floor\":-1}},\"bidders\":{}}",
        "{\"bidders\":{\"b\":{\"country\":\"XX\"},\n  \"c\":{\"country\":1}}}",
        "[]",
        "{",
    ] {
        admin.server.home.write("body", text);
        let said = admin.server.home.run(&["load-data", "-i", "body"]).err;
        let expected: Vec<&str> = said.lines().map(|line| line.split_once("body:").unwrap().1).collect();
        let answer = admin.ask("POST", LOAD, &[], text);
        answer.is_refusal(422, "invalid_request");
        let problem = answer.problem();
        let told: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["detail"].as_str().unwrap())
            .collect();
        assert_eq!(told, expected, "{text}");
    }
    let answer = admin.ask("POST", &format!("{LOAD}?dry_run=perhaps"), &[], "{}");
    answer.is_refusal(422, "invalid_request");
}

#[test]
fn a_reload_has_what_others_have_changed_before() {
    on_both(|home| {
        let admin = Admin::start(home.with(&constants(&[("b", 0, 0.5)])));
        for round in 0..5 {
            let id = format!("s{round}");
            admin.server.home.load(&json!({"supplies": {id.as_str(): ["b"]}})).done();
            let reloaded = admin.make("POST", "/admin/v1/catalogue/reload", &serde_json::Value::Null);
            assert_eq!(reloaded["in_force"], true);
            assert!(admin.server.supplies().contains(&id), "{id}");
        }
    });
}

#[test]
fn a_reload_of_what_is_no_catalogue_says_why() {
    let admin = Admin::usual();
    std::fs::rename(
        admin.server.home.data_dir().join("catalogue.sqlite"),
        admin.server.home.path("away.sqlite"),
    )
    .unwrap();
    eventually("the reload says that the file is gone", || {
        let answer = admin.ask("POST", "/admin/v1/catalogue/reload", &[], "");
        answer.status == 200 && answer.json()["trouble"].as_str().is_some_and(|why| why.contains("is gone"))
    });
}
