//! Its documentation, as open as the public one: an interactive page and the OpenAPI document it is made from.

use super::{Admin, catalogue, limiter, log, operate, profile};
use crate::http::docs::explain;
use crate::http::problem::Problem;
use axum::Router;
use axum::routing::get;
use serde_json::json;
use std::sync::Arc;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

/// The OpenAPI document, from the code of the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Bourse: admin", description = "What may be seen and changed of a running server."),
    paths(catalogue::list_supplies, catalogue::get_supply, catalogue::put_supply, catalogue::patch_supply,
        catalogue::delete_supply, catalogue::list_bidders, catalogue::get_bidder, catalogue::put_bidder,
        catalogue::patch_bidder, catalogue::delete_bidder, catalogue::in_force, catalogue::load, catalogue::reload,
        operate::status, operate::config, operate::drain, log::show, log::set, limiter::look_up, limiter::reset,
        profile::profile),
    components(schemas(Problem, profile::Format)),
    tags((name = "catalogue", description = "Supplies and bidders, in force when the answer says so"),
        (name = "operation", description = "The running server")),
    security(("token" = [])),
    modifiers(&Common)
)]
struct ApiDoc;

/// What all operations have in common: the token, and their refusals.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`bourse admin token` makes one"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            operations.into_iter().flatten().for_each(add_refusals);
        }
    }
}

fn add_refusals(operation: &mut Operation) {
    let takes_body = operation.request_body.is_some();
    let refusals = [
        (401, "unauthorized", "A token is needed", true),
        (404, "not_found", "No such entry", operation.parameters.is_some()),
        (412, "precondition_failed", "Somebody else has changed it", takes_body),
        (422, "invalid_request", "The request breaks a rule; every place is named", takes_body),
        (503, "unavailable", "What this needs is away", true),
    ];
    for (status, code, title, _) in refusals.into_iter().filter(|refusal| refusal.3) {
        let example = json!({"type": format!("/problems/{code}"), "title": title, "status": status,
            "detail": title, "code": code});
        let content = ContentBuilder::new()
            .schema(Some(RefOr::Ref(utoipa::openapi::Ref::from_schema_name("Problem"))))
            .example(Some(example))
            .build();
        let response =
            ResponseBuilder::new().description(title).content("application/problem+json", content).build();
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    }
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .merge(SwaggerUi::new("/api/docs").url("/openapi.json", ApiDoc::openapi()))
        .route("/problems/{code}", get(explain))
}
