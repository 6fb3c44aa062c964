//! A catalogue file: what `load-data` takes, checked whole before anything of it is used.
//!
//! ```json
//! {"supplies":{"supply1":["bidder1","bidder2"],
//!              "supply2":{"bidders":["bidder2"],"auction":"second_price","bid_floor":0.10}},
//!  "bidders":{"bidder1":{"country":"US"},"bidder2":{"country":"GB","simulation":{"no_bid_probability":0.2}}}}
//! ```
//!
//! * Errors: [`Problems`], every one that the file has, each with its line and column.
//! * Units: USD and milliseconds in the file, exactly the micros and nanoseconds that their digits say in here.
//! * A bidder that a supply names may be in the file or, which only the load can tell, in the database.

pub(crate) mod json;
mod problems;
mod simulation;

pub use problems::Problems;
pub(crate) use simulation::profile_of;

use auction::{AuctionType, Country, Cpm, Id, Supply};
use hashbrown::HashMap;
use json::{Member, Reader, kind};
use serde_json::value::RawValue;
use simulation::profile;
use std::borrow::Cow;

/// A checked catalogue file.
#[derive(Debug)]
pub struct File {
    pub(crate) supplies: Vec<FileSupply>,
    /// Those that the file gives, then those that it only mentions.
    pub(crate) bidders: Vec<FileBidder>,
    /// Every mention of a bidder that the file does not give.
    pub(crate) mentions: Vec<Mention>,
    name: String,
    text: String,
}

#[derive(Debug)]
pub(crate) struct FileSupply {
    pub(crate) id: Id,
    pub(crate) auction: AuctionType,
    pub(crate) bid_floor: Cpm,
    /// Places in [`File::bidders`].
    pub(crate) bidders: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct FileBidder {
    pub(crate) id: Id,
    /// None: only mentioned.
    pub(crate) given: Option<Given>,
}

#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) country: Country,
    /// As written; it was read once to check it.
    pub(crate) simulation: Option<Box<str>>,
}

/// A supply names a bidder that the file does not give.
#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) bidder: u32,
    supply: u32,
    at: usize,
}

impl File {
    /// The file whose bytes are `bytes`; `name` is what its problems are listed under.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, Problems> {
        Self::read(name, bytes, |reading, reader, document| reading.document(reader, document))
    }

    /// One supply, as a file that has nothing else: `bytes` are what stands after its id there.
    pub fn supply(name: &str, id: &str, bytes: Vec<u8>) -> Result<Self, Problems> {
        Self::read(name, bytes, |reading, reader, value| {
            reading.supply(reader, &Member { key: id.to_owned().into(), at: 0, value });
        })
    }

    /// One bidder, likewise.
    pub fn bidder(name: &str, id: &str, bytes: Vec<u8>) -> Result<Self, Problems> {
        Self::read(name, bytes, |reading, reader, value| {
            reading.bidder(reader, Member { key: id.to_owned().into(), at: 0, value });
        })
    }

    fn read(
        name: &str,
        bytes: Vec<u8>,
        read: impl for<'a> FnOnce(&mut Reading<'a>, &mut Reader<'a>, &'a RawValue),
    ) -> Result<Self, Problems> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let lossy = String::from_utf8_lossy(error.as_bytes());
                return Err(Problems::one(name, &lossy, valid, "is not UTF-8 from here on"));
            }
        };
        if text.starts_with('\u{feff}') {
            return Err(Problems::one(
                name,
                &text,
                0,
                "starts with a byte order mark; save it as UTF-8 without BOM",
            ));
        }
        let (mut found, supplies, bidders, mentions) = {
            let (mut reading, mut reader) = (Reading::default(), Reader::new(&text));
            match serde_json::from_str::<&RawValue>(&text) {
                Ok(document) => read(&mut reading, &mut reader, document),
                Err(error) => reader.json_error(0, &text, &error),
            }
            (reader.finish(), reading.supplies, reading.bidders, reading.mentions)
        };
        if !found.is_empty() {
            // Whoever mends the file wants to know of these, too, though the catalogue may have them.
            for mention in &mentions {
                let bidder = bidders[mention.bidder as usize].id.as_str();
                found.add(mention.at, format!("names {bidder:?}, a bidder not in this file"));
            }
            return Err(found.into_problems(name, &text));
        }
        Ok(Self { supplies, bidders, mentions, name: name.to_owned(), text })
    }

    /// How many supplies it has.
    pub fn supplies(&self) -> usize {
        self.supplies.len()
    }

    /// How many bidders it gives.
    pub fn bidders(&self) -> usize {
        self.bidders.iter().filter(|bidder| bidder.given.is_some()).count()
    }

    /// One line for each mention of a bidder that `unknown` picks.
    pub(crate) fn unknown_bidders(&self, unknown: impl Fn(u32) -> bool) -> Problems {
        let mut found = problems::Found::default();
        for mention in self.mentions.iter().filter(|mention| unknown(mention.bidder)) {
            let supply = self.supplies[mention.supply as usize].id.as_str();
            let bidder = self.bidders[mention.bidder as usize].id.as_str();
            let message = format!(
                "supply {supply:?} names {bidder:?}, a bidder neither in this file nor in the catalogue"
            );
            found.add(mention.at, message);
        }
        found.into_problems(&self.name, &self.text)
    }
}

