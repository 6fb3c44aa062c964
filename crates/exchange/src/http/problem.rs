//! Refusals: every one is `application/problem+json` (RFC 9457) with a code for programs and a sentence for people.
//!
//! | status | code | when |
//! |---|---|---|
//! | 400 | `malformed_json` | the body is not JSON, or nested too deep |
//! | 400 | `unknown_supply` | no such supply |
//! | 400 | `no_eligible_bidders` | none of the supply's bidders buys in that country |
//! | 400 | `no_bids` | every eligible bidder passed, timed out or stayed below the floor |
//! | 400 | `malformed_request` | what came is not HTTP/1.1 |
//! | 401 | `unauthorized` | the admin API needs a token, and this is none |
//! | 404, 405 | `not_found`, `method_not_allowed` | no such page; not by this method |
//! | 408 | `request_timeout` | the body did not arrive in time |
//! | 409 | `conflict` | what is there does not allow it: supplies list the bidder |
//! | 412 | `precondition_failed` | somebody else has changed it meanwhile |
//! | 413, 431 | `body_too_large`, `headers_too_large` | over a limit |
//! | 415 | `unsupported_media_type` | not JSON by its Content-Type, or encoded |
//! | 422 | `invalid_request` | JSON, but a member is missing, twice there or breaks its rule |
//! | 429 | `rate_limited` | the address has had its requests |
//! | 503 | `overloaded`, `draining` | shed; come back later |
//! | 503 | `unavailable`, `audit_unavailable` | the database or Redis is away; a change cannot be written down |
//! | 503 | `journal_unavailable` | the auction cannot be recorded: the disk is full or fails |
//!
//! No refusal repeats input other than as a JSON string, and no input makes a 500.

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use utoipa::ToSchema;

/// Which refusal; its name is the `code` of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Not JSON.
    MalformedJson,
    /// No such supply.
    UnknownSupply,
    /// Nobody buys there.
    NoEligibleBidders,
    /// Nobody bid.
    NoBids,
    /// Not HTTP.
    MalformedRequest,
    /// No such page.
    NotFound,
    /// Not by this method.
    MethodNotAllowed,
    /// The body came too slowly.
    RequestTimeout,
    /// The body is over its bound.
    BodyTooLarge,
    /// The request line and headers are over their bound.
    HeadersTooLarge,
    /// Not JSON by its header.
    UnsupportedMediaType,
    /// JSON that breaks a rule.
    InvalidRequest,
    /// Over the limit of its address.
    RateLimited,
    /// No room.
    Overloaded,
    /// About to stop.
    Draining,
    /// Nothing can be recorded.
    JournalUnavailable,
    /// No token of the admin API; this and all below are its own.
    Unauthorized,
    /// What is there does not allow it.
    Conflict,
    /// Something else is there than the request expects.
    PreconditionFailed,
    /// The database, Redis or whatever else this needs is away.
    Unavailable,
    /// The audit log cannot be written.
    AuditUnavailable,
}

impl Code {
    /// Every code, in the order of the table above.
    pub const ALL: [Self; 21] = [
        Self::MalformedJson,
        Self::UnknownSupply,
        Self::NoEligibleBidders,
        Self::NoBids,
        Self::MalformedRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::HeadersTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidRequest,
        Self::RateLimited,
        Self::Overloaded,
        Self::Draining,
        Self::JournalUnavailable,
        Self::Unauthorized,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::Unavailable,
        Self::AuditUnavailable,
    ];

    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (400, "malformed_json", "The body is not JSON"),
            Self::UnknownSupply => (400, "unknown_supply", "No such supply"),
            Self::NoEligibleBidders => (400, "no_eligible_bidders", "No bidder buys in this country"),
            Self::NoBids => (400, "no_bids", "No bidder bid"),
            Self::MalformedRequest => (400, "malformed_request", "Not an HTTP/1.1 request"),
            Self::NotFound => (404, "not_found", "No such page"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "Not by this method"),
            Self::RequestTimeout => (408, "request_timeout", "The body did not arrive in time"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::HeadersTooLarge => (431, "headers_too_large", "The headers are too large"),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", "The body is not declared as JSON"),
            Self::InvalidRequest => (422, "invalid_request", "The request breaks a rule"),
            Self::RateLimited => (429, "rate_limited", "Too many requests for this address"),
            Self::Overloaded => (503, "overloaded", "Too busy"),
            Self::Draining => (503, "draining", "About to stop"),
            Self::JournalUnavailable => (503, "journal_unavailable", "Auctions cannot be recorded"),
            Self::Unauthorized => (401, "unauthorized", "A token is needed"),
            Self::Conflict => (409, "conflict", "What is there does not allow it"),
            Self::PreconditionFailed => (412, "precondition_failed", "Somebody else has changed it"),
            Self::Unavailable => (503, "unavailable", "What this needs is away"),
            Self::AuditUnavailable => (503, "audit_unavailable", "The audit log cannot be written"),
        }
    }

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether only the admin API answers it.
    pub const fn is_admin(self) -> bool {
        self as usize >= Self::Unauthorized as usize
    }

    /// What it means, in a few words.
    pub const fn title(self) -> &'static str {
        self.row().2
    }
}

