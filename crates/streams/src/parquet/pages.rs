//! A column's part of a row group: a page of data, and one of its dictionary, if it has one, before it.
//!
//! * Bodies are encoded here, for the library's writer looks at each cell several times ([ADR
//!   23](../../../../docs/adr/0023-columns-of-words.md)); page headers, metadata and the file are the library's.
//! * Source: Apache Parquet's format, Encodings.md (RLE, DELTA_BINARY_PACKED) and README.md, "Data Pages".

use ::parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use ::parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::errors::Result;
use ::parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use ::parquet::file::statistics::Statistics;
use ::parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;
use reporting::leb128::leb128;
use std::io;
use zstd::bulk::Compressor;

/// How many values of [`delta`] share a least difference, and how many of them a width.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// A column's part of a row group, before it is compressed.
pub(super) struct Chunk {
    pub(super) rows: usize,
    /// How many values it has, and they themselves, in PLAIN.
    pub(super) dictionary: Option<(usize, Vec<u8>)>,
    /// Of the page of data.
    pub(super) encoding: Encoding,
    pub(super) body: Vec<u8>,
    pub(super) statistics: Statistics,
}

impl Chunk {
    /// Writes it as the group's next column.
    pub(super) fn write<W: io::Write + Send>(
        self,
        column: ColumnDescPtr,
        zstd: &mut Compressor<'_>,
        to: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        let Self { rows, dictionary, encoding, body, statistics } = self;
        let mut bytes = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut bytes);
        let mut written = Vec::new();
        let mut page = |body: &[u8], of: &dyn Fn(Bytes) -> Page| {
            let compressed = zstd.compress(body)?;
            written.push(pages.write_page(CompressedPage::new(of(compressed.into()), body.len()))?);
            Ok::<_, ::parquet::errors::ParquetError>(())
        };
        if let Some((values, body)) = &dictionary {
            let (num_values, encoding) = (*values as u32, Encoding::PLAIN);
            page(body, &|buf| Page::DictionaryPage { buf, num_values, encoding, is_sorted: false })?;
        }
        page(&body, &|buf| Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        let metadata = metadata(column, rows, encoding, statistics, &written)?;
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
}

fn metadata(
    column: ColumnDescPtr,
    rows: usize,
    encoding: Encoding,
    statistics: Statistics,
    pages: &[PageWriteSpec],
) -> Result<ColumnChunkMetaData> {
    let has_dictionary = pages.len() > 1;
    let stats = |page_type, encoding| PageEncodingStats { page_type, encoding, count: 1 };
    let dictionary = has_dictionary.then(|| stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN));
    let data = stats(PageType::DATA_PAGE, encoding);
    let encodings = [Encoding::RLE, encoding].into_iter().chain(has_dictionary.then_some(Encoding::PLAIN));
    let sum = |of: fn(&PageWriteSpec) -> usize| pages.iter().map(of).sum::<usize>() as i64;
    ColumnChunkMetaData::builder(column)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_encodings_mask(EncodingMask::new_from_encodings(encodings.collect::<Vec<_>>().iter()))
        .set_page_encoding_stats(dictionary.into_iter().chain([data]).collect())
        .set_total_compressed_size(sum(|page| page.compressed_size))
        .set_total_uncompressed_size(sum(|page| page.uncompressed_size))
        .set_num_values(rows as i64)
        .set_data_page_offset(pages.last().map_or(0, |page| page.offset as i64))
        .set_dictionary_page_offset(has_dictionary.then_some(0))
        .set_statistics(statistics)
        .build()
}

/// What compresses a table's pages.
pub(super) fn zstd() -> Result<Compressor<'static>> {
    Ok(Compressor::new(ZstdLevel::default().compression_level())?)
}

/// The body of a page of data, up to its values: for each row of an optional column, whether it has one.
pub(super) fn levels(present: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(present) = present {
        body.extend_from_slice(&[0; 4]);
        hybrid(present, 1, &mut body);
        let bytes = body.len() as u32 - 4;
        body[..4].copy_from_slice(&bytes.to_le_bytes());
    }
    body
}

/// The hybrid of runs and packed bits: eight or more of a kind are a run, others are packed by eights.
pub(super) fn hybrid<T: Copy + PartialEq + Into<u32>>(values: &[T], bits: u32, to: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|next| **next == value).count();
        if run >= 8 {
            pack_eights(&values[packed..at], bits, to);
            leb128((run as u64) << 1, to);
            to.extend_from_slice(&value.into().to_le_bytes()[..bits.div_ceil(8) as usize]);
            at += run;
            packed = at;
        } else {
            at = (at + 8).min(values.len());
        }
    }
    pack_eights(&values[packed..], bits, to);
}

fn pack_eights<T: Copy + Into<u32>>(values: &[T], bits: u32, to: &mut Vec<u8>) {
    if !values.is_empty() {
        leb128((values.len().div_ceil(8) as u64) << 1 | 1, to);
        pack(
            values.iter().map(|value| u64::from((*value).into())),
            values.len().next_multiple_of(8),
            bits,
            to,
        );
    }
}

/// So many values of so many bits, the lowest first; where values end, zeros.
fn pack(values: impl Iterator<Item = u64>, count: usize, bits: u32, to: &mut Vec<u8>) {
    let end = to.len() + (count * bits as usize).div_ceil(8);
    let (mut word, mut filled) = (0_u128, 0);
    for value in values {
        word |= u128::from(value) << filled;
        filled += bits;
        if filled >= 64 {
            to.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    to.extend_from_slice(&word.to_le_bytes());
    to.resize(end, 0);
}

/// DELTA_BINARY_PACKED: what each value is more than the one before, less the least of these in its block.
pub(super) fn delta(values: &[i64], to: &mut Vec<u8>) {
    leb128(BLOCK as u64, to);
    leb128((BLOCK / MINIBLOCK) as u64, to);
    leb128(values.len() as u64, to);
    leb128(zigzag(values.first().copied().unwrap_or(0)), to);
    let mut deltas = [0; BLOCK];
    for begin in (1..values.len()).step_by(BLOCK) {
        let block = &values[begin - 1..values.len().min(begin + BLOCK)];
        let deltas = &mut deltas[..block.len() - 1];
        for (delta, pair) in deltas.iter_mut().zip(block.windows(2)) {
            *delta = pair[1].wrapping_sub(pair[0]);
        }
        let least = deltas.iter().copied().min().unwrap_or(0);
        leb128(zigzag(least), to);
        let above = |delta: &i64| delta.wrapping_sub(least) as u64;
        let widths = to.len();
        to.extend_from_slice(&[0; BLOCK / MINIBLOCK]);
        for (at, deltas) in deltas.chunks(MINIBLOCK).enumerate() {
            let bits = u64::BITS - deltas.iter().map(above).fold(0, |all, one| all | one).leading_zeros();
            to[widths + at] = bits as u8;
            pack(deltas.iter().map(above), MINIBLOCK, bits, to);
        }
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}
