//! Rows of `auctions` in the format RowBinary, inside the multipart body that carries them.
//!
//! * Layout: where the event stands, the columns of [`flat::AUCTIONS`], then an array for each column of
//!   [`flat::BIDS`] that is the bid's own; little endian, lengths as LEB128, a byte before what may be none.
//! * The same events make the same bytes.

use super::schema::{SHARED, sent_fields};
use crate::flat::{self, Cells, Flat, Kind, LISTED_BYTES};
use crate::{Event, EventId};
use reporting::leb128::leb128;

/// Between the parts of the body. A batch that had it inside would end there, and be refused as cut off.
const BOUNDARY: &str = "bourse-4fe1c0a7d2b84c3e9a6b51f0c8e7d913";
/// What the body calls the rows; a table for the statement that comes with it.
pub(super) const NAME: &str = "batch";

/// The cells that a list's words are: their bytes, and how many count.
type List = Vec<([u8; LISTED_BYTES + 2], usize)>;

/// The rows of one batch.
#[derive(Debug, Default)]
pub(super) struct Rows {
    body: Vec<u8>,
    flat: Flat,
    /// By column of either table.
    lists: ([Option<List>; flat::AUCTIONS.len()], [Option<List>; flat::BIDS.len()]),
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
        let (to, (auction, bids)) = (&mut self.body, &mut self.lists);
        let (columns, lists) = (flat::AUCTIONS, &mut auction[..]);
        self.flat.auction(event, &mut Row { to, lists, columns, at: 0, shared: 0, rows: None });
        let (columns, lists) = (flat::BIDS, &mut bids[..]);
        self.flat.bids(event, &mut Row { to, lists, columns, at: 0, shared: SHARED, rows: Some(0) });
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

/// Writes the columns of one event, one after the other.
struct Row<'a> {
    to: &'a mut Vec<u8>,
    lists: &'a mut [Option<List>],
    columns: &'static [flat::Column],
    /// The column that comes next, and how many stand in another row already.
    at: usize,
    shared: usize,
    /// How many rows, where a column is an array of them.
    rows: Option<usize>,
}

impl Row<'_> {
    /// The next column, if it is written here.
    fn column(&mut self) -> Option<&'static flat::Column> {
        let at = self.at;
        self.at += 1;
        if at < self.shared {
            return None;
        }
        if let Some(rows) = self.rows {
            leb128(rows as u64, self.to);
        }
        self.columns.get(at)
    }
}

impl Cells for Row<'_> {
    fn begin(&mut self, rows: usize) {
        if let Some(array) = &mut self.rows {
            *array = rows;
        }
    }

    fn text(&mut self, text: Option<&[u8]>) {
        self.texts(std::iter::repeat_n(text, self.rows.unwrap_or(1)));
    }

    fn number(&mut self, number: Option<u64>) {
        self.numbers(std::iter::repeat_n(number, self.rows.unwrap_or(1)));
    }

    fn texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a [u8]>>) {
        let Some(column) = self.column() else { return };
        for text in texts {
            if column.is_optional {
                self.to.push(text.is_none().into());
            }
            if let Some(text) = text {
                leb128(text.len() as u64, self.to);
                self.to.extend_from_slice(text);
            }
        }
    }

    fn listed(&mut self, list: &[&str], which: impl Iterator<Item = Option<u8>> + Clone) {
        let at = self.at;
        if self.column().is_none() {
            return;
        }
        // Each of these columns is optional.
        let cells = self.lists[at].get_or_insert_with(|| cells(list));
        for word in which {
            let (bytes, len) = &cells[word.map_or(0, |word| usize::from(word) + 1)];
            // Written in any case: a processor cannot foresee which word it is.
            let end = self.to.len() + len;
            self.to.extend_from_slice(bytes);
            self.to.truncate(end);
        }
    }

    fn numbers(&mut self, numbers: impl Iterator<Item = Option<u64>> + Clone) {
        let Some(column) = self.column() else { return };
        let (is_optional, to) = (column.is_optional, &mut *self.to);
        match column.kind {
            Kind::Number => numbers.for_each(|number| {
                let bytes = number.map(|number| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
                cell(bytes, is_optional, to);
            }),
            Kind::Time => numbers.for_each(|us| cell(us.map(u64::to_le_bytes), is_optional, to)),
            _ => numbers.for_each(|number| {
                let bytes = number.map(|number| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes());
                cell(bytes, is_optional, to);
            }),
        }
    }

    fn end(&mut self) {}
}

/// What none is as a cell, and each word of a list.
fn cells(list: &[&str]) -> List {
    let none = [1; LISTED_BYTES + 2];
    let cell = |word: &&str| {
        let mut cell = [0; LISTED_BYTES + 2];
        cell[1] = word.len() as u8;
        cell[2..][..word.len()].copy_from_slice(word.as_bytes());
        (cell, word.len() + 2)
    };
    [(none, 1)].into_iter().chain(list.iter().map(cell)).collect()
}

/// A number, or that it is none.
fn cell<const BYTES: usize>(bytes: Option<[u8; BYTES]>, is_optional: bool, to: &mut Vec<u8>) {
    if is_optional {
        to.push(bytes.is_none().into());
    }
    // Written in any case: a processor cannot foresee which are there.
    let end = to.len() + if bytes.is_some() { BYTES } else { 0 };
    to.extend_from_slice(&bytes.unwrap_or([0; BYTES]));
    to.truncate(end);
}
