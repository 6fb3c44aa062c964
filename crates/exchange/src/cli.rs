//! The command line: what can be asked of `bourse`.

use crate::calendar::When;
use auction::AuctionId;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// An ad exchange in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "bourse",
    version,
    arg_required_else_help = true,
    propagate_version = true,
    after_help = "\
Examples:
  bourse serve                                        run on 127.0.0.1:8000 with a demo catalogue
  bourse load-data -i data.json                       bring the catalogue to what a file says
  bourse journal cat --from 15m                       every auction of the last quarter of an hour, as JSON
  bourse config show                                  every setting, its value and where it came from
  bourse check                                        whether all that a server needs is there

  curl -s localhost:8000/bid -H 'content-type: application/json' \\
       -d '{\"supply_id\":\"supply1\",\"ip\":\"192.168.1.100\",\"country\":\"US\",\"tmax\":200}'"
)]
pub struct Cli {
    /// Settings of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Settings that every command knows.
#[derive(Debug, Args)]
pub struct Global {
    /// Read settings from this TOML file [env: BOURSE_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep data in this directory [default: ./bourse-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The catalogue's database: sqlite:PATH or postgres://… [default: sqlite in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hold auctions
    #[command(after_help = "\
Examples:
  bourse serve
  bourse serve --listen 0.0.0.0:8000 --workers 2
  bourse serve --seed 7 --log-auctions               the same requests give the same answers, each auction shown
  BOURSE_DATABASE_URL=postgres://user@db/bourse bourse serve")]
    Serve(Serve),
    /// Bring the schema of the catalogue's database to another revision
    #[command(subcommand)]
    Db(Db),
    /// Add what is new in a catalogue file and bring what exists to what it says, all of it or none
    #[command(after_help = "\
Examples:
  bourse load-data
  bourse load-data -i catalogue.json

A running server shows the change within a second.")]
    LoadData {
        /// The file; - is standard input
        #[arg(short, long, value_name = "FILE", default_value = "data.json")]
        input: PathBuf,
    },
    /// Write a catalogue file of any size
    #[command(after_help = "\
Examples:
  bourse generate-data
  bourse generate-data -o big.json --supplies 100000 --bidders 500 --seed 7")]
    GenerateData {
        /// The file; - is standard output
        #[arg(short, long, value_name = "FILE", default_value = "data.json")]
        output: PathBuf,
        /// How many supplies
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
        supplies: u32,
        /// How many bidders
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        bidders: u32,
        /// The same seed writes the same file
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// See what was recorded, also while a server records more, or in a copy of its data directory
    #[command(subcommand)]
    Journal(Journal),
    /// The auctions as events: watch them, take them out, see how far their streams are
    #[command(subcommand)]
    Events(Events),
    /// Show settings
    #[command(subcommand)]
    Config(Config),
    /// Prepare the admin API
    #[command(subcommand)]
    Admin(Admin),
    /// Look at all that a server needs, and say what to do where something is wrong; exit 1 if anything is
    #[command(after_help = "\
Examples:
  bourse check
  bourse check --config /etc/bourse.toml
  bourse check --json | jq '.checks[] | select(.ok | not)'

It changes nothing, and may run beside a server.")]
    Check {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask a running server whether requests should be sent to it; exit 1 if not
    #[command(after_help = "\
Examples:
  bourse health
  bourse health --url http://127.0.0.1:8001

For health checks of containers and services.")]
    Health {
        /// Whom to ask [default: the address that `listen` is set to]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Write a shell's completions to standard output
    #[command(after_help = "\
Examples:
  bourse completions bash > /etc/bash_completion.d/bourse
  bourse completions zsh > ~/.zfunc/_bourse
  bourse completions fish > ~/.config/fish/completions/bourse.fish")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    #[command(after_help = "\
Examples:
  bourse man --into /usr/local/share/man/man1        then: man bourse, man bourse-serve")]
    Man {
        /// The directory, which is there
        #[arg(long, value_name = "DIR", default_value = ".")]
        into: PathBuf,
    },
}

/// Settings of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; port 0 is any free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// How many cores serve [default: all]
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Never let a core sleep: the least latency, for all of each core's time [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub busy_poll: Option<String>,
    /// The same seed and requests give the same answers [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
    /// Log each auction with its bids, or one in N [default: none]
    #[arg(long, value_name = "none|all|N", num_args = 0..=1, default_missing_value = "all")]
    pub log_auctions: Option<String>,
}

/// What to do with the schema.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Forward to head, by +N revisions, or to a revision
    #[command(
        after_help = "Examples:\n  bourse db upgrade\n  bourse db upgrade +1\n  bourse db upgrade 0001"
    )]
    Upgrade {
        /// How far
        #[arg(default_value = "head", value_name = "head|+N|REV")]
        target: String,
    },
    /// Back by -N revisions, to a revision, or to base
    #[command(
        after_help = "Examples:\n  bourse db downgrade -1\n  bourse db downgrade 0001\n  bourse db downgrade base"
    )]
    Downgrade {
        /// How far
        #[arg(value_name = "-N|REV|base", allow_hyphen_values = true)]
        target: String,
    },
    /// Which revision the database is on
    Current,
    /// Every revision, the newest first
    History,
    /// Write a new pair of migrations, up and down
    #[command(after_help = "\
