//! A column of which most cells come again and again: each distinct one is kept once, a row only says which. Texts, and
//! prices, which are round.
//!
//! * Pages: a dictionary and the rows' places in it; or plain, where most stand in one row only.
//! * The library's writer would take a reference, a hash and two comparisons for each cell, the largest part of what an
//!   event cost ([ADR 23](../../../../docs/adr/0023-columns-of-words.md)).
//! * Source: Apache Parquet's format, Encodings.md (PLAIN, RLE_DICTIONARY).

use super::pages::{Chunk, hybrid, levels};
use super::{Order, compact, signed};
use crate::flat::{Column, Kind, LISTED_WORDS};
use ::parquet::basic::Encoding;
use ::parquet::data_type::ByteArray;
use ::parquet::file::statistics::Statistics;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;

/// The cells of a column, until they are written as part of a row group.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// For each row 1 if it has a word, in an optional column.
    present: Option<Vec<u8>>,
    /// For each row that has one, which.
    rows: Vec<u32>,
    words: Vec<Word>,
    /// The distinct words, one behind the other.
    texts: Vec<u8>,
    /// Where a word is among them; none if each names something of its own.
    places: Option<HashTable<u32>>,
    /// The places of those that come from a list.
    listed: [Option<u32>; LISTED_WORDS],
    /// Whether they are numbers, each in eight bytes.
    is_number: bool,
    hasher: foldhash::fast::RandomState,
}

/// A distinct word.
#[derive(Debug, Clone, Copy)]
struct Word {
    begin: u32,
    end: u32,
    /// Which came behind it last time: mostly the one that comes behind it this time.
    behind: u32,
}

impl Words {
    pub(super) fn new(column: &Column) -> Self {
        let present = column.is_optional.then(Vec::new);
        let places = (column.kind != Kind::Key).then(HashTable::new);
        Self { present, places, is_number: matches!(column.kind, Kind::Decimal(_)), ..Self::default() }
    }

    /// Pushes a word that so many rows have.
    pub(super) fn push(&mut self, word: &[u8], rows: usize) {
        if rows > 0 {
            let word = self.next(word);
            self.rows.extend(std::iter::repeat_n(word, rows));
            self.present.iter_mut().for_each(|present| present.extend(std::iter::repeat_n(1, rows)));
        }
    }

    pub(super) fn push_none(&mut self, rows: usize) {
        self.present.iter_mut().for_each(|present| present.extend(std::iter::repeat_n(0, rows)));
    }

    /// Pushes for each row one of these words, or none.
    pub(super) fn push_listed(
        &mut self,
        list: &[&str],
        rows: usize,
        which: impl Iterator<Item = Option<u8>> + Clone,
    ) {
        for word in which.clone().flatten() {
            let word = usize::from(word);
            if self.listed[word].is_none() {
                self.listed[word] = Some(self.place(list[word].as_bytes()));
            }
        }
        let listed = self.listed.map(Option::unwrap_or_default);
        let which = which.map(|word| word.map(|word| listed[usize::from(word)]));
        compact(&mut self.rows, self.present.as_mut(), rows, which);
    }

    /// Pushes for each row a number, or none.
    pub(super) fn push_numbers(&mut self, rows: usize, numbers: impl Iterator<Item = Option<u64>>) {
        for number in numbers.take(rows) {
            match number {
                Some(number) => self.push(&signed(number).to_le_bytes(), 1),
                None => self.push_none(1),
            }
        }
    }

    /// Which word this is, that stands behind the last one.
    fn next(&mut self, word: &[u8]) -> u32 {
        let before = self.rows.last().map(|last| *last as usize);
        let guess = before.map_or(0, |before| self.words[before].behind);
        let is_it = self.words.get(guess as usize).is_some_and(|guess| is_same(self.text(guess), word));
        let word = if is_it { guess } else { self.place(word) };
        if let Some(before) = before {
            self.words[before].behind = word;
        }
        word
    }

    /// Which it is among the distinct ones, from now on if it is new.
    fn place(&mut self, word: &[u8]) -> u32 {
        let Self { places, hasher, texts, words, is_number, .. } = self;
        let new = words.len() as u32;
        let text_of = |word: u32| text_of(texts, &words[word as usize]);
        let hash = |text: &[u8]| match text.first_chunk() {
            Some(number) if *is_number => hasher.hash_one(u64::from_le_bytes(*number)),
            _ => hasher.hash_one(text),
        };
        if let Some(places) = places {
            let is_it = |known: &u32| is_same(text_of(*known), word);
            match places.entry(hash(word), is_it, |known| hash(text_of(*known))) {
                Entry::Occupied(known) => return *known.get(),
                Entry::Vacant(place) => drop(place.insert(new)),
            }
        }
        let begin = texts.len() as u32;
        texts.extend_from_slice(word);
        words.push(Word { begin, end: texts.len() as u32, behind: new });
        new
    }

    fn text(&self, word: &Word) -> &[u8] {
        text_of(&self.texts, word)
    }

    pub(super) fn clear(&mut self) {
        self.present.iter_mut().for_each(Vec::clear);
        self.rows.clear();
        self.words.clear();
        self.texts.clear();
        self.places.iter_mut().for_each(HashTable::clear);
        self.listed = [None; LISTED_WORDS];
    }

    /// Puts the rows in this order.
    pub(super) fn put_in(&mut self, order: &Order) {
        order.put(self.present.as_mut(), &mut self.rows);
    }

