//! `cargo xtask test`: every check that a change must pass, in order, cheap and local ones first.
//!
//! * What a step needs is looked for, and installed where that is allowed, before the first step: nobody
//!   waits minutes to learn that a server is missing. No step is ever skipped in silence.
//! * The first step that fails ends the run, with the command that repeats it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::guard::Guard;
use crate::workspace::{Workspace, capture, capture_within, run as run_command};
use crate::{needed, servers, tools};

/// All that `auction` may be built from: the core is a function, so it has nothing to call a clock or a
/// socket with.
const PURE: [&str; 2] = ["auction", "libm"];

/// What is tested besides the default: librdkafka and OpenSSL, which take minutes to build and which not everybody needs.
const FEATURES: [&str; 2] = ["--features", "exchange/kafka,exchange/tls"];

/// How long the advisories may take to arrive.
const FETCH_MAX: Duration = Duration::from_secs(60);

/// Which checks to run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                                  everything, as CI does
  cargo xtask test --only fmt --only clippy         two steps
  cargo xtask test --only test -- -p auction money  one package's tests whose name holds `money`

Root on Debian gets what is missing installed; everyone else gets the command that does it.")]
pub(crate) struct Options {
    /// Run only this step; may be given several times
    #[arg(long, value_name = "STEP", value_enum)]
    only: Vec<Step>,
    /// Passed on to `cargo test`; a package (-p) here takes the place of the whole workspace
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// One check. The order here is the order of the run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The code is formatted
    Fmt,
    /// No lint is left
    Clippy,
    /// The documentation builds, without a broken link
    Doc,
    /// No dependency with a licence, source or advisory we refuse
    Deny,
    /// The auction core depends on nothing that has a clock or does I/O
    Purity,
    /// Unit, property and integration tests, against a real PostgreSQL, Redis and nginx
    Test,
}

/// What a passed step has to say besides, for the table.
type Note = Option<String>;

/// Runs the steps asked for, up to the first that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let every = Step::value_variants().iter().copied();
    let steps: Vec<Step> =
        every.filter(|step| options.only.is_empty() || options.only.contains(step)).collect();
    ensure!(
        options.arguments.is_empty() || steps.contains(&Step::Test),
        "what follows `--` goes to the step `test`, which --only leaves out"
    );
    let mut session =
        Session { workspace: Workspace::find()?, guard: Guard::start()?, arguments: &options.arguments };
    let mut table = Table(Vec::new());
    let prepared = table.time("tools", "What the steps need is on this machine", || session.prepare(&steps));
    let done = prepared.and_then(|()| session.run(&steps, &mut table));
    table.print(&steps);
    done
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn promise(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

/// What the steps share.
struct Session<'a> {
    workspace: Workspace,
    guard: Guard,
    arguments: &'a [String],
}

