//! Where an upgrade or a downgrade is to end, as Alembic writes it.

use super::{Migrations, Revision, unknown};
use anyhow::{Context as _, Result, bail};
use std::str::FromStr;

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The newest revision: `head`.
    Head,
    /// Before the first: `base`.
    Base,
    /// That many up: `+1`.
    Up(usize),
    /// That many down: `-1`.
    Down(usize),
    /// That one: `0002` or `2`.
    At(Revision),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let steps = |digits: &str| digits.parse().ok().filter(|&steps: &usize| steps > 0);
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let target = match text {
            "head" => Some(Self::Head),
            "base" => Some(Self::Base),
            _ => match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(up), _) if digits(up) => steps(up).map(Self::Up),
                (_, Some(down)) if digits(down) => steps(down).map(Self::Down),
                _ if digits(text) => text.parse().ok().map(|version| Self::At(Revision(version))),
                _ => None,
            },
        };
        target.with_context(|| {
            format!("{text:?} is no revision: write head, base, +1, -1 or a number such as 0002")
        })
    }
}

impl Target {
    /// The revision that an upgrade from `at` ends at.
    pub(super) fn above(self, migrations: &Migrations, at: Option<Revision>) -> Result<Option<Revision>> {
        let place = place(migrations, at)?;
        let to = match self {
            Self::Head => migrations.steps.len(),
            Self::Up(steps) => place + steps,
            Self::At(revision) => place_of(migrations, revision)?,
            Self::Base | Self::Down(_) => {
                bail!("an upgrade goes up: write head, +1 or a number such as 0002")
            }
        };
        if to > migrations.steps.len() {
            bail!("there are only {} revisions above the database's", migrations.steps.len() - place);
        }
        if to < place {
            bail!("the database is past that revision already: use downgrade");
        }
        Ok(revision_at(migrations, to))
    }

    /// The revision that a downgrade from `at` ends at; None is the base.
    pub(super) fn below(self, migrations: &Migrations, at: Option<Revision>) -> Result<Option<Revision>> {
        let place = place(migrations, at)?;
        let to = match self {
            Self::Base => 0,
            Self::Down(steps) if steps > place => {
                bail!("there are only {place} revisions below the database's")
            }
            Self::Down(steps) => place - steps,
            Self::At(revision) => place_of(migrations, revision)?,
            Self::Head | Self::Up(_) => {
                bail!("a downgrade goes down: write base, -1 or a number such as 0002")
            }
        };
        if to > place {
            bail!("the database is not at that revision yet: use upgrade");
        }
        Ok(revision_at(migrations, to))
    }
}

/// How many revisions lead to where the database is.
fn place(migrations: &Migrations, at: Option<Revision>) -> Result<usize> {
    let Some(at) = at else {
        return Ok(0);
    };
    let found = migrations.steps.iter().position(|step| step.revision == at);
    found.map(|index| index + 1).ok_or_else(|| unknown(at))
}

fn place_of(migrations: &Migrations, revision: Revision) -> Result<usize> {
    let found = migrations.steps.iter().position(|step| step.revision == revision);
    found.map(|index| index + 1).with_context(|| match migrations.head() {
        Some(head) => format!("there is no revision {revision}; the newest is {head}"),
        None => format!("there is no revision {revision}"),
    })
}

fn revision_at(migrations: &Migrations, place: usize) -> Option<Revision> {
    place.checked_sub(1).map(|index| migrations.steps[index].revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_written_as_alembic_writes_it() {
        for (text, expected) in [
            ("head", Some(Target::Head)),
            ("base", Some(Target::Base)),
            ("+1", Some(Target::Up(1))),
            ("-12", Some(Target::Down(12))),
            ("0002", Some(Target::At(Revision(2)))),
            ("2", Some(Target::At(Revision(2)))),
            ("", None),
            ("+", None),
            ("+0", None),
            ("+-1", None),
            ("heads", None),
            ("2a", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(text.parse::<Target>().ok(), expected, "{text:?}");
        }
    }
}
