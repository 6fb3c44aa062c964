//! What an append costs: nanoseconds per record of 250 bytes, against one `write` per record.
//!
//! `cargo run --release -p journal --example append -- [directory]`

use anyhow::Result;
use journal::{Journal, Settings, Unavailable};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECORD: [u8; 250] = [7; 250];
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("journal-append-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    println!("{:>10} {:>12} {:>12} {:>14}", "records/s", "append ns", "write ns", "without room");
    for per_second in [20_000, 100_000, 300_000] {
        for _ in 0..ROUNDS {
            let (append, missed) = appends(&dir, per_second)?;
            let write = writes(&dir, per_second)?;
            println!("{per_second:>10} {append:>12.0} {write:>12.0} {missed:>14}");
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// For a second, in bursts of a millisecond's records; only the bursts are timed.
fn paced(per_second: u32, mut one: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut spent, mut records) = (Duration::ZERO, 0);
    let begun = Instant::now();
    for burst in 1..=1_000 {
        let at = Instant::now();
        for _ in 0..per_second / 1_000 {
            one()?;
            records += 1;
        }
        spent += at.elapsed();
        std::thread::sleep(Duration::from_millis(burst).saturating_sub(begun.elapsed()));
    }
    Ok(spent.as_nanos() as f64 / f64::from(records))
}

fn appends(dir: &Path, per_second: u32) -> Result<(f64, u64)> {
    let (_journal, mut writers) = Journal::open(Settings::new(dir, 1))?;
    let writer = &mut writers[0];
    let mut missed = 0;
    let ns = paced(per_second, || match writer.append(1, black_box(&RECORD)) {
        Err(Unavailable::NoRoom) => {
            missed += 1;
            Ok(())
        }
        appended => Ok(appended.map(drop)?),
    })?;
    Ok((ns, missed))
}

fn writes(dir: &Path, per_second: u32) -> Result<f64> {
    let mut file = File::create(dir.join("written"))?;
    paced(per_second, || Ok(file.write_all(black_box(&RECORD))?))
}
