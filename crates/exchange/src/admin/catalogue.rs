//! Supplies and bidders: read from the database, changed with the checks of `load-data`, in force before the answer.
//!
//! * An entry is JSON as a catalogue file has it after the id: what GET gives, PUT takes.
//! * `ETag` and `If-Match` are of the one entry; of two who change what both have read, the second gets 412.
//! * If the change is made, but the exchange could not read it back, the answer says `in_force: false` and why.

use super::Admin;
use super::answer::{Asked, Named, Sent, away, expected, invalid, tagged};
use super::audit::Change;
use crate::http::pages::CatalogueHealth;
use crate::http::problem::Refusal;
use ::catalogue::edit::{self, Edited, Entry, Expected, Kind, Refused};
use ::catalogue::{File, Loaded};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// What the problems of a body are listed under.
const BODY: &str = "body";

/// A supply, as in a catalogue file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: entries are read and written as text")]
pub struct SupplyBody {
    /// Who may buy; each must be in the catalogue.
    #[schema(example = json!(["bidder1", "bidder2"]))]
    bidders: Vec<String>,
    /// `first_price` or `second_price`; the first if left out.
    #[schema(example = "second_price")]
    auction: Option<String>,
    /// In USD; none if left out.
    #[schema(example = 0.1)]
    bid_floor: Option<f64>,
}

/// A bidder, as in a catalogue file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: entries are read and written as text")]
pub struct BidderBody {
    /// Where it buys: ISO 3166-1.
    #[schema(example = "US")]
    country: String,
    /// How it behaves, if not as usual.
    #[schema(value_type = Option<Object>, example = json!({"no_bid_probability": 0.2}))]
    simulation: Option<()>,
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Those after this id.
    #[serde(default)]
    #[param(example = "supply1")]
    after: String,
    /// So many at most.
    #[serde(default = "usual")]
    #[param(minimum = 1, maximum = 500, default = 100, example = 100)]
    limit: u32,
}

const fn usual() -> u32 {
    100
}

/// Entries by id, in order, and where the next page begins.
#[derive(Serialize, ToSchema)]
pub struct Entries {
    #[schema(value_type = Object)]
    entries: BTreeMap<String, Box<RawValue>>,
    /// To be sent as `after`; null at the end.
    #[schema(example = "supply2")]
    next: Option<String>,
}

/// What became of a change.
#[derive(Serialize, ToSchema)]
pub struct Changed {
    /// `created`, `changed`, `unchanged`, `deleted`, `loaded`, `would be loaded` or `reloaded`.
    #[schema(example = "changed")]
    outcome: &'static str,
    /// Whether auctions see it.
    #[schema(example = true)]
    in_force: bool,
    /// Why not, if so; the exchange goes on trying.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Of the catalogue: the one in force, or after a dry run the one that would be.
    #[schema(example = "5f0c2a9be1d47c33")]
    revision: String,
    /// After a load.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

/// How much a load did.
#[derive(Serialize, ToSchema)]
pub struct Counts {
    #[schema(example = 1)]
    supplies_new: u64,
    #[schema(example = 0)]
    supplies_changed: u64,
    #[schema(example = 2)]
    bidders_new: u64,
    #[schema(example = 0)]
    bidders_changed: u64,
}

async fn list(admin: &Admin, kind: Kind, page: Page) -> Result<Response, Refusal> {
    if !(1..=500).contains(&page.limit) {
        return Err(invalid("limit", "must be a whole number from 1 to 500"));
    }
    let listed = edit::list(&admin.database, kind, &page.after, page.limit + 1).await;
    let mut listed = listed.map_err(|error| away(&error))?;
    let is_last = listed.len() <= page.limit as usize;
    listed.truncate(page.limit as usize);
    let next = listed.last().filter(|_| !is_last).map(|entry| entry.id.clone());
    let entry = |entry: Entry| Ok((entry.id.clone(), raw(&entry)?));
    let entries = listed.into_iter().map(entry).collect::<Result<_, Refusal>>()?;
    Ok(Json(Entries { entries, next }).into_response())
}

/// Somebody may have written a row by hand.
fn raw(entry: &Entry) -> Result<Box<RawValue>, Refusal> {
    let broken = |error| away(&anyhow::anyhow!("entry {:?} is not JSON: {error}", entry.id));
    RawValue::from_string(entry.json.clone()).map_err(broken)
}

async fn get(admin: &Admin, kind: Kind, id: &str) -> Result<Response, Refusal> {
    let entry = edit::get(&admin.database, kind, id).await.map_err(|error| away(&error))?;
    let entry = entry.ok_or(Refused::Missing)?;
    Ok(tagged(Json(raw(&entry)?).into_response(), &entry.tag()))
}

async fn put(
    admin: &Admin,
    kind: Kind,
    id: &str,
    headers: &HeaderMap,
    Sent(body): Sent,
) -> Result<Response, Refusal> {
    let file = match kind {
        Kind::Supply => File::supply(BODY, id, body.into()),
        Kind::Bidder => File::bidder(BODY, id, body.into()),
    };
    let file = file.map_err(Refused::Problems)?;
    let edited = edit::put(&admin.database, kind, id, &expected(headers)?, |_| Ok(file)).await?;
    Ok(edited_answer(admin, edited).await)
}

async fn patch(
    admin: &Admin,
    kind: Kind,
    id: &str,
    headers: &HeaderMap,
    Sent(body): Sent,
) -> Result<Response, Refusal> {
    let patch = std::str::from_utf8(&body).map_err(|_| invalid(BODY, "is not UTF-8"))?;
    let make = |entry: Option<&Entry>| edit::patched(kind, entry, BODY, patch);
    let edited = edit::put(&admin.database, kind, id, &expected(headers)?, make).await?;
    Ok(edited_answer(admin, edited).await)
}

async fn delete(admin: &Admin, kind: Kind, id: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let edited = edit::delete(&admin.database, kind, id, &expected(headers)?).await?;
    Ok(edited_answer(admin, edited).await)
}

async fn edited_answer(admin: &Admin, edited: Edited) -> Response {
    let (status, outcome) = match (&edited.before, &edited.after) {
        (None, _) => (StatusCode::CREATED, "created"),
        (_, None) => (StatusCode::OK, "deleted"),
        (before, after) if before == after => (StatusCode::OK, "unchanged"),
        _ => (StatusCode::OK, "changed"),
    };
    let tag = edited.after.as_ref().map(Entry::tag);
    let json = |entry: Option<Entry>| entry.map(|entry| entry.json);
    let change = Change { before: json(edited.before), after: json(edited.after), revision: None };
    let mut response = answer(admin, outcome, None, change).await;
    *response.status_mut() = status;
    match tag {
        Some(tag) => tagged(response, &tag),
        None => response,
    }
}

/// Waits until the change is in force, and says so.
async fn answer(admin: &Admin, outcome: &'static str, counts: Option<Counts>, change: Change) -> Response {
    let live = &admin.site.exchange.catalogue;
    let trouble = live.reload().await.err();
    let revision = live.snapshot().revision_text();
    let change = Change { revision: Some(revision.clone()), ..change };
    let changed = Changed { outcome, in_force: trouble.is_none(), trouble, revision, counts };
    let mut response = Json(changed).into_response();
    response.extensions_mut().insert(change);
    response
}

/// The supplies, in order of id.
#[utoipa::path(get, path = "/admin/v1/supplies", tag = "catalogue", operation_id = "list_supplies", params(Page),
    responses((status = 200, description = "A page of supplies", body = Entries, example = json!({"entries":
        {"supply1": {"bidders": ["bidder1"], "auction": "first_price", "bid_floor": 0}}, "next": null}))))]
