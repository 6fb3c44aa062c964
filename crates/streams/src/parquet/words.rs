//! A column of texts, most of which come again and again: each is kept once, a row only says which.
//!
//! * Pages: a dictionary and the rows' places in it; or plain, where most texts stand in one row only.
//! * The library's writer would take a reference, a hash and two comparisons for each cell, the largest part of what an
//!   event cost ([ADR 23](../../../../docs/adr/0023-columns-of-words.md)). Headers and metadata are still the library's.
//! * Source: Apache Parquet's format, Encodings.md (PLAIN, RLE_DICTIONARY) and README.md, "Data Pages".

use ::parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use ::parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::Result;
use ::parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use ::parquet::file::statistics::Statistics;
use ::parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;
use hashbrown::HashTable;
use reporting::leb128::leb128;
use std::hash::BuildHasher;
use std::io;

/// The cells of a column, until they are written as part of a row group.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// For each row 1 if it has a text, in an optional column.
    present: Option<Vec<u8>>,
    /// For each row that has one, which.
    rows: Vec<u32>,
    /// The distinct texts, one behind the other, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
    /// For each of them, which came behind it last time: mostly the one that comes behind it this time.
    behind: Vec<u32>,
    places: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl Words {
    pub(super) fn new(is_optional: bool) -> Self {
        Self { present: is_optional.then(Vec::new), ..Self::default() }
    }

    pub(super) fn push(&mut self, text: &str) {
        let before = self.rows.last().map(|last| *last as usize);
        let guess = before.map_or(0, |before| self.behind[before]);
        let is_it = self.ends.get(guess as usize).is_some() && self.text(guess) == text.as_bytes();
        let word = if is_it { guess } else { self.place(text.as_bytes()) };
        if let Some(before) = before {
            self.behind[before] = word;
        }
        self.rows.push(word);
        if let Some(present) = &mut self.present {
            present.push(1);
        }
    }

    pub(super) fn push_none(&mut self) {
        if let Some(present) = &mut self.present {
            present.push(0);
        }
    }

    /// Which it is among the distinct ones, from now on if it is new.
    fn place(&mut self, text: &[u8]) -> u32 {
        let Self { places, hasher, texts, ends, .. } = &*self;
        let hash = hasher.hash_one(text);
        let word = |word: u32| word_of(texts, ends, word);
        if let Some(found) = places.find(hash, |found| word(*found) == text) {
            return *found;
        }
        let new = self.ends.len() as u32;
        self.texts.extend_from_slice(text);
        self.ends.push(self.texts.len());
        self.behind.push(new);
        let Self { places, hasher, texts, ends, .. } = self;
        places.insert_unique(hash, new, |word| hasher.hash_one(word_of(texts, ends, *word)));
        new
    }

    fn text(&self, word: u32) -> &[u8] {
        word_of(&self.texts, &self.ends, word)
    }

    pub(super) fn clear(&mut self) {
        self.present.iter_mut().for_each(Vec::clear);
        self.rows.clear();
        self.texts.clear();
        self.ends.clear();
        self.behind.clear();
        self.places.clear();
    }

    /// Puts the rows in this order.
    pub(super) fn put_in(&mut self, order: &super::Order) {
        self.rows = order.values(self.present.as_deref(), &self.rows);
        self.present = self.present.as_ref().map(|present| order.rows(present));
    }

    /// Writes them as the group's next column.
    pub(super) fn write<W: io::Write + Send>(
        &self,
        column: ColumnDescPtr,
        to: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        let rows = self.present.as_ref().map_or(self.rows.len(), Vec::len);
        let has_dictionary = self.ends.len() * 2 <= self.rows.len();
        let mut bytes = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut bytes);
        let mut written = Vec::new();
        if has_dictionary {
            written.push(pages.write_page(self.dictionary()?)?);
        }
        written.push(pages.write_page(self.data(rows, has_dictionary)?)?);
        let metadata = self.metadata(column, rows, &written)?;
        let close = ColumnCloseResult {
            bytes_written: bytes.bytes_written() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        to.append_column(&Bytes::from(bytes.into_inner()?), close)
    }

    fn dictionary(&self) -> Result<CompressedPage> {
        let mut body = Vec::with_capacity(self.texts.len() + 4 * self.ends.len());
        (0..self.ends.len() as u32).for_each(|word| plain(self.text(word), &mut body));
        let num_values = self.ends.len() as u32;
        page(&body, |buf| Page::DictionaryPage {
            buf,
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        })
    }

    fn data(&self, rows: usize, has_dictionary: bool) -> Result<CompressedPage> {
        let mut body = Vec::new();
        if let Some(present) = &self.present {
            let mut levels = Vec::new();
            hybrid(present, 1, &mut levels);
            body.extend_from_slice(&(levels.len() as u32).to_le_bytes());
            body.extend_from_slice(&levels);
        }
        if has_dictionary {
            let bits = u32::BITS - (self.ends.len() as u32).saturating_sub(1).leading_zeros();
            body.push(bits as u8);
            hybrid(&self.rows, bits, &mut body);
        } else {
            self.rows.iter().for_each(|word| plain(self.text(*word), &mut body));
        }
        page(&body, |buf| Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding: data_encoding(has_dictionary),
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }

    fn metadata(
        &self,
        column: ColumnDescPtr,
        rows: usize,
        pages: &[PageWriteSpec],
    ) -> Result<ColumnChunkMetaData> {
        let has_dictionary = pages.len() > 1;
        let encoding = data_encoding(has_dictionary);
        let stats = |page_type, encoding| PageEncodingStats { page_type, encoding, count: 1 };
        let dictionary = has_dictionary.then(|| stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN));
        let data = stats(PageType::DATA_PAGE, encoding);
        let distinct = || (0..self.ends.len() as u32).map(|word| self.text(word));
        let bound = |text: Option<&[u8]>| text.map(|text| ByteArray::from(text.to_vec()));
        let nulls = Some((rows - self.rows.len()) as u64);
        let statistics =
            Statistics::byte_array(bound(distinct().min()), bound(distinct().max()), None, nulls, false);
        let sum = |of: fn(&PageWriteSpec) -> usize| pages.iter().map(of).sum::<usize>() as i64;
        ColumnChunkMetaData::builder(column)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings_mask(EncodingMask::new_from_encodings(
                [Encoding::PLAIN, Encoding::RLE, encoding].iter(),
            ))
            .set_page_encoding_stats(dictionary.into_iter().chain([data]).collect())
            .set_total_compressed_size(sum(|page| page.compressed_size))
            .set_total_uncompressed_size(sum(|page| page.uncompressed_size))
            .set_num_values(rows as i64)
            .set_data_page_offset(pages.last().map_or(0, |page| page.offset as i64))
            .set_dictionary_page_offset(has_dictionary.then_some(0))
            .set_statistics(statistics)
            .build()
    }
}