impl Session<'_> {
    fn run(&mut self, steps: &[Step], table: &mut Table) -> Result<()> {
        for &step in steps {
            let passed = table.time(&step.name(), &step.promise(), || self.step(step));
            passed.with_context(|| {
                format!("{} did not pass; repeat it with `{}`", step.name(), self.repeat(step))
            })?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<Note> {
        match step {
            Step::Fmt => self.cargo(&["fmt", "--all", "--check"]),
            Step::Clippy => self.clippy(),
            Step::Doc => self.doc(),
            Step::Deny => self.deny(),
            Step::Purity => self.purity(),
            Step::Test => self.test(),
        }
    }

    /// Looks for what the steps need and installs it where that is allowed.
    fn prepare(&mut self, steps: &[Step]) -> Result<Note> {
        let found = steps
            .contains(&Step::Test)
            .then(|| needed::provide(&self.workspace, &mut self.guard))
            .transpose()?;
        if steps.contains(&Step::Deny) {
            tools::provide_deny(&self.workspace, &mut self.guard)?;
        }
        Ok(found)
    }

    /// With and without what is no default.
    fn clippy(&mut self) -> Result<Note> {
        for features in [&FEATURES[..], &[]] {
            let mut clippy = self.workspace.cargo(["clippy", "--workspace", "--all-targets", "--locked"]);
            run_command(clippy.args(features).args(["--", "-D", "warnings"]), &mut self.guard)?;
        }
        Ok(None)
    }

    fn doc(&mut self) -> Result<Note> {
        let mut doc = self.workspace.cargo(["doc", "--workspace", "--no-deps", "--locked"]);
        doc.args(FEATURES);
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings"), &mut self.guard)?;
        Ok(None)
    }

    fn deny(&mut self) -> Result<Note> {
        let deny = tools::find_deny(&self.workspace).context("there is no cargo-deny")?;
        let mut check = self.workspace.command(&deny);
        check.args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
        run_command(&mut check, &mut self.guard)?;

        // The advisories are a git repository elsewhere, which not every machine that builds can reach.
        let mut fetch = self.workspace.command(&deny);
        if let Err(error) = capture_within(FETCH_MAX, fetch.args(["fetch", "db"]), &mut self.guard) {
            eprintln!("{error:#}");
            return Ok(Some("advisories NOT checked: their database could not be fetched, see above".into()));
        }
        let mut check = self.workspace.command(&deny);
        check.args(["--locked", "check", "--disable-fetch", "advisories"]);
        run_command(&mut check, &mut self.guard)?;
        Ok(None)
    }

    fn purity(&mut self) -> Result<Note> {
        let tree =
            ["tree", "--package", "auction", "--edges", "normal", "--target", "all", "--prefix", "none"];
        let tree = capture(self.workspace.cargo(tree).args(["--all-features", "--locked"]), &mut self.guard)?;
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        let impure: Vec<&str> = names.filter(|name| !PURE.contains(name)).collect();
        ensure!(
            impure.is_empty(),
            "the auction core may be built from {} only, and now also holds {}",
            PURE.join(" and "),
            impure.join(", ")
        );
        Ok(None)
    }

    fn test(&mut self) -> Result<Note> {
        let own_package =
            self.arguments.iter().take_while(|word| *word != "--").any(|word| names_package(word));
        let mut test = servers::cargo_test(&self.workspace);
        let of_exchange = self.arguments.windows(2).any(|words| words == ["-p", "exchange"]);
        let features = if own_package && !of_exchange { &[][..] } else { &FEATURES };
        test.args((!own_package).then_some("--workspace")).args(features).args(self.arguments);
        servers::run_tests(&self.workspace, "test", &mut test, &mut self.guard).map(Some)
    }

    fn cargo(&mut self, arguments: &[&str]) -> Result<Note> {
        run_command(&mut self.workspace.cargo(arguments.iter().copied()), &mut self.guard)?;
        Ok(None)
    }

    fn repeat(&self, step: Step) -> String {
        let mut words = vec!["cargo xtask test --only".into(), step.name()];
        if step == Step::Test && !self.arguments.is_empty() {
            words.push("--".into());
            words.extend(self.arguments.iter().cloned());
        }
        words.join(" ")
    }
}

/// Whether this argument of `cargo test` chooses a package.
fn names_package(word: &str) -> bool {
    word.starts_with("--package") || (word.starts_with("-p") && !word.starts_with("--"))
}

/// What has run so far: name, time, whether it passed, note.
struct Table(Vec<(String, Duration, bool, Note)>);

impl Table {
    fn time(&mut self, name: &str, promise: &str, work: impl FnOnce() -> Result<Note>) -> Result<()> {
        eprintln!("\n== {name}: {promise}");
        let started_at = Instant::now();
        let done = work();
        let note = done.as_ref().ok().cloned().flatten();
        self.0.push((name.to_owned(), started_at.elapsed(), done.is_ok(), note));
        done.map(drop)
    }

    fn print(&self, steps: &[Step]) {
        eprintln!();
        for (name, took, passed, note) in &self.0 {
            let verdict = if *passed { "passed" } else { "FAILED" };
            let line = format!(
                "{name:8} {verdict:8} {:>7.1} s  {}",
                took.as_secs_f64(),
                note.as_deref().unwrap_or("")
            );
            eprintln!("{}", line.trim_end());
        }
        // The first line is what came before the steps.
        for step in steps.iter().skip(self.0.len() - 1) {
            eprintln!("{:8} not run", step.name());
        }
        let total: Duration = self.0.iter().map(|(_, took, ..)| *took).sum();
        eprintln!("{:8} {:8} {:>7.1} s", "total", "", total.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::names_package;

    #[test]
    fn only_a_package_takes_the_place_of_the_workspace() {
        let rows = [
            ("-p", true),
            ("-pauction", true),
            ("--package", true),
            ("--package=auction", true),
            ("--profile", false),
            ("--test", false),
            ("pacing", false),
        ];
        for (word, expected) in rows {
            assert_eq!(names_package(word), expected, "{word}");
        }
    }
}
