//! The audit log: every change, and every attempt at one, is a line of `audit.jsonl` on disk before its answer leaves.
//!
//! * One change at a time, and to its end: who hangs up meanwhile does not stop it half way.
//! * If a line cannot be written, its answer says so (503), and nothing more is changed until it is.
//! * A line has no token, only the first digits of its sum; addresses are truncated; long contents are told by their tag.

use super::Admin;
use super::guard::Caller;
use crate::calendar::ToMillis;
use crate::hold::unix_us;
use crate::http::problem::{Code, Refusal};
use crate::json::Text;
use anyhow::{Context, Result};
use auction::truncated;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tracing::{error, info};

/// What a change did, for its line: an extension of its answer.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// JSON, as it was.
    pub before: Option<String>,
    /// JSON, as it is.
    pub after: Option<String>,
    /// The catalogue's revision after it.
    pub revision: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Text<ToMillis>,
    token: &'a str,
    peer: IpAddr,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    /// The status of the answer.
    outcome: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
}

/// The log, and whose turn it is to change something.
#[derive(Debug)]
pub(super) struct AuditLog {
    turn: tokio::sync::Mutex<()>,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    /// What could not be written yet.
    pending: Vec<u8>,
}

impl AuditLog {
    /// The file in this directory; made if there is none, for its owner's eyes alone.
    pub(super) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("audit.jsonl");
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let opened = options.open(&path);
        let file = opened.with_context(|| {
            format!(
                "{}: the audit log cannot be opened; see to its rights, or set no admin token",
                path.display()
            )
        })?;
        Ok(Self {
            turn: tokio::sync::Mutex::default(),
            lines: Arc::new(Mutex::new(Lines { file, pending: Vec::new() })),
        })
    }

    /// Writes `line` after those still pending, and waits for the disk.
    async fn write(&self, line: Vec<u8>) -> io::Result<()> {
        let lines = Arc::clone(&self.lines);
        let writing = tokio::task::spawn_blocking(move || {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.pending.extend_from_slice(&line);
            lines.flush()
        });
        writing.await.map_err(io::Error::other)?
    }
}

impl Lines {
    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let end = self.file.metadata()?.len();
        let written = self.file.write_all(&self.pending).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.pending.clear(),
            // Half a line would spoil the next one, too.
            Err(_) => self.file.set_len(end)?,
        }
        written
    }
}

pub(super) async fn audit(
    State(admin): State<Arc<Admin>>,
    path: Option<MatchedPath>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let path = path.map_or_else(|| "no such page".to_owned(), |path| path.as_str().to_owned());
    let action = format!("{} {path}", request.method());
    let object = parameters.ok().and_then(|all| all.iter().next().map(|(name, value)| object(name, value)));
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Refusal::new(Code::Unauthorized, "nobody has let this request in")
            .into_response()
            .into_response();
    };
    let change =
        tokio::spawn(async move { make(&admin, &caller, &action, object.as_deref(), request, next).await });
    change.await.unwrap_or_else(|_| unwritten("the change ended badly"))
}

/// The id of an entry; of an address only what may be written down.
fn object(name: &str, value: &str) -> String {
    match (name, value.parse()) {
        ("id", _) => value.to_owned(),
        (_, Ok(address)) => truncated(address).to_string(),
        _ => "no address".to_owned(),
    }
}

async fn make(
    admin: &Admin,
    caller: &Caller,
    action: &str,
    object: Option<&str>,
    request: Request,
    next: Next,
) -> Response {
    let _turn = admin.audit.turn.lock().await;
    if let Err(error) = admin.audit.write(Vec::new()).await {
        return unwritten(&format!(
            "nothing was changed: an earlier change is not written down yet: {error}"
        ));
    }
    let mut response = next.run(request).await;
    let Change { before, after, revision } = response.extensions_mut().remove().unwrap_or_default();
    let outcome = response.status().as_u16();
    let line = Line {
        time: Text(ToMillis(unix_us(SystemTime::now()))),
        token: &caller.fingerprint,
        peer: truncated(caller.peer),
        action,
        object,
        outcome,
        before: before.as_deref().map(shortened),
        after: after.as_deref().map(shortened),
        revision,
    };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    info!(target: "audit", line = %String::from_utf8_lossy(&bytes), "admin change");
    bytes.push(b'\n');
    if response.status().is_success() {
        admin.site.admin.changes.fetch_add(1, Ordering::Relaxed);
    }
    if let Err(error) = admin.audit.write(bytes).await {
        admin.site.admin.audit_failures.fetch_add(1, Ordering::Relaxed);
        error!(%error, "the audit log cannot be written; nothing is changed until it can");
        return unwritten(&format!("it was answered {outcome}, but could not be written down: {error}"));
    }
    response
}

fn unwritten(detail: &str) -> Response {
    let refusal = Refusal::new(Code::AuditUnavailable, format!("{detail}; see to the disk of data_dir"));
    refusal.retry_after_us(1_000_000).into_response().into_response()
}

/// As JSON; what is long by its length.
fn shortened(json: &str) -> Box<RawValue> {
    const LONG: usize = 16 * 1024;
    let told = || serde_json::json!({ "bytes": json.len() }).to_string();
    let told = if json.len() > LONG { told() } else { json.to_owned() };
    RawValue::from_string(told).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
