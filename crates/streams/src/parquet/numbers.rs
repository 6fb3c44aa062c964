//! A column of whole numbers, as differences: numbers that stand still take next to no room.

use super::Order;
use super::pages::{Chunk, delta, levels};
use ::parquet::basic::Encoding;
use ::parquet::file::statistics::Statistics;

/// The cells of a column, until they are written as part of a row group.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) is_time: bool,
    /// For each row 1 if it has a value, in an optional column.
    pub(super) present: Option<Vec<u8>>,
    pub(super) values: Vec<i64>,
}

impl Numbers {
    pub(super) fn clear(&mut self) {
        self.present.iter_mut().for_each(Vec::clear);
        self.values.clear();
    }

    /// The rows in order of time, if this is the time and they are not: within a core they go back by what an auction
    /// takes.
    pub(super) fn order_of_time(&self) -> Option<Order> {
        if !self.is_time || self.values.is_sorted() {
            return None;
        }
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by_key(|row| self.values[*row]);
        Some(Order(order))
    }

    pub(super) fn chunk(&self, rows: usize) -> Chunk {
        let mut body = levels(self.present.as_deref());
        delta(&self.values, &mut body);
        let (least, most) = (self.values.iter().min().copied(), self.values.iter().max().copied());
        let nulls = Some((rows - self.values.len()) as u64);
        let statistics = Statistics::int64(least, most, None, nulls, false);
        Chunk { rows, dictionary: None, encoding: Encoding::DELTA_BINARY_PACKED, body, statistics }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;
    use crate::flat::{Cells, Column, Kind};
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Of any width, close together and far apart, long rows of one; with holes and without.
    fn cells() -> impl Strategy<Value = Vec<Option<u64>>> {
        let number = (
            any::<u64>(),
            0..64_u32,
            prop::bool::weighted(0.2),
            prop_oneof![8 => Just(1), 1 => 1..200_usize],
        );
        let run =
            number.prop_map(|(bits, shift, is_none, times)| vec![(!is_none).then_some(bits >> shift); times]);
        prop::collection::vec(run, 0..300).prop_map(|runs| runs.concat())
    }

    fn read(field: &Field) -> Option<u64> {
        match field {
            Field::Null => None,
            Field::Long(number) => Some(*number as u64),
            Field::Decimal(decimal) => Some(u64::from_be_bytes(decimal.data().try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_column_of_numbers_reads_back_as_written_with_its_statistics(
            cells in cells(), is_optional: bool, kind in prop_oneof![Just(Kind::Number), Just(Kind::Decimal(3)), Just(Kind::Decimal(6))]
        ) {
            let cells: Vec<Option<u64>> = cells.into_iter().filter(|cell| is_optional || cell.is_some()).collect();
            let mut table = Table::new("test", &[Column { name: "number", kind, is_optional }], Vec::new()).unwrap();
            // What Parquet has no room for is the most it has.
            let expected: Vec<_> = cells.iter().map(|cell| cell.map(|number| number.min(i64::MAX as u64))).collect();
            // The second file is written with what the first one has left.
            for _ in 0..2 {
                for run in cells.chunk_by(PartialEq::eq) {
                    table.begin(run.len());
                    if run.len() % 2 == 0 { table.number(run[0]) } else { table.numbers(run.iter().copied()) }
                    table.end();
                }
                let file = SerializedFileReader::new(Bytes::from(table.finish_and_begin(Vec::new()).unwrap())).unwrap();
                let rows = file.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns());
                let found: Vec<Option<u64>> = rows.map(|columns| read(&columns[0].1)).collect();
                prop_assert_eq!(&found, &expected);
                for group in file.metadata().row_groups() {
                    let Some(Statistics::Int64(found)) = group.column(0).statistics() else { panic!("no statistics") };
                    let numbers = || expected.iter().flatten().map(|number| *number as i64);
                    prop_assert_eq!((found.min_opt().copied(), found.max_opt().copied()), (numbers().min(), numbers().max()));
                    let nulls = cells.iter().filter(|cell| cell.is_none()).count() as u64;
                    prop_assert_eq!(found.null_count_opt(), Some(nulls));
                }
            }
        }
    }
}
