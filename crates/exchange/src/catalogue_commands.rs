//! The commands that work on the catalogue, and how `serve` opens it.
//!
//! * A SQLite catalogue is brought to head by whoever opens it; PostgreSQL only by `bourse db upgrade`.
//! * Errors: one line each that says what to do; a catalogue file's problems bring a line each with their place.

use crate::cli;
use crate::config::Config;
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use catalogue::schema::{self, Migrations, Revision, State, Target};
use catalogue::{Database, Dialect, File, Live, Loaded};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// A catalogue that is being served.
pub struct Opened {
    /// Where it is kept.
    pub database: Database,
    /// The revision of its schema.
    pub schema: Revision,
    /// What is in force.
    pub live: Arc<Live>,
    /// Whether it is the demo catalogue, loaded just now.
    pub is_demo: bool,
}

/// Opens the catalogue that `config` names, ready to serve. A SQLite file that never had a schema gets the demo
/// catalogue.
pub async fn open(config: &Config) -> Result<Opened> {
    let (database, migrations) = connect(config).await?;
    let is_demo =
        database.dialect() == Dialect::Sqlite && schema::state(&database, &migrations).await? == State::Empty;
    let schema = ready_schema(&database, &migrations).await?;
    if is_demo {
        let demo = File::parse("the demo catalogue", catalogue::DEMO.into())?;
        catalogue::load(&database, &demo, &mut |_, _, _| {}).await?;
    }
    let snapshot = catalogue::read(&database, None).await?;
    Ok(Opened { database, schema, live: Arc::new(Live::new(snapshot)), is_demo })
}

async fn connect(config: &Config) -> Result<(Database, Migrations)> {
    fs::create_dir_all(&config.data_dir).with_context(|| {
        format!("data_dir: {} cannot be made; choose a directory with --data-dir", config.data_dir.display())
    })?;
    let migrations = Migrations::load(Some(&config.database.migrations_dir))?;
    let database = Database::connect(&config.database.url, &config.database.replica_urls).await?;
    Ok((database, migrations))
}

/// The schema at head: a SQLite file is brought there, PostgreSQL has to be there.
async fn ready_schema(database: &Database, migrations: &Migrations) -> Result<Revision> {
    let mut state = schema::state(database, migrations).await?;
    if database.dialect() == Dialect::Sqlite && !matches!(state, State::Head(_) | State::Ahead(_)) {
        state = schema::upgrade(database, migrations, Target::Head).await?;
    }
    at_head(database, migrations, state)
}

/// The revision, if it is the one that this program needs; else what to do.
pub fn at_head(database: &Database, migrations: &Migrations, state: State) -> Result<Revision> {
    match state {
        State::Head(revision) => Ok(revision),
        State::Ahead(at) => bail!(
            "{} is at revision {at}, which this program does not know: run the newer bourse, or take the schema down \
             with it",
            database.shown()
        ),
        State::Empty | State::Behind(_) => bail!(
            "{} is at revision {state}, this program needs {}: run `bourse db upgrade head`",
            database.shown(),
            migrations.head().map_or_else(|| "base".to_owned(), |head| head.to_string())
        ),
    }
}

/// Runs one command to its end.
fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(command)
}

/// `bourse db …`.
pub fn db(config: &Config, command: &cli::Db) -> Result<()> {
    block_on(async {
        match command {
            cli::Db::Upgrade { target } => {
                let (database, migrations) = connect(config).await?;
                let state = schema::upgrade(&database, &migrations, target.parse()?).await?;
                println!("{} is at {state}", database.shown());
            }
            cli::Db::Downgrade { target } => {
                let (database, migrations) = connect(config).await?;
                let state = schema::downgrade(&database, &migrations, target.parse()?).await?;
                println!("{} is at {state}", database.shown());
            }
            cli::Db::Current => {
                let (database, migrations) = connect(config).await?;
                println!("{}", schema::state(&database, &migrations).await?);
            }
            cli::Db::History => history(config)?,
            cli::Db::Revision { message, autogenerate, schema, dir } => {
                let dir = dir.as_deref().unwrap_or(&config.database.migrations_dir);
                revision(dir, message, *autogenerate, schema.as_deref()).await?;
            }
        }
        Ok(())
    })
}

/// The newest first, as Alembic lists them: `0001 -> 0002 (head), notes`.
fn history(config: &Config) -> Result<()> {
    let migrations = Migrations::load(Some(&config.database.migrations_dir))?;
    let steps = migrations.history();
    for (place, step) in steps.iter().enumerate().rev() {
        let before =
            place.checked_sub(1).map_or_else(|| "<base>".to_owned(), |i| steps[i].revision.to_string());
        let head = if place + 1 == steps.len() { " (head)" } else { "" };
        println!("{before} -> {}{head}, {}", step.revision, step.name);
    }
    Ok(())
}

async fn revision(dir: &Path, message: &str, autogenerate: bool, declared: Option<&Path>) -> Result<()> {
    let declared = match declared {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
        }
        None => schema::DECLARED.to_owned(),
    };
    match schema::revision(dir, message, autogenerate.then_some(&*declared)).await? {
        schema::Written::Pair { up, down } => println!("wrote {}\nwrote {}", up.display(), down.display()),
        schema::Written::NoDifference => {
            println!("the migrations give the declared schema: nothing to write");
        }
    }
    Ok(())
}

/// `bourse load-data`.
pub fn load_data(config: &Config, input: &Path) -> Result<()> {
    let (name, bytes) = if input == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
        ("standard input".to_owned(), bytes)
    } else {
        let name = input.display().to_string();
        let bytes = fs::read(input).with_context(|| format!("{name} cannot be read; name a file with -i"))?;
        (name, bytes)
    };
    block_on(async {
        let mut progress = Progress::start();
        progress.show("reading", 0, 1);
        let file = File::parse(&name, bytes)?;
        let (database, migrations) = connect(config).await?;
        ready_schema(&database, &migrations).await?;
        let loaded =
            catalogue::load(&database, &file, &mut |step, done, total| progress.show(step, done, total))
                .await;
        progress.finish();
        let Loaded { supplies_new, supplies_changed, bidders_new, bidders_changed } = loaded?;
        println!(
            "{name}: {} supplies ({supplies_new} new, {supplies_changed} changed), {} bidders ({bidders_new} new, \
             {bidders_changed} changed) are in {}",
            file.supplies(),
            file.bidders(),
            database.shown()
        );
        Ok(())
    })
}

/// `bourse generate-data`.
pub fn generate_data(output: &Path, supplies: u32, bidders: u32, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(output));
    let mut progress = Progress::start();
    let mut show = |done, total| progress.show("writing", done, total);
    if output == Path::new("-") {
        catalogue::generate(supplies, bidders, seed, &mut io::stdout().lock(), &mut show)
            .context("standard output")?;
        progress.finish();
        return Ok(());
    }
    let shown = output.display();
    let cannot = || format!("{shown} cannot be written; name another file with -o");
    let mut out = BufWriter::new(fs::File::create(output).with_context(cannot)?);
    catalogue::generate(supplies, bidders, seed, &mut out, &mut show).with_context(cannot)?;
    out.flush().with_context(cannot)?;
    progress.finish();
    println!("wrote {shown}: {supplies} supplies, {bidders} bidders, seed {seed}");
    Ok(())
}
