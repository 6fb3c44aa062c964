//! A side that runs: started when it is first asked, and again when its addresses have had their requests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::check::{self, CHECKED};
use super::generators::{self, Answered, CONNECTIONS, Walk};
use super::lab::{LOAD_CORE, Lab, SERVER_CORE};
use super::server::{Redis, Server};
use super::sides::{ADDRESSES, Addresses, Program, Spec};
use crate::workspace::capture;

/// How many requests of an address pass: the default limit.
const PASS: u64 = 3;

/// How a side is asked.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// As fast as answers come, by `wrk`.
    Closed { seconds: u64 },
    /// By scheduled times, by `load`.
    Rate { per_second: u64, seconds: u64 },
}

/// What one measurement found.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    /// CPU of the server per request, in microseconds.
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    /// What the server holds afterwards, in MiB.
    pub(super) resident_mib: f64,
}

/// A side, and what was found so far.
pub(super) struct Subject {
    pub(super) spec: Spec,
    pub(super) figures: Vec<Figures>,
    running: Option<Running>,
    starts: u32,
    /// The number of the next request.
    next: u64,
    /// Answers a second, as fast as it was seen to give them.
    fastest: f64,
}

struct Running {
    // First, so that it ends before its Redis does.
    server: Server,
    _redis: Option<Redis>,
}

impl Subject {
    pub(super) fn new(spec: Spec) -> Self {
        // More than anything answers here, until something was seen.
        Self { spec, figures: Vec::new(), running: None, starts: 0, next: 0, fastest: 150_000.0 }
    }

    /// Measures once and keeps the figures.
    pub(super) fn measure(&mut self, lab: &mut Lab, load: Load) -> Result<Figures> {
        let measured = self.figures_of(lab, load);
        let figures = measured.with_context(|| format!("the side {} cannot be measured", self.spec.name))?;
        self.figures.push(figures);
        Ok(figures)
    }

    /// The figures so far, with nothing that runs; this side goes on without them.
    pub(super) fn set_aside(&mut self) -> Self {
        let figures = std::mem::take(&mut self.figures);
        Self { figures, ..Self::new(self.spec.clone()) }
    }

    /// The running server; started if need be.
    pub(super) fn server(&mut self, lab: &mut Lab) -> Result<&Server> {
        if self.running.is_none() {
            self.start(lab)?;
        }
        self.running.as_ref().map(|running| &running.server).context("the server does not run")
    }

    /// Has somebody ask the running server, and checks the answers.
    pub(super) fn ask(
        &mut self,
        lab: &mut Lab,
        load: impl FnOnce(&mut Lab, &Server) -> Result<Answered>,
    ) -> Result<()> {
        let running = self.running.as_ref().context("the server does not run")?;
        right(&load(lab, &running.server)?)
    }

    /// Of each round.
    pub(super) fn all(&self, figure: impl Fn(&Figures) -> f64) -> Vec<f64> {
        self.figures.iter().map(figure).collect()
    }

    fn figures_of(&mut self, lab: &mut Lab, load: Load) -> Result<Figures> {
        if self.spec.never_sleeps()
            && let Some(running) = &self.running
        {
            running.server.signal("CONT")?;
        }
        self.make_room(lab, load)?;
        let (walk, next) = (self.walk(), &mut self.next);
        let running = self.running.as_ref().context("the server does not run")?;
        let server = &running.server;
        check::check(server, walk)?;
        *next += CHECKED;
        let walk = Walk { first: *next, ..walk };
        let before_ns = server.cpu_ns()?;
        let answered = match load {
            Load::Closed { seconds } => generators::wrk(lab, server, walk, seconds)?,
            Load::Rate { per_second, seconds } => {
                generators::at_rate(lab, server, walk, per_second, seconds)?
            }
        };
        let used_ns = server.cpu_ns()?.saturating_sub(before_ns);
        // The last ones may have been sent without an answer being waited for, and wrk makes one that it never sends.
        *next += answered.requests + CONNECTIONS + 1;
        let per_second = answered.requests as f64 / answered.seconds;
        if matches!(load, Load::Closed { .. }) {
            self.fastest = per_second;
        }
        right(&answered)?;
        let resident_mib = server.memory()?.resident as f64 / 1024.0;
        if self.spec.never_sleeps() {
            // Or it takes half of the core from whoever is measured next.
            server.signal("STOP")?;
        }
        Ok(Figures {
            cpu_us: used_ns as f64 / 1e3 / answered.requests as f64,
            per_second,
            p50_us: answered.p50_us,
            p90_us: answered.p90_us,
            p99_us: answered.p99_us,
            p999_us: answered.p999_us,
            resident_mib,
        })
    }

