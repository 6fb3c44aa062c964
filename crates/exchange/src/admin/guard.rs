//! The guard: who has no token of the settings gets no further (RFC 6750).
//!
//! * 401 with `WWW-Authenticate`, whatever is wrong with it; the body of the request is not read.
//! * Refusals are counted, and logged once a second at most.

use super::Admin;
use super::token::Digest;
use crate::http::problem::{Code, Refusal};
use auction::truncated;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

/// Who asks: an extension of every request that came past the guard.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The first digits of the token's sum.
    pub fingerprint: String,
    /// Where the connection comes from.
    pub peer: IpAddr,
}

/// The address of the connection: an extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// When somebody without a token was last logged, and how many came since.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<(Option<Instant>, u64)>);

const LOG_EVERY: Duration = Duration::from_secs(1);

impl Strangers {
    fn log(&self, peer: IpAddr) {
        let mut strangers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.1 += 1;
        if strangers.0.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            warn!(peer = %truncated(peer), requests = strangers.1, "refused by the admin API: no valid token");
            *strangers = (Some(Instant::now()), 0);
        }
    }
}

pub(super) async fn guard(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0; 4]), |peer| peer.0);
    match holder(&admin.tokens, request.headers()) {
        Ok(digest) => {
            request.extensions_mut().insert(Caller { fingerprint: digest.fingerprint(), peer });
            next.run(request).await
        }
        Err(challenge) => {
            admin.site.admin.unauthorized.fetch_add(1, Ordering::Relaxed);
            admin.strangers.log(peer);
            let detail = "send `Authorization: Bearer TOKEN` with a token of the admin API; `bourse admin token` makes one";
            Refusal::new(Code::Unauthorized, detail)
                .header(WWW_AUTHENTICATE, challenge)
                .into_response()
                .into_response()
        }
    }
}

/// The sum of the token that the headers hold, if it is a known one; else what to challenge with.
fn holder(tokens: &[Digest], headers: &HeaderMap) -> Result<Digest, &'static str> {
    const NONE: &str = "Bearer realm=\"bourse admin\"";
    const WRONG: &str = "Bearer realm=\"bourse admin\", error=\"invalid_token\"";
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(NONE) };
    let mut words = value.as_bytes().splitn(2, |&b| b == b' ');
    let is_bearer = words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
    let Some(token) = words.next().map(<[u8]>::trim_ascii).filter(|token| is_bearer && !token.is_empty())
    else {
        return Err(NONE);
    };
    Digest::of(token).among(tokens).ok_or(WRONG)
}
