//! Documentation, served from the binary and working offline: an interactive page, a page to read, the OpenAPI
//! document both are made from, and one page per refusal.

use super::problem::{Code, Refusal};
use super::site::Site;
use super::{auctions, bid, dashboard, pages, problem};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// The OpenAPI document, from the code of the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Bourse", description = "An ad exchange: POST /bid asks who pays most to show an ad."),
    paths(bid::bid, auctions::auction, pages::supplies, pages::stat, pages::health, pages::live, pages::ready, pages::metrics_page,
        dashboard::rows, dashboard::events),
    components(schemas(bid::BidRequestBody, bid::BidAnswer, problem::Problem, problem::FieldError)),
    tags((name = "auction", description = "Auctions and what came of them"),
        (name = "health", description = "For operators and orchestrators"))
)]
pub struct ApiDoc;

/// The routes of the documentation.
pub fn router() -> Router<Arc<Site>> {
    let reference = reference(&serde_json::to_value(ApiDoc::openapi()).unwrap_or_default()).into_string();
    Router::new()
        .merge(SwaggerUi::new("/api/docs").url("/openapi.json", ApiDoc::openapi()))
        .route("/api/redoc", get(move || async move { Html(reference) }))
        .route("/problems/{code}", get(explain))
}

/// A page of this exchange: no script, nothing from elsewhere, readable on a phone and in the dark.
pub fn shell(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: light-dark(#d5d9e0, #3a404b); --soft: light-dark(#f4f5f8, #1d2128);
  --accent: light-dark(#0b57d0, #8ab4f8); }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
a { color: var(--accent); }
code, pre { font: 0.875rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.75rem 0.35rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
section { border-top: 2px solid var(--line); margin-top: 2rem; padding-top: 0.5rem; }
.verb { background: var(--accent); color: light-dark(#fff, #111); border-radius: 4px; padding: 0.1rem 0.5rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
";

pub(crate) async fn explain(Path(name): Path<String>) -> Response {
    let Some(code) = Code::ALL.into_iter().find(|code| code.name() == name) else {
        return Refusal::new(Code::NotFound, "there is no such problem").into_response().map(Body::new);
    };
    let page = shell(
        code.title(),
        &html! {
            h1 { (code.title()) }
            p { "Code " code { (code.name()) } ", answered with status " (code.status().as_u16()) "." }
            p { "The answer's " code { "detail" } " says what happened; the " a href="/api/redoc" { "reference" }
                " shows each request and every answer it may get." }
        },
    );
    Html(page.into_string()).into_response()
}

/// The whole OpenAPI document as one page to read.
fn reference(document: &Value) -> Markup {
    let operations: Vec<(&String, &String, &Value)> = document["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(verb, op)| (path, verb, op))
        })
        .collect();
    shell(
        "Bourse: reference",
        &html! {
            h1 { "Bourse " small { (text(&document["info"]["version"])) } }
            p { (text(&document["info"]["description"])) " " a href="/api/docs" { "Try it" } ", or read "
                a href="/openapi.json" { "the OpenAPI document" } "." }
            nav {
                @for (path, verb, op) in &operations {
                    a href=(format!("#{}", text(&op["operationId"]))) { (verb.to_uppercase()) " " (path) }
                }
            }
            @for (path, verb, op) in &operations { (operation(document, path, verb, op)) }
            section {
                h2 { "Schemas" }
                @for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                    h3 id=(name) { (name) }
                    p { (text(&schema["description"])) }
                    (members(schema))
                }
            }
        },
    )
}

fn operation(document: &Value, path: &str, verb: &str, op: &Value) -> Markup {
    let responses = op["responses"].as_object().into_iter().flatten();
    html! {
        section id=(text(&op["operationId"])) {
            h2 { span.verb { (verb.to_uppercase()) } " " code { (path) } }
            p { strong { (text(&op["summary"])) } }
            p { (text(&op["description"])) }
            @for media in op["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values()) {
                h3 { "Request" }
                (members(resolve(document, &media["schema"])))
                (examples(media))
            }
            h3 { "Answers" }
            @for (status, response) in responses {
                h4 { (status) " " (text(&response["description"])) }
                @for (name, header) in response["headers"].as_object().into_iter().flatten() {
                    p { "Header " code { (name) } ": " (text(&header["description"])) }
                }
                @for media in response["content"].as_object().into_iter().flat_map(|content| content.values()) {
                    (examples(media))
                }
            }
        }
    }
}

fn members(schema: &Value) -> Markup {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let bounds = |member: &Value| {
        let of = |key: &str| member[key].as_number().map(|n| format!("{key} {n}"));
        ["minLength", "maxLength", "minimum", "maximum", "default"]
            .into_iter()
            .filter_map(of)
            .collect::<Vec<_>>()
    };
    html! {
        table {
            @for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                tr {
                    th scope="row" { code { (name) } @if required.contains(&name.as_str()) { " *" } }
                    td { (text(&member["description"])) " " small { (bounds(member).join(", ")) } }
                }
            }
        }
    }
}

fn examples(media: &Value) -> Markup {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    html! {
        @if !media["example"].is_null() { pre { (pretty(&media["example"])) } }
        @for example in media["examples"].as_object().into_iter().flat_map(|examples| examples.values()) {
            pre { (pretty(&example["value"])) }
        }
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
