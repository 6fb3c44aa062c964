//! Writing a new revision: an empty pair, or one filled from the difference between what the schema is declared to be
//! and what the revisions so far give.

use super::{Migrations, Revision, diff};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The longest file name's middle, in characters.
const NAME_CHARS_MAX: usize = 60;

/// What came of a revision.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// These two files.
    Pair {
        /// The way up.
        up: PathBuf,
        /// The way down.
        down: PathBuf,
    },
    /// Nothing: the revisions give the declared schema already.
    NoDifference,
}

/// Writes the next revision's files into `dir`, which is made if need be. With a declared schema they are filled from
/// the difference; without, they are to be written by hand. All or nothing is written.
pub async fn revision(dir: &Path, message: &str, autogenerate: Option<&str>) -> Result<Written> {
    let migrations = Migrations::load(Some(dir))?;
    let name = file_name(message)?;
    let number = Revision(migrations.head().map_or(1, |head| head.0 + 1));
    let (up, down) = match autogenerate {
        None => ("-- Portable SQL, from the last revision to this one.\n".into(), "-- And back.\n".into()),
        Some(declared) => {
            let ups: Vec<&str> =
                migrations.steps.iter().filter_map(|step| step.up.portable.as_deref()).collect();
            match diff::between(&ups, declared).await? {
                None => return Ok(Written::NoDifference),
                Some(pair) => pair,
            }
        }
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = |direction| dir.join(format!("{number}_{name}.{direction}.sql"));
    let (up_path, down_path) = (path("up"), path("down"));
    write_new(&up_path, &format!("-- {}\n\n{up}", message.trim()))?;
    if let Err(error) = write_new(&down_path, &format!("-- Undoes: {}\n\n{down}", message.trim())) {
        let _ = fs::remove_file(&up_path);
        return Err(error);
    }
    Ok(Written::Pair { up: up_path, down: down_path })
}

/// `Add a "deals" table!` is written `add_a_deals_table`.
fn file_name(message: &str) -> Result<String> {
    if message.contains(['\n', '\r']) {
        bail!("a revision's message is one line");
    }
    let lower = message.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        bail!("say in a few words what the revision does: -m \"add deals\"");
    }
    Ok(words.join("_").chars().take(NAME_CHARS_MAX).collect::<String>().trim_end_matches('_').to_owned())
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let write = || File::create_new(path)?.write_all(text.as_bytes());
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gives_the_files_their_name() {
        for (message, expected) in [
            ("add deals", Some("add_deals")),
            ("  Add a \"deals\" table! ", Some("add_a_deals_table")),
            ("../../etc/passwd", Some("etc_passwd")),
            ("Größe 日本", Some("größe_日本")),
            ("", None),
            ("!!", None),
            ("two\nlines", None),
        ] {
            assert_eq!(file_name(message).ok().as_deref(), expected, "{message:?}");
        }
        assert_eq!(file_name(&"long ".repeat(50)).unwrap().len(), 59);
    }
}