Examples:
  bourse db revision -m 'add a column for notes'
  bourse db revision --autogenerate -m 'what schema.sql has and the migrations lack'")]
    Revision {
        /// What it does, in a few words
        #[arg(short, long, value_name = "TEXT")]
        message: String,
        /// Fill it with the difference between the declared schema and what the migrations give
        #[arg(long)]
        autogenerate: bool,
        /// The declared schema, instead of the one in the binary
        #[arg(long, value_name = "FILE", requires = "autogenerate")]
        schema: Option<PathBuf>,
        /// Where to write it, instead of database.migrations_dir
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What to see of the journal.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Every segment, and how far each reader has come
    #[command(after_help = "\
Examples:
  bourse journal ls
  bourse journal ls --json | jq 'select(.kind == \"reader\")'")]
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Every auction with every bid as a line of JSON, in order of time
    #[command(after_help = "\
Examples:
  bourse journal cat --from 2h --supply supply1
  bourse journal cat --from 2026-06-07 --to 2026-06-08T12:00:00Z --bidder bidder3
  bourse journal cat --auction 0000000000000007-42
  bourse journal cat --from 0s --follow | jq .price

A TIME is like 2026-06-07T12:30:00Z, a date, or how long ago: 90s, 15m, 2h, 7d.
What is damaged or missing is told on standard error; the rest is shown all the same.")]
    Cat(Cat),
    /// Read everything, and name what is damaged; exit 1 if anything is
    #[command(after_help = "\
Examples:
  bourse journal verify
  bourse journal verify --data-dir /backup/bourse-data")]
    Verify,
    /// What /stat says, counted from the journal alone
    #[command(after_help = "\
Examples:
  bourse journal stat
  bourse journal stat --from 2026-06-07 --to 2026-06-08

Bidders are those that each supply listed at its last auction.")]
    Stat(Span),
}

/// What to do with events.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// Every auction as it is held, as a line of JSON, until Ctrl-C
    #[command(after_help = "\
Examples:
  bourse events tail | jq -c '[.supply, .winner, .price]'
  bourse events tail --from 5m --bidder bidder3 --limit 100")]
    Tail(Tail),
    /// Take the auctions of a span of time out as files
    #[command(after_help = "\
Examples:
  bourse events export --from 2026-06-07 --to 2026-06-08 --format parquet -o june-7
  bourse events export --from 2h --format jsonl -o - | gzip > last.jsonl.gz

parquet and csv make two tables, auctions and bids, in the folder that -o names; jsonl makes one file.
Auctions come core after core. A file has its name once it is whole.")]
    Export(Export),
    /// How far each stream has come; or send one elsewhere while no server runs
    #[command(after_help = "\
Examples:
  bourse events offsets
  bourse events offsets reset lake --to 2026-06-07
  bourse events offsets forget kafka --yes")]
    Offsets {
        /// Without it they are shown
        #[command(subcommand)]
        change: Option<Offsets>,
    },
    /// The tables that a store needs, as SQL
    #[cfg(feature = "clickhouse")]
    #[command(subcommand)]
    Schema(Schema),
}

