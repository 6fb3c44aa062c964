//! The running server: what it shows, what can be turned, and what each turn leaves in the audit log.

use super::Admin;
use crate::catalogue::hammer;
use crate::client::{Connection, any_bid, bid_body, wire};
use crate::redis::Redis;
use crate::server::{AtEnd, Home, Quiet, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn every_change_and_every_attempt_is_one_line_that_says_who_and_what() {
    let admin = Admin::start(Home::empty().usual().set("BOURSE_RATE_LIMIT_REQUESTS", &3));
    let pretty = "{\"country\":\"US\",\n\t\"simulation\":{\n\"price\":{\"constant\":0.5}}}";
    assert_eq!(admin.ask("PUT", "/admin/v1/bidders/c", &[], pretty).status, 201);
    let revision =
        admin.make("PATCH", "/admin/v1/supplies/supply1", &json!({"bid_floor": 0.2}))["revision"].clone();
    assert_eq!(admin.ask("PUT", "/admin/v1/supplies/s", &[], "[1]").status, 422);
    admin.make("DELETE", "/admin/v1/limiter/192.0.2.77", &Value::Null);
    assert_eq!(admin.ask("DELETE", "/admin/v1/limiter/canary", &[], "").status, 422);
    admin.get("/admin/v1/status");
    let lines = admin.audit();
    for (line, (action, object, outcome)) in lines.iter().zip([
        ("PUT /admin/v1/bidders/{id}", "c", 201),
        ("PATCH /admin/v1/supplies/{id}", "supply1", 200),
        ("PUT /admin/v1/supplies/{id}", "s", 422),
        ("DELETE /admin/v1/limiter/{address}", "192.0.2.0", 200),
        ("DELETE /admin/v1/limiter/{address}", "no address", 422),
    ]) {
        assert_eq!(
            (&line["action"], &line["object"], &line["outcome"]),
            (&json!(action), &json!(object), &json!(outcome))
        );
        assert_eq!(
            (&line["token"], &line["peer"]),
            (&json!(admin.digest[..8]), &json!("127.0.0.0")),
            "{line}"
        );
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert_eq!(lines.len(), 5, "reading is no change: {lines:?}");
    assert_eq!(lines[0]["after"]["simulation"]["price"]["constant"], 0.5);
    assert_eq!(
        (&lines[1]["before"]["bid_floor"], &lines[1]["after"]["bid_floor"]),
        (&json!(0.0), &json!(0.2))
    );
    assert_eq!(lines[1]["revision"], revision);
    let path = admin.server.home.data_dir().join("audit.jsonl");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    eventually("the log has them, too", || admin.server.log().matches("admin change").count() == 5);
    assert!(!admin.server.log().contains("192.0.2.77") && !admin.server.log().contains("canary"));
    assert_eq!(admin.server.metric("bourse_admin_changes_total"), 3);
}

#[test]
fn what_is_changed_has_its_line_though_the_client_hangs_up() {
    let admin = Admin::usual();
    let bearer = format!("Bearer {}", admin.token);
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    for n in 0..30 {
        // Some are not even read: then nothing is changed.
        let request = wire("PUT", &format!("/admin/v1/supplies/s{n}"), &headers, b"[\"bidder1\"]");
        Connection::open(admin.address).send(request);
    }
    admin.make("PUT", "/admin/v1/supplies/supply2", &json!(["bidder1"]));
    let made = || {
        let lines = admin.audit().into_iter().filter(|line| line["outcome"] == 201);
        let ids = lines.map(|line| line["object"].as_str().unwrap().to_owned());
        ids.chain(["supply1".to_owned()]).collect::<BTreeSet<_>>()
    };
    let there = || admin.server.supplies().into_iter().collect::<BTreeSet<_>>();
    eventually("what is there is what the lines say", || made() == there());
    assert!(made().len() > 2, "somebody was heard: {:?}", made());
}

#[test]
fn a_change_that_cannot_be_written_down_says_so_and_is_the_last() {
    let home = Home::empty().usual();
    std::os::unix::fs::symlink("/dev/full", home.data_dir().join("audit.jsonl")).unwrap();
    let admin = Admin::start(home);
    let first = admin.ask("PUT", "/admin/v1/supplies/first", &[], "[\"bidder1\"]");
    first.is_refusal(503, "audit_unavailable");
    assert!(first.problem()["detail"].as_str().unwrap().contains("answered 201"), "{}", first.text());
    let second = admin.ask("PUT", "/admin/v1/supplies/second", &[], "[\"bidder1\"]");
    second.is_refusal(503, "audit_unavailable");
    assert!(
        second.problem()["detail"].as_str().unwrap().contains("nothing was changed"),
        "{}",
        second.text()
    );
    assert_eq!(admin.server.supplies(), ["first", "supply1"]);
    assert_eq!(admin.server.metric("bourse_admin_audit_failures_total"), 1);
    assert_eq!(admin.ask("GET", "/admin/v1/supplies", &[], "").status, 200, "reading goes on");
}

#[test]
fn the_log_level_holds_from_the_answer_on_and_for_as_long_as_said() {
    let admin = Admin::usual();
    let count = |text: &str| admin.server.log().matches(text).count();
    admin.make("PUT", "/admin/v1/log", &json!({"level": "off"}));
    admin.server.home.load(&json!({"supplies": {"s": ["bidder1"]}})).done();
    admin.make("POST", "/admin/v1/catalogue/reload", &Value::Null);
    admin.make("PUT", "/admin/v1/log", &json!({"level": "info", "for_s": 1}));
    assert_eq!(admin.get("/admin/v1/log"), json!({"level": "info", "auctions": 0, "for_s": 1}));
    admin.make("PUT", "/admin/v1/supplies/t", &json!(["bidder1"]));
    eventually("what happens at info is logged", || count("catalogue changed") == 1);
    eventually("the time is over", || admin.get("/admin/v1/log")["for_s"].is_null());
    for (body, named) in [
        (json!({"level": "loud"}), "level"),
        (json!({"level": "INFO"}), "level"),
        (json!({"auctions": -1}), "body"),
        (json!({"for_s": 0}), "for_s"),
        (json!({"lvl": "info"}), "lvl"),
    ] {
        let answer = admin.ask("PUT", "/admin/v1/log", &[], &body.to_string());
        answer.is_refusal(422, "invalid_request");
        assert!(answer.text().contains(named), "{}", answer.text());
    }
    admin.ask("PUT", "/admin/v1/log", &[], "{").is_refusal(400, "malformed_json");
}

#[test]
fn one_auction_in_n_is_logged() {
    let admin = Admin::usual();
    let logged = || admin.server.log().matches("auction held").count();
    let bid = |times: u32| (0..times).for_each(|_| _ = admin.server.bid(any_bid()));
    bid(3);
    admin.make("PUT", "/admin/v1/log", &json!({"auctions": 4}));
    bid(40);
    eventually("ten of forty are logged", || logged() == 10);
    admin.make("PUT", "/admin/v1/log", &json!({"auctions": 0}));
    bid(10);
    admin.make("PUT", "/admin/v1/log", &json!({"auctions": 1, "for_s": 60}));
    bid(5);
    eventually("and all of the last five", || logged() == 15);
    // The same by the setting.
    let home = admin.server.stop().set("BOURSE_LOG_AUCTIONS", &10);
    let server = home.serve();
    (0..30).for_each(|_| _ = server.bid(any_bid()));
    eventually("three of thirty", || server.log().matches("auction held").count() == 3);
}

fn passes(admin: &Admin, ip: &str) -> bool {
    admin.server.bid(bid_body("supply1", ip)).status != 429
}

#[test]
fn a_reset_lets_the_address_pass_again_and_no_other() {
    let redis = Redis::start();
    for url in [None, Some(redis.url())] {
        let home = Home::empty().usual().set("BOURSE_RATE_LIMIT_REQUESTS", &3);
        let home = if let Some(url) = &url { home.set("BOURSE_REDIS_URL", url) } else { home };
        let admin = Admin::start(home);
        for (ip, other, counted_by) in
            [("192.0.2.1", "192.0.2.2", "address"), ("2001:db8::1", "2001:db8:0:1::1", "/64")]
        {
            let page = format!("/admin/v1/limiter/{ip}");
            let fresh = admin.get(&page);
            assert_eq!((&fresh["local"]["passed"], &fresh["counted_by"]), (&json!(0), &json!(counted_by)));
            for ip in [ip, other] {
                assert_eq!([passes(&admin, ip), passes(&admin, ip), passes(&admin, ip)], [true; 3]);
                assert!(!passes(&admin, ip), "{ip} has had its three");
            }
            let known = admin.get(&page);
            for place in [Some("local"), url.as_ref().map(|_| "shared")].into_iter().flatten() {
                assert_eq!(known[place]["passed"], 3, "{known}");
                assert!((50.0..=60.0).contains(&known[place]["next_in_s"].as_f64().unwrap()), "{known}");
            }
            assert!(!known.to_string().contains(ip), "{known}");
            let after = admin.make("DELETE", &page, &Value::Null);
            assert_eq!(after["local"]["passed"], 0);
            assert!(after["shared"].is_null() || after["shared"]["passed"] == 0, "{after}");
            assert_eq!(
                [passes(&admin, ip), passes(&admin, ip), passes(&admin, ip), passes(&admin, ip)],
                [true, true, true, false]
            );
            assert!(!passes(&admin, other), "{other} was not meant");
        }
    }
}

#[test]
fn without_a_limit_there_is_nothing_to_look_up() {
    Admin::usual().ask("GET", "/admin/v1/limiter/192.0.2.1", &[], "").is_refusal(404, "not_found");
}

#[test]
fn the_settings_are_those_of_config_show() {
    let admin = Admin::usual();
    let shown = admin.server.home.run(&["config", "show", "--json"]).done();
    let mut shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
    // The server was told where to listen by a flag.
    let listen = shown.iter_mut().find(|setting| setting["setting"] == "listen").unwrap();
    listen["value"] = json!("127.0.0.1:0");
    listen["source"] = json!("flag");
    // The settings of the admin API are set in the server's environment only as the test starts it.
    let served = admin.get("/admin/v1/config");
    let served = served.as_array().unwrap();
    for (one, other) in
        served.iter().zip(&shown).filter(|(one, _)| !one["setting"].as_str().unwrap().starts_with("admin."))
    {
        assert_eq!(one, other);
    }
    let masked = served.iter().find(|setting| setting["setting"] == "admin.token_sha256").unwrap();
    assert_eq!(
        (&masked["value"], &masked["source"]),
        (&json!(format!("{}…", &admin.digest[..8])), &json!("environment"))
    );
}

#[test]
fn the_status_is_that_of_the_public_pages() {
    let admin = Admin::usual();
    (0..5).for_each(|_| _ = admin.server.bid(any_bid()));
    let (status, health) = (admin.get("/admin/v1/status"), admin.server.json("/"));
    for member in ["status", "version", "auctions"] {
        assert_eq!(status[member], health[member], "{member}");
    }
    assert_eq!(status["catalogue"]["revision"], health["catalogue"]["revision"]);
    assert!(status["journal"]["records"].as_u64().unwrap() >= 5, "{status}");
    assert_eq!(status["journal"]["available"], true);
    assert_eq!(status["journal"]["readers"][0]["name"], "statistics");
    assert!(!status["cores"].as_array().unwrap().is_empty() && status["redis"].is_null(), "{status}");
    assert_eq!(status["instance"].as_str().unwrap().len(), 16);
}

#[test]
fn a_profile_shows_the_cores_at_work_and_there_is_one_at_a_time() {
    let quiet = Quiet::wait();
    let home = Home::empty_in(&quiet).usual();
    let admin = Admin::start(home);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| hammer(&admin.server, &stop));
        let end = AtEnd(|| stop.store(true, Ordering::Relaxed));
        let first = scope.spawn(|| {
            let page = "/admin/v1/profile?seconds=3&hz=500&format=folded";
            let mut profile = None;
            eventually("it is this one's turn", || {
                profile = Some(admin.ask("GET", page, &[], "")).filter(|answer| answer.status == 200);
                profile.is_some()
            });
            profile.unwrap()
        });
        eventually("another is refused meanwhile", || {
            let other = admin.ask("GET", "/admin/v1/profile?seconds=1", &[], "");
            other.status == 409 && other.code() == "conflict"
        });
        let folded = first.join().unwrap();
        let stacks = folded.text();
        assert!(stacks.lines().any(|line| line.starts_with("core-") && line.contains("http::listen::run;")));
        assert!(!stacks.contains("pprof::backtrace"), "the profiler itself is not in it");
        let svg = admin.ask("GET", "/admin/v1/profile?seconds=1", &[], "");
        assert_eq!((svg.status, svg.header("content-type")), (200, Some("image/svg+xml")));
        assert!(svg.text().starts_with("<svg") && svg.text().contains("core-"));
        drop(end);
        let (held, failed) = load.join().unwrap();
        // What the draw decides is no failure of the profile's making.
        assert!(held > 0 && failed.iter().all(|verdict| verdict == "400 no_bids"), "{:?}", failed.first());
    });
    for query in ["seconds=61", "seconds=0", "hz=0", "hz=1001", "format=png", "second=1"] {
        let answer = admin.ask("GET", &format!("/admin/v1/profile?{query}"), &[], "");
        answer.is_refusal(422, "invalid_request");
    }
}

#[test]
fn a_drain_is_an_end_like_sigterm() {
    let mut admin = Admin::usual();
    admin.server.bid(any_bid());
    let answer = admin.ask("POST", "/admin/v1/drain", &[], "");
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("draining")));
    assert_eq!(admin.server.exit().code(), Some(0), "{}", admin.server.log());
    assert_eq!(admin.audit().last().unwrap()["outcome"], 202);
    let server = admin.server.fall().home.serve();
    assert_eq!(server.json("/stat")["supply1"]["total_reqs"], 1, "nothing is lost");
}