pub(super) async fn list_supplies(
    State(admin): State<Arc<Admin>>,
    Asked(page): Asked<Page>,
) -> Result<Response, Refusal> {
    list(&admin, Kind::Supply, page).await
}

/// The bidders, in order of id.
#[utoipa::path(get, path = "/admin/v1/bidders", tag = "catalogue", operation_id = "list_bidders", params(Page),
    responses((status = 200, description = "A page of bidders", body = Entries,
        example = json!({"entries": {"bidder1": {"country": "US"}}, "next": null}))))]
pub(super) async fn list_bidders(
    State(admin): State<Arc<Admin>>,
    Asked(page): Asked<Page>,
) -> Result<Response, Refusal> {
    list(&admin, Kind::Bidder, page).await
}

/// One supply, with its tag.
#[utoipa::path(get, path = "/admin/v1/supplies/{id}", tag = "catalogue", operation_id = "get_supply",
    params(("id" = String, Path, example = "supply1")),
    responses((status = 200, description = "What PUT takes", body = SupplyBody)))]
pub(super) async fn get_supply(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
) -> Result<Response, Refusal> {
    get(&admin, Kind::Supply, &id).await
}

/// One bidder, with its tag.
#[utoipa::path(get, path = "/admin/v1/bidders/{id}", tag = "catalogue", operation_id = "get_bidder",
    params(("id" = String, Path, example = "bidder1")),
    responses((status = 200, description = "What PUT takes", body = BidderBody)))]
pub(super) async fn get_bidder(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
) -> Result<Response, Refusal> {
    get(&admin, Kind::Bidder, &id).await
}

/// Makes a supply, or makes it what the body says.
///
/// `If-Match` with the tag that GET gave lets nobody's change be lost; `If-None-Match: *` makes it only if there is none.
#[utoipa::path(put, path = "/admin/v1/supplies/{id}", tag = "catalogue", operation_id = "put_supply",
    params(("id" = String, Path, example = "supply1"), ("If-Match" = Option<String>, Header),
        ("If-None-Match" = Option<String>, Header)),
    request_body = SupplyBody,
    responses((status = 200, description = "It is as the body says", body = Changed),
        (status = 201, description = "It is new", body = Changed)))]
pub(super) async fn put_supply(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    put(&admin, Kind::Supply, &id, &headers, body).await
}