    /// Starts the server unless it runs and its addresses may ask as much as this load will.
    fn make_room(&mut self, lab: &mut Lab, load: Load) -> Result<()> {
        if self.running.is_none() {
            self.start(lab)?;
        }
        let expected = match load {
            Load::Closed { seconds } => (self.fastest * 1.3 * seconds as f64) as u64,
            Load::Rate { per_second, seconds } => per_second * seconds,
        };
        let expected = expected + CHECKED + CONNECTIONS;
        let (full, fresh) = match self.spec.addresses {
            Addresses::Scattered => (false, true),
            Addresses::Known(known) => (self.next + expected > PASS * known, expected <= (PASS - 1) * known),
            // Half as many again is still about as many.
            Addresses::NewAfter(known) => (self.next > known + known / 2, known + expected <= ADDRESSES),
        };
        ensure!(fresh, "so long a measurement asks an address too often; use fewer --seconds");
        if full { self.start(lab) } else { Ok(()) }
    }

    fn walk(&self) -> Walk {
        let pool = match self.spec.addresses {
            Addresses::Known(known) => known,
            Addresses::Scattered | Addresses::NewAfter(_) => ADDRESSES,
        };
        Walk { first: self.next, pool, supplies: self.spec.catalogue.supplies }
    }

    /// Starts the server, after the last one has ended, and makes addresses known to it.
    fn start(&mut self, lab: &mut Lab) -> Result<()> {
        self.running = None;
        self.next = 0;
        self.starts += 1;
        let redis = if self.spec.redis { Some(Redis::start(lab)?) } else { None };
        let mut command = match self.spec.program {
            Program::Bourse => self.bourse(lab, lab.bourse(), redis.as_ref())?,
            Program::Built => self.bourse(lab, lab.program("bourse"), redis.as_ref())?,
            program => lab.pinned(SERVER_CORE, lab.program(program.file())),
        };
        command.args(["--listen", "127.0.0.1:0", "--workers", "1"]);
        let server = Server::start(lab, &self.spec.name, &mut command)?;
        if let Addresses::Known(known) | Addresses::NewAfter(known) = self.spec.addresses
            && known > 0
        {
            let answered = generators::count(lab, &server, self.walk(), known)?;
            right(&answered)?;
            self.next = known;
            self.fastest = answered.requests as f64 / answered.seconds;
        }
        self.running = Some(Running { server, _redis: redis });
        Ok(())
    }

    /// `bourse serve` with the side's catalogue in a data directory of its own.
    fn bourse(&self, lab: &mut Lab, bourse: PathBuf, redis: Option<&Redis>) -> Result<Command> {
        let place = lab.place(&self.spec.name.replace([' ', '/'], "-"))?;
        if self.starts == 1 {
            let file = place.join("catalogue.json");
            fs::write(&file, self.spec.catalogue.json()).context("cannot write the catalogue")?;
            let mut load = lab.pinned(LOAD_CORE, &bourse);
            load.arg("load-data").arg("--input").arg(&file).arg("--data-dir").arg(&place);
            capture(&mut load, &mut lab.guard)?;
        }
        let mut command = lab.pinned(SERVER_CORE, bourse);
        command.envs(self.spec.settings.iter().map(|(name, value)| (name, value)));
        command.env("BOURSE_LOG_LEVEL", "warn").env("BOURSE_JOURNAL_RETAIN_MIB", "1024");
        if let Some(redis) = redis {
            command.env("BOURSE_REDIS_URL", redis.url());
        }
        command.arg("serve").arg("--data-dir").arg(&place);
        Ok(command)
    }
}

/// An error for wrong answers; none is an answer that is late.
fn right(answered: &Answered) -> Result<()> {
    ensure!(answered.requests > 0, "nothing was answered");
    ensure!(answered.wrong == 0, "{} of {} answers were wrong", answered.wrong, answered.requests);
    Ok(())
}
