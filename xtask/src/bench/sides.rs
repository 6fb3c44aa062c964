//! The sides of a comparison: which program with which settings, and who asks it.

use clap::ValueEnum;

use super::catalogue::Catalogue;

/// All addresses that requests may come from.
pub(super) const ADDRESSES: u64 = 1 << 24;
/// How many a limiter knows that is said to be full of them.
pub(super) const KNOWN: u64 = 1_000_000;

/// A side by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Side {
    /// The hand-written epoll loop: HTTP and JSON, and an answer of a fixed shape
    Floor,
    /// Hyper with nothing behind it, one runtime per core
    Hyper,
    /// Bourse with 12 bidders, without limiter and journal
    Nothing,
    /// … and the limiter, which knows the addresses of the last second
    Limiter,
    /// … and the limiter, which knows 1 M addresses
    Known,
    /// … and the journal, without the limiter
    Journal,
    /// Limiter with 1 M known addresses, and journal
    Everything,
    /// Everything, by the program that cargo has built before, beside one given by --bourse
    Unprofiled,
    /// The same with Redis: the limit and the statistics are shared
    Redis,
    /// Everything, and a core that never sleeps
    BusyPoll,
}

impl Side {
    /// Its name in tables.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it is, for the reader of a report.
    pub(super) fn what(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// How it is run.
    pub(super) fn spec(self) -> Spec {
        let limiter_off = ("BOURSE_RATE_LIMIT_REQUESTS", "0".to_owned());
        let journal_off = ("BOURSE_JOURNAL_ENABLED", "false".to_owned());
        let window = |seconds: u32| ("BOURSE_RATE_LIMIT_WINDOW_S", seconds.to_string());
        let busy_poll = ("BOURSE_BUSY_POLL", "true".to_owned());
        let day = 86_400;
        let (program, settings, addresses) = match self {
            Self::Floor => (Program::Floor, vec![], Addresses::Scattered),
            Self::Hyper => (Program::Hyper, vec![], Addresses::Scattered),
            Self::Nothing => (Program::Bourse, vec![limiter_off, journal_off], Addresses::Scattered),
            Self::Limiter => (Program::Bourse, vec![window(1), journal_off], Addresses::Scattered),
            Self::Known => (Program::Bourse, vec![window(day), journal_off], Addresses::Known(KNOWN)),
            Self::Journal => (Program::Bourse, vec![limiter_off], Addresses::Scattered),
            Self::Everything | Self::Redis => (Program::Bourse, vec![window(day)], Addresses::Known(KNOWN)),
            Self::Unprofiled => (Program::Built, vec![window(day)], Addresses::Known(KNOWN)),
            Self::BusyPoll => (Program::Bourse, vec![window(day), busy_poll], Addresses::Known(KNOWN)),
        };
        let redis = self == Self::Redis;
        Spec { name: self.name(), program, settings, catalogue: Catalogue::USUAL, addresses, redis }
    }
}

/// A program of ours that serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Floor,
    Hyper,
    Bourse,
    /// Bourse as built here, whatever is measured as Bourse.
    Built,
}

impl Program {
    /// Its file's name.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Hyper => "bare-hyper",
            Self::Bourse | Self::Built => "bourse",
        }
    }
}

/// Who asks. No address asks more than three times while the limiter remembers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// Any of [`ADDRESSES`], one after the other.
    Scattered,
    /// So many, which the limiter all knows when measuring begins.
    Known(u64),
    /// Others than so many that the limiter knows when measuring begins: each request is a new one's.
    NewAfter(u64),
}

/// How a side is run.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) program: Program,
    /// Environment of Bourse.
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) catalogue: Catalogue,
    pub(super) addresses: Addresses,
    pub(super) redis: bool,
}

impl Spec {
    /// Whether it keeps its core busy when nobody asks.
    pub(super) fn never_sleeps(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == "BOURSE_BUSY_POLL")
    }
}