/// One member of a request that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The member's name.
    #[schema(example = "tmax")]
    pub field: String,
    /// What is wrong with it.
    #[schema(example = "must be a whole number from 1 to 5000")]
    pub detail: String,
}

/// The body of a refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// A page that explains the code.
    #[schema(value_type = String, example = "/problems/rate_limited")]
    #[serde(serialize_with = "page")]
    pub r#type: Code,
    /// What the code means.
    #[schema(example = "Too many requests for this address")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 429)]
    pub status: u16,
    /// What happened, for a person.
    #[schema(example = "this address has had its 3 requests in 60 s; the next one passes in 42 s")]
    pub detail: &'a str,
    /// What happened, for a program.
    #[schema(example = "rate_limited")]
    pub code: &'static str,
    /// With `invalid_request`: every member that breaks its rule.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [FieldError],
}

fn page<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("/problems/{}", code.name()))
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct Refusal {
    /// Which one.
    pub code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// 422 for these members.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let sentences: Vec<String> = errors.iter().map(|e| format!("{} {}", e.field, e.detail)).collect();
        Self { errors, ..Self::new(Code::InvalidRequest, sentences.join("; ")) }
    }

    /// With one more header; a value that is no header value is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// To be tried again after whole seconds, at least one.
    #[must_use]
    pub fn retry_after_us(self, us: u64) -> Self {
        let seconds = us.div_ceil(1_000_000).max(1);
        self.header(RETRY_AFTER, &seconds.to_string())
    }

    /// The last answer of its connection.
    #[must_use]
    pub fn close(self) -> Self {
        self.header(CONNECTION, "close")
    }

    /// What may be asked for instead.
    #[must_use]
    pub fn allow(self, methods: &str) -> Self {
        self.header(ALLOW, methods)
    }

    /// Writes the problem.
    pub fn write_body(&self, to: &mut Vec<u8>) {
        let problem = Problem {
            r#type: self.code,
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            errors: &self.errors,
        };
        // Strings and a number: nothing in it can fail to be JSON, nor writing it to memory.
        let _ = serde_json::to_writer(to, &problem);
    }

    /// The answer.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut body = Vec::with_capacity(256);
        self.write_body(&mut body);
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.code.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }

    /// Whether it is the last answer of its connection.
    pub fn closes(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == CONNECTION)
    }

    /// Writes the answer as it goes over the wire; `body` is room to write its body to first.
    pub fn write(&self, date: Option<&[u8]>, body: &mut Vec<u8>, to: &mut Vec<u8>) {
        body.clear();
        self.write_body(body);
        let status = self.code.status();
        let mut digits = itoa::Buffer::new();
        let mut line = |parts: [&[u8]; 4]| parts.iter().for_each(|part| to.extend_from_slice(part));
        let reason = status.canonical_reason().unwrap_or_default();
        line([b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes()]);
        line([b"\r\n", b"content-type: application/problem+json\r\n", b"", b""]);
        for (name, value) in &self.headers {
            line([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
        line([b"content-length: ", digits.format(body.len()).as_bytes(), b"\r\n", b""]);
        date.iter().for_each(|date| line([b"date: ", date, b"\r\n", b""]));
        line([b"\r\n", body, b"", b""]);
    }

    /// The answer as bytes, where no request could be read.
    pub fn to_wire(&self) -> Vec<u8> {
        let (mut body, mut wire) = (Vec::new(), Vec::new());
        self.write(None, &mut body, &mut wire);
        wire
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        Self::into_response(self).map(Body::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_a_status_of_refusal() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                code.status().as_u16() == code.row().0 && code.status() != StatusCode::INTERNAL_SERVER_ERROR
            );
        }
    }
}
