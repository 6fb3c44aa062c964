//! What its rooms have in common: how a request is read, on which condition it is made, and what a refusal says.

use crate::http::bid::declared_as_json;
use crate::http::problem::{Code, FieldError, Refusal};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use catalogue::edit::{Expected, Refused};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest body: a catalogue of some hundred thousand supplies. Larger ones are for `bourse load-data`.
const BODY_BYTES_MAX: usize = 64 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body of JSON, whole.
pub(super) struct Sent(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        declared_as_json(request.headers())?;
        let reading = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
        match tokio::time::timeout(BODY_TIMEOUT, reading).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(error)) if is_too_long(&error) => {
                let detail =
                    format!("the body is over {BODY_BYTES_MAX} bytes; load it with `bourse load-data`");
                Err(Refusal::new(Code::BodyTooLarge, detail).close())
            }
            Ok(Err(_)) => {
                Err(Refusal::new(Code::MalformedRequest, "the body ended early or is framed wrongly").close())
            }
            Err(_) => {
                let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                Err(Refusal::new(Code::RequestTimeout, detail).close())
            }
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// The parameters after the `?`.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|error| invalid("query", error.body_text()))
    }
}

/// The one parameter of the path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| invalid("path", error.body_text()))
    }
}

/// 422 for one member.
pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Refusal {
    Refusal::invalid(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
}

/// JSON as the members of `T`; any mistake is 400 or 422 with its place.
pub(super) fn members<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid("body", error.to_string()),
        _ => Refusal::new(Code::MalformedJson, format!("the body is not JSON: {error}")),
    })
}

/// The condition of a change (RFC 9110 §13.1): `If-Match` with tags or `*`, or `If-None-Match: *`.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Refusal> {
    let text = |name: HeaderName| {
        let all: Result<Vec<&str>, _> = headers.get_all(&name).iter().map(HeaderValue::to_str).collect();
        all.map(|all| all.join(",")).map_err(|_| invalid(name.as_str(), "is no list of tags"))
    };
    let (one_of, none_of) = (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?);
    match (one_of.trim(), none_of.trim()) {
        ("", "") => Ok(Expected::Anything),
        ("", "*") => Ok(Expected::Absent),
        ("*", "") => Ok(Expected::Present),
        (tags, "") => {
            let tag = |tag: &str| Some(tag.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
            let tags = tags.split(',').map(tag).collect::<Option<_>>();
            tags.map(Expected::Tagged)
                .ok_or_else(|| invalid("if-match", "takes * or tags like \"5f0c2a9be1d47c33\""))
        }
        ("", _) => Err(invalid("if-none-match", "takes * only: the entry must not exist")),
        _ => Err(invalid("if-match", "cannot stand with If-None-Match")),
    }
}

/// With its tag.
pub(super) fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Why an edit was not made.
impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Problems(problems) => {
                let place = |line: &str| line.strip_prefix("body:").unwrap_or(line).to_owned();
                let error = |line| FieldError { field: "body".to_owned(), detail: place(line) };
                Self::invalid(problems.to_string().split('\n').map(error).collect())
            }
            Refused::Unexpected { tag: Some(tag) } => {
                let detail = format!("it is at {tag:?} now; read it again and decide anew");
                Self::new(Code::PreconditionFailed, detail).header(header::ETAG, &format!("\"{tag}\""))
            }
            Refused::Unexpected { tag: None } => {
                Self::new(Code::PreconditionFailed, "it is not there; without If-Match it would be made")
            }
            Refused::Missing => Self::new(Code::NotFound, "the catalogue has no such entry"),
            Refused::Listed { supplies, more } => {
                let (listed, more) = (supplies.join("\", \""), if more { " and more" } else { "" });
                let detail = format!("supplies list this bidder: \"{listed}\"{more}; take it off them first");
                Self::new(Code::Conflict, detail)
            }
            Refused::Failed(error) => away(&error),
        }
    }
}

/// 503: whatever it needs cannot.
pub(super) fn away(error: &anyhow::Error) -> Refusal {
    Refusal::new(Code::Unavailable, format!("{error:#}")).retry_after_us(1_000_000)
}
