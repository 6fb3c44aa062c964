//! The documentation: complete, from the code itself, and in need of nothing from elsewhere.

use crate::client::Answer;
use crate::server::Server;
use serde_json::Value;

/// The page behind at most a few redirects.
fn follow(server: &Server, path: &str) -> (String, Answer) {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let answer = server.get(&path);
        match answer.header("location") {
            Some(location) if answer.status / 100 == 3 => path = resolve(&path, location),
            _ => return (path, answer),
        }
    }
    panic!("{path} redirects for ever")
}

/// Where a relative address leads.
fn resolve(page: &str, address: &str) -> String {
    if address.starts_with('/') {
        return address.to_owned();
    }
    format!("{}/{}", page.rsplit_once('/').unwrap().0, address.trim_start_matches("./"))
}

/// What stands in every `attribute="…"` and `url(…)`.
fn references(html: &str) -> Vec<String> {
    let of = |start: &str, end: char| -> Vec<String> {
        html.split(start).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_owned).collect()
    };
    [of("src=\"", '"'), of("href=\"", '"'), of("action=\"", '"'), of("url(", ')'), of("@import ", ';')]
        .concat()
}

#[test]
fn the_pages_work_offline() {
    let server = Server::usual();
    for page in ["/api/docs", "/api/redoc", "/", "/problems/rate_limited"] {
        let (path, answer) = if page == "/" {
            (page.to_owned(), server.request("GET", "/", &[("accept", "text/html")], b""))
        } else {
            follow(&server, page)
        };
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{page}");
        for reference in references(answer.text()) {
            let is_elsewhere = reference.contains("://") || reference.starts_with("//");
            assert!(!is_elsewhere, "{page} wants {reference}");
            if reference.starts_with('#') || reference.starts_with("data:") {
                continue;
            }
            let target = resolve(&path, &reference);
            let (_, part) = follow(&server, target.split('#').next().unwrap());
            assert_eq!(part.status, 200, "{page} wants {target}");
            if target.ends_with("initializer.js") || target.ends_with(".css") {
                let wanted = part.text().replace("http://www.w3.org", "");
                let remote = wanted
                    .split("url(")
                    .skip(1)
                    .any(|rest| rest.starts_with("http") || rest.starts_with("\"http"));
                assert!(!remote, "{target} wants something from elsewhere");
                assert!(!target.ends_with("initializer.js") || !wanted.contains("://"), "{wanted}");
            }
        }
    }
}

#[test]
fn the_interactive_page_shows_this_document() {
    let server = Server::usual();
    let (path, _) = follow(&server, "/api/docs");
    let initializer = server.get(&resolve(&path, "swagger-initializer.js"));
    assert!(initializer.text().contains("/openapi.json"), "{}", initializer.text());
}

/// Every `$ref` of the document.
pub(crate) fn refs<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(target) if name == "$ref" => found.push(target),
            value => refs(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
        _ => {}
    }
}

/// Whether any part of it has an example.
fn has_example(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.contains_key("example")
                || members.contains_key("examples")
                || members.values().any(has_example)
        }
        Value::Array(items) => items.iter().any(has_example),
        _ => false,
    }
}

#[test]
fn the_openapi_document_describes_every_endpoint_with_examples() {
    let server = Server::usual();
    let document = server.json("/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for member in ["title", "version"] {
        assert!(document["info"][member].is_string());
    }
    let mut found = Vec::new();
    refs(&document, &mut found);
    for target in found {
        let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} is elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{target} is missing");
    }
    let paths = document["paths"].as_object().unwrap();
    let documented =
        ["/bid", "/auctions", "/supplies", "/stat", "/", "/health/live", "/health/ready", "/metrics"];
    for path in documented.into_iter().chain(["/dashboard/events", "/dashboard/rows"]) {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                operation["operationId"].is_string() && operation["summary"].is_string(),
                "{method} {path}"
            );
            assert!(!responses.is_empty(), "{method} {path}");
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{method} {path} {status}");
                let contents =
                    response["content"].as_object().unwrap_or_else(|| panic!("{method} {path} {status}"));
                let are_shown = contents.values().all(has_example);
                assert!(are_shown, "{method} {path} {status} has no example");
            }
        }
    }
}

#[test]
fn the_openapi_document_has_every_status_of_a_bid() {
    let server = Server::usual();
    let document = server.json("/openapi.json");
    let bid = &document["paths"]["/bid"]["post"];
    assert!(has_example(&bid["requestBody"]));
    for status in ["200", "400", "408", "413", "415", "422", "429", "503"] {
        assert!(bid["responses"][status].is_object(), "{status}");
    }
    let text = bid.to_string();
    for code in [
        "malformed_json",
        "unknown_supply",
        "no_eligible_bidders",
        "no_bids",
        "body_too_large",
        "unsupported_media_type",
        "invalid_request",
        "rate_limited",
        "overloaded",
        "draining",
    ] {
        assert!(text.contains(code), "{code}");
    }
}

#[test]
fn the_examples_of_a_bid_are_what_the_server_says() {
    let server = Server::usual();
    let document = server.json("/openapi.json");
    let body = &document["paths"]["/bid"]["post"]["requestBody"]["content"]["application/json"]["example"];
    let verdict = server.bid(body.to_string()).verdict();
    assert!(["200", "400 no_bids"].contains(&verdict.as_str()), "{verdict}");
}

#[test]
fn the_type_of_a_problem_is_a_page_that_explains_it() {
    let server = Server::usual();
    let problem = server.bid("{").problem();
    let page = server.get(problem["type"].as_str().unwrap());
    assert_eq!(page.status, 200);
    assert!(page.text().contains("malformed_json"));
    server.get("/problems/nonsense").is_refusal(404, "not_found");
}
