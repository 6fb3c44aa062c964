//! The commands of the auction stream: watch it, take a span of it out, see and change how far its readers are.
//!
//! * `tail` and `export` read the journal as `bourse journal` does: no server is needed, none is disturbed.
//! * `offsets` changes a place only while no server holds the journal, and asks before.
//!
//! | module | what it does |
//! |---|---|
//! | `export`, `csv` | a span of time as files |
//! | `offsets` | how far each stream is; sends one elsewhere |

mod csv;
mod export;
mod offsets;

use crate::calendar::When;
use crate::cli;
use crate::config::Config;
use crate::hold::unix_us;
use crate::journal_commands::{self, dir};
use anyhow::Result;
use std::time::SystemTime;

/// `bourse events …`.
pub fn run(config: &Config, command: &cli::Events) -> Result<()> {
    let now_us = unix_us(SystemTime::now());
    match command {
        cli::Events::Tail(tail) => {
            let span = cli::Span { from: Some(tail.from.unwrap_or(When::Ago(0))), to: None };
            let (supply, bidder) = (tail.supply.clone(), tail.bidder.clone());
            let cat = cli::Cat { span, supply, bidder, auction: None, limit: tail.limit, follow: true };
            journal_commands::run(config, &cli::Journal::Cat(cat))
        }
        cli::Events::Export(export) => export::run(&dir(config)?, export, now_us),
        cli::Events::Offsets { change: None } => offsets::show(&dir(config)?),
        cli::Events::Offsets { change: Some(change) } => offsets::change(&dir(config)?, change, now_us),
        #[cfg(feature = "clickhouse")]
        cli::Events::Schema(cli::Schema::ClickHouse { server }) => {
            print!("{}", streams::clickhouse::schema::sql(&config.streams.clickhouse_database, *server));
            Ok(())
        }
    }
}
