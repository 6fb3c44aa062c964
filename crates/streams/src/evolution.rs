//! What a version of the schema has said once, it says for ever: the program is held to the files of every version.
//!
//! A file that is missing is written, and the test fails so that somebody looks at it and commits it.

use crate::flat::Flat;
use crate::held::{NOON_US, hold, usual};
use crate::json::Json;
use crate::{Event, EventId, SCHEMA};
use auction::{AuctionType, Cpm, Imp};
use journal::Offset;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The same events for ever: some of one plain imp, some of two with wishes.
fn events(mut use_it: impl FnMut(&Event<'_>)) {
    let supply = usual();
    let floor = Imp { bid_floor: Cpm::from_micros(500_000), auction: Some(AuctionType::SecondPrice) };
    for number in 0..24 {
        let imps: &[Imp] = if number % 8 == 7 { &[floor, Imp::PLAIN] } else { &[Imp::PLAIN] };
        let id = EventId { instance: 0x8b75_13d6_705a_9d95, core: 3, offset: Offset::new(640 + 8 * number) };
        // Some begin before the one that is recorded before them.
        let at_us = NOON_US + 1_000 * (number ^ 1);
        hold(&supply, number, at_us, imps, |record| use_it(&Event { id, record, supply: &supply }));
    }
}

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The files of all versions of this kind; that of the present one is written if it is not there.
fn versions(kind: &str, now: &[u8]) -> Vec<Vec<u8>> {
    let (name, extension) = kind.split_once('.').unwrap();
    let path = |version| data().join(format!("{name}-v{version}.{extension}"));
    let newest = path(SCHEMA);
    if !newest.exists() {
        fs::write(&newest, now).unwrap();
        panic!("{} is new: look at it, and commit it", newest.display());
    }
    (1..=SCHEMA).map(|version| fs::read(path(version)).unwrap()).collect()
}

/// Fails unless everything that was said is said still.
fn check(before: &Value, now: &Value, at: &str) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, before) in before {
                let now = now.get(name).unwrap_or_else(|| panic!("{at}.{name} is gone"));
                check(before, now, &format!("{at}.{name}"));
            }
        }
        (Value::Array(before), Value::Array(now)) => {
            assert_eq!(before.len(), now.len(), "{at}");
            before
                .iter()
                .zip(now)
                .enumerate()
                .for_each(|(i, (before, now))| check(before, now, &format!("{at}[{i}]")));
        }
        // The version itself may grow.
        _ if at == ".schema" => assert!(before.as_u64() <= now.as_u64()),
        _ => assert_eq!(before, now, "{at}"),
    }
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_reader_of_an_older_json_finds_everything_it_knows() {
    let (mut json, mut now) = (Json::default(), Vec::new());
    events(|event| {
        json.write(event, &mut now);
        now.push(b'\n');
    });
    for before in versions("events.jsonl", &now) {
        let (before, now) = (lines(&before), lines(&now));
        assert_eq!(before.len(), now.len());
        before.iter().zip(&now).for_each(|(before, now)| check(before, now, ""));
    }
}

#[cfg(feature = "lake")]
mod parquet {
    use super::{Flat, events, versions};
    use crate::flat::{AUCTIONS, BIDS, Cells, Column, Kind};
    use crate::parquet::Table;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    use bytes::Bytes;
    use std::sync::Arc;

    type Rows = Vec<Vec<(String, Field)>>;

    fn read(file: &[u8]) -> (Vec<String>, Rows) {
        let reader = SerializedFileReader::new(Bytes::copy_from_slice(file)).unwrap();
        let schema = reader.metadata().file_metadata().schema();
        let columns = schema.get_fields().iter().map(|field| format!("{:?}", Arc::clone(field))).collect();
        let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect();
        (columns, rows)
    }

    /// The two tables as they are written now.
    fn now() -> [Vec<u8>; 2] {
        let mut flat = Flat::default();
        let mut auctions = Table::auctions(Vec::new()).unwrap();
        let mut bids = Table::bids(Vec::new()).unwrap();
        events(|event| {
            flat.auction(event, &mut auctions);
            flat.bids(event, &mut bids);
        });
        [auctions.finish().unwrap(), bids.finish().unwrap()]
    }

