//! The journal from outside: real files, real processes, a disk that is really full.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod crash;
mod damage;
mod follow;
mod full;
mod model;
mod scratch;
mod start;
mod tiny;
