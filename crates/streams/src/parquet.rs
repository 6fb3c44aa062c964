//! The flat tables as Parquet files: row groups, zstd, and the statistics that engines prune by.
//!
//! * Rows of a row group are in order of time, and the file says so.
//! * Prices are `DECIMAL(18,6)` and latencies `DECIMAL(18,3)` over whole numbers, times `TIMESTAMP(MICROS, UTC)`.
//! * The file's metadata has `bourse.schema`, the version of the event's schema.

mod numbers;
mod pages;
mod words;

use crate::flat::{Cells, Column, Kind, PRICE};
use crate::{SCHEMA, flat};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use numbers::Numbers;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use words::Words;
use zstd::bulk::Compressor;

/// How many rows a group has at most, those of an event being in one: what an engine reads or passes over at once.
const GROUP_ROWS: usize = 128 << 10;

/// A table that is written into a file.
pub struct Table<W: io::Write + Send> {
    columns: Vec<Values>,
    /// Rows of the group, without those that are being filled.
    rows: usize,
    begun: usize,
    /// The column that comes next.
    at: usize,
    writer: SerializedFileWriter<W>,
    zstd: Compressor<'static>,
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
        let writer = SerializedFileWriter::new(to, schema, Arc::new(properties(columns)))?;
        let columns = columns.iter().map(Values::new).collect();
        Ok(Self { columns, at: 0, rows: 0, begun: 0, writer, zstd: pages::zstd()?, failed: None })
    }

    /// Writes what is left, and the file's end; returns what it was written into.
    pub fn finish(mut self) -> Result<W> {
        self.end_file()?;
        self.writer.into_inner()
    }

    /// The same, and begins another file: a table that is kept has its memory.
    pub fn finish_and_begin(&mut self, to: W) -> Result<W> {
        self.end_file()?;
        let (schema, properties) = (self.writer.schema_descr().root_schema_ptr(), self.writer.properties());
        let next = SerializedFileWriter::new(to, schema, Arc::clone(properties))?;
        std::mem::replace(&mut self.writer, next).into_inner()
    }

    fn end_file(&mut self) -> Result<()> {
        self.write_group();
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write_group(&mut self) {
        if self.rows > 0 && self.failed.is_none() {
            self.failed = self.try_write_group().err();
        }
        self.columns.iter_mut().for_each(Values::clear);
        self.rows = 0;
    }

    fn try_write_group(&mut self) -> Result<()> {
        let order = self.columns.iter().find_map(|column| match column {
            Values::Numbers(numbers) => numbers.order_of_time(),
            Values::Words(_) => None,
        });
        if let Some(order) = order {
            self.columns.iter_mut().for_each(|column| column.put_in(&order));
        }
        let schema = self.writer.schema_descr().columns().to_vec();
        let mut group = self.writer.next_row_group()?;
        for (values, column) in self.columns.iter().zip(schema) {
            let chunk = match values {
                Values::Words(words) => words.chunk(self.rows),
                Values::Numbers(numbers) => numbers.chunk(self.rows),
            };
            chunk.write(column, &mut self.zstd, &mut group)?;
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
    fn begin(&mut self, rows: usize) {
        if self.rows + rows > GROUP_ROWS {
            self.write_group();
        }
        (self.at, self.begun) = (0, rows);
    }

    fn text(&mut self, text: Option<&[u8]>) {
        let rows = self.begun;
        if let Values::Words(words) = self.next() {
            match text {
                Some(text) => words.push(text, rows),
                None => words.push_none(rows),
            }
        }
    }

    fn number(&mut self, number: Option<u64>) {
        let rows = self.begun;
        match self.next() {
            Values::Words(words) => match number {
                Some(number) => words.push(&signed(number).to_le_bytes(), rows),
                None => words.push_none(rows),
            },
            Values::Numbers(Numbers { present, values, .. }) => {
                let number = std::iter::repeat_n(number.map(signed), rows);
                compact(values, present.as_mut(), rows, number);
            }
        }
    }

    fn texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a [u8]>>) {
        if let Values::Words(words) = self.next() {
            texts.for_each(|text| match text {
                Some(text) => words.push(text, 1),
                None => words.push_none(1),
            });
        }
    }

    fn listed(&mut self, list: &[&str], which: impl Iterator<Item = Option<u8>> + Clone) {
        let rows = self.begun;
        if let Values::Words(words) = self.next() {
            words.push_listed(list, rows, which);
        }
    }

    fn numbers(&mut self, numbers: impl Iterator<Item = Option<u64>> + Clone) {
        let rows = self.begun;
        match self.next() {
            Values::Words(words) => words.push_numbers(rows, numbers),
            Values::Numbers(Numbers { present, values, .. }) => {
                compact(values, present.as_mut(), rows, numbers.map(|number| number.map(signed)));
            }
        }
    }

    fn end(&mut self) {
        self.rows += self.begun;
    }
}

/// The cells of a column, until they are written as part of a row group.
enum Values {
    Words(Words),
    Numbers(Numbers),
}

impl Values {
    fn new(column: &Column) -> Self {
        match column.kind {
            Kind::Key | Kind::Text | PRICE => Self::Words(Words::new(column)),
            kind => Self::Numbers(Numbers {
                is_time: kind == Kind::Time,
                present: column.is_optional.then(Vec::new),
                values: Vec::new(),
            }),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Words(words) => words.clear(),
            Self::Numbers(numbers) => numbers.clear(),
        }
    }

    fn put_in(&mut self, order: &Order) {
        match self {
            Self::Words(words) => words.put_in(order),
            Self::Numbers(Numbers { present, values, .. }) => order.put(present.as_mut(), values),
        }
    }
}

/// Parquet's are signed; nothing we count comes near the difference.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Pushes the values of so many rows that have one, and for each row 1 if it has. No branch: who bids and who does not
/// is nothing that a processor foresees.
fn compact<T: Copy + Default>(
    values: &mut Vec<T>,
    present: Option<&mut Vec<u8>>,
    rows: usize,
    cells: impl Iterator<Item = Option<T>> + Clone,
) {
    if let Some(present) = present {
        present.extend(cells.clone().map(|cell| u8::from(cell.is_some())));
    }
    let mut end = values.len();
    values.resize(end + rows, T::default());
    for cell in cells.take(rows) {
        values[end] = cell.unwrap_or_default();
        end += usize::from(cell.is_some());
    }
    values.truncate(end);
}

/// For each row the one that stands there from now on.
struct Order(Vec<usize>);

impl Order {
    /// Puts a column in this order: the rows' values, which some may not have.
    fn put<T: Copy>(&self, present: Option<&mut Vec<u8>>, values: &mut Vec<T>) {
        let Some(present) = present else {
            *values = self.0.iter().map(|row| values[*row]).collect();
            return;
        };
        let mut next = 0;
        let place = |is_there: &u8| {
            next += usize::from(*is_there);
            (*is_there == 1).then(|| next - 1)
        };
        let places: Vec<Option<usize>> = present.iter().map(place).collect();
        *values = self.0.iter().filter_map(|row| places[*row]).map(|at| values[at]).collect();
        *present = self.0.iter().map(|row| present[*row]).collect();
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

fn properties(columns: &[Column]) -> WriterProperties {
    let by_time = columns.iter().position(|column| column.kind == Kind::Time);
    let by_time = by_time
        .map(|at| vec![SortingColumn { column_idx: at as i32, descending: false, nulls_first: false }]);
    let schema = KeyValue::new("bourse.schema".to_owned(), SCHEMA.to_string());
    WriterProperties::builder()
        .set_created_by(format!("bourse {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![schema]))
        .set_sorting_columns(by_time)
        // A group is looked at whole or not at all.
        .set_offset_index_disabled(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::file::statistics::Statistics;
    use ::parquet::record::Field;
    use bytes::Bytes;
    use proptest::prelude::*;

    const fn column(name: &'static str, kind: Kind, is_optional: bool) -> Column {
        Column { name, kind, is_optional }
    }

    /// When, a number or none, one of three words or none.
    type Row = (u64, Option<u64>, Option<u8>);

    fn read(file: Vec<u8>) -> Vec<Row> {
        let file = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let row = |columns: Vec<(String, Field)>| match &columns[..] {
            [(_, Field::TimestampMicros(at)), (_, number), (_, price), (_, word)] => {
                let number = match number {
                    Field::Long(number) => Some(*number as u64),
                    _ => None,
                };
                assert_eq!(matches!(price, Field::Decimal(_)), number.is_some());
                let word = match word {
                    Field::Str(word) => Some(word.len() as u8 - 1),
                    _ => None,
                };
                (*at as u64, number, word)
            }
            other => panic!("{other:?}"),
        };
        file.get_row_iter(None).unwrap().map(|columns| row(columns.unwrap().into_columns())).collect()
    }

    proptest! {
        #[test]
        fn rows_are_put_in_order_of_time_whatever_is_missing(
            rows in prop::collection::vec((0..1_000_u64, prop::option::of(0..50_u64), prop::option::of(0..3_u8)), 1..300)
        ) {
            let columns = [
                column("time", Kind::Time, false),
                column("number", Kind::Number, true),
                column("price", PRICE, true),
                column("word", Kind::Text, true),
            ];
            let mut table = Table::new("test", &columns, Vec::new()).unwrap();
            for event in rows.chunks(3) {
                table.begin(event.len());
                table.numbers(event.iter().map(|row| Some(row.0)));
                table.numbers(event.iter().map(|row| row.1));
                table.numbers(event.iter().map(|row| row.1));
                table.listed(&["a", "ab", "abc"], event.iter().map(|row| row.2));
                table.end();
            }
            let mut expected = rows;
            expected.sort_by_key(|row| row.0);
            prop_assert_eq!(read(table.finish().unwrap()), expected);
        }
    }

    #[test]
    fn an_event_is_in_one_group_and_a_group_has_its_own_statistics() {
        const FULL: i64 = GROUP_ROWS as i64;
        let mut table = Table::new("test", &[column("number", Kind::Number, false)], Vec::new()).unwrap();
        // The second fills a group, the fourth would not go into one.
        let events =
            [0..FULL - 1, 1_000_000..1_000_001, 2_000_000..2_000_000 + FULL - 1, 4_000_000..4_000_002];
        for event in events.clone() {
            table.begin(event.clone().count());
            table.numbers(event.map(|number| Some(number as u64)));
            table.end();
        }
        let file = SerializedFileReader::new(Bytes::from(table.finish().unwrap())).unwrap();
        let groups = file.metadata().row_groups().iter().map(|group| {
            let Some(Statistics::Int64(of)) = group.column(0).statistics() else { panic!("no statistics") };
            (group.num_rows(), *of.min_opt().unwrap(), *of.max_opt().unwrap())
        });
        let groups: Vec<_> = groups.collect();
        let second = (FULL - 1, 2_000_000, 2_000_000 + FULL - 2);
        assert_eq!(groups, [(FULL, 0, 1_000_000), second, (2, 4_000_000, 4_000_001)]);
        let rows = file.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns());
        let read = rows.map(|row| if let Field::Long(number) = row[0].1 { number } else { -1 });
        assert!(read.eq(events.into_iter().flatten()));
    }
}
