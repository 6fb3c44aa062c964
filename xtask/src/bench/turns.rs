//! Turns: A B C, then C B A, so that what changes slowly on a machine falls on every side alike.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::lab::Lab;
use super::subject::{Load, Subject};

/// Measures every side once a round.
pub(super) fn take_turns(
    lab: &mut Lab,
    subjects: &mut [Subject],
    rounds: usize,
    load: Load,
    progress: &ProgressBar,
) -> Result<()> {
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let place = if round % 2 == 0 { turn } else { subjects.len() - 1 - turn };
            let subject = &mut subjects[place];
            progress.set_message(format!("round {}: {}", round + 1, subject.spec.name));
            subject.measure(lab, load)?;
            progress.inc(1);
        }
    }
    Ok(())
}

/// A bar on standard error for so many measurements.
pub(super) fn progress(measurements: usize) -> ProgressBar {
    let bar = ProgressBar::new(measurements as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} of {duration}  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
