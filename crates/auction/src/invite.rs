//! Who is asked for a bid, and why each other bidder is not.

use crate::{Bidder, Opportunity, Supply};
use std::ops::Range;

/// Why a bidder of the supply is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInvited {
    /// It does not buy in the opportunity's country.
    OtherCountry,
}

impl NotInvited {
    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherCountry => "other_country",
        }
    }
}

/// The bidders asked for one opportunity.
#[derive(Debug, Clone)]
pub struct Invitations<'a> {
    supply: &'a Supply,
    slots: Range<u32>,
}

/// Invites the supply's bidders that buy in the opportunity's country. Nothing is computed for those that do not:
/// their reason is found when someone asks, so a bidder elsewhere costs an auction nothing.
pub fn invite<'a>(opportunity: &Opportunity<'_>, supply: &'a Supply) -> Invitations<'a> {
    Invitations { supply, slots: supply.slots_in(opportunity.country) }
}

impl<'a> Invitations<'a> {
    /// Whether nobody is asked.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Each invited bidder with its slot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &'a Bidder)> + use<'a> {
        let bidders = &self.supply.bidders()[self.slots.start as usize..self.slots.end as usize];
        let first = self.slots.start;
        bidders.iter().enumerate().map(move |(i, bidder)| (first + i as u32, &**bidder))
    }

    /// Each bidder of the supply that is not asked, with its slot and the reason.
    pub fn not_invited(&self) -> impl Iterator<Item = (u32, &'a Bidder, NotInvited)> + use<'a> {
        let invitations = self.clone();
        let bidders = (0u32..).zip(self.supply.bidders());
        bidders.filter_map(move |(slot, bidder)| Some((slot, &**bidder, invitations.refusal(slot)?)))
    }

    /// Why the bidder in this slot is not asked; None: it is.
    pub fn refusal(&self, slot: u32) -> Option<NotInvited> {
        (!self.slots.contains(&slot)).then_some(NotInvited::OtherCountry)
    }
}

#[cfg(test)]
mod tests {
    use crate::{AuctionType, Bidder, Country, Cpm, Id, Imp, Opportunity, Profile, Supply, invite};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    proptest! {
        /// The index by country against the obvious filter over all bidders.
        #[test]
        fn exactly_the_bidders_of_the_country_are_invited(
            countries in proptest::collection::vec(0usize..5, 0..30), asked in 0usize..6
        ) {
            let bidders: Vec<_> = countries.iter().enumerate().map(|(i, &country)| {
                let id = Id::new(&format!("bidder{i}")).unwrap();
                Arc::new(Bidder::new(id, Country::from_index(country).unwrap(), Profile::DEFAULT))
            }).collect();
            let twice = bidders.iter().chain(bidders.first()).cloned().collect();
            let supply = Supply::new(Id::new("s").unwrap(), AuctionType::FirstPrice, Cpm::ZERO, twice);
            let opportunity = Opportunity {
                supply_id: "s",
                ip: Ipv4Addr::LOCALHOST.into(),
                country: Country::from_index(asked).unwrap(),
                tmax_ms: 1,
                imps: &[Imp::PLAIN],
            };

            let invitations = invite(&opportunity, &supply);
            let mut invited: Vec<_> = invitations.iter().map(|(_, bidder)| bidder.id.clone()).collect();
            let mut others: Vec<_> = invitations.not_invited().map(|(_, bidder, _)| bidder.id.clone()).collect();
            invited.sort();
            others.sort();
            let wanted = |inside: bool| {
                let mut ids: Vec<_> = bidders.iter()
                    .filter(|bidder| (bidder.country == opportunity.country) == inside)
                    .map(|bidder| bidder.id.clone()).collect();
                ids.sort();
                ids
            };
            prop_assert_eq!(invited, wanted(true));
            prop_assert_eq!(others, wanted(false));
            for (slot, bidder) in invitations.iter() {
                prop_assert_eq!(&supply.bidders()[slot as usize].id, &bidder.id);
            }
        }
    }
}
