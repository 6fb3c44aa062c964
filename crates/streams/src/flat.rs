//! The event as rows of two flat tables, for whoever asks in SQL: [`AUCTIONS`] has one a row, [`BIDS`] a row for each
//! bid, and one for each bidder of the supply without a bid.
//!
//! * Both are keyed by `event`; what a row lacks is none (NULL).
//! * One list of columns for every format: whoever writes a format says what its cells are, see [`Cells`].
//! * Within a version of the schema columns are only added, at the end, and can be none.

use crate::{Event, Rows, text};
use auction::Fate;

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its cells hold.
    pub kind: Kind,
    /// Whether a cell may be none.
    pub is_optional: bool,
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text that names one event or auction.
    Key,
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A time, in microseconds since 1970 (UTC).
    Time,
    /// A whole number of units of which ten to the power of so many are one: prices have six places, latencies three.
    Decimal(u32),
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_optional: false }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_optional: true }
}

/// USD in whole micros.
const PRICE: Kind = Kind::Decimal(6);

/// The columns of the table of auctions.
pub const AUCTIONS: &[Column] = &[
    column("event", Kind::Key),
    column("time", Kind::Time),
    column("auction", Kind::Key),
    column("supply", Kind::Text),
    column("country", Kind::Text),
    column("ip", Kind::Text),
    column("tmax_ms", Kind::Number),
    column("catalogue_revision", Kind::Text),
    column("rule", Kind::Text),
    column("bid_floor", PRICE),
    column("imps", Kind::Number),
    column("outcome", Kind::Text),
    optional("winner", Kind::Text),
    optional("price", PRICE),
];

/// The columns of the table of bids.
pub const BIDS: &[Column] = &[
    column("event", Kind::Key),
    column("time", Kind::Time),
    column("supply", Kind::Text),
    column("country", Kind::Text),
    column("bidder", Kind::Text),
    optional("not_invited", Kind::Text),
    optional("answer", Kind::Text),
    optional("latency_ms", Kind::Decimal(3)),
    optional("imp", Kind::Number),
    optional("price", PRICE),
    optional("fate", Kind::Text),
    optional("clearing_price", PRICE),
    optional("reason", Kind::Number),
];

/// Takes a table's cells, row by row, each in the order of the columns.
pub trait Cells {
    /// Of [`Kind::Key`] or [`Kind::Text`].
    fn text(&mut self, text: &str);
    /// Of [`Kind::Number`].
    fn number(&mut self, number: u64);
    /// Of [`Kind::Time`].
    fn time(&mut self, us: u64);
    /// Of [`Kind::Decimal`] with so many places, in its units.
    fn decimal(&mut self, units: u64, places: u32);
    /// Of any kind, if the column is optional.
    fn none(&mut self);
    /// The row is whole.
    fn end(&mut self);
}

/// Makes rows of events; kept between them.
#[derive(Debug, Default)]
pub struct Flat {
    rows: Rows,
    text: Vec<u8>,
}

impl Flat {
    /// Its row of [`AUCTIONS`].
    pub fn auction(&mut self, event: &Event<'_>, to: &mut impl Cells) {
        let (record, lot) = (event.record, event.lot());
        to.text(self.written(|to| text::event_id(event.id, to)));
        to.time(record.received_at_us);
        to.text(self.written(|to| text::auction_id(record.id, to)));
        to.text(event.supply.id.as_str());
        to.text(record.opportunity.country.alpha2());
        to.text(self.written(|to| text::ip(record.opportunity.ip, to)));
        to.number(record.opportunity.tmax_ms.into());
        to.text(self.written(|to| text::hex(record.catalogue_revision, to)));
        to.text(lot.auction.name());
        to.decimal(lot.bid_floor.micros(), 6);
        to.number(record.opportunity.imps.len() as u64);
        to.text(event.outcome());
        match event.sale() {
            Some(sale) => {
                to.text(event.buyer(sale));
                to.decimal(sale.price.micros(), 6);
            }
            None => (0..2).for_each(|_| to.none()),
        }
        to.end();
    }

    /// Its rows of [`BIDS`], in order of slot.
    pub fn bids(&mut self, event: &Event<'_>, to: &mut impl Cells) {
        let record = event.record;
        self.written(|to| text::event_id(event.id, to));
        let Self { rows, text: id } = self;
        let id = str(id);
        rows.each(record, |row| {
            to.text(id);
            to.time(record.received_at_us);
            to.text(event.supply.id.as_str());
            to.text(record.opportunity.country.alpha2());
            to.text(row.bidder);
            word(to, row.not_invited.map(|reason| reason.name()));
            match row.reply {
                Some((answer, latency_us)) => {
                    to.text(answer.name());
                    to.decimal(latency_us, 3);
                }
                None => (0..2).for_each(|_| to.none()),
            }
            let Some((bid, fate)) = row.bid else {
                (0..5).for_each(|_| to.none());
                return to.end();
            };
            to.number(bid.imp.into());
            to.decimal(bid.price.micros(), 6);
            word(to, row.fate());
            match fate {
                Fate::Won(price) => to.decimal(price.micros(), 6),
                Fate::Lost(_) => to.none(),
            }
            match fate {
                Fate::Won(_) => to.none(),
                Fate::Lost(reason) => to.number(reason as u64),
            }
            to.end();
        });
    }

    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &str {
        self.text.clear();
        write(&mut self.text);
        str(&self.text)
    }
}

/// Digits, letters and points.
fn str(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

fn word(to: &mut impl Cells, text: Option<&str>) {
    match text {
        Some(text) => to.text(text),
        None => to.none(),
    }
}
