//! The flat tables as CSV: a line of names, then the rows; NULL is empty, decimals and times are as in the JSON line.

use anyhow::Result;
use auction::Cpm;
use std::io::Write;
use streams::flat::{Cells, Column};
use streams::json::Clock;

/// A table that is written.
pub(super) struct Table<W: Write> {
    out: ::csv::Writer<W>,
    clock: Clock,
    text: Vec<u8>,
    /// The first error, said at the end.
    failed: Option<::csv::Error>,
}

impl<W: Write> Table<W> {
    pub(super) fn new(columns: &[Column], out: W) -> Result<Self> {
        let mut out = ::csv::Writer::from_writer(out);
        out.write_record(columns.iter().map(|column| column.name))?;
        Ok(Self { out, clock: Clock::default(), text: Vec::new(), failed: None })
    }

    pub(super) fn finish(mut self) -> Result<W> {
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.out.into_inner().map_err(::csv::IntoInnerError::into_error)?),
        }
    }

    fn field(&mut self, field: &[u8]) {
        let written = self.out.write_field(field);
        if self.failed.is_none() {
            self.failed = written.err();
        }
    }
}

impl<W: Write> Cells for Table<W> {
    fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.field(itoa::Buffer::new().format(number).as_bytes());
    }

    fn time(&mut self, us: u64) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.clock.write(us, &mut text);
        self.field(&text);
        self.text = text;
    }

    fn decimal(&mut self, units: u64, places: u32) {
        if places == 6 {
            return self.field(Cpm::from_micros(units).to_decimal(&mut [0; Cpm::DECIMAL_BYTES]).as_bytes());
        }
        let one = 10_u64.pow(places);
        let text = format!("{}.{:0width$}", units / one, units % one, width = places as usize);
        self.field(text.as_bytes());
    }

    fn none(&mut self) {
        self.field(b"");
    }

    fn end(&mut self) {
        let written = self.out.write_record(None::<&[u8]>);
        if self.failed.is_none() {
            self.failed = written.err();
        }
    }
}