/// A bidder of the file that has a problem of its own: naming it is no second one.
const SPOILED: u32 = u32::MAX;

#[derive(Default)]
struct Reading<'a> {
    supplies: Vec<FileSupply>,
    bidders: Vec<FileBidder>,
    mentions: Vec<Mention>,
    places: HashMap<Cow<'a, str>, u32>,
    /// For each bidder, one more than the place of the last supply that named it.
    named_by: Vec<u32>,
}

impl<'a> Reading<'a> {
    fn document(&mut self, reader: &mut Reader<'a>, document: &'a RawValue) {
        let members = reader.members("the catalogue", document);
        if kind(document) == "an object" && members.is_empty() {
            reader.problem(reader.at(document), "has neither supplies nor bidders");
        }
        // Bidders first, wherever they stand: supplies name them.
        for member in members.iter().filter(|member| member.key == "bidders") {
            for bidder in reader.members("bidders", member.value) {
                self.bidder(reader, bidder);
            }
        }
        for member in &members {
            match &*member.key {
                "bidders" => {}
                "supplies" => {
                    for supply in reader.members("supplies", member.value) {
                        self.supply(reader, &supply);
                    }
                }
                _ => reader.unknown_member(member, "a catalogue has supplies and bidders"),
            }
        }
    }

    fn bidder(&mut self, reader: &mut Reader<'a>, bidder: Member<'a>) {
        let before = reader.count();
        let id = reader.id("a bidder's id", &bidder.key, bidder.at);
        let (mut country, mut simulation) = (None, None);
        let members = reader.members("a bidder", bidder.value);
        for member in &members {
            match &*member.key {
                "country" => country = reader.country(member.value),
                "simulation" => {
                    profile(reader, member.value);
                    simulation = Some(member.value.get().into());
                }
                _ => reader.unknown_member(member, "a bidder has country and simulation"),
            }
        }
        if kind(bidder.value) == "an object" && !members.iter().any(|member| member.key == "country") {
            reader.problem(bidder.at, format!("bidder {:?} has no country", bidder.key));
        }
        let (Some(id), Some(country), true) = (id, country, before == reader.count()) else {
            self.places.insert(bidder.key, SPOILED);
            return;
        };
        self.place(bidder.key, FileBidder { id, given: Some(Given { country, simulation }) });
    }

    fn place(&mut self, id: Cow<'a, str>, bidder: FileBidder) -> u32 {
        let place = self.bidders.len() as u32;
        self.places.insert(id, place);
        self.bidders.push(bidder);
        self.named_by.push(0);
        place
    }

    fn supply(&mut self, reader: &mut Reader<'a>, supply: &Member<'a>) {
        let id = reader.id("a supply's id", &supply.key, supply.at);
        let (mut auction, mut bid_floor) = (AuctionType::default(), Cpm::ZERO);
        let mut bidders = None;
        match kind(supply.value) {
            "an array" => bidders = Some(supply.value),
            "an object" => {
                for member in reader.members("a supply", supply.value) {
                    match &*member.key {
                        "bidders" => bidders = Some(member.value),
                        "auction" => auction = reader.auction(member.value).unwrap_or_default(),
                        "bid_floor" => {
                            bid_floor = reader.price("bid_floor", member.value).unwrap_or_default();
                        }
                        _ => reader.unknown_member(&member, "a supply has bidders, auction and bid_floor"),
                    }
                }
                if bidders.is_none() {
                    reader.problem(supply.at, format!("supply {:?} has no bidders", supply.key));
                }
            }
            other => {
                let expected = "must be an array of bidder ids or an object with bidders";
                let message = format!("supply {:?} {expected}, not {other}", supply.key);
                reader.problem(reader.at(supply.value), message);
            }
        }
        let place = self.supplies.len() as u32;
        let bidders = bidders.map(|list| self.listed(reader, list, place)).unwrap_or_default();
        if let Some(id) = id {
            self.supplies.push(FileSupply { id, auction, bid_floor, bidders });
        }
    }

    /// The bidders that the supply at `supply` lists.
    fn listed(&mut self, reader: &mut Reader<'a>, list: &'a RawValue, supply: u32) -> Vec<u32> {
        let mut bidders = Vec::new();
        for item in reader.items("bidders", list) {
            let at = reader.at(item);
            let Some(id) = reader.string("a bidder's id", item) else {
                continue;
            };
            let place = match self.places.get(&id) {
                Some(&place) => place,
                None => match reader.id("a bidder's id", &id, at) {
                    Some(known) => self.place(id.clone(), FileBidder { id: known, given: None }),
                    None => continue,
                },
            };
            if place == SPOILED {
                continue;
            }
            let bidder = &self.bidders[place as usize];
            if self.named_by[place as usize] == supply + 1 {
                reader.problem(at, format!("bidder {id:?} is listed twice"));
                continue;
            }
            self.named_by[place as usize] = supply + 1;
            if bidder.given.is_none() {
                self.mentions.push(Mention { bidder: place, supply, at });
            }
            bidders.push(place);
        }
        if bidders.len() > Supply::BIDDERS_MAX {
            let (listed, most) = (bidders.len(), Supply::BIDDERS_MAX);
            reader.problem(reader.at(list), format!("lists {listed} bidders; a supply has at most {most}"));
        }
        bidders
    }
}

#[cfg(test)]
mod tests;
