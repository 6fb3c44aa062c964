//! The flat tables as Parquet files: row groups, zstd, and the statistics that engines prune by.
//!
//! * Rows of a row group are in order of time, and the file says so.
//! * Prices are `DECIMAL(18,6)` and latencies `DECIMAL(18,3)` over whole numbers, times `TIMESTAMP(MICROS, UTC)`.
//! * The file's metadata has `bourse.schema`, the version of the event's schema.

mod words;

use crate::flat::{Cells, Column, Kind};
use crate::{SCHEMA, flat};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use words::Words;

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
        let schema = self.writer.schema_descr().columns().to_vec();
        let mut group = self.writer.next_row_group()?;
        for (values, column) in self.columns.iter().zip(schema) {
            match values {
                Values::Words(words) => words.write(column, &mut group)?,
                Values::Numbers(numbers) => {
                    let mut column = group.next_column()?.ok_or(ParquetError::EOF("a column".to_owned()))?;
                    numbers.write(column.untyped())?;
                    column.close()?;
                }
            }
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
        self.next().push_none();
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
enum Values {
    Words(Words),
    Numbers(Numbers),
}

#[derive(Default)]
struct Numbers {
    is_time: bool,
    /// For each row 1 if it has a value, in an optional column.
    present: Option<Vec<i16>>,
    values: Vec<i64>,
}

impl Values {
    fn new(column: &Column) -> Self {
        match column.kind {
            Kind::Key | Kind::Text => Self::Words(Words::new(column.is_optional)),
            kind => Self::Numbers(Numbers {
                is_time: kind == Kind::Time,
                present: column.is_optional.then(Vec::new),
                values: Vec::new(),
            }),
        }
    }

    fn push(&mut self, number: u64) {
        let Self::Numbers(Numbers { present, values, .. }) = self else { return };
        // Parquet's are signed; nothing we count comes near the difference.
        values.push(i64::try_from(number).unwrap_or(i64::MAX));
        if let Some(present) = present {
            present.push(1);
        }
    }

    fn push_text(&mut self, text: &str) {
        if let Self::Words(words) = self {
            words.push(text);
        }
    }

    fn push_none(&mut self) {
        match self {
            Self::Words(words) => words.push_none(),
            Self::Numbers(Numbers { present, .. }) => present.iter_mut().for_each(|present| present.push(0)),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Words(words) => words.clear(),
            Self::Numbers(Numbers { present, values, .. }) => {
                present.iter_mut().for_each(Vec::clear);
                values.clear();
            }
        }
    }

    /// The rows in order of time, if this is the time and they are not: within a core they go back by what an auction
    /// takes.
    fn order_of_time(&self) -> Option<Order> {
        let Self::Numbers(Numbers { is_time: true, values, .. }) = self else { return None };
        if values.is_sorted() {
            return None;
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|row| values[*row]);
        Some(Order(order))
    }

    fn put_in(&mut self, order: &Order) {
        match self {
            Self::Words(words) => words.put_in(order),
            Self::Numbers(Numbers { present, values, .. }) => {
                *values = order.values(present.as_deref(), values);
                *present = present.as_ref().map(|present| order.rows(present));
            }
        }
    }
}

impl Numbers {
    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let ColumnWriter::Int64ColumnWriter(to) = to else {
            return Err(ParquetError::NYI("numbers in a column of something else".to_owned()));
        };
        to.write_batch(&self.values, self.present.as_deref(), None)?;
        Ok(())
    }
}

/// For each row the one that stands there from now on.
struct Order(Vec<usize>);

impl Order {
    fn rows<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        self.0.iter().map(|row| rows[*row]).collect()
    }

    /// The same for values that some rows do not have.
    fn values<T: Copy, P: PartialEq + From<u8>>(&self, present: Option<&[P]>, values: &[T]) -> Vec<T> {
        let Some(present) = present else { return self.rows(values) };
        let mut next = 0;
        let place = |is_there: &P| {
            let place = (*is_there == P::from(1)).then_some(next);
            next += usize::from(place.is_some());
            place
        };
        let places: Vec<Option<usize>> = present.iter().map(place).collect();
        self.0.iter().filter_map(|row| places[*row]).map(|at| values[at]).collect()
    }
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
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("bourse {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![schema]))
        .set_sorting_columns(by_time)
        // A group is looked at whole or not at all.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_enabled(false)
        // Numbers that stand still take next to no room.
        .set_encoding(Encoding::DELTA_BINARY_PACKED);
    for column in columns.iter().filter(|column| matches!(column.kind, Kind::Decimal(6))) {
        // Prices are round, so the same come again.
        properties = properties.set_column_dictionary_enabled(column.name.into(), true);
    }
    Ok(properties.build())
}