    pub(super) fn chunk(&self, rows: usize) -> Chunk {
        let mut body = levels(self.present.as_deref());
        let (mut dictionary, mut encoding) = (None, Encoding::PLAIN);
        if self.words.len() * 2 <= self.rows.len() {
            let mut words = Vec::with_capacity(self.texts.len() + 4 * self.words.len());
            self.words.iter().for_each(|word| self.plain(word, &mut words));
            (dictionary, encoding) = (Some((self.words.len(), words)), Encoding::RLE_DICTIONARY);
            let bits = u32::BITS - (self.words.len() as u32).saturating_sub(1).leading_zeros();
            body.push(bits as u8);
            hybrid(&self.rows, bits, &mut body);
        } else {
            self.rows.iter().for_each(|word| self.plain(&self.words[*word as usize], &mut body));
        }
        Chunk { rows, dictionary, encoding, body, statistics: self.statistics(rows) }
    }

    /// PLAIN: the length in four bytes and the text, or the number.
    fn plain(&self, word: &Word, to: &mut Vec<u8>) {
        if !self.is_number {
            to.extend_from_slice(&(word.end - word.begin).to_le_bytes());
        }
        to.extend_from_slice(self.text(word));
    }

    fn statistics(&self, rows: usize) -> Statistics {
        let nulls = Some((rows - self.rows.len()) as u64);
        let words = || self.words.iter().map(|word| self.text(word));
        if self.is_number {
            let numbers = || words().filter_map(|word| word.first_chunk().copied().map(i64::from_le_bytes));
            return Statistics::int64(numbers().min(), numbers().max(), None, nulls, false);
        }
        let bound = |text: Option<&[u8]>| text.map(|text| ByteArray::from(text.to_vec()));
        Statistics::byte_array(bound(words().min()), bound(words().max()), None, nulls, false)
    }
}

fn text_of<'a>(texts: &'a [u8], word: &Word) -> &'a [u8] {
    &texts[word.begin as usize..word.end as usize]
}

/// Whether these are equal, without a call where they are short, as names are.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        8..=16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        4..8 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        2..4 => a.first_chunk::<2>() == b.first_chunk() && a.last() == b.last(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;
    use crate::flat::Cells;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_the_same_if_each_byte_is(a in "[ab]{0,20}", flipped in prop::option::of(0..20_usize)) {
            let mut b = a.clone().into_bytes();
            if let Some(byte) = flipped.and_then(|at| b.get_mut(at)) {
                *byte ^= 1;
            }
            prop_assert_eq!(is_same(a.as_bytes(), &b), a.as_bytes() == b);
            prop_assert!(!is_same(a.as_bytes(), &[&b[..], b"a"].concat()));
        }
    }

    /// Few texts in any order, long rows of one, many that stand once; with holes and without.
    fn cells() -> impl Strategy<Value = Vec<Option<String>>> {
        let text = (0..4_u32, 0..300_u32, prop::bool::weighted(0.2)).prop_flat_map(|(of, many, is_none)| {
            let text = if of == 0 { format!("word {many}") } else { format!("{of}") };
            (Just((!is_none).then_some(text)), prop_oneof![8 => Just(1_usize), 1 => 1..40_usize])
        });
        prop::collection::vec(text, 0..400)
            .prop_map(|runs| runs.into_iter().flat_map(|(text, times)| vec![text; times]).collect())
    }

    fn reads_back(cells: &[Option<String>], is_optional: bool) -> Result<(), TestCaseError> {
        let column = Column { name: "text", kind: Kind::Text, is_optional };
        let mut table = Table::new("test", &[column], Vec::new()).unwrap();
        for run in cells.chunk_by(PartialEq::eq) {
            table.begin(run.len());
            if run.len() % 2 == 0 {
                table.text(run[0].as_deref().map(str::as_bytes));
            } else {
                table.texts(run.iter().map(|text| text.as_deref().map(str::as_bytes)));
            }
            table.end();
        }
        let file = SerializedFileReader::new(Bytes::from(table.finish().unwrap())).unwrap();
        let read: Vec<Option<String>> = file
            .get_row_iter(None)
            .unwrap()
            .map(|row| match row.unwrap().get_column_iter().next() {
                Some((_, Field::Str(text))) => Some(text.clone()),
                _ => None,
            })
            .collect();
        prop_assert_eq!(&read, cells);
        for group in file.metadata().row_groups() {
            let statistics = group.column(0).statistics().unwrap();
            let texts = || cells.iter().flatten().map(|text| text.as_bytes());
            prop_assert_eq!(statistics.min_bytes_opt(), texts().min());
            prop_assert_eq!(statistics.max_bytes_opt(), texts().max());
            let nulls = cells.iter().filter(|cell| cell.is_none()).count() as u64;
            prop_assert_eq!(statistics.null_count_opt(), Some(nulls));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_column_of_texts_reads_back_as_written_with_its_statistics(cells in cells(), is_optional: bool) {
            let cells: Vec<Option<String>> = cells.into_iter().filter(|cell| is_optional || cell.is_some()).collect();
            reads_back(&cells, is_optional)?;
        }
    }

    #[test]
    fn a_dictionary_as_large_as_a_group_allows_reads_back() {
        let cells: Vec<Option<String>> =
            (0..131_000).map(|row| Some((row * 7_919 % 65_500).to_string())).collect();
        reads_back(&cells, false).unwrap();
    }
}
