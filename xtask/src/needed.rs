//! What the tests need on this machine: PostgreSQL, which is started for them, and programs that they start
//! themselves.
//!
//! * It is all looked for before anything is built, and what is missing is installed where that is allowed.
//! * Errors: what is missing and may not be installed, in one line, with the one command that installs it all.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::debian;
use crate::guard::Guard;
use crate::postgres::{self, Postgres};
use crate::python;
use crate::workspace::Workspace;

/// A program that tests or benchmarks start by themselves.
pub(crate) struct Program {
    name: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    /// The flag that makes it tell its version.
    version: &'static str,
}

/// The load generator of benchmarks.
pub(crate) const WRK: Program = Program { name: "wrk", package: "wrk", version: "-v" };
/// Redis, for benchmarks.
pub(crate) const REDIS: Program =
    Program { name: "redis-server", package: "redis-server", version: "--version" };
/// ClickHouse, for benchmarks.
pub(crate) const CLICKHOUSE_SERVER: Program =
    Program { name: "clickhouse-server", package: "clickhouse-server", version: "--version" };
/// What asks it.
pub(crate) const CLICKHOUSE_CLIENT: Program =
    Program { name: "clickhouse-client", package: "clickhouse-client", version: "--version" };

const PROGRAMS: [Program; 13] = [
    REDIS,
    Program { name: "redis-cli", package: "redis-tools", version: "--version" },
    Program { name: "nginx", package: "nginx-light", version: "-v" },
    CLICKHOUSE_SERVER,
    CLICKHOUSE_CLIENT,
    Program { name: "prometheus", package: "prometheus", version: "--version" },
    Program { name: "promtool", package: "prometheus", version: "--version" },
    Program { name: "strace", package: "strace", version: "-V" },
    Program { name: "chromium", package: "chromium", version: "--version" },
    // It makes certificates.
    Program { name: "openssl", package: "openssl", version: "version" },
    // librdkafka is built with these, and OpenSSL for it with Perl.
    Program { name: "perl", package: "perl", version: "-v" },
    Program { name: "g++", package: "g++", version: "--version" },
    Program { name: "make", package: "make", version: "--version" },
];

/// Where Debian keeps servers; not in everybody's PATH.
const SERVER_DIRS: [&str; 2] = ["/usr/local/sbin", "/usr/sbin"];

/// Looks for everything the tests need, and installs what is missing if that is allowed; says what there is.
pub(crate) fn provide(workspace: &Workspace, guard: &mut Guard) -> Result<String> {
    provide_all("the tests", missing, guard)?;
    python::provide(workspace, guard)?;
    Ok(versions(&PROGRAMS))
}

/// The same for a benchmark that needs only these programs.
pub(crate) fn provide_programs(programs: &[Program], guard: &mut Guard) -> Result<String> {
    let missing = || programs.iter().filter(|program| program.find().is_none());
    let missing = || missing().map(|program| (program.name.to_owned(), program.package)).collect();
    provide_all("the benchmark", missing, guard)?;
    Ok(versions(programs))
}

fn provide_all(who: &str, missing: impl Fn() -> Vec<Missing>, guard: &mut Guard) -> Result<()> {
    let packages: Vec<&str> = missing().into_iter().map(|(_, package)| package).collect();
    if !packages.is_empty() && debian::may_install() {
        debian::install(&packages, guard)?;
    }
    let missing = missing();
    ensure!(missing.is_empty(), "{}", explained(who, &missing));
    Ok(())
}

fn versions(programs: &[Program]) -> String {
    let versions = programs.iter().filter_map(|program| Some((program.name, program.version()?)));
    let versions: Vec<String> = versions.map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}

/// What is not on this machine: its name for a person, and its Debian package.
type Missing = (String, &'static str);

fn missing() -> Vec<Missing> {
    let postgres = Postgres::find().is_none().then(|| (Postgres::wanted(), postgres::PACKAGE));
    let programs = PROGRAMS.iter().filter(|program| program.find().is_none());
    postgres.into_iter().chain(programs.map(|program| (program.name.to_owned(), program.package))).collect()
}

fn explained(who: &str, missing: &[Missing]) -> String {
    let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let remedy = if debian::is_debian() {
        format!("install it: {}", debian::command(&packages))
    } else {
        "install it and put it in PATH".to_owned()
    };
    format!("{who} cannot do without what is not on this machine: {}; {remedy}", names.join(", "))
}

impl Program {
    /// Where it is on this machine.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = env::split_paths(&path).chain(SERVER_DIRS.map(PathBuf::from));
        dirs.map(|dir| dir.join(self.name)).find(|program| program.is_file())
    }

    fn version(&self) -> Option<String> {
        version_in(&said(&self.find()?, self.version)?)
    }
}

/// What a program says, on either output: nginx tells its version on standard error.
fn said(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The first version in a text, such as `1.22.1` in "nginx version: nginx/1.22.1".
fn version_in(text: &str) -> Option<String> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    numbers
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        for (said, version) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", Some("7.0.15")),
            ("redis-cli 7.0.15\n", Some("7.0.15")),
            ("nginx version: nginx/1.22.1\n", Some("1.22.1")),
            ("strace -- version 6.1\nCopyright (c) 1991-2022 The strace developers", Some("6.1")),
            ("no version. 7", None),
        ] {
            assert_eq!(version_in(said).as_deref(), version, "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_told_in_one_line_with_one_command() {
        let told = explained(
            "the tests",
            &[("PostgreSQL".to_owned(), "postgresql"), ("nginx".to_owned(), "nginx-light")],
        );
        assert_eq!(told.lines().count(), 1);
        assert!(told.contains("PostgreSQL, nginx"), "{told}");
        if debian::is_debian() {
            assert!(told.ends_with("postgresql nginx-light"), "{told}");
        }
    }
}
