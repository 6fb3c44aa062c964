//! The event as rows of two flat tables, for whoever asks in SQL: [`AUCTIONS`] has one a row, [`BIDS`] a row for each
//! bid, and one for each bidder of the supply without a bid.
//!
//! * Both are keyed by `event`; what a row lacks is none (NULL).
//! * One list of columns for every format: whoever writes a format says what its cells are, see [`Cells`].
//! * Within a version of the schema columns are only added, at the end, and can be none.

use crate::{Event, Rows, text};
use auction::{Answer, Cpm, Fate, NotInvited};

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
pub(crate) const PRICE: Kind = Kind::Decimal(6);

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

/// Takes a table's cells: all that one event has to say, a column after the other.
pub trait Cells {
    /// So many rows begin.
    fn begin(&mut self, rows: usize);
    /// The next column, of [`Kind::Key`] or [`Kind::Text`], has this in each of the rows, in UTF-8.
    fn text(&mut self, text: Option<&[u8]>);
    /// The next column, of another kind and in its units, has this in each of the rows.
    fn number(&mut self, number: Option<u64>);
    /// The next column has these texts, one for each row.
    fn texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a [u8]>>);
    /// The next column, which is optional, has one of few texts in each row; what is said is which of these. Each column
    /// has a list of its own, always the same: at most [`LISTED_WORDS`] of [`LISTED_BYTES`].
    fn listed(&mut self, list: &[&str], which: impl Iterator<Item = Option<u8>> + Clone);
    /// The next column has these numbers, one for each row.
    fn numbers(&mut self, numbers: impl Iterator<Item = Option<u64>> + Clone);
    /// The rows are whole.
    fn end(&mut self);
}

/// The texts of `not_invited`, `answer` and `fate`, in the order that [`refusal`], [`answer`] and [`fate`] count in.
const REFUSALS: [&str; 1] = [NotInvited::OtherCountry.name()];
const ANSWERS: [&str; 3] = [Answer::Bid.name(), Answer::NoBid.name(), Answer::Timeout.name()];
const FATES: [&str; 2] = ["won", "lost"];

/// How many texts a list has at most, and how long they are.
pub const LISTED_WORDS: usize = 8;
/// See [`LISTED_WORDS`].
pub const LISTED_BYTES: usize = 14;
const _: () = assert!(fits(&REFUSALS) && fits(&ANSWERS) && fits(&FATES));

const fn fits(list: &[&str]) -> bool {
    let mut at = 0;
    while at < list.len() && list[at].len() <= LISTED_BYTES {
        at += 1;
    }
    at == list.len() && at <= LISTED_WORDS
}

const fn refusal(reason: NotInvited) -> u8 {
    match reason {
        NotInvited::OtherCountry => 0,
    }
}

const fn answer(answer: Answer) -> u8 {
    match answer {
        Answer::Bid => 0,
        Answer::NoBid => 1,
        Answer::Timeout => 2,
    }
}

const fn fate(fate: Fate) -> u8 {
    match fate {
        Fate::Won(_) => 0,
        Fate::Lost(_) => 1,
    }
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
        let (record, lot, sale) = (event.record, event.lot(), event.sale());
        to.begin(1);
        to.text(self.written(|to| text::event_id(event.id, to)));
        to.number(Some(record.received_at_us));
        to.text(self.written(|to| text::auction_id(record.id, to)));
        to.text(Some(event.supply.id.as_str().as_bytes()));
        to.text(Some(record.opportunity.country.alpha2().as_bytes()));
        to.text(self.written(|to| text::ip(record.opportunity.ip, to)));
        to.number(Some(record.opportunity.tmax_ms.into()));
        to.text(self.written(|to| text::hex(record.catalogue_revision, to)));
        to.text(Some(lot.auction.name().as_bytes()));
        to.number(Some(lot.bid_floor.micros()));
        to.number(Some(record.opportunity.imps.len() as u64));
        to.text(Some(event.outcome().as_bytes()));
        to.text(sale.map(|sale| event.buyer(sale).as_bytes()));
        to.number(sale.map(|sale| sale.price.micros()));
        to.end();
    }

    /// Its rows of [`BIDS`], in order of slot.
    pub fn bids(&mut self, event: &Event<'_>, to: &mut impl Cells) {
        let record = event.record;
        self.written(|to| text::event_id(event.id, to));
        let rows = self.rows.of(record).iter();
        to.begin(rows.len());
        to.text(Some(&self.text));
        to.number(Some(record.received_at_us));
        to.text(Some(event.supply.id.as_str().as_bytes()));
        to.text(Some(record.opportunity.country.alpha2().as_bytes()));
        to.texts(rows.clone().map(|row| Some(row.bidder(record).as_bytes())));
        to.listed(&REFUSALS, rows.clone().map(|row| row.not_invited.map(refusal)));
        to.listed(&ANSWERS, rows.clone().map(|row| row.reply.map(|(said, _)| answer(said))));
        to.numbers(rows.clone().map(|row| row.reply.map(|(_, latency_us)| latency_us)));
        to.numbers(rows.clone().map(|row| row.bid.map(|(bid, _)| bid.imp.into())));
        to.numbers(rows.clone().map(|row| row.bid.map(|(bid, _)| bid.price.micros())));
        to.listed(&FATES, rows.clone().map(|row| row.bid.map(|(_, became)| fate(became))));
        to.numbers(rows.clone().map(|row| row.clearing_price().map(Cpm::micros)));
        to.numbers(rows.map(|row| row.loss_reason().map(u64::from)));
        to.end();
    }

    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<&[u8]> {
        self.text.clear();
        write(&mut self.text);
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_text_is_the_name_of_what_is_counted() {
        for said in [Answer::Bid, Answer::NoBid, Answer::Timeout] {
            assert_eq!(ANSWERS[usize::from(answer(said))], said.name());
        }
        let reason = NotInvited::OtherCountry;
        assert_eq!(REFUSALS[usize::from(refusal(reason))], reason.name());
    }
}
