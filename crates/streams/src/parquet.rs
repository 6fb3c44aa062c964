//! The flat tables as Parquet files: row groups, zstd, and the statistics that engines prune by.
//!
//! * Rows of a row group are in order of time, and the file says so.
//! * Prices are `DECIMAL(18,6)` and latencies `DECIMAL(18,3)` over whole numbers, times `TIMESTAMP(MICROS, UTC)`.
//! * The file's metadata has `bourse.schema`, the version of the event's schema.

use crate::flat::{Cells, Column, Kind};
use crate::{SCHEMA, flat};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use bytes::Bytes;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

/// How many rows a group has at most: what an engine reads or passes over at once.
const GROUP_ROWS: usize = 128 << 10;

/// A table that is written into a file.
pub struct Table<W: io::Write + Send> {
    columns: Vec<Values>,
    /// The column that the next cell is of.
    at: usize,
    rows: usize,
    writer: SerializedFileWriter<W>,
    /// The first error of a row group, said at the end.
    failed: Option<ParquetError>,
}

impl<W: io::Write + Send> Table<W> {
    /// The table of auctions.
    pub fn auctions(to: W) -> Result<Self> {
        Self::new("auctions", flat::AUCTIONS, to)
    }

    /// The table of bids.
    pub fn bids(to: W) -> Result<Self> {
        Self::new("bids", flat::BIDS, to)
    }

    fn new(name: &str, columns: &[Column], to: W) -> Result<Self> {
        let schema = Arc::new(parse_message_type(&message(name, columns))?);
        let writer = SerializedFileWriter::new(to, schema, Arc::new(properties(columns)?))?;
        let columns = columns.iter().map(Values::new).collect();
        Ok(Self { columns, at: 0, rows: 0, writer, failed: None })
    }

    /// Writes what is left, and the file's end; returns what it was written into.
    pub fn finish(mut self) -> Result<W> {
        self.write_group();
        match self.failed {
            Some(error) => Err(error),
            None => self.writer.into_inner(),
        }
    }

    fn write_group(&mut self) {
        if self.rows > 0 && self.failed.is_none() {
            self.failed = self.try_write_group().err();
        }
        self.columns.iter_mut().for_each(Values::clear);
        self.rows = 0;
    }

    fn try_write_group(&mut self) -> Result<()> {
        let order = self.columns.iter().find_map(Values::order_of_time);
        if let Some(order) = order {
            self.columns.iter_mut().for_each(|column| column.put_in(&order));
        }
        let mut group = self.writer.next_row_group()?;
        for values in &mut self.columns {
            let mut column = group.next_column()?.ok_or(ParquetError::EOF("a column".to_owned()))?;
            values.write(column.untyped())?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }

    fn next(&mut self) -> &mut Values {
        self.at += 1;
        &mut self.columns[self.at - 1]
    }
}

impl<W: io::Write + Send> Cells for Table<W> {
    fn text(&mut self, text: &str) {
        self.next().push_text(text);
    }

    fn number(&mut self, number: u64) {
        self.next().push(number);
    }

    fn time(&mut self, us: u64) {
        self.next().push(us);
    }

    fn decimal(&mut self, units: u64, _: u32) {
        self.next().push(units);
    }

    fn none(&mut self) {
        self.next().present.push(0);
    }

