//! Reports: a table on standard output; in a file the same with the machine, what it means, and every raw number.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use super::lab::Lab;
use super::plot::{self, Plot};
use super::subject::Subject;

/// One benchmark's results.
pub(super) struct Report {
    /// The file's name without its ending.
    pub(super) name: &'static str,
    pub(super) title: String,
    /// What was done, and what a reader should know, in Markdown.
    pub(super) how: String,
    /// Tables, each under its heading if it has one.
    pub(super) tables: Vec<(String, Table)>,
    /// Every figure of every round.
    pub(super) raw: Table,
    pub(super) plots: Vec<Plot>,
}

impl Report {
    /// Prints the tables and writes the files.
    pub(super) fn publish(&self, lab: &Lab) -> Result<()> {
        for (heading, table) in &self.tables {
            if !heading.is_empty() {
                println!("\n{heading}\n");
            }
            print!("{}", table.aligned("  "));
        }
        let svg = format!("{}.svg", self.name);
        plot::draw(&lab.result(&svg)?, &self.plots)?;
        let path = lab.result(&format!("{}.md", self.name))?;
        fs::write(&path, self.markdown(lab, &svg))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("\nwritten: {} and {svg} beside it", path.display());
        Ok(())
    }

    fn markdown(&self, lab: &Lab, svg: &str) -> String {
        let mut text = format!("# {}\n\n{}\n{}\n", self.title, lab.machine.list(), self.how.trim_end());
        for (heading, table) in &self.tables {
            if !heading.is_empty() {
                let _ = write!(text, "\n## {heading}\n");
            }
            let _ = write!(text, "\n{}", table.markdown());
        }
        let _ = write!(text, "\n![{}]({svg})\n", self.title);
        let _ = write!(text, "\n## Raw\n\n```\n{}```\n", self.raw.aligned("  "));
        text
    }
}

/// Rows under a header.
#[derive(Default)]
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// For a terminal: columns as wide as they need to be, numbers to the right.
    fn aligned(&self, between: &str) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let line = cells.collect::<Vec<_>>().join(between);
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = (0..self.header.len()).map(|column| if column == 0 { "---|" } else { "---:|" });
        let rule = format!("|{}\n", rule.collect::<String>());
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.header) + &rule + &rows
    }
}

/// Every figure of these sides, a line for each measurement; `first` is what stands before them.
pub(super) fn raw(table: &mut Table, first: &str, subjects: &[Subject]) {
    for subject in subjects {
        for (round, figures) in subject.figures.iter().enumerate() {
            table.push(vec![
                format!("{first}{}", subject.spec.name),
                (round + 1).to_string(),
                format!("{:.3}", figures.cpu_us),
                format!("{:.0}", figures.per_second),
                format!("{:.1}", figures.p50_us),
                format!("{:.1}", figures.p90_us),
                format!("{:.1}", figures.p99_us),
                if figures.p999_us > 0.0 { format!("{:.1}", figures.p999_us) } else { "-".into() },
                format!("{:.1}", figures.resident_mib),
            ]);
        }
    }
}

/// The header of [`raw`]'s table.
pub(super) fn raw_table() -> Table {
    Table::new(["side", "round", "cpu_us", "req/s", "p50_us", "p90_us", "p99_us", "p999_us", "rss_mib"])
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_table_is_shown_in_two_ways() {
        let mut table = Table::new(["side", "µs"]);
        table.push(vec!["floor".into(), "5.40".into()]);
        table.push(vec!["a".into(), "10".into()]);
        assert_eq!(table.aligned("  "), "side     µs\nfloor  5.40\na        10\n");
        assert_eq!(table.markdown(), "| side | µs |\n|---|---:|\n| floor | 5.40 |\n| a | 10 |\n");
    }
}
