//! Who gets in: with a token of the settings, everybody; without one, nobody, anywhere.

use super::{Admin, token};
use crate::client::Connection;
use crate::database::Postgres;
use crate::docs::refs;
use crate::programs::free_port;
use crate::server::{Home, eventually};
use serde_json::Value;

/// Every route of the OpenAPI document, as method, path and example body; what ends the server comes last.
fn routes(admin: &Admin) -> Vec<(String, String, String)> {
    let document = admin.ask_as("GET", "/openapi.json", &[], "").json();
    let mut found = Vec::new();
    refs(&document, &mut found);
    for target in found {
        assert!(document.pointer(&target[1..]).is_some(), "{target} is missing");
    }
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                operation["summary"].is_string() && operation["operationId"].is_string(),
                "{method} {path}"
            );
            let content = operation["requestBody"]["content"].as_object();
            let body = content.map_or(String::new(), |content| {
                let media = content.values().next().unwrap();
                let schema = media["schema"]["$ref"].as_str().and_then(|to| document.pointer(&to[1..]));
                let members = schema.and_then(|schema| schema["properties"].as_object());
                let example = |members: &serde_json::Map<String, Value>| -> Value {
                    members.iter().map(|(name, member)| (name.clone(), member["example"].clone())).collect()
                };
                members.map_or_else(|| media["example"].clone(), example).to_string()
            });
            let path = path.replace("{id}", "nobody").replace("{address}", "192.0.2.1");
            let path = if path.ends_with("/profile") { path + "?seconds=1" } else { path };
            routes.push((method.to_uppercase(), path, body));
        }
    }
    routes.sort_by_key(|(_, path, _)| path.ends_with("/drain"));
    routes
}

