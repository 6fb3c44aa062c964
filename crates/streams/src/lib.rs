//! The auction stream: every auction of the journal, delivered to stores elsewhere.
//!
//! * Each sink has a reader of the journal with a durable offset, on a thread of its own at lower priority: no auction
//!   ever waits for a sink, and no sink for another.
//! * At least once; once, where the sink makes use of the [`EventId`], or of a [`Batch`] that comes again with the same
//!   bounds.
//! * What a sink does not take stays in the journal, up to `retain_bytes`; then the oldest is given up, counted and
//!   logged.
//!
//! | module | what it does |
//! |---|---|
//! | [`event`] | one auction as every sink is given it, and a row for each bidder |
//! | [`json`] | the event as a line of JSON |
//! | [`flat`] | the event as rows of flat tables |
//! | `parquet`, `lake` | these as Parquet files, in a folder or an object store (feature `lake`) |
//! | `clickhouse` | these in ClickHouse (feature `clickhouse`) |
//! | `protobuf` | the event as Protobuf (feature `kafka`) |
//! | `kafka` | the event, in either form, as a message in Kafka (feature `kafka`) |
//! | [`sink`] | what a sink is: [`Sink`] |
//! | [`stream`] | reads, batches, delivers, tries again, gives up |
//! | [`meters`] | what is known of a stream from outside |
//! | `text` | ids and addresses as several formats write them |
//! | `lane`, `plan` | one core's next batch; its bounds on disk before it is delivered |

#[cfg(feature = "clickhouse")]
pub mod clickhouse;
pub mod event;
#[cfg(test)]
mod evolution;
pub mod flat;
#[cfg(test)]
mod held;
pub mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "lake")]
pub mod lake;
mod lane;
pub mod meters;
#[cfg(feature = "lake")]
pub mod parquet;
mod plan;
#[cfg(feature = "kafka")]
pub mod protobuf;
pub mod sink;
pub mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use event::{BidRow, Event, EventId, Rows, SCHEMA};
pub use meters::Meters;
pub use sink::{Batch, Sink};
pub use stream::{Pace, Policy, Source, Stream, start};
