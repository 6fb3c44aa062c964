//! Rows of `auctions` in the format RowBinary, inside the multipart body that carries them.
//!
//! * Layout: where the event stands, the columns of [`flat::AUCTIONS`], then an array for each column of
//!   [`flat::BIDS`] that is the bid's own; little endian, lengths as LEB128, a byte before what may be none.
//! * The same events make the same bytes.

use super::schema::{SHARED, sent_fields};
use crate::flat::{self, Cells, Flat};
use crate::{Event, EventId};
use reporting::leb128::leb128;

/// Between the parts of the body. A batch that had it inside would end there, and be refused as cut off.
const BOUNDARY: &str = "bourse-4fe1c0a7d2b84c3e9a6b51f0c8e7d913";
/// What the body calls the rows; a table for the statement that comes with it.
pub(super) const NAME: &str = "batch";

/// The rows of one batch.
#[derive(Debug, Default)]
pub(super) struct Rows {
    body: Vec<u8>,
    flat: Flat,
    bids: Columns,
}

impl Rows {
    pub(super) fn add(&mut self, event: &Event<'_>) {
        if self.body.is_empty() {
            let head = "\r\nContent-Disposition: form-data; name=\"batch\"; filename=\"batch\"\r\n\r\n";
            self.body.extend_from_slice(format!("--{BOUNDARY}{head}").as_bytes());
        }
        let EventId { instance, core, offset } = event.id;
        self.body.extend_from_slice(&instance.to_le_bytes());
        self.body.extend_from_slice(&core.to_le_bytes());
        self.body.extend_from_slice(&offset.get().to_le_bytes());
        let mut row = Row { to: &mut self.body, columns: flat::AUCTIONS, at: 0 };
        self.flat.auction(event, &mut row);
        self.bids.clear();
        self.flat.bids(event, &mut self.bids);
        self.bids.write(&mut self.body);
    }

    /// The body, whole; nothing is left here.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.body);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        body
    }

    pub(super) fn clear(&mut self) {
        self.body.clear();
    }
}

/// The body's Content-Type.
pub(super) fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// What the server must be told of the rows: each column and its type.
pub(super) fn structure() -> String {
    let columns: Vec<String> =
        sent_fields().iter().map(|field| format!("{} {}", field.name, field.kind)).collect();
    columns.join(", ")
}

/// Writes one cell after the other.
struct Row<'a> {
    to: &'a mut Vec<u8>,
    columns: &'static [flat::Column],
    /// The column that the next cell is of.
    at: usize,
}

impl Row<'_> {
    fn cell(&mut self, bytes: &[u8]) {
        if self.columns.get(self.at).is_some_and(|column| column.is_optional) {
            self.to.push(0);
        }
        self.to.extend_from_slice(bytes);
        self.at += 1;
    }
}

impl Cells for Row<'_> {
    fn text(&mut self, text: &str) {
        if self.columns.get(self.at).is_some_and(|column| column.is_optional) {
            self.to.push(0);
        }
        leb128(text.len() as u64, self.to);
        self.to.extend_from_slice(text.as_bytes());
        self.at += 1;
    }

    fn number(&mut self, number: u64) {
        self.cell(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn time(&mut self, us: u64) {
        self.cell(&us.to_le_bytes());
    }

    fn decimal(&mut self, units: u64, _places: u32) {
        self.cell(&i64::try_from(units).unwrap_or(i64::MAX).to_le_bytes());
    }

    fn none(&mut self) {
        self.to.push(1);
        self.at += 1;
    }

    fn end(&mut self) {
        self.at = 0;
    }
}

/// The bids of one auction, by column.
#[derive(Debug, Default)]
struct Columns {
    count: usize,
    at: usize,
    of: [Vec<u8>; flat::BIDS.len()],
}

impl Columns {
    fn clear(&mut self) {
        self.count = 0;
        self.of.iter_mut().for_each(Vec::clear);
    }

    fn write(&self, to: &mut Vec<u8>) {
        for column in &self.of[SHARED..] {
            leb128(self.count as u64, to);
            to.extend_from_slice(column);
        }
    }

    fn cell(&mut self, write: impl FnOnce(&mut Row<'_>)) {
        let at = self.at;
        self.at += 1;
        // What all bids of an auction share stands in its row.
        if at >= SHARED
            && let Some(to) = self.of.get_mut(at)
        {
            write(&mut Row { to, columns: flat::BIDS, at });
        }
    }
}

impl Cells for Columns {
    fn text(&mut self, text: &str) {
        self.cell(|row| row.text(text));
    }

    fn number(&mut self, number: u64) {
        self.cell(|row| row.number(number));
    }

    fn time(&mut self, us: u64) {
        self.cell(|row| row.time(us));
    }

    fn decimal(&mut self, units: u64, places: u32) {
        self.cell(|row| row.decimal(units, places));
    }

    fn none(&mut self) {
        self.cell(|row| row.none());
    }

    fn end(&mut self) {
        (self.at, self.count) = (0, self.count + 1);
    }
}
