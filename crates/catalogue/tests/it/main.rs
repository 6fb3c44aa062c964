//! The catalogue against real databases: SQLite files, and the PostgreSQL server and replica that `cargo xtask test`
//! starts. Each test has a database of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod load;
mod proxy;
mod replica;
mod schema;
mod scratch;
mod watch;