/// Makes a bidder, or makes it what the body says.
#[utoipa::path(put, path = "/admin/v1/bidders/{id}", tag = "catalogue", operation_id = "put_bidder",
    params(("id" = String, Path, example = "bidder1"), ("If-Match" = Option<String>, Header),
        ("If-None-Match" = Option<String>, Header)),
    request_body = BidderBody,
    responses((status = 200, description = "It is as the body says", body = Changed),
        (status = 201, description = "It is new", body = Changed)))]
pub(super) async fn put_bidder(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    put(&admin, Kind::Bidder, &id, &headers, body).await
}

/// Changes some members of a supply (JSON merge patch, RFC 7396).
#[utoipa::path(patch, path = "/admin/v1/supplies/{id}", tag = "catalogue", operation_id = "patch_supply",
    params(("id" = String, Path, example = "supply1"), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"bid_floor": 0.2})),
    responses((status = 200, description = "It is as the patch says", body = Changed)))]
pub(super) async fn patch_supply(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    patch(&admin, Kind::Supply, &id, &headers, body).await
}

/// Changes some members of a bidder (JSON merge patch, RFC 7396).
#[utoipa::path(patch, path = "/admin/v1/bidders/{id}", tag = "catalogue", operation_id = "patch_bidder",
    params(("id" = String, Path, example = "bidder1"), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json",
        example = json!({"simulation": {"no_bid_probability": 0.5}})),
    responses((status = 200, description = "It is as the patch says", body = Changed)))]
pub(super) async fn patch_bidder(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    patch(&admin, Kind::Bidder, &id, &headers, body).await
}

/// Deletes a supply.
#[utoipa::path(delete, path = "/admin/v1/supplies/{id}", tag = "catalogue", operation_id = "delete_supply",
    params(("id" = String, Path, example = "supply1"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "It is gone", body = Changed)))]
pub(super) async fn delete_supply(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    delete(&admin, Kind::Supply, &id, &headers).await
}

/// Deletes a bidder, if no supply lists it.
#[utoipa::path(delete, path = "/admin/v1/bidders/{id}", tag = "catalogue", operation_id = "delete_bidder",
    params(("id" = String, Path, example = "bidder1"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "It is gone", body = Changed),
        (status = 409, description = "Supplies list it; the answer names them", body = crate::http::problem::Problem,
            content_type = "application/problem+json")))]
pub(super) async fn delete_bidder(
    State(admin): State<Arc<Admin>>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    delete(&admin, Kind::Bidder, &id, &headers).await
}

/// The catalogue that auctions see, with its revision as the tag.
#[utoipa::path(get, path = "/admin/v1/catalogue", tag = "catalogue", operation_id = "catalogue",
    responses((status = 200, description = "What is in force", body = CatalogueHealth)))]
pub(super) async fn in_force(State(admin): State<Arc<Admin>>) -> Response {
    let live = &admin.site.exchange.catalogue;
    tagged(Json(CatalogueHealth::of(live)).into_response(), &live.snapshot().revision_text())
}

/// How a file is loaded.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Whether everything is done but the commit.
    #[serde(default)]
    #[param(example = true)]
    dry_run: bool,
}

/// Loads a catalogue file, as `bourse load-data` does: all of it or none.
///
/// With `dry_run=true` it says what would be done. `If-Match` with the catalogue's revision loads it into that one only.
#[utoipa::path(post, path = "/admin/v1/catalogue/load", tag = "catalogue", operation_id = "load",
    params(How, ("If-Match" = Option<String>, Header)),
    request_body(content = Object, example = json!({"supplies": {"supply9": ["bidder9"]}, "bidders": {"bidder9": {"country": "US"}}})),
    responses((status = 200, description = "It is loaded, or would be", body = Changed)))]
pub(super) async fn load(
    State(admin): State<Arc<Admin>>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
    Sent(body): Sent,
) -> Result<Response, Refusal> {
    let expected = expected(&headers)?;
    if matches!(expected, Expected::Absent) {
        return Err(invalid("if-none-match", "is for one entry; there always is a catalogue"));
    }
    let parsing = tokio::task::spawn_blocking(move || File::parse(BODY, body.into()));
    let file = parsing.await.map_err(|error| away(&error.into()))?.map_err(Refused::Problems)?;
    let imported = edit::import(&admin.database, &file, &expected, how.dry_run).await?;
    let Loaded { supplies_new, supplies_changed, bidders_new, bidders_changed } = imported.loaded;
    let counts = Counts { supplies_new, supplies_changed, bidders_new, bidders_changed };
    let told = serde_json::to_string(&counts).ok();
    if how.dry_run {
        let (in_force, revision) = (false, imported.revision);
        let counts = Some(counts);
        let would = Changed { outcome: "would be loaded", in_force, trouble: None, revision, counts };
        return Ok(Json(would).into_response());
    }
    Ok(answer(&admin, "loaded", Some(counts), Change { after: told, ..Change::default() }).await)
}

/// Reads the database now.
#[utoipa::path(post, path = "/admin/v1/catalogue/reload", tag = "catalogue", operation_id = "reload",
    responses((status = 200, description = "What is in force now", body = Changed)))]
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    answer(&admin, "reloaded", None, Change::default()).await
}