#[test]
fn every_route_needs_the_token_and_takes_it() {
    let mut admin = Admin::usual();
    let routes = routes(&admin);
    assert!(routes.len() >= 20, "{routes:?}");
    let (right, wrong) = (format!("Bearer {}", admin.token), format!("Bearer {}", "0".repeat(64)));
    for (method, path, body) in &routes {
        for (headers, challenge) in [
            (&[][..], "Bearer realm=\"bourse admin\""),
            (&[("authorization", &*wrong)], "Bearer realm=\"bourse admin\", error=\"invalid_token\""),
        ] {
            let answer = admin.ask_as(method, path, headers, body);
            answer.is_refusal(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{method} {path}");
        }
    }
    assert_eq!(admin.audit(), Vec::<Value>::new(), "nobody has changed anything");
    for (method, path, body) in &routes {
        let headers = [("authorization", &*right), ("content-type", "application/json")];
        let answer = admin.ask_as(method, path, &headers, body);
        let known = [200, 201, 202, 404, 422];
        assert!(known.contains(&answer.status), "{method} {path} {body}: {}", answer.text());
    }
    assert_eq!(admin.server.exit().code(), Some(0), "the last route was the drain");
}

#[test]
fn only_one_bearer_token_of_the_settings_lets_in() {
    let admin = Admin::usual();
    let token = admin.token.as_str();
    let bearer = |text: &str| format!("Bearer {text}");
    for (values, is_in) in [
        (vec![bearer(token)], true),
        (vec![format!("bearer  {token}")], true),
        (vec![bearer(&token.to_uppercase())], false),
        (vec![bearer(&token[1..])], false),
        (vec![bearer(&format!("{token}0"))], false),
        (vec![bearer(&admin.digest)], false),
        (vec![bearer("")], false),
        (vec!["Bearer".to_owned()], false),
        (vec![token.to_owned()], false),
        (vec![format!("Basic {token}")], false),
        (vec![bearer(token), bearer(token)], false),
    ] {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = admin.ask_as("GET", "/admin/v1/catalogue", &headers, "");
        assert_eq!(answer.status, if is_in { 200 } else { 401 }, "{values:?}");
    }
    admin
        .ask_as("GET", &format!("/admin/v1/catalogue?access_token={token}"), &[], "")
        .is_refusal(401, "unauthorized");
}

#[test]
fn the_documentation_is_open_and_whatever_else_there_is_not_is_hidden() {
    let admin = Admin::usual();
    assert_eq!(admin.ask_as("GET", "/openapi.json", &[], "").status, 200);
    let page = admin.ask_as("GET", "/api/docs/", &[], "");
    assert!(page.status == 200 && page.text().contains("swagger"), "{page:?}");
    let problem = admin.ask_as("GET", "/admin/v1/nonsense", &[], "");
    problem.is_refusal(401, "unauthorized");
    let explained = admin.ask_as("GET", problem.problem()["type"].as_str().unwrap(), &[], "");
    assert!(explained.status == 200 && explained.text().contains("unauthorized"));
    admin.ask("GET", "/admin/v1/nonsense", &[], "").is_refusal(404, "not_found");
    admin.ask("POST", "/admin/v1/status", &[], "").is_refusal(405, "method_not_allowed");
}

#[test]
fn without_a_token_in_the_settings_there_is_no_listener() {
    let port = free_port();
    let server = Home::empty().usual().set("BOURSE_ADMIN_LISTEN", &format!("127.0.0.1:{port}")).serve();
    assert!(!server.ready.contains("admin API"), "{}", server.ready);
    assert!(Connection::try_open(([127, 0, 0, 1], port).into()).is_err());
    assert_eq!(server.get("/admin/v1/status").status, 404, "nor is it elsewhere");
    assert!(!server.home.data_dir().join("audit.jsonl").exists());
}

#[test]
fn a_setting_that_would_let_the_wrong_in_stops_the_start() {
    let (_, digest) = token(&Home::empty());
    for (listen, digests, allow, named) in [
        ("127.0.0.1:0", "abc", "false", "ADMIN_TOKEN_SHA256"),
        ("127.0.0.1:0", &format!("{digest},"), "false", "ADMIN_TOKEN_SHA256"),
        ("nowhere", &digest, "false", "ADMIN_LISTEN"),
        ("0.0.0.0:0", &digest, "false", "admin.allow_remote"),
        ("[::]:0", &digest, "perhaps", "ADMIN_ALLOW_REMOTE"),
    ] {
        let home = Home::empty().set("BOURSE_ADMIN_LISTEN", listen).set("BOURSE_ADMIN_TOKEN_SHA256", digests);
        let said = home.set("BOURSE_ADMIN_ALLOW_REMOTE", allow).run(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(said.one_line_error().contains(named), "{said:?}");
        assert!(!said.err.contains(&digest), "{said:?}");
    }
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let home = Home::empty().set("BOURSE_ADMIN_LISTEN", &taken).set("BOURSE_ADMIN_TOKEN_SHA256", &digest);
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.one_line_error().contains("admin.listen"), "{said:?}");
    let home =
        Home::empty().set("BOURSE_ADMIN_LISTEN", "0.0.0.0:0").set("BOURSE_ADMIN_TOKEN_SHA256", &digest);
    let server = home.set("BOURSE_ADMIN_ALLOW_REMOTE", "true").serve();
    assert!(server.ready.contains("admin API: http://0.0.0.0:"), "{}", server.ready);
}

#[test]
fn tokens_can_be_changed_one_after_the_other() {
    let home = Home::empty().usual();
    let (old, new) = (token(&home), token(&home));
    let admin = Admin::start(home);
    let mut home = admin.server.stop();
    for (digests, expected) in [(format!("{}, {}", old.1, new.1), [200, 200]), (new.1.clone(), [401, 200])] {
        let server = home.set("BOURSE_ADMIN_TOKEN_SHA256", &digests).serve();
        let address = server.ready.split("admin API: http://").nth(1).unwrap().split('/').next().unwrap();
        let statuses = [&old.0, &new.0].map(|token| {
            let headers = [("authorization", &*format!("Bearer {token}"))];
            let mut connection = Connection::open(address.parse().unwrap());
            connection.request("GET", "/admin/v1/catalogue", &headers, b"").status
        });
        assert_eq!(statuses, expected);
        home = server.stop();
    }
}

#[test]
fn who_is_refused_is_counted_and_logged_within_bounds() {
    let admin = Admin::usual();
    let asked = std::time::Instant::now();
    (0..100).for_each(|_| {
        admin.ask_as("DELETE", "/admin/v1/supplies/supply1", &[], "").is_refusal(401, "unauthorized");
    });
    let most = asked.elapsed().as_secs() as usize + 1;
    assert_eq!(admin.server.metric("bourse_admin_unauthorized_total"), 100);
    let lines = || admin.server.log().matches("refused by the admin API").count();
    eventually("it is logged", || lines() > 0);
    assert!(lines() <= most, "{} lines in {most} s", lines());
    assert_eq!(admin.server.supplies(), ["supply1"]);
}

#[test]
fn no_secret_is_in_any_answer_log_or_file() {
    let postgres = Postgres::new();
    let (scheme, rest) = postgres.url.split_once("://").unwrap();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let url = format!("{scheme}://postgres:s3cretword@{place}");
    let admin = Admin::start(Home::empty().set("BOURSE_DATABASE_URL", &url).usual());
    let mut said = String::new();
    for (method, path, body) in routes(&admin) {
        said += &format!("{:?}", admin.ask(&method, &path, &[], &body));
    }
    let (token, digest) = (admin.token.clone(), admin.digest.clone());
    let fallen = admin.server.fall();
    said += &fallen.log;
    for (_, bytes) in crate::server::files_under(&fallen.home.data_dir()) {
        said += &String::from_utf8_lossy(&bytes);
    }
    assert!(said.contains(&digest[..8]), "the fingerprint is there");
    for secret in [&*token, &digest, &digest[..16], "s3cretword"] {
        assert!(!said.contains(secret), "{secret}");
    }
}
