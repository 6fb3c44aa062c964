//! The exporter: a thread that sends spans to the collector by OTLP over HTTP (`http/protobuf`), a request at a time.
//!
//! * Order: as the cores handed them over. A request goes out once [`BATCH_SPANS`] wait, or [`BATCH_AGE`] after the first.
//! * Errors: a collector that is away or asks for patience is asked [`ATTEMPTS`] times; then, or after any other answer,
//!   the spans are dropped and counted. It is logged once, and once more when the collector takes traces again.
//! * Source: OpenTelemetry Protocol Specification 1.x, "OTLP/HTTP".

use super::spans::{spans, text};
use super::{Counts, Traced};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use ureq::Agent;

/// How many spans make a request full; one auction more may be in it.
const BATCH_SPANS: usize = 2048;
/// How long a span waits for others.
const BATCH_AGE: Duration = Duration::from_secs(1);
/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the same spans are sent to a collector that is away.
const ATTEMPTS: u32 = 3;
/// Between the first two attempts; twice as long before the next.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// What is read of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Sends what cores hand over.
#[derive(Debug)]
pub(super) struct Exporter {
    endpoint: String,
    agent: Agent,
    resource: Resource,
    traced: Receiver<Traced>,
    counts: Arc<Counts>,
    chance: RandomState,
    is_failing: bool,
}

/// Why spans did not arrive, and whether to send them once more.
struct Failure {
    reason: String,
    is_passing: bool,
}

impl Exporter {
    /// Sends to `endpoint` what comes by `traced`, in the name of `instance`.
    pub(super) fn new(endpoint: &str, instance: &str, traced: Receiver<Traced>, counts: Arc<Counts>) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("bourse/", env!("CARGO_PKG_VERSION")))
            .build();
        let attributes = vec![
            text("service.name", "bourse"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ];
        Self {
            endpoint: endpoint.to_owned(),
            agent: agent.into(),
            resource: Resource { attributes, ..Resource::default() },
            traced,
            counts,
            chance: RandomState::new(),
            is_failing: false,
        }
    }

    /// Sends until nobody is left who could hand something over.
    pub(super) fn run(mut self) {
        while let Some(spans) = self.gather() {
            let count = spans.len() as u64;
            let sent = self.deliver(spans);
            self.note(count, sent);
        }
    }

    /// The spans of the next request; None at the end.
    fn gather(&self) -> Option<Vec<Span>> {
        let mut gathered = spans(&self.traced.recv().ok()?, &self.chance);
        let until = Instant::now() + BATCH_AGE;
        while gathered.len() < BATCH_SPANS {
            match self.traced.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(traced) => gathered.append(&mut spans(&traced, &self.chance)),
                Err(_) => break,
            }
        }
        Some(gathered)
    }

    /// Returns how many of the spans the collector refused.
    fn deliver(&self, spans: Vec<Span>) -> Result<u64, String> {
        let scope = InstrumentationScope { name: "bourse".to_owned(), ..InstrumentationScope::default() };
        let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            ..Default::default()
        };
        let body = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
        let mut pause = RETRY_AFTER;
        for _ in 1..ATTEMPTS {
            match self.send(&body) {
                Err(failure) if failure.is_passing => std::thread::sleep(pause),
                sent => return sent.map_err(|failure| failure.reason),
            }
            pause *= 2;
        }
        self.send(&body).map_err(|failure| failure.reason)
    }

    fn send(&self, body: &[u8]) -> Result<u64, Failure> {
        let post = self.agent.post(&self.endpoint).content_type("application/x-protobuf");
        let mut answer = post.send(body).map_err(|error| Failure {
            // One that timed out may have arrived.
            is_passing: !matches!(error, ureq::Error::Timeout(_)),
            reason: error.to_string(),
        })?;
        let status = answer.status().as_u16();
        // Read to its end, so that the connection can be used again.
        let said = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().unwrap_or_default();
        match status {
            200..300 => {
                // Whoever says nothing that can be read has taken them all.
                let said = ExportTraceServiceResponse::decode(&*said).unwrap_or_default();
                let refused = said.partial_success.map_or(0, |partial| partial.rejected_spans);
                Ok(refused.try_into().unwrap_or_default())
            }
            _ => Err(Failure {
                reason: format!("it answered {status}"),
                is_passing: matches!(status, 429 | 502 | 503 | 504),
            }),
        }
    }

    fn note(&mut self, spans: u64, sent: Result<u64, String>) {
        let refused = sent.as_ref().map_or(spans, |refused| spans.min(*refused));
        self.counts.exported.fetch_add(spans - refused, Ordering::Relaxed);
        self.counts.dropped.fetch_add(refused, Ordering::Relaxed);
        let trouble = match sent {
            Ok(0) => None,
            Ok(refused) => Some(format!("it refused {refused} of {spans} spans")),
            Err(reason) => Some(reason),
        };
        match trouble {
            Some(reason) if !self.is_failing => {
                warn!(
                    reason,
                    "the collector of otlp.endpoint takes no traces, they are dropped until it does"
                );
            }
            None if self.is_failing => info!("the collector takes traces again"),
            _ => {}
        }
        self.is_failing = refused > 0;
    }
}
