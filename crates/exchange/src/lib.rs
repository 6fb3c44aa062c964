//! Bourse: an ad exchange in one binary, as a library of its rooms.
//!
//! A request walks through them in this order: [`http`] (the door in), [`hold`] (which knows the order of
//! [`limiter`], snapshot, invitations, [`callout`], clearing and [`recorder`]), and the door out. [`cli`] and
//! [`config`] say what it is set to; [`serve`] opens the doors.

pub mod calendar;
pub mod callout;
pub mod catalogue_commands;
pub mod cli;
pub mod config;
pub mod event_commands;
pub mod hold;
pub mod http;
pub mod journal_commands;
pub mod json;
pub mod ledger;
pub mod limiter;
pub mod log;
pub mod metrics;
pub mod progress;
pub mod recorder;
pub mod serve;
pub mod stat;
pub mod streaming;
