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