    fn end(&mut self) {
        self.at = 0;
        self.rows += 1;
        if self.rows == GROUP_ROWS {
            self.write_group();
        }
    }
}

/// The cells of a column, until they are written as part of a row group.
struct Values {
    is_time: bool,
    is_optional: bool,
    /// For each row whether it has a value, in an optional column.
    present: Vec<i16>,
    numbers: Vec<i64>,
    /// Texts, one behind the other, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Values {
    fn new(column: &Column) -> Self {
        Self {
            is_time: column.kind == Kind::Time,
            is_optional: column.is_optional,
            present: Vec::new(),
            numbers: Vec::new(),
            texts: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn push(&mut self, number: u64) {
        // Parquet's are signed; nothing we count comes near the difference.
        self.numbers.push(i64::try_from(number).unwrap_or(i64::MAX));
        self.set_present();
    }

    fn push_text(&mut self, text: &str) {
        self.texts.extend_from_slice(text.as_bytes());
        self.ends.push(self.texts.len());
        self.set_present();
    }

    fn set_present(&mut self) {
        if self.is_optional {
            self.present.push(1);
        }
    }

    fn clear(&mut self) {
        self.present.clear();
        self.numbers.clear();
        self.texts.clear();
        self.ends.clear();
    }

    /// The rows in order of time, if this is the time and they are not: within a core they go back by what an auction
    /// takes.
    fn order_of_time(&self) -> Option<Vec<usize>> {
        if !self.is_time || self.numbers.is_sorted() {
            return None;
        }
        let mut order: Vec<usize> = (0..self.numbers.len()).collect();
        order.sort_by_key(|row| self.numbers[*row]);
        Some(order)
    }

    /// Puts the rows in this order.
    fn put_in(&mut self, order: &[usize]) {
        // Where each row's value is among those that are there.
        let mut next = 0;
        let places: Vec<Option<usize>> = (0..order.len())
            .map(|row| {
                let is_there = !self.is_optional || self.present[row] == 1;
                next += usize::from(is_there);
                is_there.then_some(next.saturating_sub(1))
            })
            .collect();
        let values = || order.iter().filter_map(|row| places[*row]);
        if self.is_optional {
            self.present = order.iter().map(|row| self.present[*row]).collect();
        }
        if self.ends.is_empty() {
            self.numbers = values().filter_map(|at| self.numbers.get(at).copied()).collect();
        } else {
            let old = (std::mem::take(&mut self.texts), std::mem::take(&mut self.ends));
            for at in values() {
                self.texts.extend_from_slice(&old.0[begin(&old.1, at)..old.1[at]]);
                self.ends.push(self.texts.len());
            }
        }
    }

    fn write(&mut self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let present = self.is_optional.then_some(&self.present[..]);
        match to {
            ColumnWriter::Int64ColumnWriter(to) => to.write_batch(&self.numbers, present, None)?,
            ColumnWriter::ByteArrayColumnWriter(to) => {
                let all = Bytes::from(std::mem::take(&mut self.texts));
                let text = |at| ByteArray::from(all.slice(begin(&self.ends, at)..self.ends[at]));
                let texts: Vec<ByteArray> = (0..self.ends.len()).map(text).collect();
                to.write_batch(&texts, present, None)?
            }
            _ => return Err(ParquetError::NYI("a column that is neither a number nor a text".to_owned())),
        };
        Ok(())
    }
}

fn begin(ends: &[usize], at: usize) -> usize {
    at.checked_sub(1).map_or(0, |before| ends[before])
}

/// The schema in Parquet's own words.
fn message(name: &str, columns: &[Column]) -> String {
    let mut message = format!("message {name} {{ ");
    for Column { name, kind, is_optional } in columns {
        let repetition = if *is_optional { "OPTIONAL" } else { "REQUIRED" };
        // Writing to a string cannot fail.
        let _ = match kind {
            Kind::Key | Kind::Text => write!(message, "{repetition} BYTE_ARRAY {name} (STRING); "),
            Kind::Number => write!(message, "{repetition} INT64 {name}; "),
            Kind::Time => write!(message, "{repetition} INT64 {name} (TIMESTAMP(MICROS,true)); "),
            Kind::Decimal(places) => write!(message, "{repetition} INT64 {name} (DECIMAL(18,{places})); "),
        };
    }
    message + "}"
}

fn properties(columns: &[Column]) -> Result<WriterProperties> {
    let by_time = columns.iter().position(|column| column.kind == Kind::Time);
    let by_time = by_time
        .map(|at| vec![SortingColumn { column_idx: at as i32, descending: false, nulls_first: false }]);
    let schema = KeyValue::new("bourse.schema".to_owned(), SCHEMA.to_string());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_created_by(format!("bourse {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![schema]))
        .set_sorting_columns(by_time)
        // A group is looked at whole or not at all.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for Column { name, kind, .. } in columns {
        // A dictionary is for what comes again and again.
        let encoding = match kind {
            Kind::Key => Encoding::DELTA_BYTE_ARRAY,
            Kind::Time | Kind::Decimal(3) => Encoding::DELTA_BINARY_PACKED,
            Kind::Text | Kind::Number | Kind::Decimal(_) => continue,
        };
        properties = properties
            .set_column_dictionary_enabled((*name).into(), false)
            .set_column_encoding((*name).into(), encoding);
    }
    Ok(properties.build())
}