/// Which events to show.
#[derive(Debug, Args)]
pub struct Tail {
    /// From this time on [default: now]
    #[arg(long, value_name = "TIME")]
    pub from: Option<When>,
    /// Of this supply
    #[arg(long, value_name = "ID")]
    pub supply: Option<String>,
    /// To which this bidder was invited
    #[arg(long, value_name = "ID")]
    pub bidder: Option<String>,
    /// The first N of them
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// Which events to take out, and how.
#[derive(Debug, Args)]
pub struct Export {
    /// When
    #[command(flatten)]
    pub span: Span,
    /// What to write
    #[arg(long, value_enum)]
    pub format: Format,
    /// The folder of the tables; with jsonl the file, - is standard output
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
}

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Two tables for engines
    #[cfg(feature = "lake")]
    Parquet,
    /// Two tables as text, NULL is empty
    Csv,
    /// A line of JSON for each auction, as a stream has it
    Jsonl,
}

/// What to do with a stream's place.
#[derive(Debug, Subcommand)]
pub enum Offsets {
    /// Let a stream go on from elsewhere at the next start
    Reset {
        /// Its name
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The oldest auction there is, the next one that is held, or the first at a time
        #[arg(long, value_name = "oldest|now|TIME")]
        to: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Keep nothing for a stream that is no longer set
    Forget {
        /// Its name
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which auctions to show.
#[derive(Debug, Args)]
pub struct Cat {
    /// When
    #[command(flatten)]
    pub span: Span,
    /// Of this supply
    #[arg(long, value_name = "ID")]
    pub supply: Option<String>,
    /// To which this bidder was invited
    #[arg(long, value_name = "ID")]
    pub bidder: Option<String>,
    /// The one of this id
    #[arg(long, value_name = "ID")]
    pub auction: Option<AuctionId>,
    /// The first N of them
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on as more are recorded, until Ctrl-C
    #[arg(long, conflicts_with = "to")]
    pub follow: bool,
}

/// A span of time.
#[derive(Debug, Args)]
pub struct Span {
    /// From this time on
    #[arg(long, value_name = "TIME")]
    pub from: Option<When>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<When>,
}

/// Of which store.
#[cfg(feature = "clickhouse")]
#[derive(Debug, Subcommand)]
pub enum Schema {
    /// ClickHouse: auctions, bids, and the sums of /stat
    #[command(
        name = "clickhouse",
        after_help = "\
Examples:
  bourse events schema clickhouse | clickhouse-client --multiquery
  bourse events schema clickhouse --server 18.16     for a server of this version

It goes into the database clickhouse.database. What is there already is left as it is; a bourse that misses a
column says so, and names the ALTER TABLE that adds it."
    )]
    ClickHouse {
        /// The server's version
        #[arg(long, value_name = "VERSION", default_value = "26", value_parser = dialect)]
        server: streams::clickhouse::schema::Dialect,
    },
}

#[cfg(feature = "clickhouse")]
fn dialect(version: &str) -> Result<streams::clickhouse::schema::Dialect, &'static str> {
    streams::clickhouse::schema::Dialect::of_version(version).ok_or("a version is like 18.16 or 26.9.2.1")
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every setting with its value, unit, default, range and where its value came from
    Show {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
}

/// What to do for the admin API.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Make a token, and the setting that lets the admin API take it
    #[command(after_help = "\
Examples:
  bourse admin token
  bourse admin token --json | jq -r .token_sha256

Without a token in its settings the server has no admin API.")]
    Token {
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Global {
    /// The flags that are settings.
    pub fn settings(&self) -> Vec<(String, String)> {
        pairs([("data_dir", &self.data_dir), ("database.url", &self.database_url)])
    }
}

impl Serve {
    /// The flags that are settings.
    pub fn settings(&self) -> Vec<(String, String)> {
        pairs([
            ("listen", &self.listen),
            ("workers", &self.workers),
            ("busy_poll", &self.busy_poll),
            ("seed", &self.seed),
            ("log.auctions", &self.log_auctions),
        ])
    }
}

fn pairs<const N: usize>(flags: [(&str, &Option<String>); N]) -> Vec<(String, String)> {
    flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
}
