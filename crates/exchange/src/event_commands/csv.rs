//! The flat tables as CSV: a line of names, then the rows; NULL is empty, decimals and times are as in the JSON line.

use ::csv::ByteRecord;
use anyhow::Result;
use auction::Cpm;
use std::io::Write;
use streams::flat::{Cells, Column, Kind};
use streams::json::Clock;

/// A table that is written.
pub(super) struct Table<W: Write> {
    out: ::csv::Writer<W>,
    columns: &'static [Column],
    /// The column that comes next.
    at: usize,
    clock: Clock,
    /// Those that are being filled.
    rows: Vec<ByteRecord>,
    text: Vec<u8>,
    /// The first error, said at the end.
    failed: Option<::csv::Error>,
}

impl<W: Write> Table<W> {
    pub(super) fn new(columns: &'static [Column], out: W) -> Result<Self> {
        let mut out = ::csv::Writer::from_writer(out);
        out.write_record(columns.iter().map(|column| column.name))?;
        Ok(Self {
            out,
            columns,
            at: 0,
            clock: Clock::default(),
            rows: Vec::new(),
            text: Vec::new(),
            failed: None,
        })
    }

    pub(super) fn finish(mut self) -> Result<W> {
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.out.into_inner().map_err(::csv::IntoInnerError::into_error)?),
        }
    }

    /// The next column's cells, by row.
    fn column(&mut self, mut write: impl FnMut(&mut Clock, &mut Vec<u8>)) {
        for row in &mut self.rows {
            self.text.clear();
            write(&mut self.clock, &mut self.text);
            row.push_field(&self.text);
        }
        self.at += 1;
    }
}

impl<W: Write> Cells for Table<W> {
    fn begin(&mut self, rows: usize) {
        self.at = 0;
        self.rows.resize(rows, ByteRecord::new());
        self.rows.iter_mut().for_each(ByteRecord::clear);
    }

    fn text(&mut self, text: Option<&[u8]>) {
        self.texts(std::iter::repeat_n(text, self.rows.len()));
    }

    fn number(&mut self, number: Option<u64>) {
        self.numbers(std::iter::repeat_n(number, self.rows.len()));
    }

    fn texts<'a>(&mut self, mut texts: impl Iterator<Item = Option<&'a [u8]>>) {
        self.column(|_, to| to.extend_from_slice(texts.next().flatten().unwrap_or_default()));
    }

    fn listed(&mut self, list: &[&str], which: impl Iterator<Item = Option<u8>> + Clone) {
        self.texts(which.map(|word| word.map(|word| list[usize::from(word)].as_bytes())));
    }

    fn numbers(&mut self, mut numbers: impl Iterator<Item = Option<u64>> + Clone) {
        let kind = self.columns[self.at].kind;
        self.column(|clock, to| {
            if let Some(number) = numbers.next().flatten() {
                write_number(number, kind, clock, to);
            }
        });
    }

    fn end(&mut self) {
        for row in &self.rows {
            let written = self.out.write_byte_record(row);
            if self.failed.is_none() {
                self.failed = written.err();
            }
        }
    }
}

fn write_number(number: u64, kind: Kind, clock: &mut Clock, to: &mut Vec<u8>) {
    match kind {
        Kind::Time => clock.write(number, to),
        Kind::Decimal(6) => Cpm::from_micros(number).write(to),
        Kind::Decimal(places) => {
            let (one, width) = (10_u64.pow(places), places as usize);
            // Writing to memory cannot fail.
            let _ = write!(to, "{}.{:0width$}", number / one, number % one);
        }
        Kind::Key | Kind::Text | Kind::Number => {
            to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }
}
