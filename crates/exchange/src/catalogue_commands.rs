//! The commands that work on the catalogue, and how `serve` opens it.
use crate::cli;
use crate::config::Config;
use anyhow::Result;
use catalogue::{Live, Snapshot};
use std::path::Path;
use std::sync::Arc;
pub struct Opened {
    pub database: (),
    pub live: Arc<Live>,
    pub is_demo: bool,
    pub database_shown: String,
}
pub async fn open(_config: &Config) -> Result<Opened> {
    use auction::*;
    let bidders: Vec<_> = (0..12)
        .map(|i| {
            Arc::new(Bidder::new(
                Id::new(&format!("bidder{i}")).unwrap(),
                Country::from_code("US").unwrap(),
                Profile::DEFAULT,
            ))
        })
        .collect();
    let s = Supply::new(Id::new("supply1").unwrap(), AuctionType::FirstPrice, Cpm::ZERO, bidders);
    Ok(Opened {
        database: (),
        live: Arc::new(Live::new(Snapshot::new(1, 12, vec![Arc::new(s)]))),
        is_demo: true,
        database_shown: "x".into(),
    })
}
pub fn db(_: &Config, _: &cli::Db) -> Result<()> {
    Ok(())
}
pub fn load_data(_: &Config, _: &Path) -> Result<()> {
    Ok(())
}
pub fn generate_data(_: &Path, _: u32, _: u32, _: Option<u64>) -> Result<()> {
    Ok(())
}