    #[test]
    fn a_reader_of_older_parquet_finds_its_columns_where_they_were() {
        let [auctions, bids] = now();
        for (kind, file, columns) in [("auctions.parquet", auctions, AUCTIONS), ("bids.parquet", bids, BIDS)]
        {
            let (now_columns, now_rows) = read(&file);
            for before in versions(kind, &file) {
                let (old_columns, old_rows) = read(&before);
                let known = old_columns.len();
                assert_eq!(old_columns, now_columns[..known], "{kind}");
                let news = &columns[known..];
                assert!(news.iter().all(|column| column.is_optional), "older files have none of {news:?}");
                let now_rows: Rows = now_rows.iter().map(|row| row[..known].to_vec()).collect();
                assert_eq!(old_rows, now_rows, "{kind}");
            }
        }
    }

    /// A table as plainly as it can be: each cell's text, NULL where there is none; and where rows begin.
    #[derive(Default)]
    struct Plain(Vec<Vec<Option<String>>>, usize);

    fn owned(text: &[u8]) -> String {
        String::from_utf8(text.to_vec()).unwrap()
    }

    impl Cells for Plain {
        fn begin(&mut self, rows: usize) {
            self.1 = self.0.len();
            self.0.resize(self.1 + rows, Vec::new());
        }
        fn text(&mut self, text: Option<&[u8]>) {
            self.0[self.1..].iter_mut().for_each(|row| row.push(text.map(owned)));
        }
        fn number(&mut self, number: Option<u64>) {
            self.text(number.map(|number| number.to_string()).as_deref().map(str::as_bytes));
        }
        fn texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a [u8]>>) {
            let texts: Vec<_> = texts.map(|text| text.map(owned)).collect();
            assert_eq!(texts.len(), self.0.len() - self.1);
            self.0[self.1..].iter_mut().zip(texts).for_each(|(row, text)| row.push(text));
        }
        fn listed(&mut self, list: &[&str], which: impl Iterator<Item = Option<u8>> + Clone) {
            self.texts(which.map(|word| word.map(|word| list[usize::from(word)].as_bytes())));
        }
        fn numbers(&mut self, numbers: impl Iterator<Item = Option<u64>> + Clone) {
            let texts: Vec<_> = numbers.map(|number| number.map(|number| number.to_string())).collect();
            self.texts(texts.iter().map(|text| text.as_deref().map(str::as_bytes)));
        }
        fn end(&mut self) {}
    }

    impl Plain {
        /// In order of time, which the second column is.
        fn sorted(mut self, columns: &[Column]) -> Vec<Vec<Option<String>>> {
            assert_eq!(columns[1].kind, Kind::Time);
            assert!(self.0.iter().all(|row| row.len() == columns.len()));
            self.0.sort_by_key(|row| row[1].as_ref().map(|us| us.parse::<u64>().unwrap()));
            self.0
        }
    }

    fn shown(field: &Field) -> Option<String> {
        Some(match field {
            Field::Null => return None,
            Field::Str(text) => text.clone(),
            Field::Long(number) | Field::TimestampMicros(number) => number.to_string(),
            Field::Decimal(decimal) => {
                i64::from_be_bytes(decimal.data().try_into().expect("eight bytes")).to_string()
            }
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn rows_are_read_as_they_were_made_in_order_of_time() {
        let (mut flat, mut auctions, mut bids) = (Flat::default(), Plain::default(), Plain::default());
        events(|event| {
            flat.auction(event, &mut auctions);
            flat.bids(event, &mut bids);
        });
        let expected = [auctions.sorted(AUCTIONS), bids.sorted(BIDS)];
        for (file, expected) in now().iter().zip(expected) {
            let (_, rows) = read(file);
            let rows: Vec<Vec<_>> =
                rows.iter().map(|row| row.iter().map(|(_, field)| shown(field)).collect()).collect();
            assert_eq!(rows, expected);
        }
    }
}

#[cfg(feature = "kafka")]
mod protobuf {
    use super::{Json, Value, check, data, events, lines, versions};
    use crate::held::{NOON_US, hold, usual};
    use crate::protobuf::Protobuf;
    use crate::{Event, EventId};
    use auction::{Imp, Record};
    use journal::Offset;
    use prost_reflect::prost::Message as _;
    use prost_reflect::prost::bytes::{Buf, BufMut};
    use prost_reflect::{DescriptorPool, DynamicMessage};
    use serde_json::json;

    /// What somebody knows of an event who has only the committed `.proto` file.
    fn read(mut file: &[u8]) -> Vec<DynamicMessage> {
        let proto = data().join("../../proto");
        let set = protox::compile(["bourse/events/v1/event.proto"], [proto]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
        let event = pool.get_message_by_name("bourse.events.v1.Event").unwrap();
        let mut messages = Vec::new();
        while file.has_remaining() {
            let bytes = file.get_u32() as usize;
            messages.push(DynamicMessage::decode(event.clone(), file.copy_to_bytes(bytes)).unwrap());
        }
        messages
    }

    /// The events, each after its length.
    fn now() -> Vec<u8> {
        let (mut protobuf, mut now) = (Protobuf::default(), Vec::new());
        events(|event| {
            let mut message = Vec::new();
            protobuf.write(event, &mut message);
            now.put_u32(message.len() as u32);
            now.append(&mut message);
        });
        now
    }

    /// The JSON of the same event in the names and units of Protobuf.
    fn renamed(value: &Value) -> Value {
        let micros = |value: &Value, places: u32| {
            let (whole, part) =
                value.to_string().split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            let unit = 10_u64.pow(places);
            let part = format!("{part:0<width$}", width = places as usize).parse::<u64>().unwrap();
            json!(whole.parse::<u64>().unwrap() * unit + part)
        };
        match value {
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| match &**name {
                    "price" | "bid_floor" | "runner_up" | "clearing_price" => {
                        (format!("{name}_micros"), micros(value, 6))
                    }
                    "latency_ms" => ("latency_us".to_owned(), micros(value, 3)),
                    _ => (name.clone(), renamed(value)),
                };
                members.iter().filter(|(name, _)| *name != "time").map(member).collect()
            }
            Value::Array(of) => of.iter().map(renamed).collect(),
            other => other.clone(),
        }
    }

    /// As JSON, whatever its number's width; what is 0 is there, too.
    fn shown(message: &DynamicMessage) -> Value {
        let options = prost_reflect::SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false);
        message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
    }

    #[test]
    fn protobuf_says_what_json_says_and_the_proto_file_knows_all_of_it() {
        let (mut json, mut written) = (Json::default(), Vec::new());
        events(|event| {
            json.write(event, &mut written);
            written.push(b'\n');
        });
        let (messages, lines) = (read(&now()), lines(&written));
        assert_eq!(messages.len(), lines.len());
        for (message, line) in messages.iter().zip(&lines) {
            assert_eq!(message.unknown_fields().count(), 0);
            let mut said = shown(message);
            let time_us = said["time_us"].take().as_u64().unwrap();
            assert_eq!(time_us % 1_000_000, line["time"].as_str().unwrap()[20..26].parse::<u64>().unwrap());
            check(&zeroless(renamed(line)), &zeroless(said.clone()), "");
            said.as_object_mut().unwrap().remove("time_us");
            check(&zeroless(said), &zeroless(renamed(line)), "");
        }
    }

    /// Without what Protobuf does not tell from what is not there.
    fn zeroless(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, zeroless(value)));
                members.filter(|(_, value)| *value != json!(0) && *value != json!([])).collect()
            }
            Value::Array(of) => of.into_iter().map(zeroless).collect(),
            other => other,
        }
    }

    #[test]
    fn an_answer_after_nothing_has_its_latency_and_nothing_else_is_said_that_is_0() {
        let (supply, id) = (usual(), EventId { instance: 1, core: 0, offset: Offset::new(64) });
        hold(&supply, 1, NOON_US, &[Imp::PLAIN], |record| {
            let mut answers = record.answers.clone();
            answers.replies.iter_mut().for_each(|reply| reply.latency_ns = 0);
            let record = Record { answers: &answers, ..*record };
            let (mut file, mut message) = (Vec::new(), Vec::new());
            Protobuf::default().write(&Event { id, record: &record, supply: &supply }, &mut message);
            file.put_u32(message.len() as u32);
            file.extend_from_slice(&message);
            let read = read(&file).remove(0);
            let bidders = read.get_field_by_name("bidders").unwrap().into_owned();
            let has =
                |bidder: &prost_reflect::Value, name| bidder.as_message().unwrap().has_field_by_name(name);
            let bidders = bidders.as_list().unwrap();
            assert!(bidders.iter().any(|bidder| has(bidder, "answer")));
            assert!(bidders.iter().all(|bidder| has(bidder, "answer") == has(bidder, "latency_us")));
            assert_eq!(read.encoded_len(), message.len(), "it would not write more, nor less");
        });
    }

    #[test]
    fn a_reader_of_older_protobuf_finds_everything_it_knows() {
        let written = now();
        for before in versions("events.binpb", &written) {
            let (before, now) = (read(&before), read(&written));
            assert_eq!(before.len(), now.len());
            before.iter().zip(&now).for_each(|(before, now)| check(&shown(before), &shown(now), ""));
        }
    }
}
