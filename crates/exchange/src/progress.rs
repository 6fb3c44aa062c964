//! Progress of long work: a bar on a terminal, a line a second anywhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows how far a command is, on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    step: String,
    said_at: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) =
                ProgressStyle::with_template("{msg:<24} {wide_bar} {human_pos}/{human_len} {eta}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, step: String::new(), said_at: Instant::now() }
    }

    /// `done` of `total` of this step.
    pub fn show(&mut self, step: &str, done: u64, total: u64) {
        let begins = self.step != step;
        if begins {
            step.clone_into(&mut self.step);
        }
        match &self.bar {
            Some(bar) => {
                if begins {
                    bar.set_message(step.to_owned());
                }
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.said_at.elapsed() >= Duration::from_secs(1)
                || (total > 100_000 && done == total) =>
            {
                eprintln!("{step}: {done} of {total}");
                self.said_at = Instant::now();
            }
            None => {}
        }
    }

    /// Takes the bar away, before the command says what it did.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