fn word_of<'a>(texts: &'a [u8], ends: &[usize], word: u32) -> &'a [u8] {
    let at = word as usize;
    let begin = at.checked_sub(1).map_or(0, |before| ends[before]);
    &texts[begin..ends[at]]
}

const fn data_encoding(has_dictionary: bool) -> Encoding {
    if has_dictionary { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN }
}

/// PLAIN: the length in four bytes, the text.
fn plain(text: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text);
}

fn page(body: &[u8], of: impl FnOnce(Bytes) -> Page) -> Result<CompressedPage> {
    let compressed = zstd::bulk::compress(body, ZstdLevel::default().compression_level())?;
    Ok(CompressedPage::new(of(compressed.into()), body.len()))
}

/// The hybrid of runs and packed bits: eight or more of a kind are a run, others are packed by eights.
fn hybrid<T: Copy + PartialEq + Into<u32>>(values: &[T], bits: u32, to: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|next| **next == value).count();
        if run >= 8 {
            pack(&values[packed..at], bits, to);
            leb128((run as u64) << 1, to);
            to.extend_from_slice(&value.into().to_le_bytes()[..bits.div_ceil(8) as usize]);
            at += run;
            packed = at;
        } else {
            at = (at + 8).min(values.len());
        }
    }
    pack(&values[packed..], bits, to);
}

/// Packs them by eights, the last with zeros.
fn pack<T: Copy + Into<u32>>(values: &[T], bits: u32, to: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    leb128((values.len().div_ceil(8) as u64) << 1 | 1, to);
    for eight in values.chunks(8) {
        let (mut word, mut filled) = (0_u64, 0);
        for at in 0..8 {
            word |= u64::from(eight.get(at).map_or(0, |value| (*value).into())) << filled;
            filled += bits;
            while filled >= 8 {
                to.push(word as u8);
                word >>= 8;
                filled -= 8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;
    use crate::flat::{Cells, Column, Kind};
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    use proptest::prelude::*;

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
        for cell in cells {
            match cell {
                Some(text) => table.text(text),
                None => table.none(),
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
